"""The release of a trial: only tables as they were written, under a key that fits its codes."""

import shutil

import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import KnownScan, Registry, ScanIdentity
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from reading_centre.use_cases.tables import release as use_case
from reading_centre.use_cases.tables.release import release_trial_tables
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.locked_trial import CODE, NUMBER, SITE


@pytest.fixture
def trial(locked_trial):
    return locked_trial


def entries(trial, action):
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        return registry.audit_entries(action)


def release(trial, **options):
    return release_trial_tables(trial.root, reason="final analysis", out=trial.root.parent / "out", **options)


def test_a_release_records_the_digest_of_every_file(trial):
    released = release(trial)
    assert not released.other_software
    digests = {path.name: file_digest(path) for path in released.files}
    assert entries(trial, "release written")[-1].details == {"reason": "final analysis", "files": digests}
    assert len(entries(trial, "tables released")) == 1


@pytest.mark.parametrize(
    "name",
    ["endpoints.csv", "lesions.csv", "lesion_timepoints.csv", "nv.csv", "questions.csv", "data_dictionary.json"],
)
@pytest.mark.parametrize("damage", ["changed", "missing"])
@pytest.mark.requirement("AUDIT-04")
def test_a_table_that_is_not_as_it_was_written_is_refused_by_name(trial, name, damage):
    path = trial.tables / name
    content = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(content.replace(b"e", b"f", 1))
    with pytest.raises(UsageError, match=f"expected {name} as 'mri-pipeline tables' wrote it, found it {damage}"):
        release(trial)
    assert not (trial.root.parent / "out").exists()
    assert entries(trial, "tables released") == []


def test_provisional_tables_are_released_only_on_request(trial):
    write_trial_tables(trial.root, provisional=True)
    with pytest.raises(
        UsageError, match="expected tables from locked reads for the release, found provisional ones"
    ):
        release(trial)
    assert release(trial, provisional=True).files


def test_the_last_tables_count(trial):
    earlier = (trial.tables / "data_dictionary.json").read_bytes()
    write_trial_tables(trial.root, provisional=True)
    (trial.tables / "data_dictionary.json").write_bytes(earlier)
    with pytest.raises(UsageError, match=r"expected data_dictionary\.json as"):
        release(trial)


@pytest.mark.requirement("BLIND-02")
def test_swapped_rows_of_the_key_are_refused_before_the_blinding_is_lifted(trial):
    Sealed.open(trial).code_for(SITE, "0002")
    path = trial.sealed / "subjects.csv"
    header, one, two = path.read_text().split()
    path.write_text("\n".join([header, one.replace(",0001", ",0002"), two.replace(",0002", ",0001")]) + "\n")
    with pytest.raises(
        UsageError, match="expected every issued code beside its own subject, found 2 of 2 without"
    ):
        release(trial)
    assert entries(trial, "tables released") == []


def test_tables_of_an_earlier_version_are_refused_and_of_other_software_named(trial, monkeypatch):
    monkeypatch.setattr(use_case, "software", lambda: {"mri-pipeline source": "another"})
    assert release(trial).other_software
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        registry.audit("tables written", details={"provisional": False})
    shutil.rmtree(trial.root.parent / "out")
    with pytest.raises(UsageError, match="expected tables whose digests are in the audit trail, found none"):
        release(trial)


def test_the_schedule_dates_nv_and_is_compared_with_the_scans(trial, monkeypatch, capsys):
    schedule, out = trial.root.parent / "schedule.csv", trial.root.parent / "out"
    schedule.write_text(
        "site,subject,visit,date,rfstdtc\n"
        f"{SITE},{NUMBER},wk00,2026-03-01,2026-03-02\n{SITE},{NUMBER},wk04,2026-03-29,\n"
    )
    scans = [
        KnownScan(CODE, visit, ScanIdentity(shifted_day=day))
        for visit, day in (("wk00", 5), ("wk04", 34), ("wk12", 90))
    ]
    monkeypatch.setattr(Registry, "relatives", lambda *_: scans)
    command = ["tables", str(trial.root), "--schedule", str(schedule)]
    assert cli.invoke(command) == 2
    assert "expected --release with --schedule, found none" in capsys.readouterr().err
    assert cli.invoke([*command, "--release", str(out), "--reason", "final analysis"]) == 0
    assert entries(trial, "tables released")[-1].details["schedule"] == file_digest(schedule)
    said = capsys.readouterr().err
    assert "Dates in nv: from schedule.csv; it has no date of 5 of 7 visits with a scan" in said
    assert (
        "Note: schedule.csv, line 3, column date: the days since the first scan of the subject differ from" in said
    )
    rows = {row["VISIT"]: row for row in read_table(out / "nv.csv")}
    assert (rows["wk00"]["NVDTC"], rows["wk00"]["NVDY"]) == ("2026-03-01", "-1")
    assert (rows["wk04"]["NVDTC"], rows["wk04"]["NVDY"]) == ("2026-03-29", "28")
    assert (rows["wk00"]["NVEVAL"], rows["wk00"]["USUBJID"]) == ("INDEPENDENT ASSESSOR", f"mesems-{SITE}-{NUMBER}")


def test_a_name_that_no_transport_file_holds_lifts_no_blinding(trial):
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(text.replace('name = "mesems"', 'name = "\u00c9tude"'))
    with pytest.raises(UsageError, match="STUDYID: expected ASCII text"):
        release(trial)
    assert entries(trial, "tables released") == []


def test_a_wrong_schedule_lifts_no_blinding(trial):
    schedule = trial.root.parent / "schedule.csv"
    schedule.write_text(f"site,subject,visit,date\n{SITE},{NUMBER},wk00,1.3.2026\n")
    with pytest.raises(UsageError, match=r"schedule\.csv, line 2, column date: expected a date"):
        release(trial, schedule=schedule)
    assert entries(trial, "tables released") == []
