"""The tables of a trial on disk: the same bytes for any number of processes, one subject in memory at a time."""

from dataclasses import replace

import pytest

from benchmarks.tables import tables_digest, write_trial
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.plan import found_visits
from mri_pipeline.core.records import ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.store import read_folder
from mri_pipeline.registry import ScanState
from mri_pipeline.registry.database import writing
from mri_pipeline.registry.schema import ScanRow
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import csv_text, read_table, subject_tables, table_texts
from mri_pipeline.tables.schema import TIMEPOINTS
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.locked_trial import registry_of


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return write_trial(tmp_path_factory.mktemp("bench") / "trial", subjects=5, shape=(40, 44, 14))


def test_one_process_and_two_write_the_same_bytes(trial):
    digests = set()
    for nprocs in (1, 2):
        assert not write_trial_tables(trial.root, provisional=False, nprocs=nprocs).refused
        digests.add(tables_digest(trial))
    assert len(digests) == 1
    rows = read_table(trial.tables / "lesion_timepoints.csv")
    assert [row["visit"] for row in rows[:7]] == [row["visit"] for row in rows[-7:]]
    assert {row["read_status"] for row in rows} == {"locked"}
    assert sum(int(row["new_t2_count"] or 0) for row in rows) > 0
    codes = [row["subject"] for row in rows]
    assert codes == sorted(codes)


def test_a_damaged_read_is_told_from_another_process_too(trial):
    path = read_folder(trial.reads, "BENCH001", "wk12", "R1", 1) / LesionKind.GEL.file
    whole = path.read_bytes()
    path.unlink()  # a link: the other subjects keep theirs
    path.write_bytes(whole[:-1])
    try:
        said = [
            {code: error.message for code, error in written.refused.items()}
            for written in (write_trial_tables(trial.root, provisional=False, nprocs=n) for n in (1, 2))
        ]
    finally:
        path.write_bytes(whole)
    assert said[0] == said[1]
    assert list(said[0]) == ["BENCH001"]
    assert "expected the confirmed gel.nii.gz, found it missing or changed" in said[0]["BENCH001"]
    statuses = {
        r["scan_status"] for r in read_table(trial.tables / "lesion_timepoints.csv") if r["subject"] == "BENCH001"
    }
    assert statuses == {"failed"}


def counted(code, n):
    visits = (VisitCounts("wk00", t2_count=n), VisitCounts("wk04", t2_count=n, new_t2_count=0))
    return SubjectInput(SubjectResult(code, visits), dict.fromkeys(("wk00", "wk04"), ScanStatus.ANALYSED))


def test_subjects_are_taken_one_at_a_time_and_the_text_is_that_of_all_rows():
    visits = found_visits(["wk00", "wk04"])
    subjects = [counted(code, n) for n, code in enumerate(["DCDF2345", "BCDF2345", "CCDF2345"])]
    by_code = sorted(subjects, key=lambda subject: subject.code)
    rows = [subject_tables(s, visits, study="x", provisional=True)[TIMEPOINTS.file] for s in by_code]
    texts = table_texts(iter(subjects), visits, study="x", provisional=True)
    assert texts[TIMEPOINTS.file] == csv_text(TIMEPOINTS.names, [row for own in rows for row in own])
    assert [own[0]["subject"] for own in rows] == ["BCDF2345", "CCDF2345", "DCDF2345"]
    with pytest.raises(UsageError, match=r"expected every subject once, found \w+ twice"):
        table_texts(iter([*subjects, replace(subjects[0], scans={})]), visits, study="x", provisional=True)


def waiting(trial, code, visits):
    """Set scans to received, as a withdrawal of another scan of the subject does, or as an upload."""
    with registry_of(trial) as registry, writing(registry._engine) as session:
        for visit in visits:
            session.get_one(ScanRow, (code, visit)).status = ScanState.RECEIVED.value


def test_a_subject_whose_analysis_included_a_scan_that_is_gone_fails_and_the_others_are_done(
    locked_trial, tmp_path
):
    trial = write_trial(tmp_path / "two", subjects=2, shape=(40, 44, 14))
    visits = [row["visit"] for row in read_table(locked_trial.tables / "lesion_timepoints.csv")]
    waiting(trial, "BENCH000", visits)
    written = write_trial_tables(trial.root, provisional=False)
    analysed = f"the analysis has the visits {', '.join(visits)}; visits with an analysed scan: none"
    assert {code: error.message for code, error in written.refused.items()} == {
        "BENCH000": f"subject BENCH000: {analysed}"
    }
    assert written.notes == ()
    rows = read_table(trial.tables / "lesion_timepoints.csv")
    assert {(row["scan_status"], row["t2_count"]) for row in rows if row["subject"] == "BENCH000"} == {
        ("failed", "")
    }
    assert {row["scan_status"] for row in rows if row["subject"] == "BENCH001"} == {"analysed"}
    trial.derivatives.result("BENCH000").unlink()  # never analysed: nothing has failed
    written = write_trial_tables(trial.root, provisional=False)
    assert written.refused == {}
    (note,) = written.notes
    assert note.startswith(f"subject BENCH000, visit {', '.join(visits)}: not analysed with the present scans")
