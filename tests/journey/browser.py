"""A headless Chromium that a test leads: it opens files, runs JavaScript, clicks, types, takes pictures.

It is spoken to in its DevTools protocol over two pipes (`--remote-debugging-pipe`: descriptors 3 and 4, JSON,
a zero byte after each message), so no port is opened and no library is needed. What the page complains of
(exceptions, policy violations, failed loads) is gathered in `complaints`, what it asks for in `requests`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needs import needs_program

DEADLINE_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root, for which Chromium has no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of a running Chromium."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self._number += 1
        words = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            words["sessionId"] = self._session
        os.write(self._to, json.dumps(words).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                result: dict[str, Any] = said["result"]
                return result

    def _hear(self) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            assert ready, f"chromium said nothing for {DEADLINE_S:g} s"
            piece = os.read(self._from, 1 << 20)
            assert piece, "chromium has ended"
            self._rest += piece
        words, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(words)
        self._note(said.get("method"), said.get("params", {}))
        return said

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:600])
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the window and the colours that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + DEADLINE_S
        while not self._loaded:
            assert time.monotonic() < end, f"{path} did not load"
            self.call("Runtime.evaluate", expression="0")

    def run(self, script: str) -> Any:
        """The value of an expression, promises awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + DEADLINE_S
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            self.run("new Promise(requestAnimationFrame)")

    def click(self, selector: str, at: tuple[float, float] = (0.5, 0.5)) -> None:
        """With the mouse, in the middle of an element or elsewhere in it."""
        x, y = self._place(selector, at)
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, from one place in an element to another."""
        x, y = self._place(selector, start)
        to_x, to_y = self._place(selector, end)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for step in (0.5, 1.0):
            x_now, y_now = x + (to_x - x) * step, y + (to_y - y) * step
            self.call(
                "Input.dispatchMouseEvent", type="mouseMoved", x=x_now, y=y_now, button="left", buttons=1
            )
        self.call(
            "Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, button="left", clickCount=1
        )

    def _place(self, selector: str, at: tuple[float, float]) -> tuple[float, float]:
        left, top, width, height = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        return left + width * at[0], top + height * at[1]

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """A key by its name."""
        text = {"text": key} if len(key) == 1 else {}
        for what in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=what, key=key, **(text if what == "keyDown" else {}))

    def text(self, selector: str) -> str:
        """What a person reads there."""
        words: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return words

    def picture(self, path: Path, *, whole: bool = False) -> bytes:
        """A PNG of what is to be seen, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path.read_bytes()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A Chromium with a profile of its own; at the end nothing of it is left."""
    (chromium,) = needs_program("chromium")
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="plg-browser-", ignore_cleanup_errors=True) as profile:
        words = " ".join(("exec", '"$@"', f"3<&{down_read}", f"4>&{up_write}"))
        process = subprocess.Popen(
            ["bash", "-c", words, "chromium", chromium, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(down_read, up_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": profile},
        )
        os.close(down_read)
        os.close(up_write)
        try:
            yield Browser(down_write, up_read)
        finally:
            os.close(down_write)
            os.close(up_read)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
