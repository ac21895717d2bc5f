"""The release: trial numbers in a private folder of their own, and nothing half done."""

import csv
import json
import stat

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.plan import found_visits
from mri_pipeline.core.records import ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import read_table, write_tables
from mri_pipeline.tables.release import release_tables

KEY = {"BCDF2345": ("S01", "0012"), "XCDF2345": ("S02", "0012"), "ZCDF2345": ("S02", "0099")}


@pytest.fixture
def tables(tmp_path):
    visits = found_visits(["wk00"])
    subjects = [
        SubjectInput(
            SubjectResult(code, (VisitCounts("wk00", gel_count=n, t2_count=n),)), {"wk00": ScanStatus.ANALYSED}
        )
        for n, code in enumerate(["XCDF2345", "BCDF2345"])
    ]
    write_tables(tmp_path / "tables", subjects, visits, study="mesems", provisional=True)
    return tmp_path / "tables"


@pytest.mark.requirement("BLIND-02")
def test_codes_become_numbers_and_nothing_else_changes(tables, tmp_path):
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    released = release_tables(tables, tmp_path / "released", KEY, reason="final analysis")
    assert released.subjects == 2
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before
    assert {path.name for path in released.files} == {*before, "nv.xpt", "define.xml"}
    blinded = read_table(tables / "lesion_timepoints.csv")
    for row, named in zip(blinded, read_table(tmp_path / "released" / "lesion_timepoints.csv"), strict=True):
        assert (named.pop("site"), named.pop("subject")) == KEY[row.pop("subject")]
        assert named == row
    usubjid = {row["USUBJID"] for row in read_table(tmp_path / "released" / "nv.csv")}
    assert usubjid == {"mesems-S01-0012", "mesems-S02-0012"}
    for path in released.files:
        content = path.read_bytes()
        assert b"CDF2345" not in content
        assert b"0099" not in content


def test_dictionary_describes_the_released_columns(tables, tmp_path):
    release_tables(tables, tmp_path / "released", KEY, reason="final analysis")
    dictionary = json.loads((tmp_path / "released" / "data_dictionary.json").read_text())
    for name, table in dictionary["tables"].items():
        with (tmp_path / "released" / name).open(newline="") as stream:
            assert next(csv.reader(stream)) == [column["name"] for column in table["columns"]]
    assert "trial number" in json.dumps(dictionary["tables"]["endpoints.csv"])


def test_released_files_are_private(tables, tmp_path):
    released = release_tables(tables, tmp_path / "released", KEY, reason="final analysis")
    assert stat.S_IMODE((tmp_path / "released").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in released.files} == {0o600}


def test_what_is_refused(tables, tmp_path):
    out = tmp_path / "released"
    with pytest.raises(UsageError, match="expected a reason"):
        release_tables(tables, out, KEY, reason=" ")
    with pytest.raises(UsageError, match="found one inside"):
        release_tables(tables, tables / "released", KEY, reason="x")
    with pytest.raises(UsageError, match="found one inside"):
        release_tables(tables, tables, KEY, reason="x")
    with pytest.raises(UsageError, match="found 1 without an entry"):
        release_tables(tables, out, {"BCDF2345": ("S01", "0012")}, reason="x")
    (tables / "endpoints.csv").rename(tables / "other.csv")
    with pytest.raises(UsageError, match=r"expected the table endpoints\.csv, found none"):
        release_tables(tables, out, KEY, reason="x")
    assert not out.exists()
    out.mkdir()
    with pytest.raises(UsageError, match="found one that exists"):
        release_tables(tables, out, KEY, reason="x")
