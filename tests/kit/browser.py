"""Tabs of a real browser, driven over the Chrome DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from kit.chromium import Chromium

DESKTOP = (1280, 800)
PHONE = (390, 844)
_PATIENCE = 10.0
_KEYS = {"Tab": 9, "Enter": 13, "Space": 32}
_TYPED = {"Enter": "\r", "Space": " "}

_SHOWN_CONTROL = """label => {
  const all = [...document.querySelectorAll('button, a, summary')];
  const found = all.find(each => each.innerText.trim() === label && each.checkVisibility());
  if (!found) return null;
  found.scrollIntoView({block: 'center', behavior: 'instant'});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


class Tab:
    """One page. ``errors`` are exceptions, console errors and violations of its policy, as text."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session: str | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = len(self._waiting)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        return await asyncio.wait_for(answer, _PATIENCE)

    async def attach(self, width: int, height: int, *, dark: bool, scale: float) -> None:
        """Opens a page in a context of its own: nothing stored, nothing shared."""
        context = await self.call("Target.createBrowserContext")
        size = {"width": width, "height": height}
        page = await self.call("Target.createTarget", url="about:blank", **context, **size)
        attached = await self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setDeviceMetricsOverride", deviceScaleFactor=scale, mobile=False, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def listen(self) -> None:
        """Takes in what the browser says, until it is closed."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" not in said:
                self._heard(said["method"], said["params"])
            elif "error" in said:
                self._waiting[said["id"]].set_exception(AssertionError(said["error"]["message"]))
            else:
                self._waiting[said["id"]].set_result(said["result"])

    def _heard(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(json.dumps(told["args"]))
        # An answer that is no 2xx is an entry of the source "network", and no fault of the page.
        elif event == "Log.entryAdded" and told["entry"]["source"] != "network":
            self.errors.append(told["entry"]["text"])

    async def open(self, url: str) -> None:
        """Goes there and waits until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        said = await self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def text(self) -> str:
        """What a person can read on the page."""
        return str(await self.evaluate("document.body.innerText"))

    async def wait_for(self, wanted: str) -> None:
        """Until ``wanted`` can be read on the page; AssertionError after ten seconds."""
        for _ in range(round(_PATIENCE / 0.02)):
            if wanted in await self.text():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{wanted!r} was never shown, but:\n{await self.text()}\n{self.errors}")

    async def click(self, label: str) -> None:
        """Presses the mouse on the visible button, link or summary of that text."""
        place = await self.evaluate(f"({_SHOWN_CONTROL})({json.dumps(label)})")
        assert place, f"nothing to click says {label!r}:\n{await self.text()}"
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", **at)
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", **at)

    async def press(self, key: str) -> None:
        """Presses Tab, Enter or Space."""
        pressed = {"key": _TYPED.get(key, key), "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        typed = {"text": _TYPED[key]} if key in _TYPED else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **typed)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def screenshot(self) -> bytes:
        """The window as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def open_tab(
    chromium: Chromium, size: tuple[int, int] = DESKTOP, *, dark: bool = False, scale: float = 1
) -> AsyncIterator[Tab]:
    """A tab of that many CSS pixels; ``scale`` device pixels make one of them."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(chromium.devtools, max_msg_size=0) as link,
    ):
        tab = Tab(link)
        listening = asyncio.create_task(tab.listen())
        try:
            await tab.attach(*size, dark=dark, scale=scale)
            yield tab
        finally:
            await link.close()
            await listening
