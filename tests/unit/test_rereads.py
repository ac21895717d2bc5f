"""Hidden re-reads in later worklists: they look like other visits and change no number."""

import shutil

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.reading.record import ReadPurpose
from mri_pipeline.reading.worklist import is_drawn, reading_code
from reading_centre.use_cases.reading.agreement import write_agreement
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.reading_trial import (
    copy_of,
    decide,
    edit_protocol,
    lesions_but_no_holes,
    opened,
    rows_of,
    visits_of,
    write_unread_trial,
)

CODE = "BENCH000"
FIRST = ("wk00", "wk04", "wk12", "wk24")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Four of seven visits are read by R1 and locked."""
    trial = write_unread_trial(tmp_path_factory.mktemp("again") / "trial")
    edit_protocol(trial, "readers = 1", "readers = 1\nrereads_percent = 100\norder_of_visits_known = true")
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(text.replace("order_of_visits_known = false\n", ""))
    worklist = trial.root.parent / "first"
    export_reads(trial.root, worklist, reader="R1")
    decide(worklist, codes={code_of(trial, visit) for visit in FIRST})
    import_reads(trial.root, worklist, reader="R1")
    lock_reads(trial.root, reader="R1")
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path)


def code_of(trial, visit, purpose=ReadPurpose.READ):
    return reading_code(Sealed.open(trial).secret("reading"), CODE, visit, purpose)


def tables(trial):
    files = write_trial_tables(trial.root, provisional=True).files
    return {path.name: path.read_bytes() for path in files}


def without_gel(_code, row):
    return "reject" if row["type"] in {"GEL", "BH"} else "accept"


@pytest.mark.requirement("READ-06")
def test_rereads_are_hidden_among_the_other_visits(trial, tmp_path):
    assert export_reads(trial.root, tmp_path / "second", reader="R1")["exported"] == 7
    rows = {row["reading_code"]: row for row in rows_of(tmp_path / "second" / "worklist.csv")}
    again = {code_of(trial, visit, ReadPurpose.REREAD) for visit in FIRST}
    assert again < set(rows)
    assert not again & {code_of(trial, visit) for visit in visits_of(trial)}
    series = {code: row["series"] for code, row in rows.items()}
    assert len({series[code] for code in again}) == 1
    assert not {series[code] for code in again} & {series[code] for code in set(rows) - again}
    assert [rows[code_of(trial, visit, ReadPurpose.REREAD)]["position"] for visit in FIRST] == ["1", "2", "3", "4"]
    beside_a_previous = {path.parent.name for path in (tmp_path / "second" / "items").glob("*/previous")}
    assert beside_a_previous  # a re-read has no previous visit: it would show the reader's own first read
    assert not again & beside_a_previous


@pytest.mark.requirement("READ-06")
def test_a_reread_changes_no_read_and_no_table_and_gives_the_agreement(trial, tmp_path):
    before, states = tables(trial), visits_of(trial)
    export_reads(trial.root, tmp_path / "second", reader="R1")
    again = {code_of(trial, visit, ReadPurpose.REREAD) for visit in FIRST}
    folder = decide(tmp_path / "second", without_gel, again)
    assert import_reads(trial.root, folder, reader="R1")["confirmed"] == 4
    assert (tables(trial), visits_of(trial)) == (before, states)
    assert import_reads(trial.root, folder, reader="R1")["unchanged"] == 4
    rows = [row for row in rows_of(write_agreement(trial.root)[1]) if row["comparison"] == "within reader"]
    found = {(row["readers"], row["endpoint"], row["statistic"]): row for row in rows}
    assert float(found["R1", "t2_lesions", "dice_median"]["value"]) == 1
    assert float(found["R1", "gel", "dice_median"]["value"]) == 0  # all were rejected the second time
    assert found["R1", "t2_count", "icc_2_1"]["visits"] == "4"
    assert export_reads(trial.root, tmp_path / "third", reader="R1")["exported"] == 3  # each visit once
    decide(folder, lesions_but_no_holes, again)
    with pytest.raises(
        UsageError, match="expected a visit of this reader, found an item that was read and imported already"
    ):
        import_reads(trial.root, folder, reader="R1")


def test_a_reread_is_that_of_its_reader(trial, tmp_path):
    export_reads(trial.root, tmp_path / "second", reader="R1")
    code = code_of(trial, "wk00", ReadPurpose.REREAD)
    for other in (tmp_path / "second" / "items").iterdir():
        if other.name != code:
            shutil.rmtree(other)
    decide(tmp_path / "second", codes={code})
    with pytest.raises(UsageError, match="expected a visit of this reader, found an item of another reader"):
        import_reads(trial.root, tmp_path / "second", reader="R2")
    assert export_reads(trial.root, tmp_path / "other", reader="R2")["exported"] == 3


def test_the_share_is_drawn_by_a_keyed_hash(trial):
    key = Sealed.open(trial).secret("reading")
    subjects = [f"S{number}" for number in range(400)]
    drawn = [is_drawn(key, subject, "wk04", "R1", percent=10) for subject in subjects]
    assert 20 < sum(drawn) < 64
    assert drawn == [is_drawn(key, subject, "wk04", "R1", percent=10) for subject in subjects]
    assert drawn != [is_drawn(key, subject, "wk04", "R2", percent=10) for subject in subjects]
    assert not any(is_drawn(key, subject, "wk04", "R1", percent=0) for subject in subjects)


def test_no_rereads_without_the_setting(trial, tmp_path):
    edit_protocol(trial, "rereads_percent = 100\n", "")
    assert export_reads(trial.root, tmp_path / "second", reader="R1")["exported"] == 3
    with opened(trial) as registry:
        assert "rereads" not in registry.audit_entries("worklist exported")[-1].details
