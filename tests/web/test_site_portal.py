"""A site sends scans in a real browser: a lost network, a killed server, a closed page; verdict and queries."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.job_records import JobKind, JobState
from tests.unit import ingest_trial
from tests.unit.office_trial import STAFF, write_office_trial
from tests.unit.test_web_office import SCANNER
from tests.web.conftest import Room
from tests.web.contrast import check_contrast

VERDICT_MS = 120_000
SENT_MS = 60_000
PART = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def office(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("portal")
    room = Room(write_office_trial(folder / "trial").root, folder / "serve.log")
    room.start()
    yield room
    room.kill()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A visit of 48 objects, and a file of 9 MB that is none."""
    folder = clear_upload(tmp_path_factory.mktemp("scans") / "visit")
    (folder / "raw.dat").write_bytes(os.urandom(9_000_000))
    return folder


def clear_upload(folder: Path, **values) -> Path:
    """A visit without the patient's name in the protocol name."""
    ingest_trial.upload(folder, **values)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.ProtocolName = dataset.SeriesDescription
        dataset.save_as(path)
    return folder


@pytest.fixture
def person(chrome: Browser, office: Room) -> Iterator[Callable[[str], Page]]:
    """Pages of people who have signed in. A fault on a page fails the test."""
    contexts, faults = [], []

    def make(code: str) -> Page:
        context = chrome.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda message: faults.append(message.text) if "Content Security" in message.text else None
        )
        page.goto(f"{office.base}/login")
        page.get_by_label("Login").fill(code)
        page.get_by_label("Password").fill(STAFF[code][2])
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/(site|office)$"))
        return page

    yield make
    for context in contexts:
        context.close()
    assert not faults


def fill_in(page: Page, office: Room, scans: Path, *, subject: str, visit: str) -> None:
    page.goto(f"{office.base}/site/upload")
    page.locator("select[name=subject]").select_option(subject)
    page.locator("select[name=visit]").select_option(visit)
    page.set_input_files("#folder", scans)
    expect(page.locator("#chosen")).to_contain_text("49 files, 9.1 MB")
    agree(page)


def agree(page: Page) -> None:
    """To send whole the one file that is no DICOM file."""
    page.get_by_label("1 file is not cleaned in this browser").check()


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()


def lose_network(page: Page, *, after: int) -> list[int]:
    """Let no request through after a number of parts. The offsets of the parts that were tried."""
    offsets: list[int] = []

    def handle(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
        if len(offsets) > after:
            route.abort("internetdisconnected")
        else:
            route.continue_()

    page.route("**/api/site/uploads/*", handle)
    return offsets


def verdict(page: Page) -> str:
    page.locator("dl.facts").wait_for(timeout=VERDICT_MS)
    return page.locator("main").inner_text()


def test_a_lost_network_is_said_and_the_upload_goes_on_by_itself(person, office, scans):
    page = person("S01-AB")
    fill_in(page, office, scans, subject="0009", visit="wk04")
    expect(page.locator("#infusion")).to_be_hidden()
    tried = lose_network(page, after=1)
    send(page)
    expect(page.locator("#sent")).to_contain_text("4.2 of 9.1 MB. The connection is interrupted", timeout=SENT_MS)
    assert tried[:2] == [0, PART]
    page.unroute("**/api/site/uploads/*")
    text = verdict(page)
    assert "0009 wk04" in text
    assert "refused" in text  # the objects are no heads
    assert "FLAIR: expected an object of at least 0.5 L" in text
    assert "Look at the images on the scanner" in text
    assert not list((office.trial / "work").glob("upload-*"))


def test_no_name_leaves_the_browser(person, office, scans, tmp_path):
    """Without consent, no archive that is not read is sent, and no folder with a name in a text."""
    page = person("S01-AB")
    sent: list[bytes] = []
    page.on("request", lambda request: sent.append(request.post_data_buffer or b""))
    page.goto(f"{office.base}/site/upload")
    page.get_by_label("A dummy run").check()
    folder = clear_upload(tmp_path / "folder")
    archive = Path(shutil.make_archive(str(tmp_path / "visit"), "zip", folder))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-100])
    page.set_input_files("#archive", cut)
    expect(page.locator("#chosen")).to_contain_text("it is damaged or incomplete")
    send(page)
    page.wait_for_timeout(300)
    assert page.url.endswith("/site/upload")  # the browser asks for the consent
    named = ingest_trial.upload(tmp_path / "named")  # the name of the patient is in the protocol name
    page.set_input_files("#folder", named)
    expect(page.get_by_label("48 files are not cleaned in this browser")).to_be_visible()
    expect(page.locator("#listed")).to_contain_text(
        "Names cannot be removed from any file, because of these files"
    )
    expect(page.locator("#listed")).to_contain_text("patient data: Protocol name (0018,1030) of series ")
    send(page)
    page.wait_for_timeout(300)
    assert page.url.endswith("/site/upload")
    page.set_input_files("#folder", folder)
    expect(page.locator("#chosen")).to_contain_text("removed from 48 files")
    of_folder = page.locator("#chosen").inner_text()
    page.set_input_files("#archive", archive)
    expect(page.locator("#chosen")).to_contain_text("removed from 48 files")
    assert page.locator("#chosen").inner_text() == of_folder
    screenshot = pydicom.dcmread(next(folder.iterdir()))
    screenshot.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    screenshot.SeriesDescription = ingest_trial.IDENTITIES[0].decode()
    screenshot.save_as(folder / "screenshot")
    page.set_input_files("#folder", folder)
    expect(page.locator("#chosen")).to_contain_text("removed from 48 files")
    expect(page.locator("#listed")).to_contain_text("1 file is not sent")
    expect(page.locator("#listed")).to_contain_text("no MR image, by its class (screenshot)")
    send(page)
    verdict(page)
    names = [name.upper() for name in ingest_trial.IDENTITIES[:4]]  # without the date of the scan
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).upper()
    assert all(name in content for name in names)
    whole = b"".join(sent)
    assert len(whole) > 100_000
    assert [name for name in names if name in whole.upper()] == []
    trial = Trial.existing(office.trial)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        (*_, entry) = registry.audit_entries(AuditAction.UPLOAD_BEGUN)
    assert "sent_whole" not in entry.details


def test_a_killed_server_is_waited_for(person, office, scans):
    page = person("S01-AB")
    fill_in(page, office, scans, subject="0009", visit="wk12")
    lose_network(page, after=1)
    send(page)
    expect(page.locator("#sent")).to_contain_text("interrupted", timeout=SENT_MS)
    office.kill()
    page.unroute("**/api/site/uploads/*")
    office.start()
    assert "refused" in verdict(page)


def test_a_closed_page_goes_on_with_the_same_files_alone(person, office, scans, tmp_path):
    page = person("S01-AB")
    fill_in(page, office, scans, subject="0009", visit="wk00")
    page.get_by_label("Yes").check()
    lose_network(page, after=1)
    send(page)
    expect(page.locator("#sent")).to_contain_text("interrupted", timeout=SENT_MS)
    address = page.url
    page.close(run_before_unload=False)
    page = person("S01-AB")
    page.locator("table").last.get_by_text("incomplete").wait_for()
    page.goto(address)
    expect(page.locator("form#upload")).to_contain_text("4.2 of 9.1 MB were received")
    other = clear_upload(tmp_path / "other", seed=3)
    page.set_input_files("#folder", other)
    expect(page.locator("#chosen")).to_contain_text("removed from 48 files")
    expect(page.get_by_role("checkbox")).to_have_count(0)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#problem")).to_have_text(re.compile("These are other files"))
    offsets = lose_network(page, after=99)
    page.set_input_files("#folder", scans)
    agree(page)
    page.get_by_role("button", name="Go on").click()
    verdict(page)
    assert offsets == [PART, 2 * PART]


def test_a_statement_before_the_infusion_is_asked_for_where_the_protocol_asks(person, office, scans):
    page = person("S01-AB")
    fill_in(page, office, scans, subject="0009", visit="wk24")
    expect(page.locator("#infusion")).to_be_visible()
    send(page)
    page.wait_for_timeout(300)
    assert page.url.endswith("/site/upload")  # the browser asks for it
    page.get_by_label("A dummy run").check()
    expect(page.locator(".of-visit")).to_be_hidden()


def test_a_query_goes_from_the_site_to_the_data_manager_by_keyboard(person, office):
    page = person("S01-AB")
    page.get_by_role("link", name=re.compile("wait for your answer")).press("Enter")
    page.locator("tbody a").first.press("Enter")
    number = page.url.rsplit("/", 1)[1]
    page.locator("textarea").focus()
    page.keyboard.type("The same coil was used.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".state")).to_have_text("answered")
    manager = person("DM")
    manager.goto(f"{office.base}/office/queries?state=answered")
    manager.locator("tbody a", has_text=number).first.press("Enter")
    expect(manager.locator("dl.facts")).to_contain_text("The same coil was used. S01-AB")
    manager.get_by_label("Reason for closing").fill("answered")
    manager.get_by_role("button", name="Close the query").press("Enter")
    expect(manager.locator(".state").first).to_have_text("closed")


def test_enter_in_the_reason_decides_nothing_by_itself(person, office):
    """A decision on a scanner is chosen; no key accepts it unasked."""
    trial = Trial.existing(office.trial)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.record_dummy_run(
            "S01", accepted=True, upload_digest="run", scanner=SCANNER, coil="Head_20", undecided=True
        )
        # another test sends a dummy run, too
        (gate,) = (one for one in registry.scanner_gates.all() if one.coil == "Head_20")
    page = person("DM")
    page.goto(f"{office.base}/office/scanners/{gate.number}")
    page.get_by_label("Reason").focus()
    page.keyboard.type("the figures are good")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    expect(page.locator(".state").first).to_have_text("undecided")
    assert page.get_by_label("Reason").input_value() == "the figures are good"  # the browser asks for the choice
    page.get_by_label("Refuse").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".state").first).to_have_text("refused")


def test_a_page_that_waits_for_a_job_keeps_the_focus(person, office):
    trial = Trial.existing(office.trial)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        job = registry.jobs.begin(JobKind.VISIT, account="S01-AB", site="S01", visit="wk04", size_bytes=10)
        page = person("DM")
        page.goto(f"{office.base}/office/jobs/{job.code}")
        status = page.get_by_role("status")
        expect(status).to_have_text("incomplete")
        link = page.get_by_role("link", name="All uploads and jobs")
        link.focus()
        shown = status.element_handle()
        registry.jobs.end(job.code, JobState.DISCARDED, {"reason": "expected more", "next_step": "send it again"})
        expect(page.locator("dl.facts")).to_contain_text("Expected more.")
        expect(link).to_be_focused()
        assert shown.inner_text() == "discarded"  # the same element: screen readers announce it


@pytest.mark.parametrize("width", [1280, 1920, 3840])
@pytest.mark.parametrize("who", ["S01-AB", "DM"])
def test_no_page_is_wider_than_the_window(person, office, who, width):
    page = person(who)
    page.set_viewport_size({"width": width, "height": 900})
    for address in page.locator("header nav a").evaluate_all("links => links.map(link => link.href)"):
        page.goto(address)
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, address


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_texts_have_contrast(person, office, theme):
    for who in ("S01-AB", "DM"):
        page = person(who)
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for address in page.locator("header nav a").evaluate_all("links => links.map(link => link.href)"):
            page.goto(address)
            check_contrast(page, address)
