"""A headless Chromium, driven over a pipe by its DevTools protocol: no driver, no library, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANSWERS_WITHIN_S = 60
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-domain-reliability", "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
# The browser reads commands from descriptor 3 and writes answers to 4; what lies there is moved out of the way first.
_EXEC = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserFailed(Exception):
    """The browser ended, stayed silent, or refused a command."""


@dataclass
class Browser:
    """One page of a browser that runs."""

    process: subprocess.Popen[bytes]
    commands: int
    """File descriptor that the browser reads."""
    answers: int
    """File descriptor that it writes."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """What it told unasked, in order."""
    _session: str = ""
    _number: int = 0
    _rest: bytes = b""

    def open(self) -> None:
        """Make the page that commands go to."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command; its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise BrowserFailed(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def ask(self, script: str) -> Any:
        """The value of a script's expression."""
        answer = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserFailed(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def load(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Show a file in a window of that width (below 600: a phone), and wait until it is there."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self.events.clear()
        self.tell("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.answers], [], [], max(deadline - time.monotonic(), 0))
            more = os.read(self.answers, 1 << 20) if ready else b""
            if not more:
                raise BrowserFailed(f"the browser stayed silent (exit code {self.process.poll()})")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told


@contextmanager
def started(binary: Path, profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile in `profile`; it is ended at the end."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    home = {"HOME": str(profile), "XDG_CONFIG_HOME": str(profile), "XDG_CACHE_HOME": str(profile)}
    with (profile / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _EXEC,
                str(their_in),
                str(their_out),
                str(binary),
                *FLAGS,
                f"--user-data-dir={profile / 'data'}",
                "about:blank",
            ],
            env={**os.environ, **home},
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(their_in)
    os.close(their_out)
    try:
        browser = Browser(process, our_out, our_in)
        browser.open()
        yield browser
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(our_out)
        os.close(our_in)
