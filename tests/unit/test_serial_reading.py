"""Serial reading: the reader sees the previous visit and decides on each proposed change; the counts follow."""

import shutil

import numpy as np
import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.store import load_read
from mri_pipeline.reading.worklist import reading_code
from mri_pipeline.tables.io import read_table
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads, unlock_read
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.reading_trial import (
    READERS,
    copy_of,
    decide,
    edit_protocol,
    lesions_but_no_holes,
    rows_of,
    write_rows,
    write_unread_trial,
)

CODE = "BENCH000"


def code_of(trial, visit):
    return reading_code(Sealed.open(trial).secret("reading"), CODE, visit)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """R1 has read the first visit, without one of its lesions and half of another; the worklist has the others."""
    trial = write_unread_trial(tmp_path_factory.mktemp("serial") / "trial")
    edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    for visit in ("wk00", "wk04"):
        write_boxes(trial, visit)
    folder = trial.root.parent
    export_reads(trial.root, folder / "first", reader="R1")
    assert not list((folder / "first").rglob("changes.csv"))  # no visit is confirmed yet
    missed = halve_and_miss(folder / "first" / "items" / code_of(trial, "wk00"))
    word = lambda _code, row: "reject" if row["type"] == "BH" or row["lesion"] == missed else "accept"  # noqa: E731
    import_reads(trial.root, decide(folder / "first", word, {code_of(trial, "wk00")}), reader="R1")
    export_reads(trial.root, folder / "second", reader="R1")
    return trial


BOXES = (np.s_[14:18, 18:22, 6:8], np.s_[22:26, 18:22, 6:8], np.s_[18:22, 26:32, 6:8])
"""T2 lesions of the first two visits: one that is equal at both, one that is missed, one that is drawn by half."""


def write_boxes(trial, visit):
    grid = nifti.load_labels(trial.derivatives.mask(CODE, visit, MaskLabel.T2_LESION)).grid
    data = np.zeros(grid.shape, dtype=np.uint8)
    for label in (MaskLabel.GEL, MaskLabel.BLACK_HOLE):
        nifti.save(LabelImage(data, grid), trial.derivatives.mask(CODE, visit, label))
    for box in BOXES:
        data[box] = 1
    nifti.save(LabelImage(data, grid), trial.derivatives.mask(CODE, visit, MaskLabel.T2_LESION))


def halve_and_miss(folder):
    """Erase half of one lesion; returns the number of another one."""
    mask = nifti.load_labels(folder / "t2_lesions.nii.gz")
    missed = int(mask.data[BOXES[1]].max())
    mask.data[18:20, 26:32, 6:8] = 0
    nifti.save(mask, folder / "t2_lesions.nii.gz")
    return str(missed)


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path, "first", "second")


def item(trial):
    return trial.root.parent / "second" / "items" / code_of(trial, "wk04")


def read_second(trial, change=lambda row: row["proposed_change"], word=lesions_but_no_holes):
    folder = decide(trial.root.parent / "second", word, {code_of(trial, "wk04")})
    rows = rows_of(item(trial) / "changes.csv")
    write_rows(item(trial) / "changes.csv", [row | {"decision": change(row)} for row in rows])
    return import_reads(trial.root, folder, reader="R1")


def proposed(trial):
    rows = rows_of(item(trial) / "changes.csv")
    kinds = [row["proposed_change"] for row in rows]
    assert {"new", "enlarging"} == set(kinds)
    return kinds.count("new"), kinds.count("enlarging")


def counted(trial):
    write_trial_tables(trial.root, provisional=True)
    (row,) = [r for r in read_table(trial.tables / "lesion_timepoints.csv") if r["visit"] == "wk04"]
    lesions = [r for r in read_table(trial.tables / "lesions.csv") if r["visit"] in {"wk00", "wk04"}]
    first_seen = sum(r["t2_state"] in {"new", "baseline"} for r in lesions)
    assert first_seen == len({r["lesion_id"] for r in lesions if r["t2_lesion"] == "true"})
    return int(row["new_t2_count"]), int(row["enlarging_t2_count"])


def test_the_item_has_the_previous_visit_as_confirmed_and_the_proposed_changes(trial):
    folder = item(trial) / "previous"
    assert {path.name for path in folder.iterdir()} == {
        "FLAIR.nii.gz", "t2_lesions.nii.gz", "gel.nii.gz", "black_holes.nii.gz",
    }  # fmt: skip
    confirmed = load_read(trial.reads, CODE, "wk00", "R1", 1).masks
    assert np.array_equal(nifti.load_labels(folder / "t2_lesions.nii.gz").mask, confirmed.t2_lesions.mask)
    assert not nifti.load_labels(folder / "black_holes.nii.gz").mask.any()  # rejected by the reader
    assert len(list((trial.root.parent / "second").rglob("changes.csv"))) == 1  # wk12 waits for wk04


def test_the_proposals_are_the_changes_that_the_confirmed_masks_give(trial):
    changes = proposed(trial)
    assert read_second(trial)["confirmed"] == 1
    assert counted(trial) == changes


def test_the_reader_decides_what_is_enlarging(trial):
    new, _ = proposed(trial)
    read_second(trial, lambda row: "none" if row["proposed_change"] == "enlarging" else "new")
    assert counted(trial) == (new, 0)


def test_the_reader_decides_what_is_new(trial):
    new, enlarging = proposed(trial)
    read_second(trial, lambda row: "new")
    assert counted(trial) == (new + enlarging, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: "none", "expected new for lesion .*, which overlaps no lesion of the previous visit"),
        (lambda row: "enlarging", "expected new for lesion .*, which overlaps no lesion of the previous visit"),
        (lambda row: "", "expected a decision on the change of every accepted lesion, found none for lesion"),
        (lambda row: "maybe", "expected new, enlarging or none for lesion .*, found text of 5 characters"),
    ],
)
def test_decisions_that_cannot_be_counted_are_refused(trial, change, message):
    with pytest.raises(UsageError, match=message):
        read_second(trial, change)
    assert load_read(trial.reads, CODE, "wk04", "R1", 1) is None


def test_a_rejected_lesion_needs_no_decision(trial):
    _, enlarging = proposed(trial)
    new = {row["lesion"] for row in rows_of(item(trial) / "changes.csv") if row["proposed_change"] == "new"}

    def word(_code, row):
        if row["type"] != "T2":
            return "reject"
        return "reject" if row["lesion"] in new else "accept"

    read_second(trial, lambda row: "" if row["lesion"] in new else row["proposed_change"], word)
    assert counted(trial) == (0, enlarging)


def correct_first(trial):
    lock_reads(trial.root, reader="R1")
    unlock_read(trial.root, subject=CODE, visit="wk00", reader="R1", reason="x")
    code, folder = code_of(trial, "wk00"), trial.root.parent / "first"
    for other in (folder / "items").iterdir():  # exported again since, beside the first visit
        if other.name != code:
            shutil.rmtree(other)
    decide(folder, codes={code})
    assert import_reads(trial.root, folder, reader="R1")["confirmed"] == 1


def test_decisions_hold_for_the_read_that_the_reader_has_seen(trial):
    new, enlarging = proposed(trial)
    read_second(trial, lambda row: "none" if row["proposed_change"] == "enlarging" else "new")
    correct_first(trial)
    assert (new, enlarging) == (1, 1)
    assert counted(trial) == (0, 1)  # nothing is missed now, and the masks decide again


def test_an_item_beside_an_earlier_read_of_the_previous_visit_is_refused(trial):
    correct_first(trial)
    with pytest.raises(
        UsageError, match=r"present read of the previous visit \(version 2\), found version 1 in the item"
    ):
        read_second(trial)


def test_an_item_that_was_exported_again_beside_another_read_is_refused(trial, tmp_path):
    correct_first(trial)
    export_reads(trial.root, tmp_path / "third", reader="R1")
    with pytest.raises(
        UsageError, match="expected the currently proposed lesions, found those of an earlier export"
    ):
        read_second(trial)


def test_a_change_of_the_decisions_in_the_files_is_noticed(trial):
    read_second(trial)
    path = trial.reads / CODE / "wk04" / "readers" / "R1" / "01" / "t2_changes.nii.gz"
    image = nifti.load_labels(path)
    image.data[image.data == 2] = 3
    nifti.save(image, path)
    with pytest.raises(
        UsageError, match=r"expected the confirmed t2_changes\.nii\.gz, found it missing or changed"
    ):
        load_read(trial.reads, CODE, "wk04", "R1", 1)


def test_without_the_order_of_visits_nothing_of_another_visit_is_shown(trial, tmp_path):
    edit_protocol(trial, "order_of_visits_known = true", "order_of_visits_known = false")
    export_reads(trial.root, tmp_path / "blinded", reader="R1")
    assert not [path for path in (tmp_path / "blinded").rglob("*") if path.name in {"previous", "changes.csv"}]


def test_two_readers_see_their_own_read_and_disturb_each_other_not(trial, tmp_path):
    edit_protocol(trial, "readers = 1", "readers = 2", READERS)
    first = trial.root.parent / "first"
    code = code_of(trial, "wk00")
    for other in (first / "items").iterdir():
        if other.name != code:
            shutil.rmtree(other)
    decide(first, codes={code})  # the second reader misses nothing
    import_reads(trial.root, first, reader="R2")
    export_reads(trial.root, tmp_path / "other", reader="R2")
    rows = rows_of(tmp_path / "other" / "items" / code_of(trial, "wk04") / "changes.csv")
    assert [row["proposed_change"] for row in rows] == ["enlarging"]
    assert proposed(trial) == (1, 1)
    assert read_second(trial)["confirmed"] == 1  # the first reader's worklist is still good
    with pytest.raises(
        UsageError, match="expected the currently proposed lesions, found those of an earlier export"
    ):
        import_reads(trial.root, trial.root.parent / "second", reader="R2")  # the first reader's worklist
