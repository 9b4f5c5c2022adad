// Buys one answer with the official x402 v1 client: node buy.mjs URL KEY [METHOD] [BODY] [HEADERS-JSON]
import { createSigner, wrapFetchWithPayment } from "x402-fetch";

const [url, key, method = "GET", body = "", headers = "{}"] = process.argv.slice(2);
const pay = wrapFetchWithPayment(fetch, await createSigner("base-sepolia", key));

try {
  const response = await pay(url, { method, body: body || undefined, headers: JSON.parse(headers) });
  const bytes = Buffer.from(await response.arrayBuffer());
  const answer = { status: response.status, headers: Object.fromEntries(response.headers), bodyBase64: bytes.toString("base64") };
  console.log(JSON.stringify(answer));
} catch (error) {
  console.log(JSON.stringify({ error: error.message, cause: error.cause?.message }));
}
