"""A trial, its server in a process of its own, and a real browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.unit.web_trial import PASSWORDS
from tests.web.driver import ReadingPage
from tests.web.trial import write_browser_trial

READERS = ("R1", "R2")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
START_S = 120


class Room:
    """`mri-pipeline serve` on one trial. It can be killed and started again on the same port."""

    def __init__(self, trial: Path, log: Path):
        self.trial, self.log = trial, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.states: dict[str, dict] = {}
        self.cases: list[tuple[str, str]] = []

    def start(self) -> None:
        command = [sys.executable, "-m", "reading_centre", "serve", str(self.trial), "--port", str(self.port)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PYTHONWARNINGS": "default"}
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.base}/login", timeout=5)
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"no answer after {START_S} s\n{self.log.read_text()}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def sign_in(self, page: Page, person: str, password: str = "") -> None:
        page.goto(f"{self.base}/login")
        page.get_by_label("Login").fill(person)
        page.get_by_label("Password").fill(password or PASSWORDS[person])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(re.compile(f"{self.base}/(site|office)?$"))


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    if CHROMIUM is None:
        message = "no chromium: the reading page is not tested in a browser (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("room")
    room = Room(write_browser_trial(folder / "trial").root, folder / "serve.log")
    room.start()
    for reader in READERS:
        context = chrome.new_context()
        page = context.new_page()
        room.sign_in(page, reader)
        links = page.locator("table.worklist a").evaluate_all(
            "links => links.map(link => link.href.split('/').pop())"
        )
        room.cases += [(reader, case) for case in links]
        room.states[reader] = context.storage_state()
        context.close()
    yield room
    room.kill()


@pytest.fixture
def room(server: Room) -> Room:
    """The server, with a case that no other test has opened."""
    server.reader, server.assignment = server.cases.pop(0)
    return server


@pytest.fixture
def new_device(chrome: Browser, room: Room) -> Iterator[Callable[[], ReadingPage]]:
    """Browsers of the reader of this test's case. A fault on a page fails the test."""
    contexts, faults = [], []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda message: faults.append(message.text) if "Content Security" in message.text else None
        )

    def make() -> ReadingPage:
        context = chrome.new_context(
            viewport={"width": 1920, "height": 1080}, storage_state=room.states[room.reader]
        )
        context.set_default_timeout(30_000)
        context.on("page", watch)
        contexts.append(context)
        return ReadingPage(context.new_page(), room.base, room.assignment)

    yield make
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def reading(new_device: Callable[[], ReadingPage]) -> ReadingPage:
    """The case, open in a browser."""
    return new_device().open()


@pytest.fixture
def new_tab(reading: ReadingPage) -> Callable[[], ReadingPage]:
    """Further tabs of the same browser."""
    return lambda: ReadingPage(reading.page.context.new_page(), reading.base, reading.assignment)
