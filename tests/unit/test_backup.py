"""Backup and restoration of a trial: whole, compared with its audit trail, the key apart."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from mri_pipeline.blinding.secret import PEPPER_FILE
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import disk
from mri_pipeline.core.io.manifest import require_manifest
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import open_engine, reading
from mri_pipeline.registry.schema import Base
from reading_centre import cli
from reading_centre.use_cases.reading.lock import unlock_read
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial import backup as backups
from reading_centre.use_cases.trial import restore
from reading_centre.use_cases.trial.audit_verify import verify_trial
from reading_centre.use_cases.trial.backup import back_up
from reading_centre.use_cases.trial.restore import restore_trial
from tests.unit.locked_trial import CODE, behind_the_trail, flip, registry_of


@pytest.fixture
def trial(locked_trial):
    """With an upload in quarantine, whose name and content are a patient's, and the cache of an analysis."""
    upload = locked_trial.quarantine / "20200101_ab12" / "upload"
    upload.mkdir(parents=True)
    (upload / "SMITH^JANE.dcm").write_bytes(b"SMITH^JANE")
    (upload / "gone").symlink_to("nothing")
    (locked_trial.work / "cache").mkdir(parents=True)
    (locked_trial.work / "cache" / "large").write_bytes(b"x" * 1000)
    return locked_trial


@pytest.fixture
def places(tmp_path):
    return {"to": tmp_path / "disk" / "backup", "sealed_to": tmp_path / "safe" / "sealed"}


def restored(tmp_path, places):
    return restore_trial(tmp_path / "new", backup=places["to"], sealed=places["sealed_to"])


def content(trial: Trial, *apart: str) -> dict[str, object]:
    """Content of all files, or target of links, by relative path; without the registry's file and some folders."""
    left_out = {trial.registry_file.name, *apart}
    paths = (p for p in trial.root.rglob("*") if p.relative_to(trial.root).parts[0] not in left_out)
    return {
        path.relative_to(trial.root).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in paths
        if path.is_symlink() or path.is_file()
    }


def rows(engine) -> dict[str, list[tuple]]:
    with reading(engine) as session:
        return {
            table.name: sorted(tuple(map(repr, row)) for row in session.execute(select(table)))
            for table in Base.metadata.sorted_tables
            if table.name != "audit"
        }


def rows_of(trial: Trial):
    engine = open_engine(load_protocol(trial.protocol_file).database_url, trial.registry_file)
    try:
        return rows(engine)
    finally:
        engine.dispose()


@pytest.mark.requirement("RUN-05")
def test_a_trial_that_was_lost_is_restored_as_it_was(trial, tmp_path, places):
    before, database = content(trial, "work", "staging"), rows_of(trial)
    made = back_up(trial.root, **places)
    assert verify_trial(trial.root).deviations == ()
    shutil.rmtree(trial.root)
    found = restored(tmp_path, places)
    again = Trial(found.trial)
    assert content(again) == before
    assert rows_of(again) == database
    assert verify_trial(again.root).deviations == ()
    assert (found.files, found.audit_hash) == (made.files, made.audit_hash)
    for private in (
        again.sealed,
        *again.sealed.iterdir(),
        again.registry_file,
        *(again.root / "reads").rglob("*.json"),
    ):
        assert private.stat().st_mode & 0o077 == 0, private.name
    tables = {path.name: path.read_bytes() for path in again.tables.iterdir()}
    write_trial_tables(again.root, provisional=False)
    assert {path.name: path.read_bytes() for path in again.tables.iterdir()} == tables
    with registry_of(again) as registry:
        told = registry.audit_entries(AuditAction.TRIAL_RESTORED)[-1].details
    assert (told["entries"], told["last"]) == (made.audit_entries, made.audit_hash)


def test_the_key_is_apart_and_the_cache_is_left_out(trial, places):
    pepper, key = ((trial.sealed / name).read_bytes() for name in (PEPPER_FILE, "subjects.csv"))
    back_up(trial.root, **places)
    kept = [path.read_bytes() for path in places["to"].rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(pepper in one or key in one for one in kept)
    assert {path.name for path in (places["to"] / "trial").iterdir()}.isdisjoint({"work", "staging", "sealed"})
    assert places["to"].stat().st_mode & 0o077 == 0
    assert places["sealed_to"].stat().st_mode & 0o077 == 0
    assert (places["sealed_to"] / PEPPER_FILE).read_bytes() == pepper
    with registry_of(trial) as registry:
        (entry,) = registry.audit_entries(AuditAction.BACKUP_WRITTEN)
    manifest = subprocess.run(
        ["sha256sum", "SHA256SUMS"], cwd=places["to"], capture_output=True, text=True, check=True
    ).stdout
    assert manifest.startswith(entry.details["manifest"])


@pytest.mark.requirement("RUN-05")
def test_every_damage_of_a_backup_is_named(trial, tmp_path, places):
    back_up(trial.root, **places)
    paths = [path for path in places["to"].rglob("*") if path.is_file() and path.stat().st_size > 20]
    for path in (paths[0], paths[-1], places["to"] / "backup.json", places["to"] / "trial" / "registry.sqlite"):
        flip(path)
        with pytest.raises(UsageError, match="changed") as error:
            restored(tmp_path, places)
        assert path.name in error.value.message
        flip(path)
    flip(places["sealed_to"] / "subjects.csv", -2)
    with pytest.raises(UsageError, match=r"subjects\.csv changed"):
        restored(tmp_path, places)
    flip(places["sealed_to"] / "subjects.csv", -2)
    next(places["to"].rglob("SMITH*")).unlink()
    with pytest.raises(UsageError, match="20200101_ab12 missing") as error:
        restored(tmp_path, places)
    assert "SMITH" not in error.value.message
    assert not (tmp_path / "new").exists()


def test_the_sealed_folder_of_another_backup_is_refused(trial, tmp_path, places):
    back_up(trial.root, **places)
    with (trial.sealed / "subjects.csv").open("a") as stream:
        stream.write("")
    other = {"to": tmp_path / "other", "sealed_to": tmp_path / "other sealed"}
    (trial.sealed / "note").write_text("another")
    back_up(trial.root, **other)
    with pytest.raises(UsageError, match="the sealed folder of another backup"):
        restore_trial(tmp_path / "new", backup=places["to"], sealed=other["sealed_to"])


def test_folders_that_exist_or_lie_in_each_other_are_refused(trial, tmp_path, places):
    places["to"].mkdir(parents=True)
    with pytest.raises(UsageError, match="expected a new folder, found backup"):
        back_up(trial.root, **places)
    places["to"].rmdir()
    for to, sealed_to in (
        (trial.root / "backup", places["sealed_to"]),
        (places["to"], trial.work / "sealed"),
        (places["to"], places["to"] / "sealed"),
        (places["to"] / "b", places["to"]),
        (trial.root.parent, places["sealed_to"]),
    ):
        with pytest.raises(UsageError, match="expected"):
            back_up(trial.root, to=to, sealed_to=sealed_to)
    assert not places["sealed_to"].exists()
    back_up(trial.root, **places)
    with pytest.raises(UsageError, match="expected a new folder"):
        restore_trial(trial.root, backup=places["to"], sealed=places["sealed_to"])


def test_a_trial_that_differs_from_its_trail_is_not_backed_up(trial, places):
    behind_the_trail(trial, "UPDATE reads SET accepted = accepted + 1")
    with pytest.raises(UsageError, match="read of subject"):
        back_up(trial.root, **places)
    assert not any(folder.exists() for folder in places.values())
    assert not any(places["to"].parent.iterdir())


def test_what_changes_during_the_copy_is_copied_again(trial, tmp_path, places, monkeypatch):
    plain, calls = Registry.copy_to, []

    def copy_to(self, file, *more):
        calls.append(1)
        if len(calls) == 1:
            unlock_read(trial.root, subject=CODE, visit="wk00", reader="R1", reason="a lesion was missed")
        plain(self, file, *more)

    monkeypatch.setattr(Registry, "copy_to", copy_to)
    back_up(trial.root, **places)
    assert len(calls) == 2
    monkeypatch.undo()
    assert verify_trial(restored(tmp_path, places).trial).deviations == ()
    assert content(Trial(tmp_path / "new")) == content(trial, "work", "staging")


def test_a_trial_that_changes_all_the_time_is_refused(trial, places, monkeypatch):
    plain = Registry.copy_to

    def copy_to(self, *more):
        self.audit("another entry")
        plain(self, *more)

    monkeypatch.setattr(Registry, "copy_to", copy_to)
    with pytest.raises(UsageError, match="does not change while it is copied"):
        back_up(trial.root, **places)
    assert not places["to"].exists()


def test_a_full_disk_is_one_line(trial, places, monkeypatch, capsys):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    options = ["--to", str(places["to"]), "--sealed-to", str(places["sealed_to"])]
    assert cli.invoke(["backup", str(trial.root), *options]) == 2
    assert "of free space for the backup, found 0.0 GB" in capsys.readouterr().err
    assert not places["to"].exists()


def killed(step: int, action) -> int:
    """Exit code of a process that kills itself before step number `step` of an action."""

    def run():
        seen = []

        def guarded(function):
            def call(*args, **kwargs):
                seen.append(function)
                if len(seen) > step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for owner, name in (
            (backups._CopyOfTrial, "_mirror"), (backups, "write_manifest"), (backups, "sync_tree"),
            (restore.shutil, "copytree"), (Registry, "audit"), (Registry, "copy_to"), (Path, "rename"),
        ):  # fmt: skip
            setattr(owner, name, guarded(getattr(owner, name)))
        action()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_backup_leaves_nothing_that_looks_whole(trial, tmp_path, places):
    for step in range(1000):
        code = killed(step, lambda: back_up(trial.root, **places))
        assert code in {0, -signal.SIGKILL}
        assert not places["to"].exists() or places["sealed_to"].exists()
        if places["to"].exists():  # whole, also if it was killed before the entry in the trail
            restored(tmp_path, places)
            assert verify_trial(tmp_path / "new").deviations == ()
            shutil.rmtree(tmp_path / "new")
            shutil.rmtree(places["to"])
        if code == 0:
            break
        shutil.rmtree(places["sealed_to"], ignore_errors=True)
    assert step > 8
    assert not any(places["to"].parent.iterdir())


def test_a_killed_restoration_leaves_no_trial(trial, tmp_path, places):
    back_up(trial.root, **places)
    for step in range(1000):
        code = killed(step, lambda: restored(tmp_path, places))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert not (tmp_path / "new").exists()
    assert step > 3
    assert verify_trial(tmp_path / "new").deviations == ()
    assert not list(tmp_path.glob(".*.part"))


def test_a_trial_with_folders_on_another_disk_is_copied_with_them(trial, tmp_path, places):
    before = content(trial, "work", "staging")
    shutil.move(trial.rawdata.root, tmp_path / "large disk")
    trial.rawdata.root.symlink_to(tmp_path / "large disk")
    back_up(trial.root, **places)
    restored(tmp_path, places)
    assert content(Trial(tmp_path / "new")) == before


def on_postgresql(trial: Trial, url: str) -> None:
    with registry_of(trial) as registry:
        registry.copy_to(trial.registry_file, url)
    text = trial.protocol_file.read_text()
    trial.protocol_file.write_text(f'database_url = "{url}"\n{text}')
    trial.registry_file.unlink()


def emptied(url: str, tmp_path) -> None:
    engine = open_engine(url, tmp_path / "none")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


def test_a_registry_on_postgresql_is_backed_up_and_restored(trial, tmp_path, places, postgresql_url):
    on_postgresql(trial, postgresql_url)
    database = rows_of(trial)
    back_up(trial.root, **places)
    assert (places["to"] / "trial" / "registry.sqlite").is_file()
    with pytest.raises(UsageError, match="empty database"):
        restored(tmp_path, places)
    assert not (tmp_path / "new").exists()
    emptied(postgresql_url, tmp_path)
    again = Trial(restored(tmp_path, places).trial)
    assert rows_of(again) == database
    assert not again.registry_file.exists()
    assert verify_trial(again.root).deviations == ()
    with registry_of(again) as registry:  # the numbers of new rows follow the copied ones
        registry.record_dummy_run("S01", accepted=True, upload_digest="d", findings=["thick", "gap"])


def test_a_trial_can_be_restored_to_another_database(trial, tmp_path, places, postgresql_url):
    database = rows_of(trial)
    back_up(trial.root, **places)
    restore_trial(tmp_path / "pg", backup=places["to"], sealed=places["sealed_to"], database_url=postgresql_url)
    assert rows_of(Trial(tmp_path / "pg")) == database
    with registry_of(Trial(tmp_path / "pg")) as registry:
        changed = registry.audit_entries(AuditAction.SETTINGS_CHANGED)[-1].details
    assert set(changed["new"]) == {"database_url"}
    assert verify_trial(tmp_path / "pg").deviations == ()
    second = {"to": tmp_path / "second", "sealed_to": tmp_path / "second sealed"}
    back_up(tmp_path / "pg", **second)
    restore_trial(tmp_path / "lite", backup=second["to"], sealed=second["sealed_to"], database_url="")
    assert (tmp_path / "lite" / "registry.sqlite").is_file()
    with registry_of(Trial(tmp_path / "lite")):
        pass
    assert verify_trial(tmp_path / "lite").deviations == ()


def test_a_server_that_does_not_run_is_one_line(trial, tmp_path, places, capsys):
    back_up(trial.root, **places)
    url = f"postgresql+psycopg://mri@/postgres?host={tmp_path}"
    options = ["--from", str(places["to"]), "--sealed-from", str(places["sealed_to"]), "--database-url", url]
    assert cli.invoke(["restore", str(tmp_path / "new"), *options]) == 2
    assert "check the free space, and that the server of database_url runs" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_backup_of_an_earlier_layout_is_migrated(trial, tmp_path, places):
    later = ("edits", "assignments", "measures", "scanner_gates", "jobs", "second_factors")
    statements = [
        "DELETE FROM alembic_version",
        "ALTER TABLE scanners DROP COLUMN identified",
        *(f"DROP TABLE {table}" for table in later),
    ]
    plain = Registry.copy_to

    def copy_to(self, file, *more):
        plain(self, file, *more)
        with closing(sqlite3.connect(file)) as raw, raw:
            raw.execute("UPDATE registry SET version = 4")
            for statement in statements:
                raw.execute(statement)
            for table in ("sessions", "login_attempts"):
                raw.execute(f"DROP TABLE IF EXISTS {table}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "copy_to", copy_to)
        patch.setattr(backups, "deviations_from_trail", lambda *_: ())
        back_up(trial.root, **places)
    assert verify_trial(restored(tmp_path, places).trial).deviations == ()


def test_links_to_folders_are_followed_and_never_written_to(trial, tmp_path, places):
    before = content(trial, "work", "staging")
    results = trial.derivatives.root
    shutil.move(results, tmp_path / "large disk")
    results.symlink_to(tmp_path / "large disk")
    live = {path: path.read_bytes() for path in (tmp_path / "large disk").rglob("*") if path.is_file()}
    back_up(trial.root, **places)
    assert {path: path.read_bytes() for path in (tmp_path / "large disk").rglob("*") if path.is_file()} == live
    restored(tmp_path, places)
    assert content(Trial(tmp_path / "new")) == before


def test_what_an_analysis_is_writing_is_left_out(trial, places):
    unfinished = trial.derivatives.root / f".sub-{CODE}.unfinished" / "sub-X"
    unfinished.mkdir(parents=True)
    (unfinished / "mask").write_text("half")
    (trial.tables / ".lesions.csv.0123.part").write_text("half")
    back_up(trial.root, **places)
    assert not [path for path in (places["to"] / "trial").rglob("*") if path.name.startswith(".") and path.suffix]


def test_entries_that_change_no_file_do_not_repeat_the_copy(trial, places, monkeypatch):
    plain, calls = Registry.copy_to, []

    def copy_to(self, *more):
        calls.append(1)
        self.audit(AuditAction.LOGIN, reader="R1")
        plain(self, *more)

    monkeypatch.setattr(Registry, "copy_to", copy_to)
    back_up(trial.root, **places)
    assert calls == [1]


def test_a_file_that_vanishes_during_the_copy_is_no_fault(trial, tmp_path, places, monkeypatch):
    plain, report = backups._copy_changed, trial.reports / "old.html"
    trial.reports.mkdir(exist_ok=True)
    report.write_text("old")

    def copy_changed(source, copy):
        if source == report:
            source.unlink()
        plain(source, copy)

    monkeypatch.setattr(backups, "_copy_changed", copy_changed)
    back_up(trial.root, **places)
    assert not list(places["to"].rglob("old.html"))
    assert verify_trial(restored(tmp_path, places).trial).deviations == ()


def test_two_backups_to_one_name_do_not_mix(trial, places, monkeypatch):
    plain = Registry.copy_to

    def copy_to(self, *more):
        with pytest.raises(UsageError, match="found it held by process"):
            back_up(trial.root, **places)
        plain(self, *more)

    monkeypatch.setattr(Registry, "copy_to", copy_to)
    back_up(trial.root, **places)
    assert require_manifest(places["to"]) > 0
    assert [path.name for path in places["to"].parent.iterdir()] == ["backup"]


def test_a_file_that_cannot_be_read_is_one_line_without_its_name(trial, places, monkeypatch, capsys):
    def copy2(source, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))

    monkeypatch.setattr(backups.shutil, "copy2", copy2)
    options = ["--to", str(places["to"]), "--sealed-to", str(places["sealed_to"])]
    assert cli.invoke(["backup", str(trial.root), *options]) == 2
    told = capsys.readouterr().err
    assert "Input/output error" in told
    assert "SMITH" not in told
    assert str(trial.root) not in told


def test_a_disk_without_permissions_gives_a_private_trial(trial, tmp_path, places):
    back_up(trial.root, **places)
    for folder in places.values():
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
    again = Trial(restored(tmp_path, places).trial)
    for private in (again.sealed, again.quarantine, again.reads):
        assert all(p.stat().st_mode & 0o077 == 0 for p in (private, *private.rglob("*")) if not p.is_symlink())


def test_the_commands_say_what_they_did(trial, tmp_path, places, capsys):
    options = ["--to", str(places["to"]), "--sealed-to", str(places["sealed_to"]), "--json"]
    assert cli.invoke(["backup", str(trial.root), *options]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["folder"] == str(places["to"])
    new = tmp_path / "new"
    options = ["--from", str(places["to"]), "--sealed-from", str(places["sealed_to"])]
    assert cli.invoke(["restore", str(new), *options]) == 0
    assert "as in the audit trail" in capsys.readouterr().out
    assert cli.invoke(["status", str(new)]) == 0
    assert cli.invoke(["restore", str(new), *options]) == 2
    assert cli.invoke(["restore", str(tmp_path / "x"), "--from", str(new), "--sealed-from", str(new)]) == 2
    assert Path(made["sealed"]).is_dir()
    assert backups.RECORD in {path.name for path in places["to"].iterdir()}
