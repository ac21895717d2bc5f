"""``segment`` on the stored simulated visit, and what it says to bad input."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri_pipeline.core.io import nifti
from mri_pipeline.core.spatial import Image
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from tests.unit.stand_in import stand_in

IMAGES = Path(__file__).parents[2] / "test_images"
FILES = {"--flair": "FLAIR", "--t1": "T1w", "--t1-gd": "ce-gadolinium_T1w", "--t2": "T2w"}


def image(name):
    return str(IMAGES / f"sub-phantom_ses-wk04_{name}.nii.gz")


def truth(name):
    return nifti.load_labels(image(f"truth-{name}"))


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    out = tmp_path_factory.mktemp("segmented")
    options = [part for option, name in FILES.items() for part in (option, image(name))]
    assert cli.invoke(["segment", *options, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
@pytest.mark.requirement("LESION-02")
def test_masks_lie_on_the_flair_and_on_the_lesions(segmented):
    flair = nifti.load_image(image("FLAIR"))
    for name, known in (("t2_lesions", "t2"), ("gel", "gel"), ("black_holes", "bh")):
        found = nifti.load_labels(segmented / f"{name}.nii.gz")
        assert found.grid.same_as(flair.grid)
        both = (found.mask & truth(known).mask).sum()
        assert 2 * both / (found.mask.sum() + truth(known).mask.sum()) > 0.5, name


@pytest.mark.slow
@pytest.mark.requirement("LESION-03")
def test_every_enhancing_lesion_is_found_and_no_vessel(segmented):
    """All of them are at least 5 mm and 45 % brighter than their surroundings."""
    found = nifti.load_labels(segmented / "gel.nii.gz")
    known = truth("gel")
    numbers = set(np.unique(known.data)) - {0}
    assert {n for n in numbers if found.mask[known.data == n].any()} == numbers
    parts = label_lesions(found.mask, found.grid, min_volume_mm3=0)
    assert {int(n) for n in np.unique(parts.data[known.mask])} - {0} == set(range(1, int(parts.data.max()) + 1))


@pytest.mark.slow
def test_the_table_tells_the_lesions_of_the_mask(segmented):
    rows = read_table(segmented / "lesions.csv")
    numbers = nifti.load_labels(segmented / "lesions.nii.gz")
    assert {int(row["lesion_id"]) for row in rows} == set(np.unique(numbers.data)) - {0}
    volumes = np.bincount(numbers.data.ravel()) * numbers.grid.voxel_volume_mm3
    for row in rows:
        assert float(row["volume_mm3"]) == pytest.approx(volumes[int(row["lesion_id"])], abs=0.01)


def other_grid(tmp_path, what):
    mask = nib.load(image("truth-t2"))
    data, affine = np.asarray(mask.dataobj), mask.affine.copy()
    if what == "cropped":
        data = data[:-3]
    else:
        affine[0, 3] += 5.0
    path = tmp_path / "brain.nii.gz"
    nib.save(nib.Nifti1Image((data * 0 + 1).astype(np.uint8), affine), path)
    return path


@pytest.mark.parametrize("what", ["cropped", "moved"])
def test_a_brain_mask_on_another_grid_is_refused(tmp_path, capsys, what):
    arguments = [
        "--flair",
        image("FLAIR"),
        "--brain-mask",
        str(other_grid(tmp_path, what)),
        "--out",
        str(tmp_path),
    ]
    assert cli.invoke(["segment", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: brain mask: expected the grid")


def test_an_image_without_orientation_is_refused(tmp_path, capsys):
    path = tmp_path / "flair.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(image("FLAIR")).dataobj), None), path)
    assert cli.invoke(["segment", "--flair", str(path), "--out", str(tmp_path)]) == 2
    assert "expected a qform or sform, found neither" in capsys.readouterr().err


def test_a_scan_that_is_no_head_is_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.nii.gz"
    nib.save(nib.Nifti1Image(rng.random((60, 60, 30), dtype=np.float32), np.diag([3.0, 3, 5, 1])), path)
    assert cli.invoke(["segment", "--flair", str(path), "--out", str(tmp_path)]) == 4
    assert capsys.readouterr().err.startswith("error: expected a brain")


@pytest.mark.slow
def test_one_visit_and_identical_visits_have_defined_results(tmp_path, capsys):
    """A subject with one visit compares nothing; two identical visits have no new lesion."""
    bids = tmp_path / "bids"
    for subject, visits in (("one", ["1"]), ("same", ["1", "2"])):
        for visit in visits:
            folder = bids / f"sub-{subject}" / f"ses-{visit}" / "anat"
            folder.mkdir(parents=True)
            for name in ("FLAIR", "T1w"):
                target = folder / f"sub-{subject}_ses-{visit}_{name}.nii.gz"
                target.write_bytes(Path(image(name)).read_bytes())
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    out = tmp_path / "out"
    assert cli.invoke(["bids", str(bids), str(out), "participant", "--nprocs", "2"]) == 0
    one, *same = read_table(out / "tables" / "lesion_timepoints.csv")
    assert (one["subject"], one["new_t2_count"], one["reference_visit"], one["gel_count"]) == ("one", "", "", "")
    assert int(one["t2_count"]) > 0
    assert (same[1]["new_t2_count"], same[1]["enlarging_t2_count"], same[1]["reference_visit"]) == ("0", "0", "1")
    assert same[0]["t2_count"] == same[1]["t2_count"]
    assert same[0]["t2_volume_ml"] == same[1]["t2_volume_ml"]

    broken = bids / "sub-one" / "ses-1" / "anat" / "sub-one_ses-1_FLAIR.nii.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    assert cli.invoke(["bids", str(bids), str(out), "participant", "--participant-label", "one"]) == 4
    again, *others = read_table(out / "tables" / "lesion_timepoints.csv")
    assert (again["scan_status"], again["t2_count"]) == ("failed", "")  # no number of the earlier run
    assert others == same  # participants that were not asked for keep their rows


def without_anatomy(path):
    """An image on the grid of a scan with nothing of a head in it: the noise of air, and a mark in a corner."""
    scan = nifti.load_image(path)
    air = np.random.default_rng(3).normal(100, 1, scan.data.shape).astype(np.float32)
    air[:3, :3, :2] = 500.0
    return Image(air, scan.grid)


@pytest.mark.slow
def test_a_contrast_that_cannot_be_registered_is_reported_and_excluded(tmp_path, capsys):
    """No head on a post-contrast T1: no GEL columns. No head on a FLAIR: a failed visit, and exit code 4."""
    bids = tmp_path / "bids"
    scans = {"wk00": ("FLAIR", "T1w"), "wk04": ("FLAIR", "ce-gadolinium_T1w"), "wk12": ("FLAIR",)}
    for visit, names in scans.items():
        for name in names:
            target = bids / "sub-x" / f"ses-{visit}" / "anat" / f"sub-x_ses-{visit}_{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            if (visit, name) in {("wk04", "ce-gadolinium_T1w"), ("wk12", "FLAIR")}:
                nifti.save(without_anatomy(image(name)), target)
            else:
                target.write_bytes(Path(image(name)).read_bytes())
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    out = tmp_path / "out"
    assert cli.invoke(["bids", str(bids), str(out), "participant"]) == 4
    said = capsys.readouterr().out
    assert "sub-x: done" in said
    assert "  wk12 FAILED: " in said
    assert "  visual QC required: wk04: ce-gadolinium_T1w excluded: registration to the FLAIR failed" in said
    rows = {row["visit"]: row for row in read_table(out / "tables" / "lesion_timepoints.csv")}
    assert [rows[visit]["scan_status"] for visit in scans] == ["analysed", "analysed", "failed"]
    assert (rows["wk04"]["gel_count"], rows["wk04"]["combined_unique_active_count"]) == ("", "")
    assert (rows["wk04"]["new_t2_count"], rows["wk00"]["bh_count"] != "") == ("0", True)
    assert {v for k, v in rows["wk12"].items() if k not in {"subject", "visit", "week", "scan_status"}} == {""}
    html = (out / "reports" / "sub-x.html").read_text()
    assert "Visual QC required." in html
    assert "FAILED, to " in html
    assert not list(out.glob("sub-x/ses-wk04/anat/*gadolinium*"))
    assert not (out / "sub-x" / "ses-wk12").exists()


def test_a_session_without_flair_is_a_row_and_a_subject_without_any_is_refused(tmp_path, capsys):
    folder = tmp_path / "bids" / "sub-x" / "ses-1" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-x_ses-1_T1w.nii.gz").write_bytes(Path(image("T1w")).read_bytes())
    (folder / "sub-x_ses-1_T2star.nii.gz").write_bytes(b"")
    (tmp_path / "bids" / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    run = ["bids", str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    assert cli.invoke(run) == 2
    assert "error: sub-x: no FLAIR found (ignored: sub-x/ses-1/anat/sub-x_ses-1_T2star" in capsys.readouterr().err
    assert cli.invoke([*run, "--participant-label", "y", "x"]) == 2
    assert "error: expected participants of the dataset (x), found y\n" in capsys.readouterr().err


def test_bids_output_may_not_be_its_input_and_group_needs_results(tmp_path, capsys):
    folder = tmp_path / "sub-x" / "ses-1" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-x_ses-1_FLAIR.nii.gz").write_bytes(Path(image("FLAIR")).read_bytes())
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    assert cli.invoke(["bids", str(tmp_path), str(tmp_path), "participant"]) == 2
    assert "expected OUT_DIR apart from BIDS_DIR" in capsys.readouterr().err
    assert cli.invoke(["bids", str(tmp_path), str(tmp_path / "out"), "group"]) == 2
    assert "expected analysed participants in OUT_DIR, found none" in capsys.readouterr().err


def test_an_output_that_is_a_file_and_a_mask_that_is_an_image_are_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.invoke(["segment", "--flair", image("FLAIR"), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: expected a folder that can be written")
    arguments = ["--flair", image("FLAIR"), "--brain-mask", image("FLAIR"), "--out", str(tmp_path / "out")]
    assert cli.invoke(["segment", *arguments]) == 2
    assert re.search(r"one other value in the brain, found \d\d+ other values\n", capsys.readouterr().err)


def settings_of(segmenter, folder):
    file = folder / "segmenter.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in segmenter.model_dump(mode="json").items()]
    file.write_text("\n".join(lines))
    return ["--segmenter", str(file)]


@pytest.mark.slow
def test_another_segmenter_gives_the_t2_lesions_and_the_rest_goes_on(tmp_path, capsys):
    options = [part for option, name in FILES.items() for part in (option, image(name))]
    out = tmp_path / "out"
    other = settings_of(stand_in(tmp_path), tmp_path)
    assert cli.invoke(["segment", *options, *other, "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["t2_segmenter"] == "stand-in 1.2"
    assert summary["t2_count"] > 0
    found = nifti.load_labels(out / "t2_lesions.nii.gz")
    probability = nifti.load_map(out / "t2_probability.nii.gz")
    gel = nifti.load_labels(out / "gel.nii.gz").mask
    assert gel.any()
    assert set(np.unique(probability.data[~gel])) == {0.0, 1.0}  # the program's own answer
    assert (found.mask & (probability.data < 0.5)).sum() == 0
    assert found.mask[gel].any()  # a GEL that the program did not find on T2 is a T2 lesion, too
    assert json.loads((out / "provenance.json").read_text())["t2_segmenter"] == "stand-in 1.2"
    assert not list(out.glob("segmenter*"))

    fails = settings_of(stand_in(tmp_path, "fails"), tmp_path)
    (out / "segmenter").mkdir()
    (out / "segmenter" / "my notes").touch()
    assert cli.invoke(["segment", *options[:2], *fails, "--out", str(out)]) == 4
    assert "segmenter stand-in 1.2: expected exit code 0, found 3" in capsys.readouterr().err
    assert len(list(out.glob("segmenter-*/segmenter.log"))) == 1
    assert (out / "segmenter" / "my notes").is_file()
    assert not (out / "t2_lesions.nii.gz").exists()  # the earlier run's


@pytest.mark.slow
def test_a_subject_whose_segmenter_fails_leaves_the_others_and_tables_hold_one_segmenter(tmp_path, capsys):
    bids, out = tmp_path / "bids", tmp_path / "out"
    for subject, names in (("with", ("FLAIR", "T1w")), ("without", ("FLAIR",))):
        folder = bids / f"sub-{subject}" / "ses-1" / "anat"
        folder.mkdir(parents=True)
        for name in names:
            target = folder / f"sub-{subject}_ses-1_{name}.nii.gz"
            target.write_bytes(Path(image(name)).read_bytes())
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    unused = bids / "sub-with" / "ses-1" / "anat" / "sub-with_ses-1_T2starw.nii.gz"
    unused.write_bytes(Path(image("FLAIR")).read_bytes())
    other = settings_of(stand_in(tmp_path, more=("{t1}",)), tmp_path)
    assert cli.invoke(["bids", str(bids), str(out), "participant", *other]) == 4
    said = capsys.readouterr().out
    assert "sub-with: done" in said
    assert (
        "sub-without: FAILED: step lesions_wf.external_wf.external_1: segmenter stand-in 1.2, visit 1: expected T1w"
        in said
    )
    rows = {row["subject"]: row for row in read_table(out / "tables" / "lesion_timepoints.csv")}
    assert int(rows["with"]["t2_count"]) > 0
    assert (rows["without"]["scan_status"], rows["without"]["t2_count"]) == ("failed", "")
    sidecar = out / "sub-with" / "ses-1" / "anat" / "sub-with_ses-1_space-subject_label-T2lesion_mask.json"
    assert json.loads(sidecar.read_text())["GeneratedBy"] == [{"Name": "stand-in", "Version": "1.2"}]
    assert "stand-in <b>1.2</b>" in (out / "reports" / "sub-with.html").read_text()
    index = (out / "reports" / "index.html").read_text()
    assert "2 subjects: <b>1</b> done, <b>1</b> failed." in index
    assert '<a href="sub-with.html">' in index
    assert "<b>failed:</b> step lesions_wf.external_wf.external_1: segmenter stand-in 1.2, visit 1" in index
    methods = (out / "reports" / "CITATION.md").read_text()
    assert "segmented with stand-in 1.2" in methods
    assert "FLAIR (1), T1w (1)." in methods
    for page in (index, (out / "reports" / "sub-with.html").read_text()):
        assert f"{unused.name}: T2starw is not a contrast of this analysis" in page

    before = (out / "tables" / "lesion_timepoints.csv").read_bytes()
    assert cli.invoke(["bids", str(bids), str(out), "participant", "--participant-label", "without"]) == 2
    assert re.search(
        "expected participants analysed by one set of lesion rules, one segmenter and one software, found sub-with "
        "with rules digest [0-9a-f]{12}, expected [0-9a-f]{12}",
        capsys.readouterr().err,
    )
    assert (out / "tables" / "lesion_timepoints.csv").read_bytes() == before
    assert cli.invoke(["bids", str(bids), str(out), "group"]) == 0

    empty = settings_of(stand_in(tmp_path, "empty", more=("{t1}",)), tmp_path)
    assert cli.invoke(["bids", str(bids), str(out), "participant", "--participant-label", "with", *empty]) == 0
    message = "1: T2 lesions: stand-in 1.2 found none, the built-in segmentation"
    assert f"visual QC required: {message}" in capsys.readouterr().out
    assert message in (out / "reports" / "sub-with.html").read_text()
    index = (out / "reports" / "index.html").read_text()
    assert message in index
    assert "sub-without.html" not in index
    assert read_table(out / "tables" / "lesion_timepoints.csv")[0]["t2_volume_ml"] == "0.0000"
