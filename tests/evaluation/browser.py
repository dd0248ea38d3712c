"""Chromium for the slow tests of pages: the system's own, installed where it is absent, opened without a network.

Playwright's own download is not used: the pages must do in the browser that people have.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright


def installed() -> str:
    """Return the path of chromium, installed first where it is absent, for which one must be root on Debian or Ubuntu."""
    if not shutil.which("chromium"):
        subprocess.run(["apt-get", "update", "-qq"], check=True, timeout=300)
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium", "fonts-noto-color-emoji"]
        subprocess.run(install, check=True, timeout=900, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    found = shutil.which("chromium")
    assert found
    return found


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Start a browser and end it."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=installed())
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """Open a file with the network cut; after the block nothing may have been asked for but the file, nor complained of."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_offline(True)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert said == []
    assert asked == [path.as_uri()]
