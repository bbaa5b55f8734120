"""Chromium without a window, over its DevTools protocol: pages are opened, measured and photographed."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
PLAYWRIGHT = "~/.cache/ms-playwright/chromium*/chrome-*/*"


def find():
    """The browser of the variable CHROMIUM, of PATH, or of playwright; None if there is none."""
    given = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else NAMES
    downloaded = Path(PLAYWRIGHT).expanduser()
    found = sorted(Path("/").glob(str(downloaded).lstrip("/"))) if given is NAMES else []
    executables = [str(path) for path in found if path.name in ("chrome", "headless_shell")]
    return next(filter(None, map(shutil.which, (*given, *executables))), None)


class Browser:
    """One tab. `problems` collects what went to the console as an error, and what could not be loaded."""

    def __init__(self, executable, profile):
        self.process = subprocess.Popen(
            [
                executable, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = self._port(Path(profile) / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
            tab = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=120)
        self.numbers, self.problems = itertools.count(1), []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _port(self, file, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if file.exists() and file.read_text().strip():
                return int(file.read_text().split()[0])
            time.sleep(0.1)
        raise RuntimeError(f"Chromium did not start: exit status {self.process.poll()}")

    def send(self, method, until=None, **parameters):
        """The answer to a command; with `until`, after the event of that name, too."""
        number, answer = next(self.numbers), None
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while answer is None or until:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                answer = message["result"]
            name, what = message.get("method"), message.get("params", {})
            until = None if name == until else until
            failed = name in ("Runtime.exceptionThrown", "Network.loadingFailed")
            entry = what.get("entry", {})
            if (
                failed
                or entry.get("level") == "error"
                or (name, what.get("type")) == ("Runtime.consoleAPICalled", "error")
            ):
                self.problems.append(json.dumps(what)[:300])
        return answer

    def open(self, path, width, dark=False):
        """Load a page `width` pixels wide."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", until="Page.loadEventFired", url=Path(path).resolve().as_uri())

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, path):
        """A PNG of the visible part of the page."""
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=60)
