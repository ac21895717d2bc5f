"""The summary before the signature, and the previous visit as confirmed, in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.unit.reading_trial import edit_protocol
from tests.unit.web_trial import PASSWORDS
from tests.web.conftest import Room
from tests.web.driver import ReadingPage
from tests.web.test_reading_room import DECIDE_ALL, T2_COLOUR, draw_new, go_to
from tests.web.trial import write_browser_trial

CONFIRM_CHANGES = """() => {
  for (const lesion of desk.reading.listed().filter(x => x.proposed_change && x.change === null)) {
    desk.edits.do([{op: 'change', lesion: lesion.number, change: lesion.proposed_change, old: null}]);
  }
}"""
REJECT_LAST = """() => {
  const alone = lesion => !['GEL', 'BH'].some(kind => desk.reading.labelAt(kind, lesion.centre));
  const lesion = desk.reading.listed().filter(x => x.kind === 'T2' && alone(x)).pop();
  desk.edits.do([{op: 'decide', kind: 'T2', lesion: lesion.number, decision: 'reject', reason: 'vessel',
    old: {decision: lesion.decision, reason: ''}}]);
  return lesion.centre;
}"""


def test_a_question_shows_its_place(reading):
    place = draw_new(reading, "GEL")
    reading.page.evaluate(DECIDE_ALL)
    reading.saved()
    go_to(reading, [1, 1, 1])
    reading.keys("Escape", "Control+Enter")
    reading.page.locator("dialog.finish .place").first.click()
    expect(reading.page.locator("dialog")).to_have_count(0)
    x, y, z = reading.position()
    assert abs(x - place[0]) <= 4
    assert abs(y - place[1]) <= 2
    assert z == place[2]
    kind, _number = reading.selected().split(":")
    assert kind == "GEL"


@pytest.fixture
def serial(chrome, tmp_path):
    trial = write_browser_trial(tmp_path / "trial", subjects=1)
    edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    room = Room(trial.root, tmp_path / "serve.log")
    room.start()
    page = chrome.new_context(viewport={"width": 1920, "height": 1080}).new_page()
    room.sign_in(page, "R1")
    yield room, page
    page.context.close()
    room.kill()


def test_the_previous_visit_has_the_marks_that_were_confirmed(serial):
    room, page = serial
    first = page.locator("table.worklist a").first.get_attribute("href")
    reading = ReadingPage(page, room.base, first.split("/")[-1]).open()
    page.evaluate(DECIDE_ALL)
    rejected = page.evaluate(REJECT_LAST)
    reading.saved()
    reading.keys("Control+Enter")
    form = page.locator("dialog.finish")
    form.get_by_label("Login").fill("R1")
    form.get_by_label("Password").fill(PASSWORDS["R1"])
    form.get_by_role("button", name="Sign", exact=True).click()
    page.locator("#signature:not([hidden])").wait_for()
    reading.keys("c")
    page.wait_for_url(lambda url: reading.assignment not in url)
    reading.ready()
    page.evaluate("""() => {
      desk.viewer.set({overlay: 'fill', smooth: false});
      desk.viewer.overlay.hidden = new Set(['GEL', 'BH']);
    }""")
    go_to(reading, rejected)
    assert reading.pixel(rejected, "marks")[:3] == pytest.approx(T2_COLOUR, abs=6)
    assert reading.pixel(rejected, "marks", "previous_flair")[3] == 0  # the reader rejected it there
    confirmed = next(
        x["centre"] for x in reading.case()["lesions"] if x["kind"] == "T2" and x["centre"] != rejected
    )
    go_to(reading, confirmed)
    assert reading.pixel(confirmed, "marks", "previous_flair")[:3] == pytest.approx(T2_COLOUR, abs=6)
    reading.keys("b")  # a tool that edits shows the present marks on all images
    go_to(reading, rejected)
    assert reading.pixel(rejected, "marks", "previous_flair")[:3] == pytest.approx(T2_COLOUR, abs=6)
    reading.keys("v", "Space")  # the flicker shows the previous visit with its marks
    go_to(reading, rejected)
    assert reading.pixel(rejected, "marks")[3] == 0
    reading.keys("Space")
    page.evaluate(DECIDE_ALL)
    page.evaluate(CONFIRM_CHANGES)
    reading.saved()
    reading.keys("Control+Enter")
    expect(form.get_by_label("Password")).to_be_focused()
    expect(form.get_by_label("Login")).to_have_count(0)
