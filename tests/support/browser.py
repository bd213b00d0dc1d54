"""A headless chromium, spoken to by its DevTools protocol: pages at a width and a colour scheme, pictures, print."""

import base64
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
SECONDS = 30.0


class Page:
    """One open page.

    Attributes:
        requested: addresses that the page asked for.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._count = socket, 0
        self.requested: list[str] = []
        self._events: list[str] = []

    async def call(self, method: str, **params):
        """A method of the protocol; its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        while (message := await self._socket.receive_json(timeout=SECONDS)).get("id") != self._count:
            self._noted(message)
        assert "error" not in message, message
        return message["result"]

    def _noted(self, message) -> None:
        self._events.append(message.get("method"))
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])

    async def open(self, file: Path, width: int, scheme: str) -> None:
        """Load a file at this width."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", media="screen", features=features)
        for domain in ("Network", "Page"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=file.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._noted(await self._socket.receive_json(timeout=SECONDS))

    async def evaluate(self, script: str):
        """The value of a script."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    async def picture(self) -> bytes:
        """The whole page as PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    async def printed(self) -> bytes:
        """The page on paper, as PDF."""
        result = await self.call("Page.printToPDF", preferCSSPageSize=True)
        return base64.b64decode(result["data"])


@asynccontextmanager
async def browser_page(program: str, folder: Path) -> AsyncIterator[Page]:
    """An empty page of a browser of its own, whose profile stands in the folder."""
    process = _started(program, folder)
    try:
        address = f"http://127.0.0.1:{_port(folder / 'DevToolsActivePort')}"
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{address}/json/new?about:blank") as response:
                target = await response.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _started(program: str, folder: Path) -> subprocess.Popen:
    command = [program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _port(file: Path) -> str:
    """Written by the browser as soon as it listens."""
    for _ in range(int(SECONDS / 0.1)):
        if file.exists() and (lines := file.read_text().split()):
            return lines[0]
        time.sleep(0.1)
    raise TimeoutError(f"no {file}")
