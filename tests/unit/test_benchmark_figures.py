"""Figures that `benchmarks.accuracy` reads from the output of its scripts."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.core.spatial import Grid, LabelImage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)
    return importlib.import_module("benchmarks.accuracy.__main__")


def printed(driver, folder, text):
    (folder / driver.OUTPUT).write_text(text)
    return folder


def test_figures_of_rescans_pairs_and_subjects(driver, tmp_path):
    text = (
        "ljubljana07x3mm                0.77     0.88     +14.4 %     1        0        0 (1)\n"
        "patient 01  dice 0.68  truth_ml 1.2  recall_from_50_mm3 2/6  precision_from_50_mm3 2/2  cpu_s 3\n"
        "patient 03  failed no brain\n"
        "2D: 22 subjects, 143 visits, failed: none\n"
        "new             5 to 10   97/97 = 1.00       88/90 = 0.98       0.989\n"
        "new             5 to inf  135/135 = 1.00     130/132 = 0.98     0.992\n"
        "quiet, one scanner: 35 pairs, false: new 0, enlarging 1, GEL 0\n"
    )
    folder = printed(driver, tmp_path, text)
    assert driver.rescan(folder) == {
        "ljubljana07x3mm: T2 volume": "+14.4 %",
        "ljubljana07x3mm: false new": "1",
        "ljubljana07x3mm: false enlarging": "0",
    }
    pairs = driver.printed_pairs(folder)
    assert (pairs["01: dice"], pairs["01: recall_from_50_mm3"], pairs["03: dice"]) == ("0.68", "2/6", "failed")
    assert driver.serial(folder) == {
        "2D, new: found": "135/135",
        "2D, new: right": "130/132",
        "2D, new: F1": "0.992",
        "2D, quiet, one scanner, 35 pairs: false": "new 0, enlarging 1, GEL 0",
    }


def test_new_lesions_are_counted_by_size_and_by_number_of_visits(driver, tmp_path):
    two, three = {"visits": 2, "quiet": False}, {"visits": 3, "quiet": False}
    rows = [
        two | {"diameter_mm": 5.0, "found": True, "covered": False},
        two | {"diameter_mm": 7.0, "found": False, "covered": False},
        two | {"diameter_mm": 3.5, "found": False, "covered": False},
        two | {"false_mm3": [20.0]},
        two | {"quiet": True, "false_mm3": []},
        three | {"diameter_mm": 6.0, "found": True, "covered": True, "late": False, "kept": True},
        three | {"false_mm3": []},
        three | {"quiet": True, "false_mm3": [15.0, 30.0]},
    ]
    (tmp_path / "out.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert driver.new_lesions(tmp_path) == {
        "2 visits, from 5 mm, found": "1 of 2",
        "2 visits, from 5 mm, covered": "0 of 2",
        "2 visits, below 5 mm, found": "0 of 1",
        "2 visits, active: false": "1",
        "2 visits, quiet: false": "0",
        "3 visits, from 5 mm, found": "1 of 1",
        "3 visits, from 5 mm, covered": "1 of 1",
        "3 visits, from 5 mm, late": "0 of 1",
        "3 visits, from 5 mm, kept": "1 of 1",
        "3 visits, below 5 mm, found": "0 of 0",
        "3 visits, active: false": "0",
        "3 visits, quiet: false": "2",
    }


def test_a_row_is_run_again_only_if_what_it_depends_on_has_changed(driver, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nwith Path(sys.argv[1]).open('a') as f: f.write('run ')\n"
    )
    calls = tmp_path / "calls"
    row = driver.Row(((str(script), str(calls)),), lambda _: {"figure": calls.read_text()})
    monkeypatch.setattr(driver, "code_digest", lambda: "one")
    work = tmp_path / "work"
    assert driver.run(row, work, tmp_path, None) == {"figure": "run "}
    assert driver.run(row, work, tmp_path, None) == {"figure": "run "}
    monkeypatch.setattr(driver, "code_digest", lambda: "two")
    assert driver.run(row, work, tmp_path, None) == {"figure": "run run "}


def test_earlier_figures_and_goals_are_of_rows_that_exist(driver):
    earlier = json.loads(driver.EARLIER.read_text())
    assert set(earlier["figures"]) | set(earlier["goals"]) <= set(driver.ROWS)
    assert driver.goal(earlier["goals"]["new"], "quiet pairs: false") == "1 in 20 pairs"
    assert driver.goal(earlier["goals"]["new"], "nothing") == ""


def test_lesions_of_the_injection_gate_are_counted_by_size_and_tissue(driver, tmp_path):
    rows = [
        {"volume_mm3": 99.0, "in_white_matter": True, "found": True},
        {"volume_mm3": 30.0, "in_white_matter": False, "found": False},
        {"volume_mm3": 100.0, "in_white_matter": True, "found": False},
    ]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "lesions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    figures = driver.injection_gate(tmp_path)
    assert figures["0 to 100 mm³"] == "1 of 2"
    assert figures["0 to 100 mm³, in white matter"] == "1 of 1"
    assert figures["100 to 500 mm³"] == figures["100 to 500 mm³, in white matter"] == "0 of 1"
    assert figures["500 to 10000 mm³"] == "0 of 0"


def test_a_lesion_beside_the_filling_is_not_counted_apart_from_it(monkeypatch):
    """30 % within 3 mm: the rest of a true lesion. The fourth number has no voxel."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "accuracy"))
    script = importlib.import_module("white_matter_insertion")
    filling, lesions = np.zeros((40, 3, 3), bool), np.zeros((40, 3, 3), np.int32)
    filling[:5] = True
    lesions[6:16, 1, 1] = 1  # 2 of 10 voxels within 3 mm
    lesions[6:12, 0, 0] = 2  # 2 of 6
    lesions[20:23, 1, 1] = 3
    lesions[30:32, 1, 1] = 5
    grid = Grid(lesions.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert script.apart_from(filling, LabelImage(lesions, grid)) == [20.0, 6.0, 4.0]


def test_a_filled_head_has_two_figures_of_false_t2_lesions(driver, tmp_path):
    head = {"case": "a", "slices": 1, "lesions": 0, "false_t2": 3, "false_t2_mm3": 90.0}
    rows = [
        head | {"head": "untouched"},
        head | {"head": "filled", "false_t2_apart": 1, "false_t2_apart_mm3": 20.0},
    ]
    (tmp_path / "out.jsonl").write_text("\n".join(map(json.dumps, rows)))
    figures = driver.insertion(tmp_path)
    assert figures["filled a, 1 mm: false t2"] == "3 (90 mm³)"
    assert figures["filled a, 1 mm: false t2 apart from the filling"] == "1 (20 mm³)"
    assert not any("untouched" in name for name in figures)
