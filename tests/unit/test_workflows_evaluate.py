"""`mri-pipeline evaluate` from files to the page, and what it refuses."""

import csv
import errno
import json

import numpy as np
import pytest

from mri_pipeline.core.errors import ImageError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from reading_centre import cli
from reading_centre.use_cases.analysis.evaluate import score_pair
from reading_centre.use_cases.analysis.mask_pairs import pairs_of_csv, pairs_of_folders

GRID = Grid((12, 10, 8), np.diag([1.0, 1.0, 1.0, 1.0]))


def save(path, *blocks, grid=GRID):
    data = np.zeros(grid.shape, dtype=np.uint8)
    for low, high in blocks:
        data[low:high, 1:4, 1:3] = 1
    return nifti.save(LabelImage(data, grid), path)


@pytest.fixture
def folders(tmp_path):
    """Three cases: half found and one invented, perfect, missed."""
    for case, reference, predicted in (
        ("a", [(0, 4)], [(2, 4), (8, 10)]),
        ("b", [(0, 4)], [(0, 4)]),
        ("c", [(0, 2)], []),
    ):
        save(tmp_path / "reference" / f"{case}.nii.gz", *reference)
        save(tmp_path / "predicted" / f"{case}.nii", *predicted)
    return tmp_path


def run(folder, *more):
    return cli.invoke(
        ["evaluate", "--predicted", f"{folder}/predicted", "--reference", f"{folder}/reference",
         "--out", f"{folder}/out", *more]
    )  # fmt: skip


def table(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_three_pairs_from_folders_to_page_and_tables(folders, capsys):
    assert run(folders, "--data", "Three <blocks>", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["cases"], summary["dice"]) == (3, 0.5)
    assert summary["lesion_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-4)
    cases = table(folders / "out" / "cases.csv")
    assert [(row["case"], row["dice"], row["lesion_precision"]) for row in cases] == [
        ("a", "0.5000", "0.5000"), ("b", "1.0000", "1.0000"), ("c", "0.0000", ""),
    ]  # fmt: skip
    assert (cases[0]["reference_ml"], cases[0]["volume_difference_percent"]) == ("0.0240", "0.0000")
    assert [(r["case"], r["mask"], r["volume_mm3"], r["covered"], r["found_10_percent"])
            for r in table(folders / "out" / "lesions.csv")] == [
        ("a", "reference", "24.00", "0.5000", "true"),
        ("a", "predicted", "12.00", "1.0000", "true"),
        ("a", "predicted", "12.00", "0.0000", "false"),
        ("b", "reference", "24.00", "1.0000", "true"),
        ("b", "predicted", "24.00", "1.0000", "true"),
        ("c", "reference", "12.00", "0.0000", "false"),
    ]  # fmt: skip
    sizes = table(folders / "out" / "sizes.csv")
    assert [(r["reference_lesions"], r["found"]) for r in sizes if r["rule"] == "10 % rule"][:2] == [
        ("1", "0"), ("2", "2"),
    ]  # fmt: skip
    page = (folders / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "Three &lt;blocks&gt;" in page
    assert "3 cases; use for tuning not stated" in page
    assert "src=" not in page.replace('src="data:image/png;base64,', "")
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("reference", "predicted", "dice"), [([], [], ""), ([], [(0, 4)], "0.0000"), ([(0, 1)], [(0, 12)], "0.1538")]
)
def test_one_case_is_a_data_set_too_with_or_without_lesions(tmp_path, reference, predicted, dice):
    name = f"sub-{'x' * 60}_mask.nii.gz"
    save(tmp_path / "reference" / name, *reference)
    save(tmp_path / "predicted" / name, *predicted)
    assert run(tmp_path) == 0
    (row,) = table(tmp_path / "out" / "cases.csv")
    assert row["dice"] == dice
    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert ("Both masks are empty in 1 case (sub-" in page) is (dice == "")


def test_the_same_masks_give_the_same_files(folders):
    assert run(folders) == 0
    first = {path.name: path.read_bytes() for path in (folders / "out").iterdir()}
    assert run(folders) == 0
    assert {path.name: path.read_bytes() for path in (folders / "out").iterdir()} == first


def test_a_csv_names_the_pairs_and_which_were_tuned_on(folders, capsys):
    file = folders / "pairs.csv"
    file.write_text(
        "case,predicted,reference,tuned_on,scanner\n"
        "one,predicted/a.nii,reference/a.nii.gz,yes,S1\ntwo,predicted/b.nii,reference/b.nii.gz,no,S2\n"
    )
    assert cli.invoke(["evaluate", "--pairs", str(file), "--out", str(folders / "out")]) == 0
    assert "cases: 2, dice: 0.75" in capsys.readouterr().out
    assert [row["tuned_on"] for row in table(folders / "out" / "cases.csv")] == ["true", "false"]
    assert "1 of them used for tuning the segmentation" in (folders / "out" / "evaluation.html").read_text()


def test_masks_on_different_grids_are_refused_by_the_label_of_the_case(folders, capsys):
    save(folders / "predicted" / "b.nii", (0, 4), grid=Grid(GRID.shape, np.diag([1.0, 1.0, 2.0, 1.0])))
    assert run(folders) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: case b: predicted mask: expected the grid 12 x 10 x 8 voxels of 1.00")
    assert "bring the predicted mask to the grid of the reference" in error
    assert not list((folders / "out").iterdir())


def test_a_probability_is_no_mask(folders, capsys):
    nifti.save(Image(np.full(GRID.shape, 0.3, dtype=np.float32), GRID), folders / "predicted" / "a.nii")
    assert run(folders) == 2
    assert capsys.readouterr().err.startswith("error: case a: a.nii: expected whole labels")


def test_a_case_without_its_mask_does_not_vanish(folders, capsys):
    (folders / "predicted" / "c.nii").unlink()
    assert run(folders) == 2
    assert "expected a predicted mask for every reference one, found none for 1 of 3: c" in capsys.readouterr().err
    save(folders / "predicted" / "c.nii")
    save(folders / "predicted" / "d.nii")
    assert run(folders) == 2
    assert "expected a reference mask for every predicted one, found none for 1 of 4: d" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either --predicted and --reference, or --pairs"),
        (["--predicted", "{tmp}"], "expected either"),
        (
            ["--predicted", "{tmp}/none", "--reference", "{tmp}"],
            "expected a folder of predicted masks, found none",
        ),
        (
            ["--predicted", "{tmp}", "--reference", "{tmp}"],
            "expected NIfTI files in the folder of predicted masks",
        ),
        (["--pairs", "{tmp}/none.csv"], "expected none.csv, found none"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    assert cli.invoke(["evaluate", "--out", f"{tmp_path}/out", *(a.format(tmp=tmp_path) for a in arguments)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    "head", ["case,predicted,reference\n", "case; predicted; reference\r\n", "reference , case,x,predicted,x\n\n"]
)
def test_a_csv_may_come_from_a_spreadsheet(folders, head):
    names = [name.strip() for name in head.replace(";", ",").split(",")]
    row = {"case": "Größe", "predicted": "predicted/a.nii", "reference": "reference/a.nii.gz"}
    file = folders / "pairs.csv"
    separator = ";" if ";" in head else ","
    file.write_text(head + separator.join(row.get(name, "") for name in names) + "\n,,\n".replace(",", separator))
    (pair,) = pairs_of_csv(file)
    assert (pair.case, pair.predicted, pair.reference) == (
        "Größe", folders / "predicted" / "a.nii", folders / "reference" / "a.nii.gz"
    )  # fmt: skip


def test_one_file_is_not_compared_with_itself(folders, capsys):
    folder = str(folders / "reference")
    assert cli.invoke(["evaluate", "--predicted", folder, "--reference", folder, "--out", f"{folders}/out"]) == 2
    assert capsys.readouterr().err.startswith("error: case a: predicted and reference mask are the same file")


def test_other_labels_than_one_and_a_dollar_in_a_name_and_means_over_some_cases(folders):
    for side in ("predicted", "reference"):
        save(folders / side / "a$x{b$.nii.gz", (0, 4), (6, 8))
    labels = nifti.load_labels(folders / "reference" / "a$x{b$.nii.gz")
    nifti.save(LabelImage(labels.data * 2, GRID), folders / "reference" / "a$x{b$.nii.gz")
    save(folders / "predicted" / "d.nii")
    save(folders / "reference" / "d.nii")
    assert run(folders) == 0
    page = (folders / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "Labels other than 1 in 1 case (a$x{b$)" in page
    assert "<b>0.62</b>Dice (4 of 5 cases)" in page


def test_no_page_of_an_earlier_run_stands_for_one_that_failed(folders, capsys):
    assert run(folders) == 0
    save(folders / "predicted" / "b.nii", (0, 4), grid=Grid(GRID.shape, np.diag([1.0, 1.0, 2.0, 1.0])))
    assert run(folders) == 2
    assert not list((folders / "out").iterdir())
    capsys.readouterr()
    file = folders / "cases.csv"
    file.write_text("case,predicted,reference\n")
    assert cli.invoke(["evaluate", "--pairs", str(file), "--out", str(folders)]) == 2
    assert "it would overwrite cases.csv" in capsys.readouterr().err


def test_a_full_disk_is_one_line(folders, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr("reading_centre.use_cases.analysis.evaluate.evaluation_html", full)
    assert run(folders) == 2
    assert capsys.readouterr().err.startswith("error: expected a folder that can be written, found: No space left")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the columns case, predicted, reference, found none named case, predicted"),
        ("case,predicted,reference\n", r"pairs\.csv: expected rows below the header, found no row"),
        ("case,predicted\na,b\n", "line 1: .* found none named reference"),
        ("case,predicted,reference\na,b,\n", "line 2: expected a case, two paths .* found no reference"),
        ("case,predicted,reference,tuned_on\na,b,c,perhaps\n", "tuned_on, found 'perhaps' in tuned_on"),
        (
            "case,predicted,reference\na,b,c\na,d,e\n",
            "line 3, column case: expected every case once, found a again",
        ),
    ],
)
def test_a_csv_that_does_not_name_pairs_is_refused(tmp_path, text, message):
    file = tmp_path / "pairs.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        pairs_of_csv(file)


def write_mask(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    return nifti.save(LabelImage(data.astype(np.int32), Grid(data.shape, np.diag([1.0, 1, 3, 1]))), path)


BALL = np.zeros((12, 14, 8), bool)
BALL[3:7, 4:8, 2:5] = True


def test_masks_stored_with_other_axes_are_turned_back(tmp_path):
    reference = write_mask(tmp_path / "r" / "a.nii.gz", BALL)
    turned = nifti.load_labels(reference).reoriented("PSL")
    nifti.save(turned, tmp_path / "p" / "a.nii.gz")
    (pair,) = pairs_of_folders(tmp_path / "p", tmp_path / "r")
    assert score_pair(pair).scores.dice == 1.0


def test_the_output_tree_of_the_analysis_is_paired_by_subject_and_session(tmp_path):
    for visit in ("wk00", "wk04"):
        for label in ("T2lesion", "GEL"):
            name = f"sub-A_ses-{visit}_space-subject_label-{label}_mask.nii.gz"
            write_mask(tmp_path / "out" / "sub-A" / f"ses-{visit}" / "anat" / name, BALL)
        write_mask(tmp_path / "ref" / f"sub-A_ses-{visit}_manual.nii.gz", BALL)
    pairs = pairs_of_folders(tmp_path / "out", tmp_path / "ref", label=MaskLabel.GEL)
    assert [pair.case for pair in pairs] == ["sub-A_ses-wk00", "sub-A_ses-wk04"]
    assert all("label-GEL" in pair.predicted.name for pair in pairs)
    with pytest.raises(UsageError, match=r"label-BH_mask.nii.gz in the BIDS tree of predicted masks, found none"):
        pairs_of_folders(tmp_path / "out", tmp_path / "ref", label=MaskLabel.BLACK_HOLE)
    write_mask(tmp_path / "ref" / "sub-A_ses-wk04_second.nii.gz", BALL)
    with pytest.raises(UsageError, match="expected one reference mask for sub-A_ses-wk04, found"):
        pairs_of_folders(tmp_path / "out", tmp_path / "ref")


def test_outputs_of_segment_are_paired_by_their_folders(tmp_path):
    for case in ("case01", "case02"):
        for name in ("t2_lesions", "gel", "lesions", "t2_probability"):
            write_mask(tmp_path / "out" / case / f"{name}.nii.gz", BALL)
        write_mask(tmp_path / "ref" / f"{case}.nii.gz", BALL)
    for label, name in ((MaskLabel.T2_LESION, "t2_lesions.nii.gz"), (MaskLabel.GEL, "gel.nii.gz")):
        pairs = pairs_of_folders(tmp_path / "out", tmp_path / "ref", label=label)
        found = [(pair.case, pair.predicted.name, pair.predicted.parent.name) for pair in pairs]
        assert found == [("case01", name, "case01"), ("case02", name, "case02")]
    (tmp_path / "out" / "case02" / "gel.nii.gz").unlink()
    with pytest.raises(
        UsageError, match=r"expected a predicted mask for every reference one, found none for 1 of 2"
    ):
        pairs_of_folders(tmp_path / "out", tmp_path / "ref", label=MaskLabel.GEL)
    with pytest.raises(
        UsageError, match="--label: expected T2lesion, GEL, BH for outputs of segment, found newT2"
    ):
        pairs_of_folders(tmp_path / "out", tmp_path / "ref", label=MaskLabel.NEW_T2)


def test_an_intensity_image_is_no_mask_and_many_numbered_lesions_are(tmp_path):
    rng = np.random.default_rng(0)
    write_mask(tmp_path / "r" / "a.nii.gz", BALL)
    write_mask(tmp_path / "p" / "a.nii.gz", rng.integers(0, 900, BALL.shape))
    (pair,) = pairs_of_folders(tmp_path / "p", tmp_path / "r")
    with pytest.raises(
        ImageError, match=r"case a: expected a lesion mask, found a.nii.gz with .* values in 100 %"
    ):
        score_pair(pair)
    numbered = np.zeros(BALL.shape, int)
    numbered[::3, ::3, 0] = np.arange(1, 21).reshape(4, 5)
    write_mask(tmp_path / "p" / "a.nii.gz", numbered)
    assert score_pair(pair).scores.dice == 0.0


def test_grey_levels_are_no_labels_however_few_or_small_and_touching_lesions_are(tmp_path):
    """Few values, or values in a small part of the volume: neighbours differ in an image, and not in a lesion."""
    write_mask(tmp_path / "r" / "a.nii.gz", BALL)
    noise = np.random.default_rng(0)
    for image in (noise.integers(0, 20, BALL.shape), np.where(BALL, noise.integers(1, 900, BALL.shape), 0)):
        write_mask(tmp_path / "p" / "a.nii.gz", image)
        (pair,) = pairs_of_folders(tmp_path / "p", tmp_path / "r")
        with pytest.raises(
            ImageError, match=r"case a: expected a lesion mask, found a.nii.gz with the same value in only \d+ %"
        ):
            score_pair(pair)
    x, y, z = np.indices(BALL.shape) // 3
    touching = 1 + x + 10 * y + 100 * z  # cubes of 3 voxels side by side
    pair_of_voxels = np.zeros(BALL.shape, int)
    pair_of_voxels[4, 5, 3], pair_of_voxels[5, 5, 3] = 1, 2  # two lesions that touch: no share can be judged
    for labels, dice in ((np.where(BALL, touching, 0), 1.0), (pair_of_voxels, 4 / (BALL.sum() + 2))):
        write_mask(tmp_path / "p" / "a.nii.gz", labels)
        assert score_pair(pair).scores.dice == pytest.approx(dice)
