"""Whole reads in a real browser, of sources stored in other orders: what a reader sees and never sees; the table."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Response, expect

from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import Registry
from mri_pipeline.registry.assignment_records import Assignment
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.web_trial import PASSWORDS
from tests.web.conftest import Room
from tests.web.driver import ReadingPage
from tests.web.test_reading_room import DECIDE_ALL, T2_COLOUR, draw_new, go_to
from tests.web.trial import BH_CENTRES, GEL_CENTRES, SHAPE, T2_CENTRES, balls, write_browser_trial

ORIENTATIONS = {"BENCH000": "RAS", "BENCH001": "LAS", "BENCH002": "PLI"}
MANY = ("BENCH001", "wk12")
"""The visit with more than 255 lesions."""
GEL_COLOUR = [230, 159, 0]
ALONE = """kind => {
  desk.viewer.set({overlay: 'fill', smooth: false, crosshair: false});
  desk.viewer.overlay.hidden = new Set(['T2', 'GEL', 'BH'].filter(one => one !== kind));
}"""
STORED = """async () => {
  const found = [localStorage, sessionStorage].map((store) => JSON.stringify({...store}));
  found.push(document.documentElement.outerHTML);
  for (const { name, version } of await indexedDB.databases()) {
    const opened = await new Promise((done, fail) => {
      const request = indexedDB.open(name, version);
      request.onsuccess = () => done(request.result);
      request.onerror = () => fail(request.error);
    });
    for (const store of opened.objectStoreNames) {
      const all = opened.transaction(store).objectStore(store).getAll();
      await new Promise(done => { all.onsuccess = done; });
      found.push(name, JSON.stringify(all.result));
    }
    opened.close();
  }
  for (const key of await caches.keys()) {
    for (const request of await (await caches.open(key)).keys()) found.push(request.url);
  }
  return found.join('\\n');
}"""


def write_oriented_trial(folder: Path) -> Trial:
    """Each subject is stored in another order of voxels, and the heads have different sizes."""
    trial = write_browser_trial(folder, subjects=3)
    many_lesions(trial, *MANY)
    for number, (subject, orientation) in enumerate(ORIENTATIONS.items()):
        space = trial.derivatives.space(subject)
        brain = nifti.load_labels(space.brain)
        smaller = brain.mask.copy()
        smaller[:number], smaller[-1 - number :] = False, False
        nifti.save(LabelImage(smaller, brain.grid), space.brain)
        for path in trial.derivatives.folder(subject).rglob("*.nii.gz"):
            load = (
                nifti.load_labels
                if {"mask", "dseg"} & set(path.name.replace(".", "_").split("_"))
                else nifti.load_map
            )
            try:
                image = load(path)
            except Exception:  # noqa: BLE001 - intensities that are no maps
                image = nifti.load_image(path)
            nifti.save(image.reoriented(orientation), path)
    return trial


def many_lesions(trial: Trial, subject: str, visit: str) -> None:
    folder = trial.derivatives.image(subject, visit, Contrast.FLAIR).parent
    path = next(folder.glob("*label-T2lesion_mask.nii.gz"))
    grid = nifti.load_labels(path).grid
    x, y, z = np.indices(grid.shape)
    dots = (x % 4 < 2) & (y % 4 < 2) & (z % 3 < 2) & (x > 1) & (y > 1) & (z > 0)
    nifti.save(LabelImage(dots, grid), path)


@pytest.fixture(scope="module")
def oriented(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("oriented")
    room = Room(write_oriented_trial(folder / "trial").root, folder / "serve.log")
    room.start()
    yield room
    room.kill()


@pytest.fixture
def page(chrome: Browser, oriented: Room) -> Iterator[Page]:
    """R1, who has signed in. A fault on the page fails the test."""
    context = chrome.new_context(viewport={"width": 1920, "height": 1080})
    context.set_default_timeout(30_000)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    oriented.sign_in(page, "R1")
    yield page
    context.close()
    assert not faults


def assignments(room: Room, reader: str = "R1") -> list[Assignment]:
    trial = Trial.existing(room.trial)
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        return registry.assignments.of_reader(reader)


def open_case(room: Room, page: Page, subject: str, visit: str) -> tuple[ReadingPage, np.ndarray]:
    """A case, and the voxel of the grid in RAS order at which its canvas begins."""
    code = next(one.code for one in assignments(room) if (one.subject, one.visit) == (subject, visit))
    reading = ReadingPage(page, room.base, code).open()
    canvas = next(one.canvas for one in assignments(room) if one.code == code)
    return reading, np.array(canvas["origin"])


@pytest.mark.parametrize("subject", ORIENTATIONS)
def test_marks_lie_on_the_lesions_of_any_source(page, oriented, subject):
    """Where the phantom has its lesions, and not where a mirrored or permuted source would show them."""
    reading, origin = open_case(oriented, page, subject, "wk00")
    assert reading.page.locator(".pane").count() == len(reading.case()["panes"])
    page.evaluate(ALONE, "T2")
    truth, sides = balls(SHAPE, T2_CENTRES), set()
    for centre in T2_CENTRES:
        voxel = [int(one) for one in np.array(centre) - origin]
        mirrored = [int(SHAPE[0] - 1 - centre[0] - origin[0]), *voxel[1:]]
        go_to(reading, voxel)
        assert reading.pixel(voxel, "marks")[:3] == pytest.approx(T2_COLOUR, abs=6)
        if not truth[SHAPE[0] - 1 - centre[0], *centre[1:]] and abs(centre[0] - SHAPE[0] / 2) > 4:
            assert reading.pixel(mirrored, "marks")[3] == 0
            x, _ = reading.point(voxel)
            x_mirrored, _ = reading.point(mirrored)
            sides.add((centre[0] > SHAPE[0] / 2, x < x_mirrored))
            assert reading.pixel(voxel, "image")[0] > reading.pixel(mirrored, "image")[0]
    assert sides == {(True, True), (False, False)}  # the right of the patient is on the left


def test_gel_and_black_holes_lie_within_t2_lesions_and_are_drawn_apart(page, oriented):
    reading, origin = open_case(oriented, page, "BENCH002", "wk04")
    for kind, centre in (("GEL", GEL_CENTRES[0]), ("BH", BH_CENTRES[0])):
        voxel = np.array(centre) - origin
        nx, ny, _ = reading.case()["shape"]
        at = int(voxel[0] + nx * (voxel[1] + ny * voxel[2]))
        before = {one: reading.server_labels(one) for one in ("T2", kind)}
        assert before["T2"][at]
        assert before[kind][at]
        page.evaluate(ALONE, kind)
        go_to(reading, [int(one) for one in voxel])
        colour = reading.pixel([int(one) for one in voxel], "marks")[:3]
        page.evaluate(ALONE, "T2")
        go_to(reading, [int(one) for one in voxel])
        assert reading.pixel([int(one) for one in voxel], "marks")[:3] != colour
        page.evaluate("kind => desk.useKind(kind)", kind)
        page.evaluate(
            "([kind, at, old]) => desk.change(kind, [[at, 1, old, 0]], 0)", [kind, at, int(before[kind][at])]
        )
        reading.saved()
        assert reading.server_labels(kind)[at] == 0
        np.testing.assert_array_equal(reading.server_labels("T2"), before["T2"])


def test_more_than_255_lesions_keep_their_numbers(page, oriented):
    reading, _ = open_case(oriented, page, *MANY)
    lesions = [one for one in reading.case()["lesions"] if one["kind"] == "T2"]
    numbers = {one["number"] for one in lesions}
    assert len(numbers) > 300
    assert reading.page.locator("#lesions li").count() == len(reading.case()["lesions"])
    np.testing.assert_array_equal(reading.labels("T2"), reading.server_labels("T2"))
    for number, key, decision in ((256, "r", "reject"), (max(numbers), "a", "accept")):
        page.evaluate("number => desk.select(desk.reading.lesion('T2', number))", number)
        reading.keys(key, *("1" if key == "r" else ""))
        reading.saved()
        assert reading.server_lesion(f"T2:{number}")["decision"] == decision
    assert reading.server_lesion("T2:255")["decision"] is None
    low, (nx, ny, _) = reading.case()["editable"][0], reading.case()["shape"]
    corner = low[0] + nx * (low[1] + ny * low[2])
    page.evaluate("at => desk.change('GEL', [[at, 3, 0, 65535]], 65535)", corner)
    reading.saved()
    assert reading.server_labels("GEL")[corner] == 65535
    reading.reload()
    np.testing.assert_array_equal(reading.labels("GEL"), reading.server_labels("GEL"))
    assert {one["number"] for one in reading.case()["lesions"] if one["kind"] == "T2"} == numbers


def test_nothing_that_a_reader_gets_names_a_subject_visit_or_site(page, oriented):
    """A whole read, from the worklist to the table: addresses, headers, bodies, errors, and what the browser keeps."""
    trial = Trial.existing(oriented.trial)
    protocol = load_protocol(trial.protocol_file)
    answers: list[Response] = []
    texts: list[str] = []

    def keep() -> None:
        """The bodies of a page are gone when the next one is loaded."""
        for answer in answers:
            texts.append(f"{answer.url} {answer.all_headers()}")
            if answer.status < 300 and "octet-stream" not in answer.headers.get("content-type", ""):
                texts.append(answer.text())
        answers.clear()
        texts.append(page.evaluate(STORED))

    reading, _ = open_case(oriented, page, "BENCH000", "wk12")
    rows = {row["visit"]: row for row in table_of(trial) if row["subject"] == "BENCH000"}
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - playwright marks the function
    reading.reload()
    reading.keys("n", "a")
    draw_new(reading)
    page.evaluate(DECIDE_ALL)
    reading.saved()
    page.evaluate("code => fetch(`/api/reading/${code}/volumes/none`)", reading.assignment)
    keep()
    reading.reload()
    sign(reading, oriented)
    keep()
    assert len(texts) > 60
    codes = [*ORIENTATIONS, *(visit.label for visit in protocol.visits), *(site.code for site in protocol.sites)]
    secret = re.compile(rf"\b({'|'.join(codes)})\b|affine|nii\.gz|derivatives|{re.escape(str(trial.root))}")
    assert [(found[0], text[:80]) for text in texts if (found := secret.search(text))] == []
    shapes = set()
    for subject in ORIENTATIONS:
        other, _ = open_case(oriented, page, subject, "wk24")
        case = other.case()
        shapes.add((tuple(case["shape"]), page.evaluate("() => desk.grid.spacing.join()"), len(case["panes"])))
    assert len(shapes) == 1
    after = {row["visit"]: row for row in table_of(trial) if row["subject"] == "BENCH000"}
    assert (rows["wk12"]["read_status"], after["wk12"]["read_status"]) == ("automatic", "locked")
    assert (
        int(rows["wk12"]["t2_count"]) != int(after["wk12"]["t2_count"]) == len(T2_CENTRES) + 1
    )  # with the drawn one


def sign(reading: ReadingPage, room: Room, reader: str = "R1") -> None:
    reading.keys("Control+Enter")
    dialog = reading.page.get_by_role("dialog")
    dialog.get_by_label("Login").fill(reader)
    dialog.get_by_label("Password").fill(PASSWORDS[reader])
    dialog.get_by_role("button", name="Sign").click()
    expect(reading.page.locator("#signature")).to_contain_text("Signed by")


def table_of(trial: Trial) -> list[dict[str, str]]:
    write_trial_tables(trial.root, provisional=True)
    with (trial.tables / "lesion_timepoints.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_server_that_is_killed_within_a_stroke_loses_nothing(page, oriented):
    reading, _ = open_case(oriented, page, "BENCH002", "wk28")
    place = draw_new(reading)
    reading.saved()
    page.mouse.move(*reading.point([place[0], place[1] + 3, place[2]]))
    page.mouse.down()
    page.mouse.move(*reading.point([place[0] + 2, place[1] + 3, place[2]]), steps=3)
    oriented.kill()
    page.mouse.move(*reading.point([place[0] + 5, place[1] + 3, place[2]]), steps=3)
    page.mouse.up()
    reading.keys("Control+z", "Control+y", "v")
    reading.corner("offline")
    mine = reading.labels("T2")
    oriented.start()
    reading.saved()
    np.testing.assert_array_equal(reading.server_labels("T2"), mine)
    reading.reload()
    np.testing.assert_array_equal(reading.labels("T2"), mine)


def test_a_reader_gets_nothing_that_is_not_the_own(page, oriented, chrome):
    """Twenty things and more, asked for by a page of the reader."""
    context = chrome.new_context()
    oriented.sign_in(context.new_page(), "R2")
    context.close()
    reading, _ = open_case(oriented, page, "BENCH000", "wk00")
    (other,) = [
        one.code for one in assignments(oriented, "R2") if (one.subject, one.visit) == ("BENCH000", "wk00")
    ]
    theirs, own = f"/api/reading/{other}", f"/api/reading/{reading.assignment}"
    tried = [
        ("GET", f"/reading/{other}"), ("GET", f"{theirs}/case"), ("GET", f"{theirs}/volumes/flair"),
        ("GET", f"{theirs}/labels/T2"), ("GET", f"{theirs}/location"), ("GET", f"{theirs}/summary"),
        ("GET", f"{theirs}/reads/A/T2"), ("GET", f"{own}/reads/A/T2"), ("GET", f"{own}/volumes/previous_flair"),
        ("GET", f"{own}/volumes/..%2F..%2Ftrial.toml"), ("POST", f"{theirs}/lease"), ("POST", f"{theirs}/operations"),
        ("POST", f"{theirs}/sign"), ("GET", "/office"), ("GET", "/office/audit"), ("GET", "/office/reads"),
        ("GET", "/office/people"), ("GET", "/office/quarantine"), ("GET", "/office/tables/lesions.csv"),
        ("POST", "/office/analysis/run"), ("POST", "/office/people/R1"), ("GET", "/site"), ("GET", "/site/upload"),
        ("POST", "/api/site/uploads"), ("GET", "/static/..%2F..%2Ftrial.toml"), ("GET", "/trial.toml"),
        ("GET", "/sealed/key.json"), ("GET", "/reads/"), ("GET", "/registry.sqlite"), ("GET", "/openapi.json"),
        ("GET", "/docs"),
    ]  # fmt: skip
    assert len(tried) > 20
    before = [(one.code, one.state, one.opened_at) for one in assignments(oriented, "R2")]
    for method, path in tried:
        status, text = page.evaluate(
            """async ([method, path]) => {
              const body = method === 'POST' ? '{}' : undefined;
              const headers = { 'X-Client': 'tab', ...(body && { 'Content-Type': 'application/json' }) };
              const answer = await fetch(path, { method, body, headers, redirect: 'manual' });
              return [answer.status, await answer.text()];
            }""",
            [method, path],
        )
        assert status in {401, 403, 404, 405, 409, 422}, (method, path, status)
        assert not [word for word in (*ORIENTATIONS, "wk00", oriented.trial.name) if word in text], (method, path)
    assert [(one.code, one.state, one.opened_at) for one in assignments(oriented, "R2")] == before
