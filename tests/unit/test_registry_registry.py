"""The registry: gates, scans, reads, several processes, and an audit trail that cannot be changed unseen."""

import multiprocessing
import re
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace

import pytest

from mri_pipeline.core.errors import GateClosedError, SettingsError, UploadRefusedError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.registry import Gate, ReadCounts, Registry, ScanIdentity, ScannerFacts, ScanState
from mri_pipeline.registry.audit import GENESIS, entry_hash, verify_chain
from mri_pipeline.registry.schema import Base
from tests.unit.registry_steps import withdraw_scan

PROTOCOL = parse_protocol(protocol_text())
NEW = ["settings changed", "site entered", "site entered"]
SCANNER = ScannerFacts("Maker", "Model", "v1", 1.5, "ab" * 8)


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path)


@pytest.fixture
def registry(trial):
    with Registry.open(trial, PROTOCOL) as opened:
        yield opened


def analysed(registry, subject="BCDF2345", visit="wk00", site="S01"):
    registry.record_scan(subject, visit, site=site, upload_digest="d1", scanner=SCANNER)
    registry.record_analyses(subject, {visit: (ScanStatus.ANALYSED, "")})


def actions(registry):
    return [entry.action for entry in registry.audit_trail()]


def test_registry_is_private_and_opens_again(trial, registry):
    assert stat.S_IMODE(trial.registry_file.stat().st_mode) == 0o600
    registry.record_dummy_run("S01", accepted=True, upload_digest="d")
    with Registry.open(trial, PROTOCOL) as again:
        assert again.site("S01").gate is Gate.ACCEPTED
        assert actions(again) == [*NEW, "dummy-run"]


def test_new_site_of_the_protocol_is_entered(trial, registry):
    sites = (*PROTOCOL.sites, PROTOCOL.sites[0].model_copy(update={"code": "S99"}))
    with Registry.open(trial, PROTOCOL.model_copy(update={"sites": sites})) as again:
        assert [site.code for site in again.state().sites] == ["S01", "S02", "S99"]


@pytest.mark.requirement("INTAKE-02")
def test_gate_follows_the_latest_dummy_run(registry):
    with pytest.raises(GateClosedError, match="site S01: expected an accepted dummy run, found none"):
        registry.require_open_gate("S01")
    registry.record_dummy_run("S01", accepted=False, upload_digest="a", findings=["1.0 T"])
    with pytest.raises(GateClosedError, match="found a dummy run that was refused") as caught:
        registry.require_open_gate("S01")
    assert caught.value.exit_code == 3
    assert "dummy-run TRIAL UPLOAD --site S01" in caught.value.hint
    registry.record_dummy_run("S01", accepted=True, upload_digest="b", scanner=SCANNER)
    registry.require_open_gate("S01")
    assert registry.site("S01").gate is Gate.ACCEPTED
    with pytest.raises(GateClosedError):
        registry.require_open_gate("S02")
    with pytest.raises(SettingsError, match="expected a site"):
        registry.require_open_gate("S77")


def scan_states(registry):
    return {visit.visit: visit.scan for visit in registry.subject("BCDF2345").visits}


def test_a_refused_upload_enters_nobody_and_is_known_once_there_is_a_subject(registry):
    for reason in ("no FLAIR", "broken"):
        registry.record_refusal("S01", reason=reason, upload_digest="d0", subject="BCDF2345", visit="wk04")
    assert registry.subjects() == []
    registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d1")
    assert registry.subject("BCDF2345").visits[1].scan is ScanState.REFUSED
    assert registry.subject("BCDF2345").visits[1].findings == ("broken",)
    registry.record_scan("BCDF2345", "wk04", site="S01", upload_digest="d2")
    assert scan_states(registry)["wk04"] is ScanState.RECEIVED


def test_a_scan_on_its_way(registry):
    registry.record_refusal("S01", reason="no FLAIR", upload_digest="d0", subject="BCDF2345", visit="wk00")
    assert registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d1", findings=["thick slices"])
    assert not registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d1")
    registry.record_refusal("S01", reason="broken", upload_digest="d2", subject="BCDF2345", visit="wk00")
    states = scan_states(registry)
    assert list(states) == [visit.label for visit in PROTOCOL.visits]
    assert states["wk00"] is ScanState.RECEIVED
    assert states["wk04"] is ScanState.MISSING
    registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.FAILED, "no brain found")})
    registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.ANALYSED, "")})
    registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.ANALYSED, "")})
    assert registry.subject("BCDF2345").visits[0].read is None
    assert registry.subject("BCDF2345").visits[0].findings == ("thick slices",)
    assert actions(registry)[len(NEW) :] == [
        "upload refused", "subject entered", "scan received", "query entered", "upload refused", "scan failed",
        "scan analysed",
    ]  # fmt: skip


def test_what_does_not_fit_is_refused_and_leaves_no_trace(registry):
    analysed(registry)
    before = actions(registry)
    with pytest.raises(UsageError, match=r"expected no accepted scan, found one \(analysed\)"):
        registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="other")
    with pytest.raises(UsageError, match="expected the site it belongs to"):
        registry.record_scan("BCDF2345", "wk04", site="S02", upload_digest="x")
    with pytest.raises(SettingsError, match="expected a visit of the protocol"):
        registry.record_scan("BCDF2345", "wk99", site="S01", upload_digest="x")
    with pytest.raises(UsageError, match="expected an accepted scan, found none"):
        registry.record_analyses("BCDF2345", {"wk04": (ScanStatus.ANALYSED, "")})
    with pytest.raises(UsageError, match="unknown code"):
        registry.subject("ZZZZ9999")
    assert actions(registry) == before


def test_a_refused_upload_of_an_unknown_subject_enters_no_subject(registry):
    registry.record_refusal("S01", reason="no accepted dummy run", upload_digest="d")
    assert registry.subjects() == []
    assert registry.audit_trail()[-1].target == "S01"


def test_withdrawn_scan_makes_room(registry):
    analysed(registry)
    record_read(registry, "wk00", "R1")
    withdraw_scan(registry, "BCDF2345", "wk00", reason="wrong subject")
    assert scan_states(registry)["wk00"] is ScanState.MISSING
    assert registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d2")
    assert registry.subject("BCDF2345").visits[0].readers == ()


def record_read(registry, visit, reader, *, status=ReadStatus.CONFIRMED, counts=None):
    registry.record_reads({("BCDF2345", visit): counts or ReadCounts()}, reader=reader, status=status)


def test_reads_and_lock(registry):
    analysed(registry)
    with pytest.raises(UsageError, match="expected an analysed scan"):
        record_read(registry, "wk04", "R1")
    counts = ReadCounts(accepted=3, rejected=1, voxels_added=12, voxels_erased=3, digest="ab")
    record_read(registry, "wk00", "R1", counts=counts)
    assert registry.subject("BCDF2345").visits[0].counting.digest == "ab"
    with pytest.raises(UsageError, match="expected the reads of R1, found one by another reader"):
        record_read(registry, "wk00", "R2")
    assert registry.subject("BCDF2345").visits[0].readers == ("R1",)
    with pytest.raises(UsageError, match="expected a read by this reader"):
        registry.lock_reads([("BCDF2345", "wk00")], reader="R2")
    with pytest.raises(ValueError, match="found automatic"):
        record_read(registry, "wk00", "R1", status=ReadStatus.AUTOMATIC)
    record_read(registry, "wk00", "R1", counts=counts)
    assert registry.subject("BCDF2345").visits[0].read is ReadStatus.CONFIRMED
    with pytest.raises(UsageError, match="expected a read by this reader"):
        registry.lock_reads([("BCDF2345", "wk00")], reader="R3")
    registry.lock_reads([("BCDF2345", "wk00")], reader="R1")
    assert registry.subject("BCDF2345").visits[0].read is ReadStatus.LOCKED
    for change in (
        lambda: record_read(registry, "wk00", "R1"),
        lambda: record_read(registry, "wk00", "R2"),
        lambda: registry.lock_reads([("BCDF2345", "wk00")], reader="R2"),
        lambda: withdraw_scan(registry, "BCDF2345", "wk00", reason="x"),
    ):
        with pytest.raises(UsageError, match="found a locked one"):
            change()
    last = registry.audit_trail()[-1]
    assert (last.action, last.reader, last.target) == ("read locked", "R1", "BCDF2345 wk00")


def test_a_scan_keeps_how_it_was_made(registry):
    assert registry.scan_profiles("BCDF2345") == {}
    registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="a", profile={"software": "v1"})
    registry.record_scan("BCDF2345", "wk04", site="S01", upload_digest="b")
    assert registry.scan_profiles("BCDF2345") == {"wk00": {"software": "v1"}}
    withdraw_scan(registry, "BCDF2345", "wk00", reason="wrong subject")
    assert registry.scan_profiles("BCDF2345") == {}


def test_a_replaced_scan_and_its_read_are_kept(registry):
    registry.record_scan(
        "BCDF2345", "wk00", site="S01", upload_digest="d1", receipt="r1", profile={"software": "v1"},
        identity=ScanIdentity(("p", "", ""), frozenset({"s"}), 700_000, before_infusion=True, images={"FLAIR": "f"}),
    )  # fmt: skip
    registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.ANALYSED, "")})
    record_read(registry, "wk00", "R1", counts=ReadCounts(accepted=3, digest="ab"))
    with pytest.raises(UsageError, match=r"expected no accepted scan, found one \(analysed\)"):
        registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d2", receipt="r2")
    assert registry.record_scan(
        "BCDF2345", "wk00", site="S01", upload_digest="d2", receipt="r2", replace_because="wrong images",
        identity=ScanIdentity(images={"FLAIR": "f"}),  # its own images are no obstacle
    )  # fmt: skip
    (kept,) = registry.withdrawn()
    assert (kept["reason"], kept["replaced_by"]) == ("wrong images", "r2")
    scan = kept["scan"]
    assert (scan["upload_digest"], scan["receipt"], scan["shifted_day"]) == ("d1", "r1", 700_000)
    assert (scan["images"], scan["before_infusion"]) == ({"FLAIR": "f"}, "yes")
    assert scan["keys"] == [["number", "p"], ["study", "s"]]
    assert [(read["reader"], read["accepted"], read["digest"]) for read in kept["reads"]] == [("R1", 3, "ab")]
    assert (registry.upload("BCDF2345", "wk00"), registry.receipt("BCDF2345", "wk00")) == ("d2", "r2")
    assert registry.subject("BCDF2345").visits[0].readers == ()
    assert actions(registry)[-2:] == ["scan withdrawn", "scan received"]


def test_a_replacement_that_cannot_be_entered_withdraws_nothing(registry):
    registry.record_scan(
        "BCDF2345", "wk04", site="S01", upload_digest="d0", identity=ScanIdentity(images={"T1w": "t"})
    )
    registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d1", receipt="r1")
    before = actions(registry)
    with pytest.raises(UploadRefusedError, match="found those of another visit or subject"):
        registry.record_scan(
            "BCDF2345", "wk00", site="S01", upload_digest="d2", replace_because="wrong images",
            identity=ScanIdentity(images={"FLAIR": "t"}),
        )  # fmt: skip
    assert registry.receipt("BCDF2345", "wk00") == "r1"
    assert (actions(registry), registry.withdrawn()) == (before, [])


def test_a_scan_that_was_replaced_during_its_analysis_is_not_analysed(registry):
    keys = []
    # the same upload again, after another statement of the site, is another scan
    for upload, receipt in (("d1", "r1"), ("d1", "r2"), ("d2", "r2")):
        registry.record_scan(
            "BCDF2345", "wk00", site="S01", upload_digest=upload, receipt=receipt, replace_because="x"
        )
        keys.append(registry.subject("BCDF2345").visits[0].scan_key)
    assert len(set(keys)) == 3
    for earlier in keys[:2]:
        registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.ANALYSED, "")}, scan_keys={"wk00": earlier})
        assert scan_states(registry)["wk00"] is ScanState.RECEIVED
    registry.record_analyses("BCDF2345", {"wk00": (ScanStatus.ANALYSED, "")}, scan_keys={"wk00": keys[2]})
    assert scan_states(registry)["wk00"] is ScanState.ANALYSED


def test_reads_are_entered_and_locked_all_or_none(registry):
    analysed(registry)
    both = {("BCDF2345", "wk00"): ReadCounts(accepted=1, digest="a"), ("BCDF2345", "wk04"): ReadCounts()}
    before = actions(registry)
    with pytest.raises(UsageError, match="visit wk04: expected an analysed scan"):
        registry.record_reads(both, reader="R1", status=ReadStatus.CONFIRMED)
    assert registry.subject("BCDF2345").visits[0].read is None
    assert actions(registry) == before
    record_read(registry, "wk00", "R1")
    with pytest.raises(UsageError, match="visit wk04: expected a read by this reader"):
        registry.lock_reads(both, reader="R1")
    assert registry.subject("BCDF2345").visits[0].read is ReadStatus.CONFIRMED


def test_a_trial_under_way_gets_no_new_registry(trial):
    trial.rawdata.anat("BCDF2345", "wk00").mkdir(parents=True)
    with pytest.raises(UsageError, match="expected the registry of this trial, which has data, found none"):
        Registry.open(trial, PROTOCOL)
    assert not trial.registry_file.exists()
    url = f"sqlite:///{trial.root / 'elsewhere.sqlite'}"
    with pytest.raises(UsageError, match="found none"):  # an empty database of a url is no registry either
        Registry.open(trial, PROTOCOL.model_copy(update={"database_url": url}))


def test_a_trial_that_was_laid_out_has_its_registry(trial):
    trial.sealed.mkdir()
    (trial.sealed / "pepper").write_bytes(b"x")
    with pytest.raises(UsageError, match="expected the registry of this trial"):
        Registry.open(trial, PROTOCOL)
    url = f"sqlite:///{trial.root / 'elsewhere.sqlite'}"
    with Registry.open(trial, PROTOCOL.model_copy(update={"database_url": url})) as registry:
        assert registry.subjects() == []  # nothing has come in: the trial may move to another database


def test_state_at_a_glance(registry):
    analysed(registry, "BCDF2345", "wk04")
    analysed(registry, "XCDF2345", "wk00", "S02")
    state = registry.state()
    assert [(s.code, s.site) for s in state.subjects] == [("BCDF2345", "S01"), ("XCDF2345", "S02")]
    assert [[v.scan.value for v in s.visits].index("analysed") for s in state.subjects] == [1, 0]
    assert registry.subjects() == ["BCDF2345", "XCDF2345"]


@pytest.mark.requirement("BLIND-01")
def test_nothing_in_the_database_names_an_arm_or_a_trial_number(trial, registry):
    columns = {
        f"{table.name}.{column.name}" for table in Base.metadata.tables.values() for column in table.columns
    }
    columns -= {"edits.number"}  # of an operation of a reader
    assert not [name for name in columns if re.search(r"arm|number|name|birth|date|treat", name)]


# --- the audit trail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET reader = 'x'",
        "DELETE FROM audit",
        "REPLACE INTO audit SELECT seq, at, 'x', reader, action, target, details, previous, hash FROM audit",
    ],
)
@pytest.mark.requirement("AUDIT-02")
def test_the_database_refuses_to_change_the_trail(trial, registry, statement):
    with (
        closing(sqlite3.connect(trial.registry_file)) as raw,
        raw,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        raw.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET details = '{}' WHERE seq = 4",
        "UPDATE audit SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 2",
        "UPDATE audit SET reader = 'R2' WHERE seq = 4",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 1",
        "INSERT INTO audit SELECT 99, at, 'x', reader, action, target, details, previous, hash FROM audit LIMIT 1",
    ],
)
def test_a_change_behind_the_triggers_is_found(trial, registry, statement):
    analysed(registry)
    count, last = registry.verify_audit()
    assert (count, last) == (7, registry.audit_trail()[-1].hash)
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        raw.execute("DROP TRIGGER audit_no_update")
        raw.execute("DROP TRIGGER audit_no_delete")
        raw.execute(statement)
    with pytest.raises(UsageError, match="expected an unbroken audit trail, found a change at entry"):
        registry.verify_audit()


def _forged(entry, **changes):
    changed = replace(entry, **changes)
    return replace(changed, hash=entry_hash(changed))


def test_a_forger_who_knows_the_hash_breaks_the_chain_all_the_same(registry):
    analysed(registry)
    trail = registry.audit_trail()
    with pytest.raises(UsageError, match="found a change at entry 4"):
        verify_chain([*trail[:2], _forged(trail[2], reader="R9"), *trail[3:]])
    with pytest.raises(UsageError, match="found a change at entry 1"):
        verify_chain([_forged(trail[1], previous=GENESIS)])
    with pytest.raises(UsageError, match="found a change at entry 2"):
        verify_chain([trail[0], replace(trail[1], reader="R9")])


def test_entries_cut_off_at_the_end_change_the_head(registry):
    analysed(registry)
    trail = registry.audit_trail()
    assert verify_chain(trail[:-1]) != registry.verify_audit()


def test_a_transaction_that_fails_leaves_no_entry(registry):
    with pytest.raises(TypeError):
        registry.audit("note", details={"not json": object()})
    assert actions(registry) == NEW


def _write_entries(root, worker):
    with Registry.open(Trial(root), PROTOCOL) as registry:
        for i in range(10):
            registry.audit("note", target=f"{worker}", details={"i": i})


def test_processes_write_beside_each_other(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_entries, args=(tmp_path, worker)) for worker in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()  # pytest limits the time: a busy machine is no fault
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with Registry.open(Trial(tmp_path), PROTOCOL) as registry:
        assert registry.verify_audit()[0] == len(NEW) + 30


# --- other databases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["nonsense", "nodialect://x/y"])
def test_a_url_that_cannot_be_used(trial, url):
    with pytest.raises(SettingsError, match="database_url: expected a database"):
        Registry.open(trial, PROTOCOL.model_copy(update={"database_url": url}))


def test_another_file_is_not_taken_for_a_registry(trial):
    trial.registry_file.write_bytes(b"something else entirely" * 100)
    with pytest.raises(UsageError, match="expected the trial's registry"):
        Registry.open(trial, PROTOCOL)


def test_another_layout_is_refused(trial, registry):
    with closing(sqlite3.connect(trial.registry_file)) as raw, raw:
        raw.execute("UPDATE registry SET version = 99")
    with pytest.raises(UsageError, match="expected a registry of layout 2 to 9, found layout 99"):
        Registry.open(trial, PROTOCOL)
