"""Every table reads back as a frame of its schema, and nothing else does."""

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_tables_made import LABELS, VISITS, subject

from mri_pipeline.core.errors import UsageError
from mri_pipeline.tables.frames import frame_schema, read_frame
from mri_pipeline.tables.io import TABLES, write_tables
from mri_pipeline.tables.release import release_tables
from mri_pipeline.tables.schema import LESIONS, QUESTIONS, TIMEPOINTS


@pytest.fixture
def folder(tmp_path):
    write_tables(tmp_path / "tables", [subject(labels=LABELS[:2])], VISITS, study="mesems", provisional=True)
    return tmp_path / "tables"


@pytest.mark.parametrize("table", TABLES, ids=[table.file for table in TABLES])
def test_every_table_reads_back(folder, table):
    frame = read_frame(folder / table.file, table)
    assert tuple(frame.columns) == table.names
    assert frame_schema(table).name == table.file
    assert len(frame) or table is QUESTIONS
    for column in table.columns:
        assert not (column.required and frame[column.name].isna().any())


def test_missing_is_missing_and_numbers_are_numbers(folder):
    frame = read_frame(folder / TIMEPOINTS.file, TIMEPOINTS)
    assert frame["gel_count"].dtype == "Int64"
    assert frame["gel_count"].tolist()[:2] == [0, 1]
    assert frame["gel_count"].isna().tolist() == [False] * 2 + [True] * 5
    assert frame["t2_volume_ml"].tolist()[:2] == [1.2346, 2.2346]
    assert read_frame(folder / LESIONS.file, LESIONS)["enhancing"].tolist() == [True, True]


def test_a_released_table_has_the_site_first(folder, tmp_path):
    release_tables(folder, tmp_path / "out", {"BCDF2345": ("S01", "0007")}, reason="test")
    frame = read_frame(tmp_path / "out" / TIMEPOINTS.file, TIMEPOINTS, released=True)
    assert frame.columns[0] == "site"
    assert set(frame["subject"]) == {"0007"}  # a trial number may begin with zeros
    with pytest.raises(UsageError, match="site"):
        read_frame(tmp_path / "out" / TIMEPOINTS.file, TIMEPOINTS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.drop(columns="t2_count"), "t2_count"),
        (lambda frame: frame.assign(arm="placebo"), "arm"),
        (lambda frame: frame[frame.columns[::-1]], "ordered"),
        (
            lambda frame: frame.assign(scan_status=frame["scan_status"].mask(frame.index >= 3, "lost")),
            r"scan_status: isin.* \(line 5\)",
        ),
        (lambda frame: frame.assign(visit=None), r"visit: not_nullable \(line 2\)"),
        (lambda frame: frame.assign(gel_count="many"), "ValueError"),
    ],
)
def test_another_table_is_refused_without_a_value(folder, tmp_path, change, told):
    change(pd.read_csv(folder / TIMEPOINTS.file, dtype=str)).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UsageError, match=told) as caught:
        read_frame(tmp_path / "other.csv", TIMEPOINTS)
    assert "BCDF2345" not in str(caught.value)
    assert "lost" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="FileNotFoundError"):
        read_frame(tmp_path / "none.csv", TIMEPOINTS)


def test_the_schema_says_the_rule_of_each_column():
    schema = frame_schema(TIMEPOINTS)
    assert all(schema.columns[column.name].description == column.rule for column in TIMEPOINTS.columns)
