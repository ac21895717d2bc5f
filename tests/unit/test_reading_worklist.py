"""Reading out and back: nothing leaks, nothing is taken for what it is not, and what was confirmed stays."""

import csv
import gzip
import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import GridMismatchError, ImageError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.reading.confirmed import KnownRead
from mri_pipeline.reading.decide import confirm_mask, onto_grid_of
from mri_pipeline.reading.decisions import import_decisions
from mri_pipeline.reading.items import LesionKind, item_from_derivatives
from mri_pipeline.reading.lock import protect_read
from mri_pipeline.reading.proposals import describe_proposals, labels_digest, numbered_by_place
from mri_pipeline.reading.returned import require_no_stray_image
from mri_pipeline.reading.store import load_read, load_record, read_folder
from mri_pipeline.reading.worklist import EXPORT_TIME, export_worklist, reading_code

KEY = b"k" * 32
SUBJECT, OTHER = "BCDF2345", "XWVT9876"
VISITS = ("wk00", "wk04")
GRID = Grid((16, 14, 10), np.array([[-1.0, 0, 0, 8], [0, 1, 0, -7], [0, 0, 3, -15], [0, 0, 0, 1]]))
EVERYWHERE = ndimage.generate_binary_structure(3, 3)


def number_lesions(kind, mask):
    return LabelImage(ndimage.label(mask.mask, EVERYWHERE)[0], mask.grid)


def boxes(*corners):
    data = np.zeros(GRID.shape, dtype=np.uint8)
    for i, j, k in corners:
        data[i : i + 2, j : j + 2, k : k + 2] = 1
    return LabelImage(data, GRID)


@pytest.fixture
def derivatives(tmp_path):
    """Two subjects, two visits: three T2 lesions, one GEL, one black hole; one visit without contrast."""
    dataset = DerivativeDataset(tmp_path / "derivatives")
    rng = np.random.default_rng(1)
    for subject in (SUBJECT, OTHER):
        for visit in VISITS:
            contrasts = [Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD]
            masks = {
                MaskLabel.T2_LESION: boxes((1, 1, 6), (6, 6, 1), (11, 10, 3)),
                MaskLabel.GEL: boxes((6, 6, 1)),
                MaskLabel.BLACK_HOLE: boxes((11, 10, 3)),
            }
            if (subject, visit) == (OTHER, "wk04"):
                contrasts.remove(Contrast.T1W_GD)
                del masks[MaskLabel.GEL]
            for contrast in contrasts:
                data = rng.uniform(0.5, 1.5, GRID.shape).astype(np.float32)
                # T1w in single precision, as versions up to 0.3 wrote all
                write = nifti.save if contrast is Contrast.T1W else nifti.save_rounded
                write(Image(data, GRID), dataset.image(subject, visit, contrast))
            for label, mask in masks.items():
                nifti.save(mask, dataset.mask(subject, visit, label))
    return dataset


@pytest.fixture
def reads(tmp_path):
    return tmp_path / "reads"


@pytest.fixture
def export(derivatives, reads, tmp_path):
    def run(name="out", subjects=(SUBJECT, OTHER), **options):
        items = [item_from_derivatives(derivatives, subject, visit) for subject in subjects for visit in VISITS]
        options = {"number_lesions": number_lesions, "face_of": None} | options
        return export_worklist(items, tmp_path / name, reads=reads, key=KEY, **options)

    return run


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def decide(folder, code, reject=(), undecided=()):
    """Fill in lesions.csv of one item; lesions are named (type, number)."""
    path = folder / "items" / code / "lesions.csv"
    rows = rows_of(path)
    for row in rows:
        lesion = (row["type"], int(row["lesion"]))
        row["decision"] = "" if lesion in undecided else "reject" if lesion in reject else "accept"
    write_rows(path, rows)


def edit(folder, code, name, change):
    path = folder / "items" / code / name
    mask = nifti.load_labels(path)
    data = mask.data.copy()
    change(data)
    nifti.save(LabelImage(data, mask.grid), path)


CODE = reading_code(KEY, SUBJECT, "wk00")
ROUNDED = 2.0**-15
"""Half a step of images whose largest value is 1 to 2."""


# --- export ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("BLIND-03")
def test_nothing_tells_subject_visit_time_or_machine(export, tmp_path):
    export()
    folder = tmp_path / "out"
    secrets = [SUBJECT, OTHER, *VISITS, "week", "sub-", "ses-", str(Path.home()), str(tmp_path)]
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mtime == EXPORT_TIME
        relative = str(path.relative_to(folder))
        contents = [relative.encode()]
        if path.is_file():
            raw = path.read_bytes()
            contents.append(raw)
            if path.name.endswith(".gz"):
                # gzip: no name, no time stamp, no comment
                assert raw[3] == 0
                assert raw[4:8] == b"\0\0\0\0"
                contents.append(gzip.decompress(raw))
        for content in contents:
            for secret in secrets:
                assert secret.encode() not in content
                assert secret.lower().encode() not in content
            if b"\0" not in content:  # text
                assert not re.search(rb"20[12]\d[-/][01]\d[-/][0-3]\d", content)


def test_image_headers_hold_no_text_and_images_are_those_of_the_visit(export, derivatives, tmp_path):
    export()
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        header = nib.load(path).header
        texts = [header[name].item() for name in ("descrip", "aux_file", "intent_name", "db_name")]
        assert texts == [b"", b"", b"", b""]
        assert len(header.extensions) == 0
    original = nifti.load_image(derivatives.image(SUBJECT, "wk00", Contrast.FLAIR))
    exported = nifti.load_image(tmp_path / "out" / "items" / CODE / "FLAIR.nii.gz")
    assert np.array_equal(original.data, exported.data)
    assert exported.grid.same_as(GRID)
    original = nifti.load_image(derivatives.image(SUBJECT, "wk00", Contrast.T1W))
    exported = nifti.load_image(tmp_path / "out" / "items" / CODE / "T1.nii.gz")
    np.testing.assert_allclose(exported.data, original.data, rtol=0, atol=ROUNDED)


@pytest.mark.requirement("BLIND-03")
def test_the_face_is_blanked_in_every_contrast_and_nothing_else(export, derivatives, tmp_path):
    face = boxes((0, 12, 0), (3, 12, 1))
    done = export(face_of=lambda item: face)
    assert set(done.faces.values()) == {"defaced"}
    assert json.loads((tmp_path / "out" / "worklist.json").read_text())["faces"] == done.faces
    names = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1", Contrast.T1W_GD: "T1_Gd"}
    for contrast, name in names.items():
        original = nifti.load_image(derivatives.image(SUBJECT, "wk00", contrast)).data
        exported = nifti.load_image(tmp_path / "out" / "items" / CODE / f"{name}.nii.gz").data
        assert original[face.mask].all()
        assert not exported[face.mask].any()
        most = ROUNDED if contrast is Contrast.T1W else 0
        np.testing.assert_allclose(exported[~face.mask], original[~face.mask], rtol=0, atol=most)


def test_provenance_says_what_became_of_the_face(export, derivatives, tmp_path):
    nowhere = LabelImage(np.zeros(GRID.shape, dtype=np.uint8), GRID)
    assert set(export("stripped", face_of=lambda item: nowhere).faces.values()) == {"nothing to deface"}
    assert set(export("kept").faces.values()) == {"not defaced"}
    assert set(json.loads((tmp_path / "kept" / "worklist.json").read_text())["faces"].values()) == {"not defaced"}


def test_a_face_on_another_grid_is_refused_before_an_image_is_written(export, tmp_path):
    other = LabelImage(np.ones((3, 3, 3), dtype=np.uint8), Grid((3, 3, 3), np.eye(4)))
    with pytest.raises(GridMismatchError, match=r"item \w+, face: expected the grid"):
        export(face_of=lambda item: other)
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_worklist_is_in_the_order_of_codes_whatever_the_order_of_visits(export, tmp_path):
    first = export("a")
    second = export("b", subjects=(OTHER, SUBJECT))
    assert first.codes == second.codes == tuple(sorted(first.codes))
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    rows = rows_of(tmp_path / "a" / "worklist.csv")
    assert [row["reading_code"] for row in rows] == list(first.codes)
    assert set(rows[0]) == {"reading_code", "images", "t2_lesions", "gel", "black_holes", "done"}


def test_order_is_told_only_if_the_protocol_allows_it(export, tmp_path):
    export("known", order_of_visits_known=True)
    rows = {row["reading_code"]: row for row in rows_of(tmp_path / "known" / "worklist.csv")}
    of_subject = [rows[reading_code(KEY, SUBJECT, visit)] for visit in VISITS]
    assert [row["position"] for row in of_subject] == ["1", "2"]
    assert len({row["series"] for row in rows.values()}) == 2
    assert of_subject[0]["series"] == of_subject[1]["series"] != SUBJECT


def test_codes_depend_on_the_key():
    codes = [reading_code(KEY, SUBJECT, f"wk{week:02d}") for week in range(50)]
    assert len(set(codes)) == 50
    assert codes != sorted(codes)
    assert reading_code(b"other", SUBJECT, "wk00") != codes[0]


def test_proposals_are_numbered_labels_with_a_place_to_find_them(export, tmp_path):
    export()
    folder = tmp_path / "out" / "items" / CODE
    mask = nifti.load_labels(folder / "t2_lesions.nii.gz")
    rows = rows_of(folder / "lesions.csv")
    assert [(row["type"], row["lesion"]) for row in rows] == [
        ("T2", "1"), ("T2", "2"), ("T2", "3"), ("GEL", "1"), ("BH", "1"),
    ]  # fmt: skip
    for row in rows[:3]:
        voxel = [int(row[f"voxel_{axis}"]) - 1 for axis in "xyz"]
        assert mask.data[tuple(voxel)] == int(row["lesion"])
        position = GRID.world(np.array([voxel]))[0]
        assert np.allclose(position, [float(row[f"{axis}_mm"]) for axis in "xyz"])
        assert row["volume_mm3"] == "24.0"
        assert row["decision"] == ""
    without_contrast = tmp_path / "out" / "items" / reading_code(KEY, OTHER, "wk04")
    assert not (without_contrast / "gel.nii.gz").exists()
    assert not (without_contrast / "T1_Gd.nii.gz").exists()


def test_a_proposal_has_the_mean_probability_of_its_voxels(export, derivatives, tmp_path):
    probability = np.zeros(GRID.shape, dtype=np.float32)
    probability[1:3, 1:3, 6:8], probability[6:8, 6:8, 1] = 0.25, 0.9  # one lesion, and half of another
    path = derivatives.probability(SUBJECT, "wk00", MaskLabel.T2_LESION)
    nifti.save(Image(probability, GRID), path)
    export()
    rows = rows_of(tmp_path / "out" / "items" / CODE / "lesions.csv")
    assert [row["probability"] for row in rows] == ["0.45", "0.00", "0.25", "", ""]


def test_export_refuses_what_it_cannot_do(export, derivatives, reads, tmp_path, monkeypatch):
    export()
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        export()
    with pytest.raises(UsageError, match="expected analysed visits that are not locked, found none"):
        export_worklist([], tmp_path / "none", reads=reads, key=KEY, number_lesions=number_lesions, face_of=None)
    item = item_from_derivatives(derivatives, SUBJECT, "wk00")
    with pytest.raises(
        UsageError,
        match=r"expected each visit once, found subject BCDF2345, visit wk00 twice$",
    ):
        export_worklist(
            [item, replace(item)],
            tmp_path / "two",
            reads=reads,
            key=KEY,
            number_lesions=number_lesions,
            face_of=None,
        )
    with monkeypatch.context() as patch:
        patch.setattr("mri_pipeline.reading.worklist.reading_code", lambda *of: "ABCD2345")
        with pytest.raises(
            UsageError, match="expected a reading code for each visit, found ABCD2345 for two of them"
        ):
            export("same")
    with pytest.raises(UsageError, match="expected its FLAIR and T2 lesion mask"):
        item_from_derivatives(derivatives, SUBJECT, "wk48")
    other = Grid(GRID.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    nifti.save(Image(np.ones(GRID.shape, np.float32), other), derivatives.image(SUBJECT, "wk00", Contrast.T1W))
    with pytest.raises(GridMismatchError, match=f"item {CODE}, T1.nii.gz"):
        export("mixed")


# --- import ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("READ-01")
def test_accepted_stay_and_rejected_go(export, reads, tmp_path):
    export()
    folder = tmp_path / "out"
    decide(folder, CODE, reject={("T2", 3), ("GEL", 1)})
    imported = import_decisions(folder, reads=reads, reader="R1")
    assert [record.reading_code for record in imported.reads] == [CODE]
    assert len(imported.unread) == 3
    record = imported.reads[0]
    assert (record.subject, record.visit, record.reader) == (SUBJECT, "wk00", "R1")
    assert (record.accepted, record.rejected, record.voxels_added, record.voxels_erased) == (3, 2, 0, 0)
    assert record.status is ReadStatus.CONFIRMED
    assert record.read_at.endswith("+00:00")
    assert record.software["mri-pipeline"]
    read = load_read(reads, SUBJECT, "wk00", "R1", 1)
    assert read.record == record
    # (1, 1, 6) is the highest of the three, so it is number 3
    assert np.array_equal(read.masks.t2_lesions.data, boxes((6, 6, 1), (11, 10, 3)).data)
    assert read.masks.gel.volume_mm3 == 0
    assert np.array_equal(read.masks.black_holes.data, boxes((11, 10, 3)).data)
    assert load_read(reads, OTHER, "wk00", "R1", 1) is None


@pytest.mark.requirement("READ-01")
def test_an_edited_mask_wins(export, reads, tmp_path):
    export()
    folder = tmp_path / "out"
    decide(folder, CODE, reject={("T2", 3)})

    def change(data):
        data[6, 6, 1] = 0  # one voxel of lesion 1 erased
        data[14, 1, 8] = 99  # a missed lesion drawn
        data[0, 0, 7] = 3  # the rejected lesion grown: goes with it

    edit(folder, CODE, "t2_lesions.nii.gz", change)
    record = import_decisions(folder, reads=reads, reader="R1").reads[0]
    expected = boxes((6, 6, 1), (11, 10, 3)).data
    expected[6, 6, 1], expected[14, 1, 8] = 0, 1
    assert np.array_equal(load_read(reads, SUBJECT, "wk00", "R1", 1).masks.t2_lesions.data, expected)
    assert (record.voxels_added, record.voxels_erased) == (1, 1)


def test_a_mask_saved_by_a_viewer_with_flipped_axes_is_turned_back(export, reads, tmp_path):
    export()
    folder = tmp_path / "out"
    decide(folder, CODE)
    path = folder / "items" / CODE / "t2_lesions.nii.gz"
    flipped = nifti.load_labels(path).reoriented("RPI")
    nib.save(nib.Nifti1Image(flipped.data.astype(np.float64), flipped.grid.affine), path)
    record = import_decisions(folder, reads=reads, reader="R1").reads[0]
    assert (record.voxels_added, record.voxels_erased) == (0, 0)
    read = load_read(reads, SUBJECT, "wk00", "R1", 1)
    assert np.array_equal(read.masks.t2_lesions.data, boxes((1, 1, 6), (6, 6, 1), (11, 10, 3)).data)


def test_a_worklist_as_a_spreadsheet_saves_it(export, reads, tmp_path):
    export()
    folder = tmp_path / "out"
    path = folder / "items" / CODE / "lesions.csv"
    rows = rows_of(path)
    for row in rows:
        row.update(decision=" Accept ", comment="schön; groß", lesion=row["lesion"] + ".0")
    write_rows(path, rows, delimiter=";")
    path.write_bytes(
        b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b";;;\r\n"
    )
    record = import_decisions(folder, reads=reads, reader="R1").reads[0]
    assert record.accepted == 5
    assert record.decisions[0].comment == "schön; groß"


def test_done_reads_an_item_without_proposals_and_demands_decisions(export, derivatives, reads, tmp_path):
    for label in (MaskLabel.T2_LESION, MaskLabel.GEL, MaskLabel.BLACK_HOLE):
        nifti.save(boxes(), derivatives.mask(SUBJECT, "wk00", label))
    export()
    folder = tmp_path / "out"
    assert import_decisions(folder, reads=reads, reader="R1").reads == ()
    rows = rows_of(folder / "worklist.csv")
    for row in rows:
        row["done"] = "yes" if row["reading_code"] == CODE else ""
    write_rows(folder / "worklist.csv", rows)
    imported = import_decisions(folder, reads=reads, reader="R1")
    assert [record.reading_code for record in imported.reads] == [CODE]
    for row in rows:
        row["done"] = "x"
    write_rows(folder / "worklist.csv", rows)
    with pytest.raises(
        UsageError, match=r"expected accept or reject for every proposed lesion, found \d of \d undecided"
    ):
        import_decisions(folder, reads=reads, reader="R1")


def _break(folder, name):
    item = folder / "items" / CODE
    if name == "undecided":
        decide(folder, CODE, undecided={("T2", 2)})
    elif name == "edited but undecided":
        decide(folder, CODE, undecided={(t, n) for t in ("T2", "GEL", "BH") for n in (1, 2, 3)})
        edit(folder, CODE, "gel.nii.gz", lambda data: data.fill(0))
    elif name == "unknown code":
        content = json.loads((folder / "worklist.json").read_text())
        content["items"]["ZZZZZZZZ"] = {}
        (folder / "worklist.json").write_text(json.dumps(content))
        (folder / "items" / "ZZZZZZZZ").mkdir()
    elif name == "many unknown codes":
        content = json.loads((folder / "worklist.json").read_text())
        codes = ["a folder of patient Mustermann"] + [f"Z{n}" for n in range(7)]
        content["items"] |= {code: {} for code in codes}
        (folder / "worklist.json").write_text(json.dumps(content))
        for code in codes:
            (folder / "items" / code).mkdir()
    elif name == "unlisted folder":
        (folder / "items" / "ZZZZZZZZ").mkdir()
    elif name == "no worklist":
        (folder / "worklist.json").unlink()
    elif name == "damaged worklist":
        (folder / "worklist.json").write_text("[]")
    elif name == "another word":
        path = item / "lesions.csv"
        path.write_text(path.read_text().replace(",accept,", ",maybe,", 1))
    elif name == "added line":
        path = item / "lesions.csv"
        path.write_text(path.read_text() + f"{CODE},T2,9,1,1,1,1,0,0,0,accept,\n")
    elif name == "line twice":
        path = item / "lesions.csv"
        path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    elif name == "lines of another item":
        (item / "lesions.csv").write_text((item / "lesions.csv").read_text().replace(CODE, "BBBBBBBB"))
    elif name == "no header":
        path = item / "lesions.csv"
        path.write_text("\n".join(path.read_text().splitlines()[1:]))
    elif name == "no lesions.csv":
        (item / "lesions.csv").unlink()
    elif name == "stray mask":
        (item / "Segmentation.seg.nrrd").write_bytes(b"NRRD")
    elif name == "rejected but overdrawn":
        decide(folder, CODE, reject={("T2", 2)})
        edit(folder, CODE, "t2_lesions.nii.gz", lambda data: np.copyto(data, 1, where=data > 0))
    elif name == "numbers lost":
        decide(folder, CODE, reject={("T2", 1)})
        edit(folder, CODE, "t2_lesions.nii.gz", lambda data: np.copyto(data, 1, where=data > 0))
    elif name == "accepted but erased":
        edit(folder, CODE, "t2_lesions.nii.gz", lambda data: np.copyto(data, 0, where=data == 2))
    elif name == "hole without lesion":
        decide(folder, CODE, reject={("T2", 2)})
    elif name == "another grid":
        mask = nifti.load_labels(item / "gel.nii.gz")
        shifted = mask.grid.affine.copy()
        shifted[0, 3] += 1
        nifti.save(LabelImage(mask.data, Grid(mask.grid.shape, shifted)), item / "gel.nii.gz")
    elif name == "another shape":
        nifti.save(LabelImage(np.ones((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4))), item / "gel.nii.gz")
    elif name == "probabilities":
        nifti.save(Image(np.full(GRID.shape, 0.5, np.float32), GRID), item / "gel.nii.gz")
    elif name == "NaN":
        nifti.save(Image(np.full(GRID.shape, np.nan, np.float32), GRID), item / "gel.nii.gz")
    elif name == "deleted row":
        lines = (item / "lesions.csv").read_text().splitlines(keepends=True)
        (item / "lesions.csv").write_text("".join(lines[:1] + lines[2:]))
    elif name == "no mask":
        (item / "gel.nii.gz").unlink()
    elif name == "broken mask":
        (item / "gel.nii.gz").write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("undecided", UsageError, "found 1 of 5 undecided"),
        ("edited but undecided", UsageError, "found 5 of 5 undecided"),
        ("unknown code", UsageError, "expected reading codes of this trial, found unknown codes 'ZZZZZZZZ'"),
        ("many unknown codes", UsageError, "found unknown codes 'Z0', 'Z1', 'Z2', 'Z3', 'Z4' and 3 more"),
        ("unlisted folder", UsageError, "found folders not listed in worklist.json: 'ZZZZZZZZ'"),
        ("no worklist", UsageError, "expected an exported worklist, found none"),
        ("damaged worklist", UsageError, "found a damaged worklist.json"),
        (
            "another word",
            UsageError,
            r"line 2, column decision: expected accept or reject for T2 lesion 1, found text of 5 characters",
        ),
        ("added line", UsageError, "expected the proposed lesions, found a row of another lesion"),
        ("line twice", UsageError, "expected T2 lesion 1 once, found it twice"),
        ("lines of another item", UsageError, "found rows of another item"),
        ("no header", UsageError, "found none named reading_code, type, lesion, decision"),
        ("no lesions.csv", UsageError, "expected lesions.csv, found none"),
        ("stray mask", UsageError, "expected only the exported images and masks, found 1 more"),
        (
            "rejected but overdrawn",
            UsageError,
            "expected rejected lesion 2 erased or unchanged, found label 1 instead$",
        ),
        ("numbers lost", UsageError, "expected accepted lesions 2, 3 with the exported number"),
        ("accepted but erased", UsageError, "expected accepted lesion 2 in the mask, found all voxels erased"),
        ("hole without lesion", UsageError, "found black hole 1 outside"),
        ("another grid", GridMismatchError, f"item {CODE}, gel.nii.gz: expected the grid"),
        ("another shape", GridMismatchError, f"item {CODE}, gel.nii.gz: expected the grid"),
        ("probabilities", ImageError, "expected whole labels"),
        ("NaN", ImageError, "gel.nii.gz"),
        ("deleted row", UsageError, "found 1 of 5 undecided"),
        ("no mask", ImageError, "found none named gel.nii.gz"),
        ("broken mask", ImageError, "gel.nii.gz that cannot be read"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_stored(export, reads, tmp_path, name, error, message):
    export()
    folder = tmp_path / "out"
    for code in (CODE, reading_code(KEY, OTHER, "wk00")):
        decide(folder, code)
    _break(folder, name)
    with pytest.raises(error, match=message) as caught:
        import_decisions(folder, reads=reads, reader="R1")
    assert caught.value.exit_code == 2
    assert SUBJECT not in caught.value.message
    assert not list(reads.rglob("read.json"))
    assert not list(reads.glob(".incoming*"))


def swap(path, other):
    aside = path.with_name(f"aside_{path.name}")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def swap_codes(folder, code, other):
    content = json.loads((folder / "worklist.json").read_text())
    items = content["items"]
    items[code], items[other] = items[other], items[code]
    (folder / "worklist.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder, code, other: swap(folder / "items" / code, folder / "items" / other),
            "found rows of another item",
        ),
        (
            lambda folder, code, other: swap(*(folder / "items" / c / "t2_lesions.nii.gz" for c in (code, other))),
            "in the mask, found all voxels erased$",
        ),
        (swap_codes, "expected the currently proposed lesions, found those of an earlier export"),
    ],
    ids=["folders", "masks", "codes"],
)
def test_swapped_items_are_refused(derivatives, export, reads, tmp_path, change, message):
    nifti.save(boxes((2, 12, 8), (9, 2, 4), (13, 4, 7)), derivatives.mask(OTHER, "wk00", MaskLabel.T2_LESION))
    export(subjects=(SUBJECT, OTHER))
    other = reading_code(KEY, OTHER, "wk00")
    for code in (CODE, other):
        decide(tmp_path / "out", code, reject={("BH", 1), ("GEL", 1)})
    change(tmp_path / "out", CODE, other)
    with pytest.raises(UsageError, match=message):
        import_decisions(tmp_path / "out", reads=reads, reader="R1")
    assert not list(reads.rglob("read.json"))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".dcm"])
def test_a_mask_under_another_name_is_refused_in_every_format_that_viewers_write(tmp_path, ending):
    for exported in ("FLAIR.nii.gz", "gel.nii.gz", "lesions.csv", "notes.txt"):
        (tmp_path / exported).touch()
    require_no_stray_image(tmp_path, CODE)
    for name in (f"corrected{ending}", f"CORRECTED{ending.upper()}"):
        (tmp_path / name).touch()
        with pytest.raises(UsageError, match="expected only the exported images and masks, found 1 more"):
            require_no_stray_image(tmp_path, CODE)
        (tmp_path / name).unlink()


def test_decisions_on_an_earlier_export_are_refused(export, derivatives, reads, tmp_path):
    export("a")
    decide(tmp_path / "a", CODE)
    nifti.save(boxes((1, 1, 6), (6, 6, 1), (11, 10, 4)), derivatives.mask(SUBJECT, "wk00", MaskLabel.T2_LESION))
    export("b")
    with pytest.raises(UsageError, match="expected the currently proposed lesions"):
        import_decisions(tmp_path / "a", reads=reads, reader="R1")


def test_readers_need_a_plain_code(export, reads, tmp_path):
    export()
    with pytest.raises(UsageError, match="expected a reader's code"):
        import_decisions(tmp_path / "out", reads=reads, reader="../R1")


@pytest.mark.requirement("READ-05")
def test_a_later_read_is_a_new_version_and_no_version_is_changed(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    first = import_decisions(tmp_path / "out", reads=reads, reader="R1").reads[0]
    before = files_of(reads)
    decide(tmp_path / "out", CODE, reject={("GEL", 1)})
    known = KnownRead(first.version, first.digest)
    second = import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda _: known).reads[0]
    assert (first.version, first.replaces) == (1, "")
    assert (second.version, second.replaces) == (2, first.digest)
    assert load_record(reads, SUBJECT, "wk00", "R1", 2) == second
    after = files_of(reads)
    assert {path: after[path] for path in before} == before
    assert sorted(path.name for path in after.keys() - before.keys()) == [
        "black_holes.nii.gz", "gel.nii.gz", "read.json", "t2_lesions.nii.gz",
    ]  # fmt: skip


def test_reads_of_two_readers_lie_side_by_side(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    first = import_decisions(tmp_path / "out", reads=reads, reader="R1").reads[0]
    before = files_of(reads)
    decide(tmp_path / "out", CODE, reject={("GEL", 1)})
    second = import_decisions(tmp_path / "out", reads=reads, reader="R2").reads[0]
    assert load_record(reads, SUBJECT, "wk00", "R1", 1) == first
    assert load_record(reads, SUBJECT, "wk00", "R2", 1) == second
    after = files_of(reads)
    assert {path: after[path] for path in before} == before


def test_the_same_read_again_is_no_new_version(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    first = import_decisions(tmp_path / "out", reads=reads, reader="R1").reads[0]
    before = files_of(reads)
    known = KnownRead(1, first.digest, ("an open read", "a locked one", "hint"))
    again = import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda _: known)
    assert (again.reads, again.unchanged) == ((), (CODE,))
    assert files_of(reads) == before
    locked = replace(known, locked=True)
    with pytest.raises(UsageError, match="expected an open read, found a locked one"):
        import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda _: locked)
    decide(tmp_path / "out", reading_code(KEY, OTHER, "wk00"))  # a new read beside the locked one
    both = {SUBJECT: locked, OTHER: KnownRead()}
    imported = import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda p: both[p.subject])
    assert ([record.subject for record in imported.reads], imported.unchanged) == ([OTHER], (CODE,))
    known = replace(known, refusal=None, renewed=True)
    renewed = import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda _: known)
    assert {record.version for record in renewed.reads} == {2}


def test_a_visit_that_accepts_no_read_refuses_the_worklist(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    refusal = ("an open read", "a locked one", "ask")
    with pytest.raises(UsageError, match=f"^item {CODE}: expected an open read, found a locked one$") as caught:
        import_decisions(tmp_path / "out", reads=reads, reader="R1", known=lambda _: KnownRead(refusal=refusal))
    assert caught.value.hint == "ask"
    assert not list(reads.rglob("read.json"))


@pytest.mark.requirement("READ-04")
def test_locked_visits_are_not_exported_and_locked_files_are_read_only(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    record = import_decisions(tmp_path / "out", reads=reads, reader="R1").reads[0]
    protect_read(reads, record)
    files = list(read_folder(reads, SUBJECT, "wk00", "R1", 1).iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o400}
    again = export("again", locked={(SUBJECT, "wk00")})
    assert again.locked == 1
    assert CODE not in again.codes


def test_nobody_else_can_read_what_maps_codes_to_subjects(export, reads, tmp_path):
    reads.mkdir(mode=0o777)
    reads.chmod(0o777)
    export()
    decide(tmp_path / "out", CODE)
    import_decisions(tmp_path / "out", reads=reads, reader="R1")
    proposals = [*reads.glob("*/*/proposed/*"), *reads.glob("*/*/readers/*/*/*")]
    assert {path.name for path in proposals} >= {"proposal.json", "read.json", "t2_lesions.nii.gz"}
    for path in proposals:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        folders = [folder for folder in path.parents if folder.is_relative_to(reads)]
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


@pytest.mark.parametrize("name", ["t2_lesions.nii.gz", "read.json"])
def test_a_read_changed_behind_the_program_is_noticed(export, reads, tmp_path, name):
    export()
    decide(tmp_path / "out", CODE)
    import_decisions(tmp_path / "out", reads=reads, reader="R1")
    folder = read_folder(reads, SUBJECT, "wk00", "R1", 1)
    if name.endswith(".json"):
        (folder / name).write_text("{}")
    else:
        nifti.save(boxes((1, 1, 1)), folder / name)
    with pytest.raises(UsageError, match=r"expected the (confirmed|record)"):
        load_read(reads, SUBJECT, "wk00", "R1", 1)


# --- pure parts ------------------------------------------------------------------------------------------------


labels = st.lists(st.integers(0, 4), min_size=60, max_size=60).map(
    lambda v: np.array(v, np.uint8).reshape(5, 4, 3)
)
SMALL = Grid((5, 4, 3), np.diag([1.0, 1.0, 3.0, 1.0]))


@given(labels, st.permutations([1, 2, 3, 4]))
def test_numbers_by_place_do_not_depend_on_the_numbers_before_or_the_orientation(data, order):
    image = LabelImage(data, SMALL)
    numbered = numbered_by_place(image)
    shuffled = np.array([0, *order])[data]
    assert {frozenset(np.flatnonzero(numbered.data == n)) for n in np.unique(numbered.data)} == {
        frozenset(np.flatnonzero(data == n)) for n in np.unique(data)
    }
    heights = [p.position_mm for p in describe_proposals(numbered)]
    assert [p.number for p in describe_proposals(numbered)] == list(range(1, len(heights) + 1))
    centres = [round(float(np.argwhere(data == n)[:, 2].mean()), 6) for n in np.unique(data) if n]
    if len(set(centres)) == len(centres):  # otherwise places tie in height, and the next axis decides
        assert np.array_equal(numbered_by_place(LabelImage(shuffled, SMALL)).data, numbered.data)
        turned = numbered_by_place(image.reoriented("LPI")).reoriented("RAS")
        assert np.array_equal(turned.data, numbered.data)
    volumes = [p.volume_mm3 for p in describe_proposals(numbered)]
    assert sum(volumes) == pytest.approx(image.volume_mm3)


@given(labels, st.lists(st.booleans(), min_size=4, max_size=4))
def test_without_edits_confirmed_is_what_was_accepted(data, accepted):
    proposed = LabelImage(data, SMALL)
    decisions = {n: accepted[n - 1] for n in np.unique(data).tolist() if n}
    confirmed = confirm_mask(proposed, proposed, decisions, what="mask")
    assert np.array_equal(confirmed.mask.mask, np.isin(data, [n for n, yes in decisions.items() if yes]))
    assert (confirmed.voxels_added, confirmed.voxels_erased) == (0, 0)


@pytest.mark.parametrize(
    ("rejected", "lesions", "labels"),
    [
        (1, "lesion 1", "label 101"),
        (2, "lesions 1, 2", "labels 101, 102"),
        (5, "lesions 1, 2, 3, 4, 5", "labels 101, 102, 103, 104, 105"),
        (9, "lesions 1, 2, 3, 4, 5 and 4 more", "labels 101, 102, 103, 104, 105 and 4 more"),
    ],
)
def test_the_first_labels_are_named(rejected, lesions, labels):
    data = np.zeros((9, 2, 2), np.int32)
    data[:rejected] = np.arange(1, rejected + 1)[:, None, None]
    proposed, returned = (
        LabelImage(data, Grid(data.shape, np.eye(4))),
        LabelImage(np.where(data, data + 100, 0), Grid(data.shape, np.eye(4))),
    )
    with pytest.raises(
        UsageError, match=f"expected rejected {lesions} erased or unchanged, found {labels} instead$"
    ):
        confirm_mask(proposed, returned, dict.fromkeys(range(1, rejected + 1), False), what="mask")


@pytest.mark.parametrize(("count", "dtype"), [(255, np.uint8), (256, np.uint16), (400, np.uint16)])
def test_many_lesions_keep_their_numbers(count, dtype):
    data = np.zeros((40, 40, 3), np.int32)
    numbers = np.arange(1, 401)
    data[::2, ::2, 1] = np.where(numbers <= count, numbers, 0).reshape(20, 20)
    numbered = numbered_by_place(LabelImage(data, Grid(data.shape, np.eye(4))))
    assert numbered.data.dtype == dtype
    assert np.unique(numbered.data).tolist() == list(range(count + 1))


def test_an_empty_mask_has_no_lesions_and_digests_tell_grids_apart():
    empty = numbered_by_place(LabelImage(np.zeros(SMALL.shape, np.uint8), SMALL))
    assert describe_proposals(empty) == []
    moved = LabelImage(empty.data, Grid(SMALL.shape, np.diag([1.0, 1.0, 3.1, 1.0])))
    assert labels_digest(empty) != labels_digest(moved)
    with pytest.raises(GridMismatchError, match="mask: expected the grid"):
        onto_grid_of(empty, moved, "mask")


def files_of(reads):
    files = (path for path in sorted(reads.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(reads): path.read_bytes() for path in files}


def test_an_import_that_cannot_be_entered_leaves_every_file_where_it_was(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    before = files_of(reads)
    seen = []

    def enter(records):
        seen.extend(load_record(reads, r.subject, r.visit, r.reader, r.version).reader for r in records)
        raise OSError("the registry cannot be written")

    with pytest.raises(OSError, match="cannot be written"):
        import_decisions(tmp_path / "out", reads=reads, reader="R1", enter=enter)
    assert seen == ["R1"]  # the files were in place
    assert files_of(reads) == before
    import_decisions(tmp_path / "out", reads=reads, reader="R1", enter=lambda _: None)
    assert load_record(reads, SUBJECT, "wk00", "R1", 1).reader == "R1"


def test_the_rest_of_an_interrupted_import_is_replaced(export, reads, tmp_path):
    """The registry does not know the first import."""
    export()
    decide(tmp_path / "out", CODE)
    import_decisions(tmp_path / "out", reads=reads, reader="R1")
    decide(tmp_path / "out", CODE, reject={("GEL", 1)})
    record = import_decisions(tmp_path / "out", reads=reads, reader="R1").reads[0]
    assert (record.version, record.rejected) == (1, 1)
    assert load_read(reads, SUBJECT, "wk00", "R1", 1).record == record


# --- the contract with readers and their viewers ------------------------------------------------------------------


def test_a_worklist_holds_the_files_that_its_readme_names(export, tmp_path):
    export()
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {"README.md", "worklist.csv", "worklist.json", "items"}
    item = folder / "items" / CODE
    assert {path.name for path in item.iterdir()} == {
        "FLAIR.nii.gz", "T1.nii.gz", "T1_Gd.nii.gz", "t2_lesions.nii.gz", "gel.nii.gz", "black_holes.nii.gz",
        "lesions.csv",
    }  # fmt: skip
    readme = (folder / "README.md").read_text()
    assert all(name in readme for name in ("worklist.csv", "lesions.csv", "t2_lesions"))
    with (item / "lesions.csv").open(newline="") as stream:
        assert next(csv.reader(stream)) == [
            "reading_code", "type", "lesion", "volume_mm3", "voxel_x", "voxel_y", "voxel_z", "x_mm", "y_mm", "z_mm",
            "probability", "decision", "comment",
        ]  # fmt: skip


def test_the_numbered_masks_are_small_integers_that_every_viewer_shows_as_labels(export, tmp_path):
    export()
    for name in ("t2_lesions", "gel", "black_holes"):
        assert nib.load(tmp_path / "out" / "items" / CODE / f"{name}.nii.gz").get_data_dtype() == np.uint8
    empty = LabelImage(np.zeros(GRID.shape, dtype=np.int32), GRID)
    assert numbered_by_place(empty).data.dtype == np.uint8


@pytest.mark.parametrize(
    ("accept", "reject"), [("accept", "reject"), ("accepted", "rejected"), ("a", "r"), ("Accept", "REJECT")]
)
def test_the_words_that_readers_use_are_understood(export, reads, tmp_path, accept, reject):
    export()
    path = tmp_path / "out" / "items" / CODE / "lesions.csv"
    rows = rows_of(path)
    for row in rows:
        row["decision"] = reject if row["type"] == "GEL" else accept
    write_rows(path, rows)
    import_decisions(tmp_path / "out", reads=reads, reader="R1")
    record = load_record(reads, SUBJECT, "wk00", "R1", 1)
    assert (record.accepted, record.rejected) == (4, 1)


@pytest.mark.parametrize("mark", ["yes", "y", "x", "1", "true", "YES"])
def test_an_item_marked_as_done_is_read(export, reads, tmp_path, mark):
    export()
    decide(tmp_path / "out", CODE)
    path = tmp_path / "out" / "worklist.csv"
    rows = rows_of(path)
    for row in rows:
        row["done"] = mark if row["reading_code"] == CODE else "no"
    write_rows(path, rows)
    import_decisions(tmp_path / "out", reads=reads, reader="R1")
    assert load_record(reads, SUBJECT, "wk00", "R1", 1) is not None
    assert load_record(reads, OTHER, "wk00", "R1", 1) is None


def test_a_worklist_without_its_columns_says_which_are_missing(export, reads, tmp_path):
    export()
    path = tmp_path / "out" / "worklist.csv"
    write_rows(path, [{"reading_code": row["reading_code"]} for row in rows_of(path)])
    with pytest.raises(UsageError, match=r"^worklist: worklist\.csv, line 1: .* found none named done"):
        import_decisions(tmp_path / "out", reads=reads, reader="R1")


def test_the_check_of_an_item_changes_its_masks_and_its_notes_are_returned(export, reads, tmp_path):
    export()
    decide(tmp_path / "out", CODE)
    empty = LabelImage(np.zeros(GRID.shape, dtype=np.uint8), GRID)
    imported = import_decisions(
        tmp_path / "out",
        reads=reads,
        reader="R1",
        check=lambda masks, what: ({**masks, LesionKind.BLACK_HOLE: empty}, [f"{what}: none"]),
    )
    assert imported.notes == (f"item {CODE}: none",)
    confirmed = load_read(reads, SUBJECT, "wk00", "R1", 1).masks
    assert confirmed.confirmed
    assert not confirmed.black_holes.mask.any()
    assert confirmed.t2_lesions.mask.any()
