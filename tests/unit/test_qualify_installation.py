"""Installation qualification: each check passes on a sound installation, and fails on each fault."""

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine

from mri_pipeline.core.errors import UsageError, listed
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.database import undoes_failed_transaction
from reading_centre.qualification import installation, storage
from reading_centre.qualification.checks import Check, check
from reading_centre.qualification.installation import Installation
from reading_centre.qualification.storage import Place
from tests.unit.locked_trial import behind_the_trail, registry_of


class Metadata(importlib.metadata.Distribution):
    """A project with stated metadata."""

    def __init__(self, root, *, requires=(), python=">=3.11", files=(), direct_url=None):
        self.root, self.asked, self.python = root, list(requires), python
        self.recorded, self.direct_url = files, direct_url

    @property
    def metadata(self):
        return {"Requires-Python": self.python}

    @property
    def requires(self):
        return self.asked

    @property
    def files(self):
        return self.recorded

    def read_text(self, filename):
        return json.dumps(self.direct_url) if filename == "direct_url.json" and self.direct_url else None

    def locate_file(self, path):
        return self.root / path


@pytest.mark.requirement("IQ-01")
@pytest.mark.parametrize(
    ("requires", "python", "found"),
    [
        (["numpy>=2"], ">=3.11", None),
        (["numpy>=2", 'no-such-package>=1; extra == "dev"'], ">=3.11", None),
        (["numpy>=2", "no-such-package>=1"], ">=3.11", "no-such-package>=1 is missing"),
        (["numpy>=999"], ">=3.11", f"numpy>=999, found {importlib.metadata.version('numpy')}"),
        (["numpy>=2"], "<3", "Python <3, found 3."),
    ],
)
def test_dependencies(tmp_path, requires, python, found):
    one = installation.dependencies(Installation(tmp_path, Metadata(tmp_path, requires=requires, python=python)))
    assert one.passed is (found is None)
    assert (found or "packages as declared") in one.found


@pytest.mark.requirement("IQ-01")
def test_dependencies_of_dependencies_count(tmp_path, monkeypatch):
    inner = Metadata(tmp_path, requires=["no-such-package"])
    inner.__dict__["version"] = "1"
    monkeypatch.setattr(Metadata, "version", "1", raising=False)
    real = importlib.metadata.distribution
    monkeypatch.setattr(installation, "distribution", lambda name: inner if name == "outer" else real(name))
    one = installation.dependencies(Installation(tmp_path, Metadata(tmp_path, requires=["outer"])))
    assert (one.passed, one.found) == (False, "no-such-package is missing")


def recorded(name, content):
    value = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    path = importlib.metadata.PackagePath(name)
    path.hash = SimpleNamespace(mode="sha256", value=value)
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installed package with two files."""
    folder = tmp_path / "site-packages" / "qc"
    folder.mkdir(parents=True)
    contents = {"qc/__init__.py": b"", "qc/limits.py": b"LIMIT = 1"}
    for name, content in contents.items():
        (tmp_path / "site-packages" / name).write_bytes(content)
    monkeypatch.setattr(installation, "_runs_from", lambda _package, _root: True)
    return Metadata(tmp_path / "site-packages", files=[recorded(*item) for item in contents.items()])


@pytest.mark.requirement("IQ-02")
def test_installed_files_are_those_of_the_wheel(wheel, monkeypatch):
    installed = Installation(wheel.root, wheel)
    assert installation.installed_files(installed).passed
    (wheel.root / "qc" / "limits.py").write_bytes(b"LIMIT = 2")
    one = installation.installed_files(installed)
    assert (one.passed, one.found) == (False, "1 of 2 differ: qc/limits.py")
    (wheel.root / "qc" / "limits.py").unlink()
    assert "qc/limits.py" in installation.installed_files(installed).found
    (wheel.root / "qc" / "limits.py").write_bytes(b"LIMIT = 1")
    (wheel.root / "qc" / "added.py").write_bytes(b"")
    assert "qc/added.py" in installation.installed_files(installed).found
    (wheel.root / "qc" / "added.py").unlink()
    monkeypatch.undo()
    one = installation.installed_files(installed)
    assert (one.passed, "another copy is running" in one.found) == (False, True)


@pytest.mark.requirement("IQ-02")
def test_an_editable_installation_and_a_source_tree_are_not_qualified(tmp_path):
    editable = Metadata(tmp_path, direct_url={"url": "file:///src", "dir_info": {"editable": True}})
    for project, found in ((editable, "an editable installation"), (None, "a source tree that is not installed")):
        one = installation.installed_files(Installation(tmp_path, project))
        assert not one.passed
        assert one.found.startswith(found)
        assert "install the wheel" in one.found
    assert not installation.dependencies(Installation(tmp_path, None)).passed


@pytest.mark.requirement("IQ-03")
def test_dcm2niix_starts(tmp_path, monkeypatch):
    assert installation.converter(Installation(tmp_path, None)).passed
    broken = tmp_path / "dcm2niix"
    broken.write_text("#!/bin/sh\necho v0.1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(installation.dcm2niix, "bin", str(broken))
    one = installation.converter(Installation(tmp_path, None))
    assert not one.passed
    assert one.found.startswith("v0.1, package 1.")
    monkeypatch.setattr(installation.dcm2niix, "bin", str(tmp_path / "none"))
    assert installation.converter(Installation(tmp_path, None)).found == "ended in FileNotFoundError"


@pytest.mark.requirement("IQ-04")
def test_texts_are_utf_8(tmp_path):
    """In processes of their own: the encoding is chosen at their start."""
    program = (
        "import sys; from pathlib import Path\n"
        "from reading_centre.qualification.installation import Installation, unicode_texts\n"
        "one = unicode_texts(Installation(Path(sys.argv[1]), None)); print(one.passed, one.found.encode())"
    )

    def found(**environment):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))} | environment
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    assert found(LC_ALL="C.UTF-8").startswith("True")
    ascii_only = found(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert ascii_only.startswith("False")


@pytest.fixture
def place(locked_trial, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Place(locked_trial, load_protocol(locked_trial.protocol_file), scratch)


def test_a_sound_place_passes(place):
    findings = [one(place) for one in storage.IQ_TRIAL if one is not storage.free_space]
    assert [(one.requirement, one.found) for one in findings if not one.passed] == []


@pytest.mark.requirement("IQ-05")
@pytest.mark.parametrize(("free", "passed"), [(5.1e9, True), (4.9e9, False)])
def test_free_space(place, monkeypatch, free, passed):
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    one = storage.free_space(place)
    assert (one.passed, one.found) == (passed, f"{free / 1e9:.1f} GB")


@pytest.mark.requirement("IQ-06")
def test_a_file_that_is_written_in_place_fails(place, monkeypatch):
    assert storage.atomic_replacement(place).passed

    def in_place(path, content, **_):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    shutil.rmtree(place.scratch / "replaced")
    monkeypatch.setattr(storage, "write_atomic", in_place)
    one = storage.atomic_replacement(place)
    assert (one.passed, one.found) == (False, "a mixture of both contents")


@pytest.mark.requirement("IQ-06")
def test_a_file_that_is_left_beside_fails(place, monkeypatch):
    real = storage.write_atomic

    def leaving(path, content, **more):
        real(path.with_name("left"), b"")
        return real(path, content, **more)

    monkeypatch.setattr(storage, "write_atomic", leaving)
    assert storage.atomic_replacement(place).found == "left: left"


@pytest.mark.requirement("IQ-07")
def test_a_lock_that_excludes_nobody_fails(place, monkeypatch):
    assert storage.file_lock(place).passed
    monkeypatch.setattr(storage, "_gets", lambda _path, wait_s: True)
    one = storage.file_lock(place)
    assert (one.passed, one.found) == (False, "not excluded; free after the other process was killed")
    monkeypatch.setattr(storage, "_gets", lambda _path, wait_s: False)
    assert storage.file_lock(place).found == "excluded; not free after the other process was killed"
    monkeypatch.setattr(storage, "_HOLDER", "pass")
    assert storage.file_lock(place).found == "the other process got no lock"


@pytest.mark.requirement("IQ-08")
def test_modes_that_are_not_kept_fail(place, monkeypatch):
    monkeypatch.setattr(storage, "_mode", lambda _path: 0o777)
    one = storage.access_rights(place)
    assert (one.passed, one.found) == (False, "0777 and 0777")


@pytest.mark.requirement("IQ-09")
def test_a_registry_that_cannot_be_used_or_has_another_layout_fails(place, monkeypatch):
    present = storage.SCHEMA_VERSION
    monkeypatch.setattr(storage, "SCHEMA_VERSION", 99)
    one = storage.database(place)
    assert not one.passed
    assert f"layout {present}" in one.found
    place.trial.registry_file.write_bytes(b"no database at all" * 100)
    assert "found a database that cannot be used" in storage.database(place).found


@pytest.mark.requirement("IQ-10")
def test_a_database_without_transactions_fails(place, monkeypatch):
    with registry_of(place.trial) as registry:
        count = len(registry.audit_trail())
        assert registry.undoes_failed_transaction()
        assert len(registry.audit_trail()) == count
    engine = create_engine(f"sqlite:///{place.trial.registry_file}", isolation_level="AUTOCOMMIT")
    assert undoes_failed_transaction(engine) is False
    engine.dispose()
    monkeypatch.setattr(Registry, "undoes_failed_transaction", lambda self: False)
    one = storage.rollback(place)
    assert (one.passed, one.found) == (False, "the entry")


@pytest.mark.requirement("IQ-11")
def test_an_open_or_changed_sealed_folder_fails(place):
    pepper = place.trial.sealed / "pepper"
    place.trial.sealed.chmod(0o750)
    assert storage.sealed_folder(place).found == "accessible to others: the folder (0750)"
    place.trial.sealed.chmod(0o700)
    pepper.chmod(0o640)
    assert "expected mode 0600, found 0640" in storage.sealed_folder(place).found
    pepper.chmod(0o600)
    pepper.write_bytes(bytes(32))
    wrong = "expected the secret of this trial, found one that does not match its check value"
    assert wrong in storage.sealed_folder(place).found
    pepper.unlink()
    assert not storage.sealed_folder(place).passed


@pytest.mark.requirement("IQ-12")
def test_a_trial_that_differs_from_its_trail_fails(place):
    behind_the_trail(place.trial, "UPDATE scans SET status = 'failed' WHERE visit = 'wk12'")
    one = storage.audit_trail(place)
    assert not one.passed
    assert "scan of subject" in one.found


@pytest.mark.requirement("IQ-13")
def test_a_clock_that_ran_back_fails(place, monkeypatch):
    monkeypatch.setattr(storage, "utc_now", lambda: "2020-01-01T00:00:00+00:00")
    one = storage.clock(place)
    assert not one.passed
    assert one.found.startswith("clock 2020-01-01T00:00:00+00:00, latest entry 20")


def test_a_check_that_ends_in_an_error_has_failed(caplog):
    @check("IQ-01", "nothing")
    def usage(_subject):
        raise UsageError("expected a, found b")

    @check("IQ-01", "nothing")
    def fault(_subject):
        raise ZeroDivisionError("/home/somebody")

    assert (usage(None).passed, usage(None).found) == (False, "expected a, found b")
    assert fault(None).found == "ended in ZeroDivisionError"
    assert "somebody" in caplog.text
    assert usage.not_reached("no disk") == Check("IQ-01", "nothing", None).not_reached("no disk")
    assert not usage.not_reached("no disk").passed
    assert listed(["a"]) == "a"


def test_the_environment_names_what_can_change_a_number():
    found = installation.environment()
    assert {"mri-pipeline", "python", "numpy", "operating system", "locale", "threads of a process"} <= set(found)
