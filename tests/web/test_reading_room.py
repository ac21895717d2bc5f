"""The reading page in a real browser: what it shows, what it stores, and what survives."""

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.unit.web_trial import PASSWORDS
from tests.web.contrast import check_contrast
from tests.web.driver import SAVED_MS, ReadingPage

T2_COLOUR = [86, 180, 233]
BOXES = (
    "#finish",
    "#saving",
    "#card [data-action=accept]",
    "#card [data-action=delete]",
    "#slice",
    "[data-pane=flair]",
)
DECIDE_ALL = """() => {
  for (const lesion of desk.reading.listed().filter(x => desk.reading.isUndecided(x))) {
    const old = {decision: null, reason: ''};
    desk.edits.do([{op: 'decide', kind: lesion.kind, lesion: lesion.number, decision: 'accept', reason: '', old}]);
  }
}"""
T2_ALONE = """() => {
  desk.viewer.set({overlay: 'fill', smooth: false, crosshair: false});
  desk.viewer.overlay.hidden = new Set(['GEL', 'BH']);
}"""
ERASE = """number => {
  const runs = desk.reading.voxelsOf(desk.reading.lesion('T2', number)).map(at => [at, 1, number, 0]);
  desk.change('T2', runs, 0);
}"""


def of_kind(case, kind):
    return [x for x in case["lesions"] if x["kind"] == kind]


def voxels_of(case, labels, number):
    nx, ny, _ = case["shape"]
    at = np.flatnonzero(labels == number)
    return np.stack([at % nx, at // nx % ny, at // (nx * ny)], 1)


def free_place(case, labels, radius=6):
    """A voxel whose surroundings in the slice have no label, near the middle of the volume."""
    nx, ny, nz = case["shape"]
    volume = labels.reshape(nz, ny, nx) != 0
    for z in range(nz // 2, nz):
        for y in range(ny // 3, 2 * ny // 3, 2):
            for x in range(nx // 3, 2 * nx // 3, 2):
                if not volume[z, y - radius : y + radius + 1, x - radius : x + radius + 1].any():
                    return [x, y, z]
    raise AssertionError("no free place in the label map")


def go_to(reading, voxel):
    reading.page.evaluate("voxel => desk.viewer.goTo(voxel)", voxel)
    reading.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def draw_new(reading, kind="T2"):
    """Draw a new lesion with the brush where none is."""
    labels = reading.labels(kind)
    place = free_place(reading.case(), labels)
    go_to(reading, place)
    reading.page.evaluate("kind => desk.useKind(kind)", kind)
    reading.keys("b")
    reading.stroke(place, [place[0] + 4, place[1], place[2]])
    return place


def test_the_case_opens_without_faults(reading):
    case = reading.case()
    assert reading.page.locator(".pane").count() == len(case["panes"])
    assert reading.page.locator("#lesions li").count() == len(case["lesions"])
    reading.saved()
    expect(reading.page.locator("#saving")).to_contain_text("Saved")
    for pane in case["panes"]:
        letters = [
            reading.page.locator(f"[data-pane={pane['id']}] .caption.{side}").inner_text()
            for side in ("left", "right", "top")
        ]
        assert letters == ["R", "L", "A"]


def test_marks_lie_on_their_voxels_and_right_is_on_the_left(reading):
    reading.page.evaluate(T2_ALONE)
    case, labels = reading.case(), reading.server_labels("T2")
    nx = case["shape"][0]
    volume = np.frombuffer(reading.get("volumes/flair").body(), "<u2").astype(float)
    sides = set()
    for lesion in of_kind(case, "T2")[:8]:
        go_to(reading, lesion["centre"])
        x, y, z = lesion["centre"]
        mirrored = [nx - 1 - x, y, z]
        assert reading.pixel(lesion["centre"], "marks")[:3] == pytest.approx(T2_COLOUR, abs=6)
        if labels[mirrored[0] + nx * (y + case["shape"][1] * z)] == 0 and abs(x - nx / 2) > 8:
            assert reading.pixel(mirrored, "marks")[3] == 0
            sides.add(x > nx / 2)
        low, high = next(p["window"] for p in case["panes"] if p["id"] == "flair")
        value = volume[x + nx * (y + case["shape"][1] * z)]
        assert reading.pixel(lesion["centre"], "image")[0] == pytest.approx(
            np.clip(255 * (value - low) / (high - low), 0, 255), abs=2
        )
    assert sides == {True, False}, "lesions on both sides expected"


def test_next_undecided_goes_to_each_lesion_and_shows_it(reading):
    seen = []
    for _ in range(4):
        reading.keys("n")
        seen.append(reading.selected())
        assert reading.position() == reading.server_lesion(seen[-1])["centre"]
        expect(reading.row(seen[-1])).to_have_attribute("aria-selected", "true")
    assert len(set(seen)) == 4
    reading.keys("Shift+N")
    assert reading.selected() == seen[-2]


def test_accept_and_reject_by_keys_reach_the_server(reading):
    reading.page.locator("input[type=checkbox]").last.uncheck()  # stay on the lesion
    reading.keys("n")
    first = reading.selected()
    reading.keys("a")
    reading.saved()
    assert reading.server_lesion(first)["decision"] == "accept"
    expect(reading.row(first)).to_have_attribute(
        "data-state", "open" if reading.server_lesion(first)["proposed_change"] else "accept"
    )
    reading.keys("n" if reading.page.locator(".changes").is_hidden() else ".", "r")
    second = reading.selected()
    if reading.case()["reasons"]:
        reading.keys("1")
    reading.saved()
    rejected = reading.server_lesion(second)
    assert rejected["decision"] == "reject"
    assert rejected["reason"] == (reading.case()["reasons"][0]["code"] if reading.case()["reasons"] else "")
    reading.keys("u")
    reading.saved()
    assert reading.server_lesion(second)["decision"] is None
    assert first != second


def test_a_drawing_its_undo_and_its_redo(reading):
    before = reading.server_labels("T2")
    place = draw_new(reading)
    reading.saved()
    drawn = reading.server_labels("T2")
    number = drawn[place[0] + reading.case()["shape"][0] * (place[1] + reading.case()["shape"][1] * place[2])]
    assert number == before.max() + 1
    assert (drawn == number).sum() > 10
    assert np.array_equal(drawn[drawn != number], before[drawn != number])
    np.testing.assert_array_equal(reading.labels("T2"), drawn)
    assert reading.server_lesion(f"T2:{number}")["proposed"] is False

    reading.keys("Control+z")
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), before)
    assert reading.row(f"T2:{number}").count() == 0
    reading.keys("Control+y")
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), drawn)
    np.testing.assert_array_equal(reading.labels("T2"), drawn)


def test_undo_has_no_limit_and_survives_a_reload(reading):
    before = reading.server_labels("T2")
    place = draw_new(reading)
    for step in range(12):
        reading.stroke(
            [place[0] + step % 5, place[1] + 1 + step // 5, place[2]],
            [place[0] + step % 5, place[1] + 4, place[2]],
        )
    reading.saved()
    reading.reload()
    for _ in range(13):
        reading.keys("Control+z")
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), before)


def test_the_first_lesion_of_a_kind_has_the_number_1(reading):
    number = reading.page.evaluate(
        """() => {
          const { reading } = desk;
          const without = reading.info.lesions.filter(({ kind }) => kind !== 'BH');
          reading.load({ ...reading.info, lesions: without }, reading.labels);
          return [reading.newLabel('BH'), reading.newLabel('T2')];
        }"""
    )
    assert number == [1, 1 + max(x["number"] for x in reading.case()["lesions"] if x["kind"] == "T2")]


def test_an_erased_lesion_is_still_to_be_decided(reading):
    reading.page.evaluate(DECIDE_ALL)
    reading.page.evaluate(
        "() => desk.edits.do([{op: 'decide', kind: 'T2', lesion: 1, decision: null, reason: '',"
        " old: {decision: 'accept', reason: ''}}])"
    )
    reading.page.evaluate(
        """() => {
          const lesion = desk.reading.lesion('T2', 1);
          desk.change('T2', desk.reading.voxelsOf(lesion).map((at) => [at, 1, 1, 0]), 0);
        }"""
    )
    reading.saved()
    assert reading.get("summary").json()["undecided"] == 1
    expect(reading.page.locator("#panel-head .undecided")).to_have_text("1 undecided")
    expect(reading.row("T2:1")).to_contain_text("erased")
    go_to(reading, [1, 1, 1])
    reading.keys("n")
    assert reading.selected() == "T2:1"
    reading.keys("a")
    reading.toast("This lesion was erased.")
    reading.keys("r")
    reading.keys("1")
    reading.saved()
    assert reading.get("summary").json()["undecided"] == 0
    expect(reading.page.locator("#panel-head .undecided")).to_have_text("All decided")


def test_a_joined_lesion_is_accepted_as_a_part_of_the_other_one(reading):
    one, other = reading.server_lesion("T2:1"), reading.server_lesion("T2:2")
    reading.page.evaluate("() => desk.select(desk.reading.lesion('T2', 1))")
    reading.page.evaluate("place => desk.viewer.goTo(place)", other["centre"])
    reading.keys("j")
    reading.page.mouse.click(*reading.point(other["centre"]))
    reading.saved()
    assert reading.server_lesion("T2:1")["voxels"] == one["voxels"] + other["voxels"]
    assert [reading.server_lesion("T2:2")[name] for name in ("voxels", "decision")] == [0, "accept"]
    reading.keys("Control+z")
    reading.saved()
    assert [reading.server_lesion("T2:2")[name] for name in ("voxels", "decision")] == [other["voxels"], None]
    reading.keys("Control+y")
    reading.page.evaluate(DECIDE_ALL)
    reading.saved()
    assert "T2" not in "".join(reading.get("summary").json()["contradictions"])


def test_the_eraser_and_the_lasso(reading):
    place = draw_new(reading)
    reading.saved()
    with_lesion = reading.server_labels("T2")
    reading.keys("x")
    reading.stroke(place)
    reading.saved()
    assert (reading.server_labels("T2") > 0).sum() < (with_lesion > 0).sum()
    reading.keys("l")
    x, y, z = place
    reading.stroke([x - 5, y - 5, z], [x + 5, y - 5, z], [x + 5, y + 5, z], [x - 5, y + 5, z])
    reading.saved()
    labels = reading.server_labels("T2")
    nx, ny, _ = reading.case()["shape"]
    assert labels[x + nx * (y + ny * z)] > 0
    assert reading.server_lesion(reading.selected())["voxels"] >= 90


def test_a_ball_reaches_into_the_neighbouring_slices(reading):
    reading.keys("d")
    for _ in range(5):
        reading.keys("]")  # 12 mm: 2 slices of 3 mm on either side
    place = draw_new(reading)
    reading.saved()
    low, high = reading.server_lesion(reading.selected())["box"]
    assert high[2] - low[2] >= 3, place


def test_type_change_and_its_undo(reading):
    lesion = of_kind(reading.case(), "T2")[0]
    reading.row(f"T2:{lesion['number']}").click()
    before = reading.server_labels("GEL")
    reading.keys("t", "1")  # the first other type
    reading.saved()
    copied = reading.server_labels("GEL")
    assert (copied != before).any()
    assert reading.server_lesion(f"T2:{lesion['number']}")["decision"] == "reject"
    np.testing.assert_array_equal(reading.labels("GEL"), copied)
    reading.keys("Control+z")
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("GEL"), before)
    assert reading.server_lesion(f"T2:{lesion['number']}")["decision"] is None


def test_two_drawings_are_joined_and_split_again(reading):
    place = draw_new(reading)
    reading.stroke([place[0], place[1] + 7, place[2]], [place[0] + 4, place[1] + 7, place[2]])
    reading.saved()
    second = reading.selected()
    first = f"T2:{int(second[3:]) - 1}"
    reading.keys("j")
    reading.stroke(place)
    reading.saved()
    assert first not in [f"T2:{x['number']}" for x in of_kind(reading.case(), "T2") if x["voxels"]]
    joined = reading.server_lesion(second)["voxels"]
    reading.keys("v", "s")
    reading.page.locator(f"#lesions li:not([data-lesion='{second}'])[data-state=drawn]").wait_for()
    reading.saved()
    assert 0 < reading.server_lesion(second)["voxels"] < joined


def test_fill_by_one_click(reading):
    lesion = max(of_kind(reading.case(), "T2"), key=lambda x: x["volume_mm3"])
    reading.row(f"T2:{lesion['number']}").click()
    erased = reading.labels("T2") == lesion["number"]
    reading.page.evaluate(ERASE, lesion["number"])
    reading.saved()
    reading.keys("f")
    reading.stroke(lesion["centre"])
    reading.page.locator("#lesions li[data-state=drawn]").wait_for()
    reading.saved()
    filled = reading.server_labels("T2") == reading.server_lesion(reading.selected())["number"]
    assert (filled & erased).sum() > 0.3 * erased.sum()


def test_edits_without_a_connection_are_sent_later(reading):
    reading.page.route("**/operations", lambda route: route.abort())
    draw_new(reading)
    reading.keys("v", "n", "a")
    reading.corner("offline")
    expect(reading.page.locator("#saving")).to_contain_text("Offline")
    mine = reading.labels("T2")
    reading.page.unroute("**/operations")
    reading.connected()
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), mine)


def test_a_reload_in_mid_edit_loses_nothing(reading):
    reading.page.route("**/operations", lambda route: route.abort())
    draw_new(reading)
    reading.keys("v", "n")
    decided = reading.selected()
    reading.keys("a")
    reading.corner("offline")
    mine = reading.labels("T2")
    reading.reload()
    np.testing.assert_array_equal(reading.labels("T2"), mine)
    reading.page.unroute("**/operations")
    reading.connected()
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), mine)
    assert reading.server_lesion(decided)["decision"] == "accept"


def test_a_killed_server_loses_nothing(reading, room):
    place = draw_new(reading)
    room.kill()
    reading.stroke([place[0], place[1] + 2, place[2]], [place[0] + 5, place[1] + 2, place[2]])
    reading.keys("v")
    reading.corner("offline")
    room.start()
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), reading.labels("T2"))


def test_a_lost_answer_is_no_second_edit(reading):
    """The server has stored the operation but its answer is lost: the repetition changes nothing."""
    lost = []

    def forward(route):
        if not lost:
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    reading.page.route("**/operations", forward)
    first = reading.case()["next_number"]
    draw_new(reading)
    reading.saved()
    assert lost
    assert reading.case()["next_number"] == first + 1
    assert reading.page.locator(".refused").is_hidden()


def test_the_second_tab_is_read_only_until_it_takes_over(reading, new_tab):
    second = new_tab().open()
    second.corner("readonly")
    expect(second.page.locator("#saving")).to_contain_text("another tab")
    before = second.server_labels("T2")
    second.keys("n", "a", "b")
    second.toast("read-only")
    np.testing.assert_array_equal(second.server_labels("T2"), before)
    second.page.get_by_role("button", name="Edit here").click()
    second.saved()
    draw_new(second)
    second.saved()
    draw_new(reading)
    reading.corner("readonly")
    assert second.server_labels("T2").max() == before.max() + 1


def test_edits_of_two_devices_that_do_not_fit_are_set_aside_and_shown(reading, new_device):
    """The first device draws without a connection; the second takes over and draws at the same place."""
    reading.page.route("**/operations", lambda route: route.abort())
    place = draw_new(reading)
    reading.keys("v", "n")
    accepted = reading.selected()
    reading.keys("a")
    reading.corner("offline")
    other = new_device().open()
    other.page.get_by_role("button", name="Edit here").click()
    other.saved()
    other.keys("]", "]")  # another outline: the same one would be the same operation
    assert draw_new(other) == place
    other.saved()
    theirs = other.server_labels("T2")
    reading.page.unroute("**/operations")
    reading.connected()
    reading.corner("readonly")
    reading.page.get_by_role("button", name="Edit here").click()
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), theirs)
    np.testing.assert_array_equal(reading.labels("T2"), theirs)
    assert reading.server_lesion(accepted)["decision"] == "accept"
    expect(reading.page.locator(".refused summary")).to_contain_text("Not applied: 1")


def test_keyboard_alone_draws(reading):
    labels = reading.labels("T2")
    go_to(reading, free_place(reading.case(), labels))
    reading.keys("b", "Shift+ArrowLeft", "Shift+ArrowUp", "Enter", "v")
    reading.saved()
    x, y, z = reading.position()
    nx, ny, _ = reading.case()["shape"]
    assert reading.server_labels("T2")[x + nx * (y + ny * z)] == labels.max() + 1


def test_all_panes_follow_slice_zoom_and_window(reading):
    page = reading.page
    start = reading.position()[2]
    page.locator("[data-pane=flair]").hover()
    page.mouse.wheel(0, 100)
    reading.keys("ArrowDown", "PageDown")
    assert reading.position()[2] == start - 7
    slices = {page.locator(f"[data-pane={p['id']}] .caption.slice").inner_text() for p in reading.case()["panes"]}
    assert len(slices) == 1
    reading.keys("i")
    expect(page.locator("[data-pane=flair] .caption.window")).to_contain_text("Window")
    previous = page.locator("[data-pane=previous_flair] .caption.window")
    if previous.count():
        expect(previous).to_have_text(page.locator("[data-pane=flair] .caption.window").inner_text())
    voxel = reading.position()
    before = reading.pixel(voxel, "image")
    reading.keys("+", "+", "0")
    assert reading.pixel(voxel, "image") == before


def test_overlay_modes_and_the_help(reading):
    reading.keys("n")
    centre = reading.position()
    shown = []
    for _ in range(3):
        go_to(reading, centre)
        shown.append(reading.pixel(centre, "marks")[3] > 0)
        reading.keys("o")
    assert shown[1:] == [True, False]
    reading.keys("?")
    expect(reading.page.get_by_role("dialog")).to_contain_text("next · previous undecided")
    reading.keys("Escape")
    expect(reading.page.get_by_role("dialog")).to_have_count(0)


def test_nothing_is_cut_off(reading):
    for width, height in ((1280, 800), (1600, 900), (1920, 1080), (3840, 2160)):
        reading.page.set_viewport_size({"width": width, "height": height})
        check_boxes(reading.page, (width, height))
        tops = reading.page.locator("#toolbar > .group").evaluate_all("all => all.map(one => one.offsetTop)")
        assert width == 1280 or max(tops) - min(tops) < 10, (width, tops)  # one row


def test_texts_have_contrast(reading, room):
    page = reading.page
    for theme in ("dark", "light"):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for size in ((1280, 800), (3840, 2160)):
            page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
            page.goto(room.base)
            check_contrast(page, f"worklist {theme} {size}")
            reading.open()
            reading.keys(".")
            check_contrast(page, f"case {theme} {size}")
            for keys, dialog in (("?", "keys"), ("Control+Enter", "finish")):
                reading.keys(keys)
                page.locator(f"dialog.{dialog}").wait_for()
                check_contrast(page, f"{dialog} {theme} {size}")
                reading.keys("Escape")


def check_boxes(page, size):
    for name in BOXES:
        box = page.locator(name).bounding_box()
        assert min(box["x"], box["y"]) >= 0, name
        assert box["x"] + box["width"] <= size[0] + 0.5, name
        assert box["y"] + box["height"] <= size[1] + 0.5, name
        assert box["height"] > 10, name
    assert page.locator("[data-pane=flair]").bounding_box()["height"] > 200


def test_a_whole_read_without_the_mouse(chrome, room):
    """From the login to the signature and back to the worklist, by keys alone."""
    context = chrome.new_context(viewport={"width": 1600, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{room.base}/login")
    keys = page.keyboard
    keys.type(room.reader)
    keys.press("Tab")
    keys.type(PASSWORDS[room.reader])
    keys.press("Enter")
    page.wait_for_url(f"{room.base}/")
    for _ in range(100):
        keys.press("Tab")
        if page.evaluate("code => document.activeElement.href?.endsWith(code)", room.assignment):
            break
    keys.press("Enter")
    reading = ReadingPage(page, room.base, room.assignment).ready()
    head = page.locator("#panel-head .undecided")
    before = reading.server_labels("T2")
    # a new lesion at the crosshair, and its undo
    keys.press("b")
    keys.press("Shift+ArrowLeft")
    keys.press("Enter")
    reading.saved()
    drawn = reading.server_labels("T2")
    assert drawn.max() == before.max() + 1
    keys.press("Control+z")
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), before)
    keys.press("Escape")
    # every lesion; the first one is rejected with a reason
    keys.press("n")
    keys.press("r")
    keys.press("1")
    for _ in range(200):
        if head.inner_text().startswith("All"):
            break
        keys.press("n")
        keys.press("a")
    reading.saved()
    expect(head).to_have_text("All decided", timeout=SAVED_MS)
    lesions = reading.case()["lesions"]
    assert [lesion["decision"] for lesion in lesions].count("reject") == 1
    assert all(lesion["decision"] for lesion in lesions)
    keys.press("PageUp")
    keys.press("o")
    keys.press("Control+Enter")
    page.locator("dialog.finish form input").first.wait_for()
    keys.type(room.reader)
    keys.press("Tab")
    keys.type(PASSWORDS[room.reader])
    keys.press("Enter")
    expect(page.locator("#signature")).to_contain_text("Signed by", timeout=SAVED_MS)
    assert page.locator("#toast").is_hidden()  # it had said that Ctrl+Enter opens the summary
    assert reading.case()["signature"] is not None
    keys.press("c")
    page.wait_for_url(lambda url: not url.endswith(reading.assignment))
    context.close()


def test_signature_and_the_next_case(reading, room):
    page = reading.page
    page.evaluate(DECIDE_ALL)
    reading.saved()
    expect(page.locator("#panel-head .undecided")).to_have_text("All decided")
    reading.keys("Control+Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Printed name")
    expect(dialog).to_contain_text(reading.case()["reader"])
    dialog.get_by_label("Login").fill(room.reader)
    dialog.get_by_label("Password").fill("wrong password")
    dialog.get_by_role("button", name="Sign").click()
    expect(dialog.get_by_role("alert")).not_to_have_text("Checking …")
    assert reading.case()["signature"] is None
    dialog.get_by_label("Password").fill(PASSWORDS[room.reader])
    dialog.get_by_role("button", name="Sign").click()
    expect(page.locator("#signature")).to_contain_text("I have read these images and confirm the marks")
    signature = reading.case()["signature"]
    for part in (signature["name"], signature["utc"][:19].replace("T", " ") + " UTC"):
        expect(page.locator("#signature")).to_contain_text(part)
    reading.reload()
    reading.corner("signed")
    page.emulate_media(media="print")  # 21 CFR 11.50: the signature is on printouts, on white without backgrounds
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        printed = page.evaluate(
            "() => { const s = getComputedStyle(document.querySelector('#signature'));"
            " return [s.color, s.backgroundColor]; }"
        )
        assert printed == ["rgb(0, 0, 0)", "rgba(0, 0, 0, 0)"], theme
        assert page.locator("#signature").bounding_box()["height"] > 10
        expect(page.locator("#toolbar")).to_be_hidden()
    page.emulate_media(media="screen")
    before = reading.server_labels("T2")
    reading.keys("b", "n", "a", "Delete", "Control+z")
    reading.toast("read-only")
    np.testing.assert_array_equal(reading.server_labels("T2"), before)
    following = reading.case()["next_case"]
    reading.keys("c")
    page.wait_for_url(f"**/reading/{following}" if following else f"{room.base}/")
