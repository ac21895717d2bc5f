"""Reading in the browser ends in the same read as export, import and lock; nothing that was answered is lost."""

import json
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.errors import AnalysisError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.reading.items import LesionKind, item_from_derivatives
from mri_pipeline.reading.marks import runs_of
from mri_pipeline.reading.operations import DecideOperation
from mri_pipeline.reading.store import load_read
from mri_pipeline.reading.worklist import reading_code
from mri_pipeline.reading.worklist_item import numbered_proposals
from mri_pipeline.registry import Registry
from mri_pipeline.registry.assignment_records import AssignmentState, Edit
from mri_pipeline.registry.assignments import Assignments
from mri_pipeline.registry.audit import utc_now
from reading_centre.use_cases.reading import images, worklists
from reading_centre.use_cases.reading.comparison import _analysed
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.images import CACHE, CaseImages
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import Proof, lock_reads, unlock_read
from reading_centre.use_cases.reading.opening import Opener
from reading_centre.use_cases.reading.prepare import prepare_after_run, prepare_images
from reading_centre.use_cases.reading.signature import finish_signed
from reading_centre.use_cases.trial.audit_verify import _readings, verify_trial
from reading_centre.use_cases.trial.staging import only_writer
from tests.unit.reading_trial import copy_of, decide, edit_protocol, opened, rows_of, visits_of, write_rows
from tests.unit.web_trial import PASSWORDS, Desk, browser, opened_room, write_web_trial

SUBJECT = "BENCH000"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_web_trial(tmp_path_factory.mktemp("web") / "trial")


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


@pytest.fixture
def room(trial):
    with opened_room(trial) as room:
        yield room


def desk_of(room, visit, reader="R1", tab="tab"):
    client = browser(room, reader)
    client.get("/")
    (own,) = [a for a in room.worklists.of(reader) if a.visit == visit and a.state.value == "open"]
    return Desk(client, own.code, tab)


@pytest.fixture
def desk(room):
    desk = desk_of(room, "wk04")
    desk.lease()
    return desk


def sign(desk, reader="R1", **change):
    seen = desk.get("summary").json()["seen"]
    return desk.post("sign", {"login": reader, "password": PASSWORDS[reader], "seen": seen} | change)


# --- the read ---------------------------------------------------------------------------------------------------


def turned(trial, orientation):
    """The same trial with all images in another order of voxels."""
    for path in trial.derivatives.root.rglob("*.nii.gz"):
        load = (
            nifti.load_labels if {"mask", "dseg"} & set(path.name.replace(".", "_").split("_")) else nifti.load_map
        )
        try:
            image = load(path)
        except Exception:  # noqa: BLE001 - intensities that are no maps
            image = nifti.load_image(path)
        nifti.save(image.reoriented(orientation), path)


NEW = 40
"""Number of the drawn lesion."""


def edit_in_files(folder):
    """Erase a corner of the first T2 lesion and draw a lesion; returns the voxels in RAS order."""
    mask = nifti.load_labels(folder / "t2_lesions.nii.gz")
    ras = mask.reoriented()
    data = ras.data.copy()
    where = np.argwhere(data == 1)
    erased = where[:5]
    drawn = np.argwhere(data == 0)
    drawn = drawn[(np.abs(drawn - np.array([3, 3, 7])) <= 1).all(axis=1)]
    data[tuple(erased.T)], data[tuple(drawn.T)] = 0, NEW
    nifti.save(LabelImage(data, ras.grid).reoriented(mask.grid.orientation), folder / "t2_lesions.nii.gz")
    return erased, drawn


def by_files(trial, visit):
    """The read of a visit by export, import and lock; returns what was edited."""
    out = trial.root.parent / "worklist"
    export_reads(trial.root, out, reader="R1")
    code = reading_code(Sealed.open(trial).secret("reading"), SUBJECT, visit)
    edited = edit_in_files(out / "items" / code)
    decide(out, codes={code})
    path = out / "items" / code / "lesions.csv"
    rows = rows_of(path)
    write_rows(path, [row | {"comment": "vessel" if row["decision"] == "reject" else ""} for row in rows])
    import_reads(trial.root, out, reader="R1")
    lock_reads(trial.root, reader="R1", proof=Proof(password=lambda _: PASSWORDS["R1"]))
    return edited


def by_browser(room, visit, erased, drawn):
    desk = desk_of(room, visit)
    desk.lease()
    case = desk.case
    number = case["next_number"]
    for lesion in case["lesions"]:
        reject = lesion["kind"] == "BH"
        answer = desk.decide(lesion, "reject" if reject else "accept", number, "vessel" if reject else "")
        assert answer.status_code == 200, answer.text
        number += 1
    origin = room.registry.assignments.find(desk.url.rsplit("/", 1)[1], "R1").canvas["origin"]
    nx, ny, _ = case["shape"]
    index = [sorted(int(x + nx * (y + ny * z)) for x, y, z in (v - np.array(origin))) for v in (erased, drawn)]
    runs = [[i, 1, 1, 0] for i in index[0]] + [[i, 1, 0, NEW] for i in index[1]]
    answer = desk.do(number, op="voxels", kind="T2", runs=runs)
    assert answer.status_code == 200, answer.text
    answer = sign(desk)
    assert answer.status_code == 200, answer.text
    return desk, answer.json()


def audited(trial, action):
    with opened(trial) as registry:
        registry.verify_audit()
        (entry,) = registry.audit_entries(action)
    details = dict(entry.details)
    if "signature" in details:
        details["signature"] = {k: v for k, v in details["signature"].items() if k not in {"at", "signed"}}
    for name in ("digest", "version"):
        details.pop(name, None)
    return entry.target, entry.reader, details


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIL"])
def test_the_stored_read_is_that_of_import_and_lock(original, tmp_path, orientation):
    trials = []
    for name in ("files", "browser"):
        shutil.copytree(original.root, tmp_path / name / "trial")
        trials.append(Trial(tmp_path / name / "trial"))
        if orientation != "RAS":
            turned(trials[-1], orientation)
    edited = by_files(trials[0], "wk04")
    with opened_room(trials[1]) as room:
        desk, signature = by_browser(room, "wk04", *edited)
        assert signature == desk.case["signature"]
    reads = [load_read(trial.reads, SUBJECT, "wk04", "R1", 1) for trial in trials]
    for name in ("t2_lesions", "gel", "black_holes"):
        ours, theirs = (getattr(read.masks, name) for read in reads)
        assert np.array_equal(ours.data, theirs.data)
        assert ours.grid.same_as(theirs.grid)
    records = [{**json.loads(read.record.text), "read_at": ""} for read in reads]
    assert records[0] == records[1]
    assert records[0]["voxels_added"] == len(edited[1])
    for action in ("read", "read locked"):
        assert audited(trials[0], action) == audited(trials[1], action)
    assert [verify_trial(trial.root).deviations for trial in trials] == [(), ()]
    assert {trial: visits_of(trial)["wk04"].read for trial in trials} == dict.fromkeys(trials, ReadStatus.LOCKED)


@pytest.mark.requirement("READ-03")
def test_a_signed_read_is_read_only_with_name_time_meaning_and_version(trial, room, desk):
    desk.decide_all()
    answer = sign(desk).json()
    assert answer == desk.case["signature"]
    assert (answer["name"], answer["version"]) == ("Dr R1", 1)
    assert answer["meaning"] == "I have read these images and confirm the marks."
    assert answer["utc"].endswith("+00:00")
    case = desk.case
    assert (case["state"], case["read_only"], case["read_only_reason"]) == ("signed", True, "This read is signed.")
    late = desk.decide(case["lesions"][0], "reject", case["next_number"])
    assert (late.status_code, late.json()["detail"]) == (
        409,
        "Expected an open read, found a signed one. It is read-only.",
    )
    assert sign(desk).status_code == 409
    assert desk.lease() == {"held": False, "by_other": False}
    with opened(trial) as registry:
        (entry,) = registry.audit_entries("reading signed")
        code = desk.url.rsplit("/", 1)[1]
        assert entry.details["head"] == registry.assignments.edits(code)[-1].hash
        assert entry.details["edits"] == len(case["lesions"])


@pytest.mark.requirement("READ-03")
def test_a_signature_needs_login_and_password_first_and_the_password_later(room, desk):
    desk.decide_all()
    for change in ({"password": "wrong"}, {"login": "R2", "password": PASSWORDS["R2"]}, {"login": ""}):
        answer = sign(desk, **change)
        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "Login or password is wrong. Nothing was signed; try again.",
        )
    assert desk.case["state"] == "open"
    assert desk.get("summary").json()["ask_login"] is True
    assert sign(desk).status_code == 200
    next_ = Desk(desk.client, desk.case["next_case"])
    next_.decide_all()
    assert next_.get("summary").json()["ask_login"] is False
    assert sign(next_, login="").status_code == 200


@pytest.mark.requirement("READ-01")
def test_undecided_lesions_and_contradictions_are_not_signed(room, desk):
    answer = sign(desk)
    assert answer.status_code == 409
    assert answer.json()["undecided"] == len(desk.case["lesions"])
    desk.decide_all(keep_holes=True)
    (contradiction,) = desk.get("summary").json()["contradictions"]
    assert contradiction.startswith("expected black holes that do not enhance, found ")
    answer = sign(desk)
    assert (answer.status_code, answer.json()["contradictions"]) == (409, [contradiction])
    assert desk.case["state"] == "open"


def test_a_run_prepares_the_images_of_the_visits_to_be_read(trial, room, monkeypatch):
    assert prepare_images(trial.root) == 0  # nobody reads in the browser
    (trial.work / CACHE).mkdir(parents=True)
    item_from_derivatives(trial.derivatives, SUBJECT, "wk12").images[Contrast.T2W].write_bytes(b"damaged")
    assert prepare_images(trial.root) == 6  # of 7 visits
    monkeypatch.setattr(CaseImages, "_made", lambda *_: pytest.fail("an image was made at the opening of a case"))
    monkeypatch.setattr(type(room), "prepare", lambda *_: None)  # the next visit may be the damaged one
    desk = desk_of(room, "wk04")
    for pane in desk.case["panes"]:
        desk.get(f"volumes/{pane['volume']}")
    monkeypatch.undo()
    folder = trial.work / CACHE
    before = {path.name for path in folder.iterdir()}
    (folder / "of an earlier canvas").write_bytes(b"x")
    assert prepare_images(trial.root) == 6
    assert {path.name for path in folder.iterdir()} == before
    trial.protocol_file.write_text("no protocol")
    prepare_after_run(trial.root)  # a finished run stays one
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("order_of_visits_known = false\nrereads_percent = 0", False),
        ("order_of_visits_known = true\nrereads_percent = 0", True),  # beside the next visit
        ("order_of_visits_known = false\nrereads_percent = 100", True),
    ],
)
def test_the_images_of_a_locked_visit_stay_while_somebody_has_still_to_see_them(trial, room, setting, kept):
    (trial.work / CACHE).mkdir(parents=True)
    desk = desk_of(room, "wk04")
    desk.lease()
    desk.decide_all()
    assert sign(desk).status_code == 200
    text = re.sub(r"(order_of_visits_known|rereads_percent) = .*\n", "", trial.protocol_file.read_text())
    trial.protocol_file.write_text(text.replace("[reading]\n", f"[reading]\n{setting}\n"))
    item = item_from_derivatives(trial.derivatives, SUBJECT, "wk04")
    with opened(trial) as registry:
        opener = Opener(trial, load_protocol(trial.protocol_file), registry)
        files = opener.images_of(item.subject, item.visit, opener.shape(registry.state().subjects)).files()
    assert all(path.is_file() for path in files)
    prepare_images(trial.root)
    assert {path.is_file() for path in files} == {kept}


def test_the_registry_is_read_once_for_all_visits(trial, room, monkeypatch):
    (trial.work / CACHE).mkdir(parents=True)
    read = mock.Mock(side_effect=Registry.state)
    monkeypatch.setattr(Registry, "state", lambda registry: read(registry))  # noqa: PLW0108 - a method binds
    assert prepare_images(trial.root) == 7
    assert read.call_count == 1


@pytest.mark.parametrize("step", [0, 1, 2, 40, 104, 105])
def test_a_killed_preparation_leaves_whole_images_alone_and_the_next_one_completes(trial, step):
    """SIGKILL before, in and after the writing of an image, and before a removal: an image is whole or not there."""
    (cache := trial.work / CACHE).mkdir(parents=True)
    (cache / "of an earlier canvas").write_bytes(b"x")
    assert killed_in_writing(step, lambda: prepare_images(trial.root))
    left = {path.name: path.read_bytes() for path in cache.iterdir() if not path.name.endswith(".part")}
    assert len(left) == 1 + (step + 1) // 3  # and the earlier one: nothing is removed before all images are there
    assert prepare_images(trial.root) == 7
    done = {path.name: path.read_bytes() for path in cache.iterdir()}
    shutil.rmtree(cache)
    cache.mkdir()
    assert prepare_images(trial.root) == 7
    whole = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert done == whole  # nothing unfinished is left
    assert {
        name: content for name, content in left.items() if name != "of an earlier canvas"
    }.items() <= whole.items()


def killed_in_writing(step, act):
    """Run `act` in another process that kills itself at a step of its atomic writes: before, half-way, after."""
    child = os.fork()
    if not child:
        try:
            kill_in_writing(step)
            act()
        finally:
            os._exit(1)  # not killed
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill_in_writing(step):
    seen = count()

    def event():
        if next(seen) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(path, content, **how):
        def halves():
            yield content[: len(content) // 2]
            event()
            yield content[len(content) // 2 :]

        event()
        write_atomic(path, halves(), **how)
        event()

    def unlink(path, plain=Path.unlink, **how):
        if "earlier" in path.name:  # after 35 images
            event()
        plain(path, **how)

    images.write_atomic, Path.unlink = write, unlink


def test_no_image_is_removed_while_the_files_of_a_visit_cannot_be_looked_at(trial, room):
    desk_of(room, "wk04").get("case")
    (other := trial.work / CACHE / "of an earlier canvas").write_bytes(b"x")
    with mock.patch.object(Opener, "images_of", side_effect=PermissionError):
        assert prepare_images(trial.root) == 0
    assert other.is_file()
    assert prepare_images(trial.root) == 7
    assert not other.is_file()


def test_a_visit_without_its_files_keeps_no_other_from_its_images(trial, room):
    """An open case of a damaged visit, and a locked visit to be read again whose files are missing."""
    edit_protocol(trial, "readers = 1", "readers = 1\nrereads_percent = 100")
    desk = desk_of(room, "wk04")
    desk.lease()
    desk.decide_all()
    assert sign(desk).status_code == 200
    desk_of(room, "wk12").get("case")
    for visit in ("wk04", "wk12"):
        item_from_derivatives(trial.derivatives, SUBJECT, visit).images[Contrast.FLAIR].unlink()
    (other := trial.work / CACHE / "of an earlier canvas").write_bytes(b"x")
    assert prepare_images(trial.root) == 5
    assert not other.is_file()


def test_a_cached_image_that_cannot_be_read_is_made_again(trial, room):
    desk = desk_of(room, "wk04")
    names = [pane["volume"] for pane in desk.case["panes"]]
    images = {name: desk.get(f"volumes/{name}").content for name in names}
    for number, path in enumerate(sorted((trial.work / CACHE).iterdir())):
        if number % 2:
            path.write_bytes((b"", b"[1, 2]\n123", b"no header")[number % 3])
        else:  # as a file of another user: it can neither be read nor replaced
            path.unlink()
            (path / "x").mkdir(parents=True)
    room.forget(desk.url.rsplit("/", 1)[1])
    assert [pane["volume"] for pane in desk.case["panes"]] == names
    assert {name: desk.get(f"volumes/{name}").content for name in names} == images


def test_an_open_case_of_an_earlier_role_is_not_opened(trial, room, desk):
    edit_protocol(trial, 'name = "Dr R1"\nrole = "reader"', 'name = "Dr R1"\nrole = "adjudicator"')
    assert desk.client.get(f"{desk.url}/case").status_code == 404


def test_a_lesion_outside_the_brain_is_said_to_be_there(room, desk):
    desk.decide_all()
    assert {lesion["location"] for lesion in desk.case["lesions"]} <= {place.value for place in Location}
    assert not [text for text in desk.get("summary").json()["questions"] if "outside the brain" in text]
    case = desk.case
    location = room.case(room.assignment(desk.url.rsplit("/", 1)[1], "R1")).location
    (low, high), (nx, ny, _) = case["editable"], case["shape"]
    rows = ((low[0] + nx * (y + ny * z)) for z in range(low[2], high[2]) for y in range(low[1], high[1]))
    length = high[0] - low[0]
    start = next(row for row in rows if not location[row : row + length].any())
    runs = [[start, length, 0, 900]]
    assert desk.do(case["next_number"], op="voxels", kind="T2", runs=runs).status_code == 200
    lesion = next(one for one in desk.case["lesions"] if one["number"] == 900)
    assert lesion["location"] == "outside_brain"
    (question,) = (text for text in desk.get("summary").json()["questions"] if "outside the brain" in text)
    x, y, z = (i + 1 for i in lesion["centre"])
    assert question.startswith(f"the T2 lesion 900 at voxel {x}, {y}, {z} lies outside the brain")
    inside = int(np.flatnonzero(location)[0])
    half = sorted([[start, length - 1, 900, 0], [inside, 1, 0, 900]])
    assert desk.do(desk.case["next_number"], op="voxels", kind="T2", runs=half).status_code == 200
    lesion = next(one for one in desk.case["lesions"] if one["number"] == 900)
    assert lesion["location"] != "outside_brain"  # half of it is enough


def test_a_decision_that_does_not_fit_the_drawing_is_said_in_words_of_the_page(room, desk):
    desk.decide_all()
    case = desk.case
    lesion = next(one for one in case["lesions"] if one["kind"] == "T2")
    where = np.flatnonzero(desk.labels("T2").ravel(order="F") == lesion["number"])
    place = ", ".join(str(i + 1) for i in lesion["centre"])
    what = f"the T2 lesion {lesion['number']} at voxel {place}"

    def contradiction():
        (text,) = desk.get("summary").json()["contradictions"]
        return text

    erased = runs_of(where, np.full_like(where, lesion["number"]), np.zeros_like(where))
    assert desk.do(case["next_number"], op="voxels", kind="T2", runs=erased).status_code == 200
    assert contradiction() == f"{what} is accepted, but all its voxels are erased. Reject it, or undo the erasing"
    drawn = runs_of(where, np.zeros_like(where), np.full_like(where, 900))
    assert desk.do(desk.case["next_number"], op="voxels", kind="T2", runs=drawn).status_code == 200
    assert desk.get("summary").json()["contradictions"] == []  # it is accepted under another number
    lesion = next(one for one in desk.case["lesions"] if (one["kind"], one["number"]) == ("T2", lesion["number"]))
    assert desk.decide(lesion, "reject", desk.case["next_number"], "vessel").status_code == 200
    assert contradiction() == (
        f"{what} is rejected, but T2 900 has voxels of it. Accept it if they are lesion, or erase them"
    )
    assert sign(desk).status_code == 409


def test_a_signature_is_for_what_the_summary_has_shown(trial, room, desk):
    desk.decide_all()
    first = next(x for x in desk.case["lesions"] if x["decision"] == "accept")
    seen = desk.get("summary").json()["seen"]
    assert desk.decide(first, "reject", desk.case["next_number"]).status_code == 200
    answer = sign(desk, seen=seen)
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "Expected the state of the summary, found a later one. Look at the summary and sign again.",
    )  # fmt: skip
    seen = desk.get("summary").json()["seen"]
    location = trial.derivatives.space(SUBJECT).location
    labels = nifti.load_labels(location)
    nifti.save(LabelImage(np.roll(labels.data, 1, axis=1), labels.grid), location)  # as by a new analysis
    assert sign(desk, seen=seen).status_code == 409
    assert (visits_of(trial)["wk04"].reads, desk.case["state"]) == ((), "open")
    assert sign(desk).status_code == 200


def test_a_case_is_neither_signed_nor_opened_while_a_withdrawn_scan_is_in_its_analysis(trial, room, desk):
    desk.decide_all()
    unopened = desk_of(room, "wk12")
    with opened(trial) as registry:
        registry.record_withdrawal(SUBJECT, "wk00", reason="wrong patient", by="DM", kept_in="x")
    expected = "Expected an analysis of the present scans, found an earlier one."
    for answer in (sign(desk), unopened.client.get(f"{unopened.url}/case")):
        assert (answer.status_code, answer.json()["detail"][: len(expected)]) == (409, expected)
    assert visits_of(trial)["wk04"].reads == ()
    assert room.worklists.of("R1") == []
    with opened(trial) as registry:
        for visit in ("wk04", "wk12"):
            registry.record_analyses(SUBJECT, {visit: (ScanStatus.ANALYSED, "")})
    assert {one.visit for one in room.worklists.of("R1")} >= {"wk04", "wk12"}


def test_only_the_tab_that_edits_signs(room, desk):
    desk.decide_all()
    other = Desk(desk.client, desk.url.rsplit("/", 1)[1], "other")
    answer = sign(other)
    assert (answer.status_code, desk.case["state"]) == (423, "open")
    assert sign(desk).status_code == 200


def test_a_signature_compares_the_reads_of_its_subject_alone(tmp_path, monkeypatch):
    looked_at = set()

    def watched(subject):
        looked_at.add(subject.code)
        return _analysed(subject)

    monkeypatch.setattr("reading_centre.use_cases.reading.comparison._analysed", watched)
    with opened_room(write_web_trial(tmp_path / "trial", subjects=2)) as room:
        own = next(a for a in room.worklists.of("R1") if a.subject == SUBJECT)
        desk = Desk(browser(room, "R1"), own.code)
        desk.decide_all()
        assert sign(desk).status_code == 200
    assert looked_at == {SUBJECT}


def killed(*_args, **_kwargs):
    raise RuntimeError("power cut")


def killed_at(desk, name, reader="R1"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"reading_centre.use_cases.reading.signature.{name}", killed)
        assert sign(desk, reader).status_code == 500
    desk.client.get("/")


def test_a_signature_that_was_interrupted_before_the_entry_is_repeated(trial, room, desk):
    desk.decide_all()
    killed_at(desk, "statement_of")
    assert (visits_of(trial)["wk04"].read, desk.case["state"]) == (ReadStatus.CONFIRMED, "open")
    assert sign(desk).json()["version"] == 1
    assert visits_of(trial)["wk04"].read is ReadStatus.LOCKED


def test_the_server_completes_the_lock_of_a_signed_read(trial, room, desk):
    desk.decide_all()
    killed_at(desk, "lock_visits")
    assert (visits_of(trial)["wk04"].read, desk.case["state"]) == (ReadStatus.CONFIRMED, "signed")
    for _ in range(2):
        finish_signed(room)
        assert visits_of(trial)["wk04"].read is ReadStatus.LOCKED
    (locked,), (signed,) = (room.registry.audit_entries(f"read{what}") for what in (" locked", "ing signed"))
    assert locked.details["signature"] == signed.details["signature"]


def test_an_entered_read_is_signed_after_its_comparison(trial):
    edit_protocol(trial, "readers = 1", "readers = 2")
    with opened_room(trial) as room:
        desks = {reader: desk_of(room, "wk00", reader) for reader in ("R1", "R2")}
        for reader, desk in desks.items():
            desk.decide_all()
            if reader == "R1":
                killed_at(desk, "statement_of")
        assert sign(desks["R2"], "R2").status_code == 200
        desks["R1"].client.get("/")
        assert visits_of(trial)["wk00"].read is ReadStatus.CONFIRMED
        assert sign(desks["R1"]).status_code == 200
        assert visits_of(trial)["wk00"].read is ReadStatus.LOCKED


def test_an_entered_reread_is_signed_later(trial):
    edit_protocol(trial, "readers = 1", "readers = 1\nrereads_percent = 100")
    with opened_room(trial) as room:
        desk = desk_of(room, "wk04")
        desk.decide_all()
        sign(desk)
        again = desk_of(room, "wk04")
        again.decide_all()
        killed_at(again, "statement_of")
        assert sign(again).status_code == 200
        assert len(room.registry.audit_entries("re-read")) == 1


def test_nothing_is_entered_if_the_log_has_another_operation(trial, room, desk):
    desk.decide_all()
    add_in_another_process(room, desk)
    answer = sign(desk)
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "The log of this reading was changed during the signature. Look at the summary and sign again.",
    )  # fmt: skip
    assert visits_of(trial)["wk04"].reads == ()


def add_in_another_process(room, desk):
    """Decide on the first lesion again."""
    own, lesion = own_assignment(room, desk), desk.case["lesions"][0]
    with opened(room.trial) as registry:
        edits = registry.assignments.edits(own.code)
        old = {"decision": lesion["decision"], "reason": lesion["reason"]}
        decided = DecideOperation(
            op="decide", kind=lesion["kind"], lesion=lesion["number"], decision="accept", old=old
        )
        head = edits[-1].hash if edits else ""
        edit = Edit(len(edits) + 1, utc_now(), "decide", decided.body, head)
        assert registry.assignments.add(own.code, edit, holder=desk.tab)


# --- operations -------------------------------------------------------------------------------------------------


def test_the_same_operation_again_gives_the_same_answer(desk):
    first, second = desk.case["lesions"][:2]
    answers = [desk.decide(first, "reject", 1, "vessel").json(), desk.decide(second, "accept", 2).json()]
    assert [desk.decide(first, "reject", 1, "vessel").json(), desk.decide(second, "accept", 2).json()] == answers
    assert desk.case["next_number"] == 3
    other = desk.decide(first, "accept", 1)
    assert (other.status_code, other.json()["next_number"]) == (409, 3)
    gap = desk.decide(first, "accept", 5)
    assert (gap.status_code, gap.json()["next_number"]) == (409, 3)


@pytest.mark.parametrize(
    ("operation", "detail"),
    [
        ({"op": "voxels", "kind": "T2", "runs": [[10**6, 1, 0, 1]]}, "Expected voxels on the canvas"),
        ({"op": "voxels", "kind": "T2", "runs": [[0, 10**9, 0, 1]]}, "Expected voxels on the canvas"),
        ({"op": "voxels", "kind": "T2", "runs": [[0, 0, 0, 1]]}, "Expected voxels on the canvas"),
        ({"op": "voxels", "kind": "T2", "runs": [[5000, 1, 7, 8]]}, "Expected the present labels as old"),
        ({"op": "voxels", "kind": "T2", "runs": [[9000, 2, 0, 9], [9001, 1, 0, 9]]}, "Expected every voxel once"),
        ({"op": "voxels", "kind": "T2", "runs": [[0, 1, 0, 9]]}, "Expected voxels of the images"),
        ({"op": "voxels", "kind": "T2", "runs": [[5000, 1, 0, 65536]]}, "The operation has a fault at voxels runs 0"),
        ({"op": "voxels", "kind": "T2", "runs": [[5000, 1, 0, 1.5]]}, "The operation has a fault at voxels runs 0"),
        ({"op": "voxels", "kind": "T2", "runs": []}, "The operation has a fault at voxels runs"),
        ({"op": "voxels", "kind": "SWI", "runs": [[5000, 1, 0, 1]]}, "The operation has a fault at voxels kind"),
        ({"op": "delete everything"}, "The operation has a fault at its type"),
        (
            {"op": "change", "lesion": 1, "change": None, "old": None, "Max Mustermann": 1},
            "The operation has a fault at change, an unknown field. Reload the page.",
        ),
        ({"op": "decide", "kind": "T2", "lesion": 99, "decision": "accept", "old": {}}, "Expected a T2 lesion of"),
        ({"op": "decide", "kind": "T2", "lesion": 1, "decision": "accept", "reason": "vessel", "old": {}}, "Expected"),
        ({"op": "decide", "kind": "T2", "lesion": 1, "decision": "accept", "old": {"decision": "reject"}}, "Expected"),
        ({"op": "retype", "kind": "T2", "lesion": 1, "to": "T2"}, "Expected a type other than T2, found T2"),
        ({"op": "change", "lesion": 1, "change": "new", "old": None}, "Expected a lesion with a proposed change"),
    ],
)  # fmt: skip
def test_operations_that_do_not_fit_are_refused(room, desk, operation, detail):
    before = {kind: desk.labels(kind).copy() for kind in ("T2", "GEL", "BH")}
    answer = desk.do(1, **operation)
    assert (answer.status_code, answer.json()["detail"][: len(detail)]) == (422, detail)
    assert desk.case["next_number"] == 1
    assert all(np.array_equal(desk.labels(kind), labels) for kind, labels in before.items())


@pytest.mark.parametrize("number", [0, -1, "1", 1.0, None, True])
def test_a_number_of_another_form_is_refused(desk, number):
    answer = desk.do(number, op="change", lesion=1, change=None, old=None)
    assert (answer.status_code, answer.json()["detail"][:30]) == (422, "Expected a number from 1 for t")


def test_drawing_undoing_splitting_and_another_type(room, desk):
    start = desk.labels("T2").copy()
    free = np.flatnonzero((start == 0).ravel(order="F") & np.roll(start == 1, 1, axis=0).ravel(order="F"))[
        :30
    ].tolist()
    runs = [[i, 1, 0, 300] for i in free]
    drawn = desk.do(1, op="voxels", kind="T2", runs=runs).json()
    (lesion,) = drawn["lesions"]
    assert (lesion["number"], lesion["voxels"], lesion["proposed"], lesion["decision"]) == (300, 30, False, None)
    assert np.count_nonzero(desk.labels("T2") == 300) == 30
    undone = desk.do(2, op="voxels", kind="T2", runs=[[i, 1, 300, 0] for i in free]).json()
    assert (undone["lesions"], undone["removed"]) == ([], [["T2", 300]])
    assert np.array_equal(desk.labels("T2"), start)
    split = desk.post("tools/split", {"kind": "T2", "lesion": 1}).json()["runs"]
    parts = desk.do(3, op="voxels", kind="T2", runs=split).json()["lesions"]
    assert [p["number"] for p in parts] == [1, 2]
    assert sum(p["voxels"] for p in parts) == np.count_nonzero(start == 1)
    before = desk.labels("GEL").copy()
    other = desk.do(4, op="retype", kind="T2", lesion=2, to="GEL").json()
    assert {(x["kind"], x["number"], x["decision"], x["reason"]) for x in other["lesions"]} == {
        ("T2", 2, "reject", "other_type"), ("GEL", before.max() + 1, None, ""),
    }  # fmt: skip
    copied = before.ravel(order="F").copy()
    for first, length, old, new in other["runs"]["GEL"]:
        assert (copied[first : first + length] == old).all()
        copied[first : first + length] = new
    assert np.array_equal(copied, desk.labels("GEL").ravel(order="F"))
    assert np.count_nonzero(before) < np.count_nonzero(copied)


def test_fill_proposes_the_lesion_around_a_voxel_and_stores_nothing(desk):
    lesion = next(x for x in desk.case["lesions"] if x["kind"] == "T2")
    runs = desk.post("tools/fill", {"kind": "GEL", "voxel": lesion["centre"], "pane": "flair"}).json()["runs"]
    assert runs
    assert {(old, new) for _, _, old, new in runs} == {(0, desk.labels("GEL").max() + 1)}
    assert desk.case["next_number"] == 1
    assert desk.do(1, op="voxels", kind="GEL", runs=runs).status_code == 200
    off = desk.post("tools/fill", {"kind": "GEL", "voxel": [0, 0, 9999], "pane": "flair"})
    shape = tuple(desk.case["shape"])
    found = f"Expected a voxel within {shape}, found (0, 0, 9999). Click in the image."
    assert (off.status_code, off.json()["detail"]) == (422, found)
    none = desk.post("tools/fill", {"kind": "GEL", "voxel": lesion["centre"], "pane": "swi"})
    found = "This case has no pane swi for lesions of type GEL. Reload the page."
    assert (none.status_code, none.json()["detail"]) == (422, found)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"pane": "\ud800"}, "body pane"),
        ({"pane": "Max Mustermann"}, "body pane"),
        ({"pane": "x" * 65}, "body pane"),
        ({"Max Mustermann": 1}, "body, an unknown field"),
        ({"\ud800": 1}, "body"),
    ],
)
def test_a_message_does_not_repeat_the_request(desk, change, place):
    body = {"kind": "T2", "voxel": [1, 2, 3], "pane": "flair"} | change
    content = json.dumps(body)
    answer = desk.client.post(
        f"{desk.url}/tools/fill", content=content, headers={"Content-Type": "application/json"}
    )
    found = f"The request has a fault at {place}. Reload the page."
    assert (answer.status_code, answer.json()["detail"]) == (422, found)


def test_counts_follow_the_decisions(desk):
    case = desk.case
    first, *others = [x for x in case["lesions"] if x["kind"] == "GEL"]
    volumes = [x["volume_mm3"] / 1000 for x in (first, *others)]
    assert case["counts"]["GEL"] == {"lesions": len(volumes), "volume_ml": pytest.approx(sum(volumes), abs=2e-3)}
    counts = desk.decide(first, "reject", 1).json()["counts"]
    assert counts["GEL"] == {"lesions": len(others), "volume_ml": pytest.approx(sum(volumes[1:]), abs=2e-3)}
    assert counts["T2"] == case["counts"]["T2"]


def test_a_second_tab_is_read_only_until_it_takes_over(room, desk):
    lesion = desk.case["lesions"][0]
    other = Desk(desk.client, desk.url.rsplit("/", 1)[1], "other")
    assert other.lease() == {"held": False, "by_other": True}
    refused = other.decide(lesion, "accept", 1)
    assert (refused.status_code, refused.json()["detail"]) == (
        423, "This browser tab does not hold the case. Take over the case here.",
    )  # fmt: skip
    assert other.lease(take_over=True) == {"held": True, "by_other": False}
    assert desk.decide(lesion, "accept", 1).status_code == 423
    desk.tab = ""
    assert desk.decide(lesion, "accept", 1).status_code == 423
    assert other.decide(lesion, "accept", 1).status_code == 200


def test_another_server_makes_the_same_marks_from_the_log(trial, room, desk):
    test_drawing_undoing_splitting_and_another_type(room, desk)
    before = desk.case, {kind: desk.labels(kind).copy() for kind in ("T2", "GEL", "BH")}
    with opened_room(trial) as again:
        other = Desk(browser(again, "R1"), desk.url.rsplit("/", 1)[1])
        assert other.case == before[0]
        assert all(np.array_equal(other.labels(kind), labels) for kind, labels in before[1].items())


def test_a_changed_log_is_not_replayed(trial, room, desk):
    desk.decide_all()
    code = desk.url.rsplit("/", 1)[1]
    with opened(trial) as registry:
        edits = registry.assignments.edits(code)
        assert edits[1].previous == edits[0].hash != Edit(1, edits[0].at, "decide", "{}", "").hash
        with registry._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE edits SET body = replace(body, 'accept', 'reject') WHERE number = 1"
            )
    room.forget(code)
    answer = desk.client.get(f"{desk.url}/case")
    assert answer.status_code == 503
    assert SUBJECT not in answer.text


@pytest.mark.parametrize(
    ("edits", "head", "text"),
    [
        (0, "", "no operation"),
        (1, "a" * 64, "one operation, hash aaaaaaaaaaaa"),
        (2, "b" * 64, "2 operations, hash bbb"),
    ],
)
def test_a_changed_log_is_told_with_what_was_signed(edits, head, text):
    signature = dict.fromkeys(("name", "utc", "meaning", "version"), "")
    details = {"assignment": "code", "edits": edits, "head": head, **signature}
    entry = SimpleNamespace(target="S1 wk00", reader="R1", details=details)
    found = SimpleNamespace(state=AssignmentState.SIGNED, signature=signature)
    log = [SimpleNamespace(hash="c" * 64)] * 3
    assignments = SimpleNamespace(signed=list, find=lambda *_: found, edits=lambda _: log)
    registry = SimpleNamespace(assignments=assignments, audit_entries=lambda _: [entry])
    (deviation,) = _readings(registry)
    assert f"expected the log that was signed ({text}" in deviation
    assert deviation.endswith("found 3 operations, hash cccccccccccc")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "UPDATE edits SET body = replace(body, 'accept', 'reject') WHERE number = 1",
            "expected the unbroken log of",
        ),
        (
            "UPDATE edits SET at = '' WHERE number = (SELECT max(number) FROM edits)",
            "expected the log that was signed",
        ),
        ("DELETE FROM edits WHERE number = (SELECT max(number) FROM edits)", "expected the log that was signed"),
        ("DELETE FROM edits", "expected the log that was signed"),
        (
            "UPDATE assignments SET signature = replace(signature, 'Dr R1', 'Dr R2')",
            "the signature in the registry has another name than in the audit trail",
        ),
        ("UPDATE assignments SET state = 'open'", "expected a signed one as in the audit trail, found open"),
        ("UPDATE assignments SET reader = 'R2'", "expected a signed one as in the audit trail, found none"),
    ],
)
def test_a_change_of_a_signed_reading_is_a_deviation(trial, room, desk, change, found):
    desk.decide_all()
    sign(desk)
    assert verify_trial(trial.root).deviations == ()
    with opened(trial) as registry, registry._engine.begin() as connection:
        connection.exec_driver_sql(change)
    (deviation,) = verify_trial(trial.root).deviations
    assert deviation.startswith(f"subject {SUBJECT}, visit wk04, reader R1, reading in the browser: {found}")


def test_a_reading_that_was_set_to_signed_behind_the_trail_is_a_deviation(trial, room, desk):
    desk.decide_all()
    with opened(trial) as registry, registry._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE assignments SET state = 'signed' WHERE visit = 'wk04'")
    (deviation,) = verify_trial(trial.root).deviations
    assert deviation == (
        f"subject {SUBJECT}, visit wk04, reader R1, reading in the browser: the registry has a "
        "signature that is not in the audit trail"
    )


# --- several requests at once -----------------------------------------------------------------------------------


def own_assignment(room, desk, reader="R1"):
    return room.assignment(desk.url.rsplit("/", 1)[1], reader)


def in_another_thread(work):
    thread = Thread(target=work)
    thread.start()
    thread.join(1)
    return thread


def test_a_case_that_leaves_the_memory_during_an_operation_is_opened_again_with_it(room, desk, monkeypatch):
    lesion, own = desk.case["lesions"][0], own_assignment(room, desk)
    add, started = Assignments.add, []

    def add_slowly(*args, **kwargs):
        room.forget(own.code)  # as by too many cases
        started.append(in_another_thread(lambda: room.case(own)))
        return add(*args, **kwargs)

    monkeypatch.setattr(Assignments, "add", add_slowly)
    assert desk.decide(lesion, "accept", 1).status_code == 200
    started[0].join()
    assert desk.case["next_number"] == 2


def test_two_requests_open_one_case(room):
    desk = desk_of(room, "wk04")
    own, cases = own_assignment(room, desk), []

    class Opening:
        """Another request comes as soon as the opening has ended."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            room._openings.clear()
            in_another_thread(lambda: cases.append(room.case(own))).join()

    room._openings["reader R1"] = Opening()
    cases.append(room.case(own))
    assert len(cases) == 2
    assert cases[0] is cases[1]


def test_the_canvas_is_fixed_at_the_first_opening(room, desk):
    before = desk.case["shape"]
    own = own_assignment(room, desk)
    room.registry.assignments.opened(own.code, digest="0" * 64, canvas={"origin": [0, 0, 0], "shape": [1, 1, 1]})
    assert own_assignment(room, desk) == own
    room.forget(own.code)
    assert desk.case["shape"] == before
    assert len(room.registry.audit_entries("reading opened")) == 1


def test_after_a_gap_the_case_follows_the_log(room, desk):
    add_in_another_process(room, desk)
    answer = desk.decide(desk.case["lesions"][1], "accept", 3)
    assert (answer.status_code, answer.json()["next_number"]) == (409, 2)


# --- the worklist -----------------------------------------------------------------------------------------------


def test_a_later_analysis_changes_no_opened_case(trial):
    edit_protocol(trial, "readers = 1", "readers = 2")
    with opened_room(trial) as room:
        first = desk_of(room, "wk04")
        first.decide_all()
        before = first.case["lesions"]
        path = item_from_derivatives(trial.derivatives, SUBJECT, "wk04").masks[LesionKind.T2]
        mask = nifti.load_labels(path)
        nifti.save(LabelImage(np.where(mask.data == mask.data.max(), 0, mask.data), mask.grid), path)
        second = desk_of(room, "wk04", "R2")
        assert len(second.case["lesions"]) < len(before)
        room.forget(own_assignment(room, first).code)
        assert first.case["lesions"] == before
        signature = sign(first).json()
        room.forget(own_assignment(room, first).code)
        assert (first.case["lesions"], first.case["signature"]) == (before, signature)


def test_a_case_without_its_proposals_is_withdrawn(trial, room, desk):
    desk.decide_all()
    shutil.rmtree(trial.reads / SUBJECT / "wk04" / "opened")  # as with the scan
    answer = sign(desk)
    assert (answer.status_code, answer.json()["detail"][:50]) == (
        409, "Expected the proposals that this reading began wit",
    )  # fmt: skip
    assert desk.client.get(f"{desk.url}/case").status_code == 404
    assert desk_of(room, "wk04").url != desk.url


def test_a_killed_opening_leaves_no_proposal(trial, room, monkeypatch):
    desk = desk_of(room, "wk04")

    def killed(*_args):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("mri_pipeline.reading.proposal_store.sync_tree", killed)
        assert desk.client.get(f"{desk.url}/case").status_code == 503
    assert not list(trial.reads.glob("*/*/opened/*/*"))
    assert desk.case["state"] == "open"


def test_a_case_is_not_opened_during_an_analysis_of_its_subject(trial, room, monkeypatch):
    desk = desk_of(room, "wk04")
    refused = (
        503,
        "An analysis of this case is in progress. Open it again in some minutes.",
    )
    with only_writer(trial, SUBJECT):
        answer = desk.client.get(f"{desk.url}/case")
        assert (answer.status_code, answer.json()["detail"]) == refused

    def published(*args, **kwargs):
        """A run publishes its results while the masks are read."""
        folder = trial.derivatives.folder(SUBJECT)
        shutil.copytree(folder, folder.with_name("new"))
        folder.rename(trial.root / "old")
        folder.with_name("new").rename(folder)
        return numbered_proposals(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("reading_centre.use_cases.reading.opening.numbered_proposals", published)
        answer = desk.client.get(f"{desk.url}/case")
        assert (answer.status_code, answer.json()["detail"]) == refused
    assert desk.case["state"] == "open"


def test_the_damaged_brain_of_another_subject_closes_no_case(tmp_path, caplog):
    trial = write_web_trial(tmp_path / "trial", subjects=2)
    trial.derivatives.space("BENCH001").brain.write_bytes(b"")
    with opened_room(trial) as room:
        own = {a.subject: Desk(browser(room, "R1"), a.code) for a in room.worklists.of("R1") if a.visit == "wk04"}
        assert own[SUBJECT].case["state"] == "open"
        assert "subject BENCH001: its head is not on the canvas" in caplog.text
        assert own["BENCH001"].client.get(f"{own['BENCH001'].url}/case").status_code == 503


def test_a_face_that_cannot_be_located_is_a_fault_of_the_case(trial, monkeypatch):
    def failed(spaces):
        return {}, {space.subject: AnalysisError(f"sub-{space.subject}: no face") for space in spaces}

    edit_protocol(trial, "deface = false", "deface = true")
    monkeypatch.setattr("reading_centre.use_cases.reading.images.locate_faces", failed)
    with opened_room(trial) as room:
        desk = desk_of(room, "wk04")
        for path in ("case", "volumes/flair"):
            answer = desk.client.get(f"{desk.url}/{path}")
            assert (answer.status_code, answer.json()["detail"][:46]) == (
                503, "Expected the images of this case, found images",
            )  # fmt: skip


def test_a_sitting_has_a_limit_and_opened_cases_count(trial, monkeypatch):
    """Cases that were opened before do not pass the limit: signed and opened ones count."""
    edit_protocol(trial, "readers = 1", "readers = 1\ncases_per_sitting = 2")
    with opened_room(trial) as room:
        first, second, third = (Desk(browser(room, "R1"), own.code) for own in room.worklists.of("R1")[:3])
        page = f"/reading/{third.url.rsplit('/', 1)[1]}"
        first.decide_all()
        assert f'href="{page}"' in third.client.get("/").text
        second.decide_all()
        for path in (page, f"{third.url}/case", f"{third.url}/volumes/flair"):
            answer = third.client.get(path)
            assert (
                answer.status_code,
                "omplete the cases in progress, then take a break of 60" in answer.text,
            ) == (
                403,
                True,
            ), path
        assert first.case["next_case"] == second.url.rsplit("/", 1)[1]
        for desk, signed, note in ((first, 1, "Complete the cases in progress first."), (second, 2, "")):
            assert sign(desk).status_code == 200
            shown = third.client.get("/").text
            assert f"{signed} of at most 2 in this sitting" in shown
            assert "New cases open again an hour after" in shown
            assert note in shown
            assert page not in shown
            links = re.findall(r'id="next" href="([^"]+)"', shown)
            assert [third.client.get(link).status_code for link in links] == ([200] if desk is first else [])
            assert third.client.get(page).status_code == 403
        assert second.case["next_case"] is None
        assert first.client.get(f"{first.url}/case").status_code == 200  # signed reads stay visible
        monkeypatch.setattr(worklists, "BREAK", timedelta(seconds=-1))
        assert (room.worklists.sitting("R1"), third.client.get(page).status_code) == (0, 200)
        assert f'href="{page}"' in third.client.get("/").text


def test_cases_that_are_opened_at_once_keep_the_limit_of_a_sitting(trial):
    edit_protocol(trial, "readers = 1", "readers = 1\ncases_per_sitting = 2")
    with opened_room(trial) as room, ThreadPoolExecutor(4) as pool:
        codes = [own.code for own in room.worklists.of("R1")[:4]]
        clients = [browser(room, "R1") for _ in codes]
        for client in clients:
            client.get(
                "/api/reading/unknown/case"
            )  # FastAPI prepares the routes of each application for one thread
        opened = pool.map(lambda one: one[0].get(f"/api/reading/{one[1]}/case"), zip(clients, codes, strict=True))
        assert sorted(answer.status_code for answer in opened) == [200, 200, 403, 403]


def test_a_reader_who_was_added_later_has_a_worklist(trial):
    edit_protocol(trial, "readers = 1", "readers = 1\nrereads_percent = 100")
    with opened_room(trial) as room:
        account = f'code = "R9"\nname = "Dr R9"\npassword_hash = "{password_hash("a long password")}"'
        trial.protocol_file.write_text(f"{trial.protocol_file.read_text()}\n[[readers]]\n{account}\n")
        assert {own.state.value for own in room.worklists.of("R9")} == {"open"}


def test_hidden_rereads_come_under_another_code_and_change_no_read(trial):
    edit_protocol(trial, "readers = 1", "readers = 1\nrereads_percent = 100")
    with opened_room(trial) as room:
        desk = desk_of(room, "wk04")
        desk.decide_all()
        sign(desk)
        before = visits_of(trial)
        again = desk_of(room, "wk04")
        assert again.url != desk.url
        differing = {key for key, value in again.case.items() if value != desk.case[key]}
        assert differing <= {
            "code", "state", "read_only", "read_only_reason", "next_number", "next_case", "signature", "lesions",
            "counts",
        }  # fmt: skip
        again.decide_all()
        assert sign(again).json()["version"] == 1
        assert visits_of(trial) == before
        assert len(room.registry.audit_entries("re-read")) == 1


def test_an_unlocked_read_is_a_new_case_and_the_next_version(trial, room, desk):
    desk.decide_all()
    sign(desk)
    proof = Proof(password=lambda _: PASSWORDS["R1"])
    unlock_read(trial.root, subject=SUBJECT, visit="wk04", reader="R1", reason="a vessel", proof=proof)
    again = desk_of(room, "wk04")
    assert again.url != desk.url
    again.decide_all()
    assert sign(again).json()["version"] == 2


def test_with_two_readers_both_sign_and_the_read_that_counts_is_locked(trial):
    edit_protocol(trial, "readers = 1", "readers = 2")
    with opened_room(trial) as room:
        desks = [desk_of(room, "wk00", reader) for reader in ("R1", "R2")]
        assert desks[0].url != desks[1].url
        for desk, reader in zip(desks, ("R1", "R2"), strict=True):
            desk.decide_all()
            assert sign(desk, reader).status_code == 200
        first, second = room.registry.audit_entries("reading signed")
        (locked,) = room.registry.audit_entries("read locked")
    state = visits_of(trial)["wk00"]
    assert {read.reader: read.standing.value for read in state.reads} == {"R1": "counts", "R2": "compared"}
    assert (state.read, locked.reader) == (ReadStatus.LOCKED, "R1")  # by the signature that R1 made before
    assert locked.details["signature"] == first.details["signature"] != second.details["signature"]
    assert verify_trial(trial.root).deviations == ()


def test_in_a_serial_reading_the_previous_visit_and_its_changes_are_shown(trial):
    edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    with opened_room(trial) as room:
        serial_reading(room)


def serial_reading(room):
    first = desk_of(room, "wk00")
    assert not any(pane["id"].startswith("previous_") for pane in first.case["panes"])
    assert first.case["confirmed_before"] == []
    assert first.client.get(f"{first.url}/previous/T2").status_code == 404
    first.decide_all()
    before = {kind: first.labels(kind) > 0 for kind in ("T2", "GEL")}
    sign(first)
    second = desk_of(room, "wk04")
    case = second.case
    assert case["confirmed_before"] == ["T2", "GEL", "BH"]
    for kind, confirmed in before.items():
        shown = second.drawn(f"previous/{kind}")
        assert confirmed.any()
        np.testing.assert_array_equal(shown > 0, confirmed)
    assert [pane["id"] for pane in case["panes"] if pane["visit"] == "previous"] == [
        "previous_flair", "previous_t1", "previous_t1_gd", "previous_t2", "previous_subtraction",
    ]  # fmt: skip
    windows = {pane["id"]: pane["window"] for pane in case["panes"]}
    assert windows["previous_flair"] == windows["flair"]
    size = 2 * np.prod(case["shape"])
    assert len(second.get("volumes/previous_flair").content) == size == len(second.get("volumes/flair").content)
    asked = [x for x in case["lesions"] if x["proposed_change"]]
    assert case["changes_asked"] is bool(asked)
    second.decide_all()
    for number, lesion in enumerate(asked, start=second.case["next_number"]):
        change = {"change": lesion["proposed_change"], "old": None}
        assert second.do(number, op="change", lesion=lesion["number"], **change).status_code == 200
    assert sign(second).status_code == 200


def unlocked(trial, visit):
    proof = Proof(password=lambda _: PASSWORDS["R1"])
    unlock_read(trial.root, subject=SUBJECT, visit=visit, reader="R1", reason="a vessel", proof=proof)


def with_decisions_on_changes(room):
    """The second visit with a decision on each change; returns the first operation on a change, too."""
    first = desk_of(room, "wk00")
    first.lease()
    for number, lesion in enumerate(first.case["lesions"], start=1):
        first.decide(lesion, "reject", number)
    sign(first)  # all lesions of the next visit are new
    second = desk_of(room, "wk04")
    second.decide_all()
    start = second.case["next_number"]
    asked = [lesion["number"] for lesion in second.case["lesions"] if lesion["proposed_change"]]
    assert asked
    changes = [{"op": "change", "lesion": number, "change": "new", "old": None} for number in asked]
    for number, change in enumerate(changes, start=start):
        assert second.do(number, **change).status_code == 200
    return second, start, changes[0]


def test_decisions_on_changes_that_are_not_asked_any_more_have_no_effect(trial):
    edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    with opened_room(trial) as room:
        desk, number, change = with_decisions_on_changes(room)
        before = desk.case
        unlocked(trial, "wk00")
        case = desk.case
        assert (case["changes_asked"], case["next_number"]) == (False, before["next_number"])
        assert desk.do(number, **change).json()["lesions"] == []
        again = desk_of(room, "wk00")
        again.decide_all()
        sign(again)
        asked = {x["number"] for x in desk.case["lesions"] if x["proposed_change"]}
        assert asked < {x["number"] for x in before["lesions"] if x["proposed_change"]}
        assert sign(desk).status_code == 200


def test_a_signed_read_is_shown_with_the_changes_that_were_signed(trial):
    edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    with opened_room(trial) as room:
        desk, _, _ = with_decisions_on_changes(room)
        assert sign(desk).status_code == 200
        signed = desk.case
        unlocked(trial, "wk00")
        room.forget(own_assignment(room, desk).code)
        assert desk.case["lesions"] == signed["lesions"]
        assert desk.case["changes_asked"]
        assert desk.case["confirmed_before"] == []  # the previous read is no longer the one that was shown
