"""A full disk and a vanished upload: one line without a path, exit code 2, nothing recorded against the site."""

import errno
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from pydicom.dataset import Dataset

from mri_pipeline.core.errors import UnreadableUploadError, UsageError
from mri_pipeline.intake import unpack as unpacking
from mri_pipeline.registry import database
from reading_centre import cli
from reading_centre.use_cases.trial import staging, storage
from reading_centre.use_cases.uploads import task as upload_task
from reading_centre.use_cases.uploads.ingest import visit as ingesting
from tests.unit import ingest_trial
from tests.unit.ingest_trial import SMALL, agree, opened, upload

pytestmark = pytest.mark.usefixtures("no_image_checks")

FULL = "error: expected room on the disks of the trial and of temporary files, found no space left"
GONE = "error: expected the upload until the end of the command, found that it or a file of it is gone"


@pytest.fixture
def trial(tmp_path):
    return ingest_trial.new_trial(tmp_path / "trial")


@pytest.fixture(params=["folder", "zip"])
def sent(request, tmp_path):
    folder = upload(tmp_path / "Mustermann", specs=SMALL[:1])
    if request.param == "folder":
        return folder
    archive = tmp_path / "Mustermann.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(folder.iterdir()):
            target.write(path, path.name)
    return archive


def ingest(trial, sent, *more):
    arguments = ["--site", "S01", "--subject", "0001", "--visit", "wk00", *more]
    return cli.invoke(["ingest", str(trial.root), str(sent), *arguments])


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/uploads/Mustermann/IM0001")


def nothing_is_recorded(trial):
    with opened(trial) as registry:
        assert [entry.action for entry in registry.audit_trail()][-1] == "dummy-run"
        assert registry.subjects() == []
    assert not list(trial.quarantine.iterdir())
    assert not list(trial.work.glob("intake-*"))
    assert agree(trial) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (unpacking._Sink, "write"),
        (ingesting, "write_scans"),
        (ingesting, "make_durable"),
        (upload_task, "measure_upload"),
        (staging, "sync_tree"),
        (Dataset, "save_as"),
    ],
)
def test_a_full_disk_is_no_fault_of_the_site(trial, sent, monkeypatch, capsys, module, name):
    monkeypatch.setattr(module, name, no_space)
    assert ingest(trial, sent) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(FULL)
    assert "Mustermann" not in shown
    monkeypatch.undo()
    nothing_is_recorded(trial)


def test_a_disk_that_is_full_after_the_acceptance_is_settled_later(trial, sent, monkeypatch, capsys):
    monkeypatch.setattr(staging, "list_participants", no_space)
    assert ingest(trial, sent) == 2
    assert capsys.readouterr().err.startswith(FULL)
    monkeypatch.undo()
    assert ingest(trial, sent) == 0
    assert len(agree(trial)) == 1
    assert (trial.rawdata.root / "participants.tsv").read_text().count("sub-") == 1


def test_a_limit_of_file_sizes_is_a_full_disk(trial, sent):
    """A real limit of the operating system, in a process of its own."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "from reading_centre import cli\nsys.exit(cli.invoke(sys.argv[1:]))\n"
    )
    arguments = ["ingest", str(trial.root), str(sent), "--site", "S01", "--subject", "0001", "--visit", "wk00"]
    unmeasured = {
        name: value for name, value in os.environ.items() if not name.startswith("COV")
    }  # data files of coverage
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=unmeasured
    )
    assert done.returncode == 2
    assert "Mustermann" not in done.stderr
    assert "Traceback" not in done.stderr
    nothing_is_recorded(trial)


@pytest.mark.parametrize("full", ["trial", "temporary files"])
def test_a_refusal_on_a_full_disk_is_not_recorded(trial, sent, monkeypatch, capsys, full):
    """It may be a consequence: dcm2niix writes no volume on a full disk."""
    usage = shutil.disk_usage(trial.root)

    def disk_usage(folder):
        is_full = (folder == trial.root) == (full == "trial")
        return usage._replace(free=1000 if is_full else usage.free)

    monkeypatch.setattr(storage.shutil, "disk_usage", disk_usage)
    monkeypatch.setattr("qc.conversion.convert_series", refused)
    assert ingest(trial, sent) == 2
    assert capsys.readouterr().err.startswith(FULL)
    monkeypatch.undo()
    nothing_is_recorded(trial)


def refused(*_args, **_kwargs):
    raise UnreadableUploadError("FLAIR: expected one volume from dcm2niix, found 0 (exit code 1)")


def test_a_database_on_a_full_disk(trial, sent, monkeypatch):
    connect = database._on_sqlite_connect

    def full(connection, record):
        connect(connection, record)
        connection.execute("PRAGMA max_page_count = 1").close()  # no page more than it has

    monkeypatch.setattr(database, "_on_sqlite_connect", full)
    with (
        opened(trial) as registry,
        pytest.raises(UsageError, match="found no space left"),
        storage.storage_faults(sent),
    ):
        registry.audit("note", details={"text": "x" * 100_000})
    monkeypatch.undo()
    nothing_is_recorded(trial)


def test_an_upload_that_vanishes(trial, sent, monkeypatch, capsys):
    measure = upload_task.measure_upload

    def vanish(path):
        measured = measure(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return measured

    monkeypatch.setattr(upload_task, "measure_upload", vanish)
    assert ingest(trial, sent) == 2
    shown = capsys.readouterr().err
    assert "gone" in shown or "found nothing at that path" in shown
    assert "Mustermann" not in shown
    nothing_is_recorded(trial)


def test_a_file_that_vanishes_while_the_folder_is_read(trial, tmp_path, monkeypatch, capsys):
    folder = upload(tmp_path / "Mustermann", specs=SMALL[:1])
    write = unpacking._Sink.write

    def vanish(self, *arguments):
        write(self, *arguments)
        for path in folder.iterdir():
            path.unlink()

    monkeypatch.setattr(unpacking._Sink, "write", vanish)
    assert ingest(trial, folder) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(GONE)
    assert "Mustermann" not in shown
    nothing_is_recorded(trial)


def test_another_fault_of_the_disk_names_no_path(trial, sent, monkeypatch, capsys):
    def fault(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(sent))

    monkeypatch.setattr(unpacking._Sink, "write", fault)
    assert ingest(trial, sent) == 2
    shown = capsys.readouterr().err
    assert "found: Input/output error" in shown
    assert "Mustermann" not in shown
    nothing_is_recorded(trial)


def test_a_broken_archive_is_still_refused(trial, tmp_path, capsys):
    archive = tmp_path / "upload.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in upload(tmp_path / "in", specs=SMALL[:1]).iterdir():
            target.write(path, path.name)
    content = archive.read_bytes()
    archive.write_bytes(content[:2000] + b"x" * 500 + content[2500:])
    assert ingest(trial, archive) == 3
    assert "found a damaged one" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ingest", "dummy-run"])
def test_a_link_that_leads_to_itself(trial, tmp_path, capsys, command):
    (tmp_path / "Mustermann").symlink_to(tmp_path / "Erika")
    (tmp_path / "Erika").symlink_to(tmp_path / "Mustermann")
    more = ["--subject", "0001", "--visit", "wk00"] if command == "ingest" else []
    for sent, found in (("Mustermann", "a link that leads to itself"), ("nothing", "none at that path")):
        assert cli.invoke([command, str(trial.root), str(tmp_path / sent), "--site", "S01", *more]) == 2
        assert f"error: expected an upload (folder, zip or tar), found {found}\n" in capsys.readouterr().err
    nothing_is_recorded(trial)


def test_the_accepted_upload_replaces_nothing(trial, sent, capsys):
    assert ingest(trial, sent) == 0
    before = agree(trial)
    capsys.readouterr()
    assert ingest(trial, sent, "--replace", "wrong images") == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{before[0].subject} wk00: FLAIR stored already; nothing is replaced: this upload is the accepted scan"
    )
    assert agree(trial) == before
    with opened(trial) as registry:
        assert registry.withdrawn() == []


@pytest.mark.parametrize("option", ["--replace", "--patient-changed"])
def test_a_blank_reason_is_none(trial, sent, capsys, option):
    assert ingest(trial, sent, option, "  ") == 2
    assert f"error: {option}: expected a reason, found a blank text\n" in capsys.readouterr().err
    nothing_is_recorded(trial)
