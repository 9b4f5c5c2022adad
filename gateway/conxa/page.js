"use strict";
(() => {
  const CONNECTIONS = "/_tollway/conxa/connections";
  const PIXELS = 640; // of the picture: more than are shown, so that it is sharp on any screen
  const SHOWN = 200000; // characters of an answer that are shown
  const byId = (id) => document.getElementById(id);
  const { use, method, limit } = document.body.dataset;
  const here = location.pathname + location.search;
  let turn = 0; // what was begun in an earlier turn stops
  let pressed = () => {};

  // What this tab keeps. A browser may forbid that; then a reload asks for another scan.
  const keep = (name, value) => {
    try { sessionStorage.setItem(`tollway.${name}`, JSON.stringify(value)); } catch {}
  };
  const kept = (name) => {
    try { return JSON.parse(sessionStorage.getItem(`tollway.${name}`)); } catch { return null; }
  };

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const tokens = (count) => `${Number(count).toLocaleString("en")} tokens`;

  function show(state, text, label, action) {
    const held = document.activeElement;
    const isConnected = ["connected", "paying", "paid"].includes(state);
    document.body.dataset.state = state;
    byId("qr").hidden = !["waiting", "expired"].includes(state);
    byId("unscanned").hidden = state !== "waiting";
    byId("developers").hidden = !isConnected;
    if (state !== "waiting") byId("left").textContent = "";
    if (byId("status").textContent !== text) byId("status").textContent = text;
    byId("act").hidden = !label;
    if (label) { byId("act").textContent = label; pressed = action; }
    // What vanishes hands the focus to the text that says why.
    if (held?.closest("[hidden]")) byId("status").focus();
    const step = { connected: use === "connect" ? 3 : 2, paying: 2, refused: 2, paid: 3 }[state] ?? 0;
    document.querySelectorAll("li").forEach((item, at) => {
      item.classList.toggle("done", at < step);
      if (at === step) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
  }

  function pauseAsked(answer) {
    const said = answer.headers.get("Retry-After");
    if (said === null) return null;
    const ms = /^\d+$/.test(said) ? said * 1000 : Date.parse(said) - Date.now();
    return Math.min(Math.max(ms || 1000, 1000), 60000);
  }

  // Asks until there is a whole answer. What may be repeated (no network, 429, 503, 409 with Retry-After) is,
  // with the very same request: whoever pays sends a key with it, and so pays once. Null: no longer wanted.
  async function ask(mine, url, init, trouble) {
    const calm = byId("status").textContent;
    for (let tries = 0; ; tries += 1) {
      let pause = Math.min(1000 * 2 ** tries, 15000);
      let text = "The gateway cannot be reached. Trying again …";
      try {
        const answer = await fetch(url, { cache: "no-store", redirect: "manual", ...init() });
        const body = await answer.blob();
        const later = pauseAsked(answer);
        const wait = [429, 503].includes(answer.status) || (answer.status === 409 && later !== null);
        if (mine !== turn) return null;
        if (!wait) return { answer, body };
        pause = later ?? pause;
        text = answer.status === 429 ? "The gateway is busy. Trying again …" : trouble;
      } catch {}
      if (mine !== turn) return null;
      show(document.body.dataset.state, text);
      await sleep(pause);
      if (mine !== turn) return null;
      show(document.body.dataset.state, calm);
    }
  }

  async function json({ body }) {
    try { return JSON.parse(await body.text()) ?? {}; } catch { return {}; }
  }

  const begin = () => ({
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ size: PIXELS, ...(limit && { limit: Number(limit) }) }),
    signal: AbortSignal.timeout(20000),
  });

  async function makeCode() {
    const mine = ++turn;
    show("making", "Making your code …");
    const made = await ask(mine, CONNECTIONS, begin, "The gateway is busy. Trying again …");
    if (!made) return;
    if (!made.answer.ok) {
      show("trouble", `No code could be made (error ${made.answer.status}).`, "Try again", makeCode);
      return;
    }
    const told = await json(made);
    // How long it is valid by the gateway's clock; this machine's may be wrong.
    const life = Date.parse(told.expires_at) - Date.parse(told.created_at);
    const connection = { ...told, ends: Date.now() + life };
    keep("connection", connection);
    offer(mine, connection);
  }

  function offer(mine, connection) {
    byId("qr").src = connection.qr_base64;
    byId("said").textContent = connection.qr_data;
    show("waiting", "Waiting for your wallet");
    countDown(mine, connection);
    follow(mine, connection, true);
  }

  async function countDown(mine, connection) {
    for (;;) {
      const seconds = Math.ceil((connection.ends - Date.now()) / 1000);
      if (mine !== turn || Number.isNaN(seconds)) return;
      if (seconds <= 0) { expire(); return; }
      const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
      byId("left").textContent = `This code is valid for ${clock}`;
      await sleep(1000);
    }
  }

  function expire() {
    turn += 1;
    keep("connection", null);
    show("expired", "This code has expired", "Get a new code", makeCode);
  }

  // Until the wallet has answered. ``scanned``: a person does that now, for this page.
  async function follow(mine, connection, scanned) {
    const { pathname } = new URL(connection.status_url, location.origin);
    const poll = () => ({ signal: AbortSignal.timeout(40000) });
    for (let wait = scanned ? "?wait=25s" : ""; ; wait = "?wait=25s") {
      const asked = Date.now();
      const got = await ask(mine, pathname + wait, poll, "The gateway is busy. Trying again …");
      if (!got) return;
      const { status, balance } = await json(got);
      if (mine !== turn) return;
      if (got.answer.ok && status === "active") { connected(connection, balance, scanned); return; }
      if ([404, 410].includes(got.answer.status) || ["expired", "not_found"].includes(status)) {
        if (scanned) expire(); else makeCode();
        return;
      }
      if (!scanned) { offer(mine, connection); return; }
      show("waiting", "Waiting for your wallet");
      // However soon the gateway answers, it is not asked in a tight circle.
      await sleep(Math.max(0, 1000 - (Date.now() - asked)));
    }
  }

  // Money goes out after a scan or a click, never because a page was opened.
  function connected(connection, balance, scanned) {
    turn += 1;
    byId("header").textContent = `X-Tollway-Connection: ${connection.id}`;
    const has = Number.isFinite(balance) ? `, with ${tokens(balance)}` : "";
    const wallet = `Your wallet is connected${has}.`;
    if (use === "connect") show("connected", wallet);
    else if (method !== "GET") show("connected", `${wallet} Make the request again with the header below.`);
    else if (scanned) pay(connection);
    else show("connected", wallet, "Pay and show the answer", () => pay(connection));
  }

  // The key of a purchase outlives a reload until its answer is here: it is never paid for twice.
  function keyOfPurchase() {
    const open = kept("purchase");
    if (open?.page === here) return open.key;
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    keep("purchase", { page: here, key });
    return key;
  }

  async function pay(connection) {
    const mine = ++turn;
    byId("answer").hidden = true;
    const headers = { "X-Tollway-Connection": connection.id, "Idempotency-Key": keyOfPurchase() };
    const fetching = () => ({ headers: { ...headers, Accept: "application/json, text/*;q=0.9, */*;q=0.8" } });
    show("paying", "Connected. Fetching your answer …");
    const got = await ask(mine, here, fetching, "The payment is being settled. You will not pay twice …");
    if (!got) return;
    keep("purchase", null);
    if (got.answer.ok) {
      await reveal(got, "Your answer");
      show("paid", "Paid. Your answer is below.");
      byId("answer").scrollIntoView({ block: "nearest" });
    } else await refused(got, connection);
  }

  async function refused(got, connection) {
    const { status } = got.answer;
    const told = await json(got);
    const has = Number.isFinite(told.new_balance) ? ` It has ${tokens(told.new_balance)}.` : "";
    const again = () => pay(connection);
    if (told.error_code === "HARD_CAP_VIOLATION") {
      forget(`The spending limit of this connection is reached.${has} Connect again to go on.`);
    } else if (told.error_code === "NO_CHARGE_PERMISSION") {
      forget("Your wallet no longer allows charges over this connection. Connect again to go on.");
    } else if (status === 402 && told.error_code) {
      show("refused", `Your wallet did not pay.${has} Add tokens to it, then try again.`, "Try again", again);
    } else if (status === 402) {
      forget("This connection is no longer valid. Connect again to go on.");
    } else if (got.answer.type === "opaqueredirect") {
      show("refused", "The service answered with a redirect, which cannot be shown here.", "Try again", again);
    } else {
      await reveal(got, `What the service said (error ${status})`);
      const why = typeof told.detail === "string" ? `: ${told.detail}` : ".";
      show("refused", `The service answered with an error (${status})${why}`, "Try again", again);
    }
  }

  function forget(why) {
    keep("connection", null);
    show("trouble", why, "Get a new code", makeCode);
  }

  function receipt({ headers, ok }) {
    const used = /^in=(\d+);\s*out=(\d+)/.exec(headers.get("X-Conxa-Tokens") ?? "");
    const left = headers.get("X-Conxa-Balance");
    const paid = used ? `Charged for ${tokens(used[1])} in and ${tokens(used[2])} out.` : "";
    if (!ok && !used) return "No charge was reported for it.";
    return `${paid}${left === null ? "" : ` Your wallet has ${tokens(left)} left.`}`.trim();
  }

  // Nothing of an answer is ever run: text is shown as text, a picture as a picture, the rest can be saved.
  async function reveal({ answer, body }, title) {
    const type = (answer.headers.get("Content-Type") ?? "").toLowerCase();
    byId("answer-title").textContent = title;
    byId("receipt").textContent = receipt(answer);
    byId("text").hidden = byId("picture").hidden = byId("note").hidden = true;
    const note = (text) => { byId("note").textContent = text; byId("note").hidden = false; };
    if (type.startsWith("image/")) {
      byId("picture").src = await dataUrl(body);
      byId("picture").hidden = false;
    } else if (/^text\/|json|xml|javascript/.test(type)) {
      const text = readable(await body.text(), type);
      byId("text").textContent = text.slice(0, SHOWN) || "(empty)";
      byId("text").hidden = false;
      if (text.length > SHOWN) note("It is long: this is its beginning. Save it to have all of it.");
      else if (type.includes("html")) note("This is the source of a page. Save it to see the page itself.");
    } else note(`It is a file (${body.size.toLocaleString("en")} bytes).`);
    URL.revokeObjectURL(byId("save").href);
    byId("save").href = URL.createObjectURL(body);
    byId("save").download = location.pathname.split("/").pop() || "answer";
    byId("answer").hidden = false;
  }

  function readable(text, type) {
    // Long numbers would be rounded; such an answer is shown as it came.
    if (!type.includes("json") || /\d{16}/.test(text)) return text;
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  }

  const dataUrl = (body) => new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(body);
  });

  async function copy(button) {
    const source = byId(button.dataset.copies);
    const label = button.textContent;
    let copied = true;
    try { await navigator.clipboard.writeText(source.textContent); } catch {
      // No clipboard on plain http: select it, and copy the old way.
      getSelection().selectAllChildren(source);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Selected: copy it now";
    await sleep(2000);
    button.textContent = label;
  }

  byId("act").addEventListener("click", () => pressed());
  document.querySelectorAll("[data-copies]").forEach((each) => each.addEventListener("click", () => copy(each)));

  const connection = kept("connection");
  if (connection) follow(++turn, connection, false);
  else makeCode();
})();
