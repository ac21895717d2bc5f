"""Adjudication in a real browser: both reads beside the result, A, B or an own outline, and the signature."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.store import load_read
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from tests.unit.reading_trial import decide, edit_protocol, lesions_but_no_holes, visits_of
from tests.unit.web_trial import PASSWORDS
from tests.web.conftest import Room
from tests.web.driver import ReadingPage
from tests.web.trial import write_browser_trial

SUBJECT = "BENCH000"
DISPUTED = {("T2", "1"), ("T2", "4"), ("GEL", "2")}


@pytest.fixture(scope="module")
def adjudicator(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A trial with two reads of each visit: the second one lacks three lesions."""
    folder = tmp_path_factory.mktemp("adjudication")
    trial = write_browser_trial(folder / "trial", subjects=1)
    edit_protocol(trial, "readers = 1", "readers = 2")
    export_reads(trial.root, folder / "first")
    shutil.copytree(folder / "first", folder / "second")
    import_reads(trial.root, decide(folder / "first"), reader="R1")
    lacks = lambda code, row: (  # noqa: E731
        "reject" if (row["type"], row["lesion"]) in DISPUTED else lesions_but_no_holes(code, row)
    )
    import_reads(trial.root, decide(folder / "second", lacks), reader="R2")
    room = Room(trial.root, folder / "serve.log")
    room.start()
    yield room
    room.kill()


@pytest.fixture
def reading(chrome: Browser, adjudicator: Room) -> Iterator[ReadingPage]:
    """A case of the adjudicator that no other test has opened."""
    context = chrome.new_context(viewport={"width": 1920, "height": 1080})
    context.set_default_timeout(30_000)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    adjudicator.sign_in(page, "ADJ")
    links = page.locator("table.worklist a").evaluate_all("links => links.map(one => one.href.split('/').pop())")
    adjudicator.cases.append(("ADJ", next(code for code in links if ("ADJ", code) not in adjudicator.cases)))
    yield ReadingPage(page, adjudicator.base, adjudicator.cases[-1][1]).open()
    context.close()
    assert not faults


def disputed(case):
    return [lesion for lesion in case["lesions"] if lesion["proposed"] and not lesion["settled"]]


def undecided(reading):
    return reading.page.locator("#panel-head .undecided").inner_text()


def test_both_reads_are_shown_and_what_they_differ_in_comes_first(reading):
    case = reading.case()
    panes = [pane.get_attribute("data-pane") for pane in reading.page.locator(".pane").all()]
    assert panes[:3] == ["flair", "read_A_flair", "read_B_flair"]
    expect(reading.page.locator("[data-pane=read_B_flair] .caption.title")).to_contain_text("read B")
    expect(reading.page.locator("#card .differs")).to_contain_text("GEL seen by one reader alone")
    states = [row.get_attribute("data-state") for row in reading.page.locator("#lesions li").all()]
    assert states == sorted(states, key=lambda state: state == "settled")
    assert states.count("open") == len(disputed(case)) == 3
    assert not any(word in reading.page.content() for word in ("R1", "R2", SUBJECT))
    lesion = next(one for one in disputed(case) if one["kind"] == "T2")
    (alone,) = lesion["seen_by"]
    other = "B" if alone == "A" else "A"
    reading.page.evaluate("key => desk.select(desk.reading.lesions.get(key))", f"T2:{lesion['number']}")
    reading.page.evaluate(
        """() => {
          desk.viewer.set({overlay: 'fill', smooth: false});
          desk.viewer.overlay.hidden = new Set(['GEL', 'BH']);
        }"""
    )
    reading.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shown = {name: reading.pixel(lesion["centre"], "marks", f"read_{name}_flair") for name in "AB"}
    assert shown[alone][3] > 0
    assert shown[other][3] == 0


def test_take_a_take_b_and_undo(reading):
    gel = next(one for one in disputed(reading.case()) if one["kind"] == "GEL")
    (alone,) = gel["seen_by"]
    key, other = f"GEL:{gel['number']}", "B" if alone == "A" else "A"
    reading.page.evaluate("key => desk.select(desk.reading.lesions.get(key))", key)
    reading.page.evaluate("() => { desk.settings.advance = false; }")
    reading.keys(other.lower())
    reading.saved()
    assert (reading.server_lesion(key)["decision"], reading.server_lesion(key)["choice"]) == ("reject", other)
    reading.keys(alone.lower())
    reading.saved()
    assert (reading.server_lesion(key)["decision"], reading.server_lesion(key)["choice"]) == ("accept", alone)
    reading.page.locator(f"#card [data-action=take-{alone}][aria-pressed=true]").wait_for()
    reading.keys("Control+z", "Control+z")
    reading.saved()
    assert reading.server_lesion(key)["choice"] is None
    reading.keys("r", "1")  # a rejection has a reason; to take a read without the lesion has none
    reading.saved()
    lesion = reading.server_lesion(key)
    assert (lesion["decision"], lesion["reason"], lesion["choice"]) == ("reject", "vessel", "neither")
    reading.page.locator("#card [data-action=reject][aria-pressed=true]").wait_for()
    reading.page.locator("#card [data-action=take-both]").click()
    reading.saved()
    assert reading.server_lesion(key)["decision"] == "accept"


def test_an_own_outline_is_signed(reading, adjudicator):
    reading.keys("n")
    while not undecided(reading).startswith("All"):
        alone = reading.page.evaluate("() => desk.selected.seen_by[0]")
        reading.keys(alone.lower())
    reading.saved()
    lesion = next(one for one in disputed(reading.case()) if one["kind"] == "T2")
    reading.page.evaluate(
        """number => {
          const at = desk.reading.voxelsOf(desk.reading.lesion('T2', number))[0];
          desk.change('T2', [[at, 1, number, 0]], number);
        }""",
        lesion["number"],
    )
    reading.saved()
    assert reading.server_lesion(f"T2:{lesion['number']}")["choice"] == "own"
    voxels = np.count_nonzero(reading.server_labels("T2"))
    reading.keys("Control+Enter")
    form = reading.page.locator("dialog.finish form")
    form.get_by_label("Login").fill("ADJ")
    form.get_by_label("Password").fill(PASSWORDS["ADJ"])
    form.get_by_role("button", name="Sign").click()
    expect(reading.page.locator("#signature")).to_contain_text("Signed by Dr ADJ")
    visits = visits_of(Trial(adjudicator.trial))
    (locked,) = (visit for visit, state in visits.items() if state.read is ReadStatus.LOCKED)
    read = load_read(Trial(adjudicator.trial).reads, SUBJECT, locked, "ADJ", 1)
    assert read.record.status is ReadStatus.ADJUDICATED
    assert read.masks.t2_lesions.mask.sum() == voxels
    assert {decision.choice for decision in read.record.decisions} <= {"A", "B", ""}
