"""The registry of version 0.1.0 with its data becomes one of the present layout, in SQLite and in PostgreSQL."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect, text

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry import Gate, Registry, ScannerFacts, ScannerState, ScanState, migrate
from mri_pipeline.registry.assignment_records import Edit
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import open_engine, writing
from mri_pipeline.registry.job_records import SHORT, JobKind, JobState
from mri_pipeline.registry.schema import SCHEMA_VERSION, Base
from mri_pipeline.registry.trail import append

FROM_VISITS = ScannerFacts("Maker", "Other", "v1", 3.0, "")
OLD = Path(__file__).parents[1] / "data" / "registry_0.1.0.sql"
PROTOCOL = parse_protocol(protocol_text())
HEAD_OF_OLD = "c7a01ae0101f868cddbc3e3dbb500b96eb06747d5fe872ebef4670430d16037e"


def write_old(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(OLD.read_text())
    database.close()
    return path


def to_layout(engine, layout, monkeypatch):
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _head: upgrade(config, layout))
    with writing(engine) as session:
        migrate.upgrade(session.connection(), layout=None)
    monkeypatch.undo()


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request, tmp_path, monkeypatch):
    """A trial with the registry of version 0.1.0, and its protocol."""
    trial = Trial(tmp_path)
    if request.param == "sqlite":
        write_old(trial.registry_file)
        return trial, PROTOCOL
    url = request.getfixturevalue("postgresql_url")
    source, target = (
        create_engine(f"sqlite:///{write_old(tmp_path / 'old.sqlite')}"),
        open_engine(url, tmp_path / "-"),
    )
    to_layout(target, "2", monkeypatch)
    tables = MetaData()
    tables.reflect(source)
    with source.connect() as rows, target.begin() as connection:
        for table in tables.sorted_tables:
            if table.name == "registry":
                connection.execute(table.delete())
            found = [dict(row) for row in rows.execute(table.select()).mappings()]
            if found:
                connection.execute(table.insert(), found)
        connection.execute(text("SELECT setval('scanners_id_seq', 10)"))
        connection.execute(text("DROP TABLE alembic_version"))  # version 0.1.0 did not use alembic
    source.dispose()
    target.dispose()
    return trial, PROTOCOL.model_copy(update={"database_url": url})


def test_a_registry_of_version_0_1_0_keeps_all_that_it_has(old):
    with Registry.open(*old) as registry:
        assert registry.site("S01").gate is Gate.ACCEPTED
        visits = {visit.visit: visit for visit in registry.subject("BCDF2345").visits}
        assert [visits[v].scan for v in ("wk00", "wk04", "wk12", "wk24")] == [
            ScanState.ANALYSED, ScanState.FAILED, ScanState.REFUSED, ScanState.MISSING,
        ]  # fmt: skip
        assert (visits["wk00"].read, visits["wk00"].readers) == (ReadStatus.LOCKED, ("R1",))
        assert visits["wk00"].counting.digest == "ab" * 32
        assert [(r.version, r.standing.value) for r in visits["wk00"].reads] == [(0, "counts")]
        assert visits["wk00"].findings == ("thick slices",)
        assert registry.scan_profiles("BCDF2345") == {"wk00": {"software": "v1"}}
        trail = registry.audit_trail()
        assert registry.verify_audit()[0] == 14
        assert trail[11].hash == HEAD_OF_OLD
        assert trail[12].action == "registry migrated"
        assert (trail[12].details["from"], trail[12].details["to"]) == (2, SCHEMA_VERSION)
        assert registry.record_scan("BCDF2345", "wk24", site="S01", upload_digest="d4")
        assert registry.differences_from_audit() == []
    with Registry.open(*old) as again:
        assert [entry.action for entry in again.audit_trail()].count("registry migrated") == 1


def test_a_migrated_registry_has_the_tables_of_a_new_one(old):
    trial, protocol = old
    Registry.open(trial, protocol).close()
    engine = open_engine(protocol.database_url, trial.registry_file)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        with pytest.raises(Exception, match="append-only"):
            connection.execute(text("DELETE FROM audit"))
    engine.dispose()


def test_the_first_migration_makes_the_layout_of_version_0_1_0(tmp_path, monkeypatch):
    write_old(tmp_path / "old.sqlite")
    engine = open_engine("", tmp_path / "new.sqlite")
    to_layout(engine, "2", monkeypatch)
    old_tables, new_tables = (described(tmp_path / name) for name in ("old.sqlite", "new.sqlite"))
    engine.dispose()
    assert new_tables.pop("alembic_version")
    assert new_tables == old_tables


def described(path):
    engine = create_engine(f"sqlite:///{path}")
    found = inspect(engine)
    tables = {
        name: (
            [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in found.get_columns(name)],
            sorted(f["constrained_columns"] for f in found.get_foreign_keys(name)),
            sorted(u["column_names"] for u in found.get_unique_constraints(name)),
        )
        for name in found.get_table_names()
    }
    with engine.connect() as connection:
        triggers = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
        tables["triggers"] = sorted(triggers)
    engine.dispose()
    return tables


def test_a_migration_that_fails_leaves_the_earlier_layout(old, monkeypatch):
    def fault(*_args, **_kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr("mri_pipeline.registry.database.append", fault)  # the last step of a migration
    with pytest.raises(RuntimeError, match="power cut"):
        Registry.open(*old)
    monkeypatch.undo()
    trial, protocol = old
    engine = open_engine(protocol.database_url, trial.registry_file)
    assert "withdrawn" not in inspect(engine).get_table_names()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM registry")).scalar() == 2
    engine.dispose()
    with Registry.open(*old) as registry:
        assert registry.verify_audit()[0] == 14


def test_layout_4_keeps_its_reads_and_gets_the_tables_of_the_web_application(old, monkeypatch):
    trial, protocol = old
    engine = open_engine(protocol.database_url, trial.registry_file)
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "4"))
    with writing(engine) as session:
        migrate.upgrade(session.connection(), layout=2)
    monkeypatch.undo()
    assert not {"sessions", "login_attempts", "assignments", "edits", "jobs"} & set(
        inspect(engine).get_table_names()
    )
    engine.dispose()
    with Registry.open(trial, protocol) as registry:
        (entry,) = registry.audit_entries("registry migrated")
        assert (entry.details["from"], entry.details["to"]) == (4, SCHEMA_VERSION)
        visits = {visit.visit: visit for visit in registry.subject("BCDF2345").visits}
        assert (visits["wk00"].read, visits["wk00"].readers) == (ReadStatus.LOCKED, ("R1",))
        assert registry.differences_from_audit() == []
        use_web_tables(registry)


def test_layout_5_gets_the_gates_of_the_scanners_of_accepted_sites(old, monkeypatch):
    trial, protocol = old
    engine = open_engine(protocol.database_url, trial.registry_file)
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "5"))
    with writing(engine) as session:
        migrate.upgrade(session.connection(), layout=2)
        session.execute(
            text(
                "INSERT INTO scanners (id, site, manufacturer, model, software, field_strength_t, serial_digest) "
                "VALUES (77, 'S01', 'Maker', 'Other', 'v1', 3.0, '')"
            )
        )
        append(session, AuditAction.SCANNER_ENTERED, "S01", FROM_VISITS.key | {"id": 77})
    monkeypatch.undo()
    assert not {"measures", "scanner_gates"} & set(inspect(engine).get_table_names())
    engine.dispose()
    with Registry.open(trial, protocol) as registry:
        gate, from_visits = registry.scanner_gates.all()
        assert (from_visits.scanner, from_visits.state) == (FROM_VISITS, ScannerState.ACCEPTED)
        decision = {"accept": False, "reason": "old", "by": "QC 1", "persons": 1, "final": ()}
        with pytest.raises(UsageError, match=r"scanner 1 .*: accepted; scanner 77 .*: accepted"):
            registry.scanner_gates.decide("S01", **decision)
        assert registry.scanner_gates.decide("S01", scanner=77, **decision).scanner == FROM_VISITS
        assert registry.site("S01").gate is Gate.ACCEPTED
        assert (gate.site, gate.number, gate.scanner.software, gate.coil) == ("S01", 1, "v1", "")
        assert (gate.state, gate.reason) == (
            ScannerState.ACCEPTED,
            "gate of the site, by an earlier version",
        )
        assert registry.differences_from_audit() == []
        registry.record_scan(
            "BCDF2345", "wk24", site="S01", upload_digest="d4", measures={"FLAIR": {"snr": 31.25, "x": 1e-6}}
        )
        registry.record_dummy_run("S01", accepted=False, upload_digest="d5", scanner=gate.scanner, coil="Head")
        (stored,) = registry.measures.all()
        assert (stored.visit, stored.scanner, stored.values) == (
            "wk24",
            None,
            {"FLAIR": {"snr": 31.25, "x": 1e-6}},
        )
        assert registry.measures.of_subject("BCDF2345") == {"wk24": [stored]}
        assert [g.state.value for g in registry.scanner_gates.all()] == ["superseded", "refused", "refused"]
        assert registry.site("S01").gate is Gate.REFUSED
        assert registry.differences_from_audit() == []


def test_layout_7_keeps_its_gates_and_may_have_one_that_waits(old, monkeypatch):
    trial, protocol = old
    with monkeypatch.context() as patch:
        engine = open_engine(protocol.database_url, trial.registry_file)
        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "7"))
        with writing(engine) as session:
            migrate.upgrade(session.connection(), layout=2)
            gate = {
                "scanner": 1, "coil": "Head", "state": "accepted", "dummy_run_digest": "d1",
                "at": "2026-01-01T00:00:00+00:00", "reason": "seen", "by": "QC 1", "proposed": "", "proposed_by": "",
            }  # fmt: skip
            columns = ", ".join(gate)
            session.execute(text("DELETE FROM scanner_gates"))
            session.execute(
                text(
                    f"INSERT INTO scanner_gates ({columns}, rules) "
                    f"VALUES ({', '.join(f':{name}' for name in gate)}, '[]')"
                ),
                gate,
            )
            append(session, AuditAction.SCANNER_GATE, "S01", gate | {"rules": []}, reader="QC 1")
        engine.dispose()
    with Registry.open(trial, protocol) as registry:
        (kept,) = registry.scanner_gates.all()
        assert (kept.state, kept.by, kept.waiting_digest, kept.coil) == (ScannerState.ACCEPTED, "QC 1", "", "Head")
        assert not kept.scanner.identified
        assert registry.differences_from_audit() == []
        (entry,) = registry.audit_entries("registry migrated")
        assert (entry.details["from"], entry.details["to"]) == (7, SCHEMA_VERSION)
        again = {"accepted": True, "scanner": kept.scanner, "coil": "Head", "undecided": True}
        assert registry.record_dummy_run("S01", upload_digest="d1", **again) is ScannerState.ACCEPTED
        registry.record_dummy_run("S01", upload_digest="d2", **again)
        (waiting,) = registry.scanner_gates.all()
        assert (waiting.state, waiting.dummy_run_digest, waiting.waiting_digest) == (
            ScannerState.ACCEPTED, "d1", "d2",
        )  # fmt: skip
        assert registry.differences_from_audit() == []


def use_web_tables(registry):
    one = registry.jobs.begin(JobKind.VISIT, site="S01", visit="wk04", account="S01-AB", size_bytes=2**33)
    assert registry.jobs.take(SHORT) is None
    registry.jobs.submit(one.code)
    taken = registry.jobs.take(SHORT)
    assert (taken.code, taken.state, taken.size_bytes, taken.attempts) == (one.code, JobState.RUNNING, 2**33, 1)
    registry.jobs.end(one.code, JobState.DONE, {"contrasts": ["FLAIR"]}, subject="BCDF2345")
    assert registry.jobs.find(one.code).outcome == {"contrasts": ["FLAIR"]}
    assert not registry.jobs.has_work(SHORT)
    token = registry.sessions.open("R1", "f" * 64)
    assert registry.sessions.find(token).account == "R1"
    assert registry.sessions.find("another") is None
    first, second = (registry.sessions.begin_attempt("R1", "127.0.0.1") for _ in range(2))
    for attempt in (second, first):  # two devices at once
        registry.sessions.succeeded(attempt)
    key = ("BCDF2345", "wk04", "proposed")
    (one,) = registry.assignments.refresh("R1", {key}, set())
    assert registry.assignments.refresh("R1", {key}, set()) == [one]
    assert registry.assignments.find(one.code, "R2") is None
    edit = Edit(1, "2026-01-01T00:00:00+00:00", "decide", "{}", "")
    with pytest.raises(PermissionError):
        registry.assignments.add(one.code, edit, holder="tab")
    assert registry.assignments.lease(one.code, "tab", take_over=False)
    assert registry.assignments.add(one.code, edit, holder="tab")
    assert not registry.assignments.add(one.code, edit, holder="tab")
    assert registry.assignments.edits(one.code) == [edit]
    with pytest.raises(UsageError, match="expected the 0 operations that were signed, found 1"):
        registry.assignments.sign(one.code, signature={}, edits=[], digest="", statement={})
    registry.assignments.sign(
        one.code, signature={"version": 1}, edits=[edit], digest="d", statement={"at": "now"}
    )
    (entry,) = registry.audit_entries("reading signed")
    assert entry.details["head"] == edit.hash
    assert registry.assignments.refresh("R1", set(), set())[0].signature == {"version": 1}
    (again,) = [a for a in registry.assignments.refresh("R1", {key}, set()) if a.state.value == "open"]
    assert (again.round, again.code != one.code) == (2, True)
    assert len(registry.assignments.refresh("R1", set(), set())) == 1  # withdrawn


def test_a_newer_layout_is_refused(old):
    trial, protocol = old
    Registry.open(trial, protocol).close()
    engine = open_engine(protocol.database_url, trial.registry_file)
    with engine.begin() as connection:
        connection.execute(text("UPDATE registry SET version = 99"))
    engine.dispose()
    expected = f"expected a registry of layout 2 to {SCHEMA_VERSION}, found layout 99"
    with pytest.raises(UsageError, match=expected):
        Registry.open(trial, protocol)


def test_a_new_registry_on_postgresql(postgresql_url, tmp_path):
    with Registry.open(Trial(tmp_path), PROTOCOL.model_copy(update={"database_url": postgresql_url})) as registry:
        registry.record_dummy_run("S01", accepted=True, upload_digest="d")
        registry.record_scan("BCDF2345", "wk00", site="S01", upload_digest="d1")
        assert registry.verify_audit()[0] == 6
        assert registry.differences_from_audit() == []
    assert not (tmp_path / "registry.sqlite").exists()
