"""``mri-pipeline audit``: one changed byte anywhere is found by name."""

import csv
import json
from dataclasses import replace

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.audit import AuditAction, AuditEntry, backward_times
from mri_pipeline.registry.differences import differences
from mri_pipeline.registry.replay import ReplayError, replay
from reading_centre import cli
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.audit import AuditSelection, anchor_audit, export_audit, selected_entries
from reading_centre.use_cases.trial.audit_verify import verify_trial
from tests.unit.locked_trial import CODE, NUMBER, behind_the_trail, flip, registry_of

ANOTHER_READ = (
    "INSERT INTO reads SELECT subject, visit, 'R7', status, accepted, rejected, voxels_added, voxels_erased, digest, "
    "version, standing FROM reads WHERE visit = 'wk00'"
)


@pytest.fixture
def trial(locked_trial):
    return locked_trial


def test_an_unchanged_trial_has_no_deviation(trial):
    found = verify_trial(trial.root)
    assert found.deviations == ()
    with registry_of(trial) as registry:
        assert (found.entries, found.last) == registry.verify_audit()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE audit SET reader = 'R9' WHERE seq = 4", "found a change at entry 4"),
        ("DELETE FROM audit WHERE seq = 2", "found a change at entry 2"),
        (
            "UPDATE reads SET accepted = accepted + 1 WHERE visit = 'wk00'",
            "BENCH000, wk00, R1: expected accepted as in the audit trail, found a different value",
        ),
        (
            "UPDATE reads SET standing = 'mustermann' WHERE visit = 'wk00'",
            "BENCH000, wk00, R1: expected standing as in the audit trail, found a different value",
        ),
        (
            "UPDATE reads SET status = 'confirmed' WHERE visit = 'wk04'",
            "BENCH000, wk04, R1: expected status as in the audit trail, found confirmed",
        ),
        (
            "UPDATE reads SET standing = 'open' WHERE visit = 'wk04'",
            "BENCH000, wk04, R1: expected standing as in the audit trail, found open",
        ),
        ("DELETE FROM reads WHERE visit = 'wk04'", "wk04, R1: expected the row of the audit trail, found none"),
        (ANOTHER_READ, "wk00, R7: expected no row as in the audit trail, found a row in the registry"),
        (
            "UPDATE scans SET status = 'failed' WHERE visit = 'wk12'",
            "BENCH000, wk12: expected status as in the audit trail, found failed",
        ),
        (
            "UPDATE scans SET upload_digest = 'f' WHERE visit = 'wk12'",
            "BENCH000, wk12: expected upload digest as in the audit trail, found a different value",
        ),
        (
            "UPDATE sites SET gate = 'accepted', gate_at = 'x' WHERE code = 'S02'",
            "gate of site S02: expected gate as in the audit trail, found accepted",
        ),
    ],
)
@pytest.mark.requirement("AUDIT-01")
def test_a_changed_row_of_the_registry_is_found(trial, statement, message):
    behind_the_trail(trial, statement)
    found = verify_trial(trial.root)
    assert any(message in deviation for deviation in found.deviations), found.deviations


def test_an_entry_that_does_not_follow_from_the_earlier_ones_is_named():
    entries = [AuditEntry(7, "2026-01-01", "os", "R1", AuditAction.READ_UNLOCKED.value, "AB12 wk00", {}, "")]
    with pytest.raises(ReplayError, match=r"^7$"):
        replay(entries)
    assert differences(None, entries) == [
        "audit trail: expected entries that follow from the earlier ones, found entry 7, which does not"
    ]


@pytest.mark.requirement("AUDIT-03")
def test_a_changed_byte_of_a_read_a_locked_copy_a_table_or_the_key_is_found_by_name(trial):
    mask = next(path for path in (trial.reads / CODE / "wk12").rglob("*.nii.gz") if "locked" not in path.parts)
    kept = trial.reads / CODE / "wk04" / "locked" / "FLAIR.nii.gz"
    table = trial.tables / "lesions.csv"
    for path in (mask, kept, table):
        flip(path)
    (trial.sealed / "subjects.csv").write_text(
        (trial.sealed / "subjects.csv").read_text().replace(f",{NUMBER}", ",0002")
    )
    found = verify_trial(trial.root).deviations
    for text in (
        f"wk12: expected the confirmed {mask.name}",
        f"visit wk04: expected {kept.name}",
        "expected lesions.csv",
        CODE,
    ):
        assert any(text in deviation for deviation in found), (text, found)
    assert not any(NUMBER in deviation for deviation in found)


@pytest.mark.requirement("AUDIT-02")
def test_a_cut_trail_is_found_by_its_anchor_alone(trial, tmp_path):
    anchor = tmp_path / "anchor.json"
    count, last = anchor_audit(trial.root, anchor)
    assert json.loads(anchor.read_text())["last"] == last
    behind_the_trail(trial, f"DELETE FROM audit WHERE seq = {count}")
    assert verify_trial(trial.root).deviations == ()
    (deviation,) = verify_trial(trial.root, anchor).deviations
    assert (
        deviation
        == f"audit trail: expected entry {count} of the anchor (hash {last[:12]}), found {count - 1} entries"
    )
    anchor.write_text("{}")
    with pytest.raises(UsageError, match=r"expected an anchor of the audit trail, found none in anchor\.json"):
        verify_trial(trial.root, anchor)


def test_an_anchor_is_a_new_file_outside_of_the_trial(trial, tmp_path):
    with pytest.raises(UsageError, match=r"expected a file outside of the trial, found anchor\.json in it"):
        anchor_audit(trial.root, trial.root / "anchor.json")
    (tmp_path / "anchor.json").write_text("")
    with pytest.raises(UsageError, match=r"expected a new file, found anchor\.json"):
        anchor_audit(trial.root, tmp_path / "anchor.json")


def test_a_clock_that_ran_back_is_found(trial):
    with registry_of(trial) as registry:
        entries = registry.audit_trail()
    assert backward_times(entries) == []
    entries[4] = replace(entries[4], at="2020-01-01T00:00:00+00:00")
    assert backward_times(entries) == [5]


def test_no_tables_are_written_on_a_broken_trail(trial):
    behind_the_trail(trial, "UPDATE audit SET reader = 'R9' WHERE seq = 4")
    before = (trial.tables / "endpoints.csv").stat().st_mtime_ns
    with pytest.raises(UsageError, match="expected an unbroken audit trail, found a change at entry 4"):
        write_trial_tables(trial.root, provisional=True)
    assert (trial.tables / "endpoints.csv").stat().st_mtime_ns == before


def test_entries_are_selected(trial):
    everything = selected_entries(trial.root, AuditSelection())
    locked = selected_entries(trial.root, AuditSelection(subject=CODE, actor="R1", action="read locked"))
    assert {entry.action for entry in locked} == {"read locked"}
    assert len(locked) == 7
    day = everything[0].at[:10]
    assert selected_entries(trial.root, AuditSelection(since=day)) == everything
    assert selected_entries(trial.root, AuditSelection(until=day[:4])) == everything
    assert selected_entries(trial.root, AuditSelection(until="2020")) == []
    assert selected_entries(trial.root, AuditSelection(since="2999-01-01")) == []
    with pytest.raises(UsageError, match="expected a time such as 2026-03-01 or 2026-03-01T12:00"):
        AuditSelection(since="yesterday")
    with pytest.raises(UsageError, match="expected an action of the audit trail, found 'readlocked'") as refused:
        AuditSelection(action="readlocked")
    assert "read locked" in (refused.value.hint or "")


def test_an_export_has_all_columns(trial, tmp_path):
    everything = selected_entries(trial.root, AuditSelection())
    for name in ("audit.csv", "audit.json"):
        assert export_audit(trial.root, tmp_path / name, AuditSelection()) == len(everything)
    with (tmp_path / "audit.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [json.loads(row["details"]) for row in rows] == [entry.details for entry in everything]
    assert [row["hash"] for row in json.loads((tmp_path / "audit.json").read_text())] == [
        e.hash for e in everything
    ]
    with pytest.raises(UsageError, match=r"expected a file that ends with \.csv or \.json, found \.xls"):
        export_audit(trial.root, tmp_path / "audit.xls", AuditSelection())


def test_the_command_line(trial, tmp_path, capsys):
    assert cli.invoke(["audit", "verify", str(trial.root)]) == 0
    assert "intact; last" in capsys.readouterr().out
    assert cli.invoke(["audit", "anchor", str(trial.root), str(tmp_path / "a.json")]) == 0
    assert cli.invoke(["audit", "verify", str(trial.root), "--anchor", str(tmp_path / "a.json")]) == 0
    assert cli.invoke(["audit", "export", str(trial.root), str(tmp_path / "a.csv"), "--actor", "R1"]) == 0
    capsys.readouterr()
    assert cli.invoke(["audit", "show", str(trial.root), "--action", "read locked", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 7
    assert cli.invoke(["audit", "show", str(trial.root), "--action", "tables written"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("  tables written")
    assert json.loads(second)["provisional"] is False
    flip(trial.tables / "nv.csv")
    assert cli.invoke(["audit", "verify", str(trial.root)]) == 2
    printed = capsys.readouterr()
    assert "expected nv.csv as 'mri-pipeline tables' wrote it, found it changed" in printed.out
    assert "error: expected a trial as in its audit trail, found 1 deviation\n" in printed.err
