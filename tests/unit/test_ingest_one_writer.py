"""Files and registry of a visit change together or not at all: killed, disk full, replaced, two at once."""

import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from mri_pipeline.core.errors import ComplianceError, UploadRefusedError, UsageError
from mri_pipeline.core.layout import Trial
from reading_centre.use_cases.trial import staging
from reading_centre.use_cases.trial.private_folder import private_folder, sweep
from tests.unit import ingest_trial, kill_points
from tests.unit.ingest_trial import SMALL, agree, confirmed_read, identified, ingest, opened, upload

pytestmark = pytest.mark.usefixtures("no_image_checks")

WEAK = tuple(replace(spec, field_t=1.0) for spec in SMALL)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """An empty trial, one with a scan that was read, and two uploads of one visit."""
    folder = tmp_path_factory.mktemp("prepared")
    ingest_trial.new_trial(folder / "empty")
    upload(folder / "first"), upload(folder / "second", seed=1), upload(folder / "weak", seed=2, specs=WEAK)
    shutil.copytree(folder / "empty", folder / "read")
    trial = Trial.existing(folder / "read")
    code = ingest(trial, folder / "first").subject
    confirmed_read(trial, code)
    return folder


@pytest.fixture
def copied(prepared, tmp_path):
    """A function that copies a trial."""

    def copy(name: str) -> Trial:
        shutil.copytree(prepared / name, tmp_path / name)
        return Trial.existing(tmp_path / name)

    return copy


def state(trial: Trial):
    """What stands: the registry's words, and the scans and reads on disk."""
    held = agree(trial)
    files = {
        path.relative_to(trial.root).as_posix(): path.read_bytes()
        for folder in (*trial.rawdata.root.glob("sub-*"), trial.reads)
        for path in folder.rglob("*")
        if path.is_file()
    }
    return held, files


def nothing_is_left(trial: Trial):
    assert not list(trial.work.glob("intake-*"))
    assert not [path for path in trial.staging.glob("*") if path.suffix != ".lock"]
    assert {path.relative_to(trial.root).parts[0] for path in trial.root.rglob("*.dcm")} <= {
        "quarantine",
        "sourcedata",
        "withdrawn",
    }
    assert identified(trial) == []


def next_command(trial: Trial):
    """A command that uploads nothing, but settles what is left."""
    other = trial.root.parent / "other.zip"
    other.write_bytes(b"no archive")
    with pytest.raises(UploadRefusedError):
        ingest(trial, other, site="S02")  # which has no accepted dummy run


def _killed_at(step, root, sent, reason):
    kill_points.install(step)
    ingest(Trial(root), sent, replace_because=reason)


def killed(trial: Trial, sent: Path, step: int, *, reason: str) -> bool:
    """Ingest in another process that kills itself before a change; False if it made fewer changes."""
    process = SPAWN.Process(target=_killed_at, args=(step, trial.root, sent, reason))
    process.start()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


@pytest.mark.parametrize("moment", ["convert", "registry", "move scan", "participants"])
@pytest.mark.requirement("INTAKE-11")
def test_a_killed_ingest_is_whole_or_has_not_happened(copied, prepared, moment):
    trial = copied("empty")
    step = kill_points.FIRST.index(moment)
    assert killed(trial, prepared / "second", step, reason="")
    next_command(trial)
    nothing_is_left(trial)
    held, files = state(trial)
    accepted = step > kill_points.FIRST.index("registry")
    assert (len(held), len(files)) == ((1, 8) if accepted else (0, 0))
    assert ingest(trial, prepared / "second").contrasts
    assert len(state(trial)[1]) == 8


@pytest.mark.parametrize("moment", kill_points.REPLACEMENT)
@pytest.mark.requirement("INTAKE-11")
def test_a_killed_replacement_is_whole_or_leaves_the_earlier_scan_and_its_read(copied, prepared, moment):
    trial = copied("read")
    before = state(trial)
    step = kill_points.REPLACEMENT.index(moment)
    assert killed(trial, prepared / "second", step, reason="wrong images")
    next_command(trial)
    nothing_is_left(trial)
    if step <= kill_points.REPLACEMENT.index("registry"):
        assert state(trial) == before
        return
    (visit,), files = state(trial)
    assert (visit.readers, len(files), [path for path in files if path.startswith("reads")]) == ((), 8, [])
    with opened(trial) as registry:
        (withdrawn,) = registry.withdrawn()
        kept = trial.withdrawn / visit.subject / "wk00" / registry.receipt(visit.subject, "wk00")
    assert {p.read_bytes() for p in (kept / "anat").iterdir()} == {
        content for path, content in before[1].items() if path.startswith("rawdata")
    }
    assert (kept / "reads" / "read.json").read_text() == "{}"
    assert (withdrawn["reason"], withdrawn["replaced_by"]) == ("wrong images", kept.name)
    assert [(read["reader"], read["accepted"]) for read in withdrawn["reads"]] == [("R1", 2)]


def test_every_change_is_among_those_moments(copied, prepared):
    assert not killed(copied("empty"), prepared / "second", len(kill_points.FIRST), reason="")
    assert not killed(copied("read"), prepared / "second", len(kill_points.REPLACEMENT), reason="wrong images")


@pytest.mark.parametrize("fault", ["refused", "conversion", "locked"])
def test_a_replacement_that_fails_leaves_the_earlier_scan_and_its_read(copied, prepared, monkeypatch, fault):
    trial = copied("read")
    error, match = UploadRefusedError, "no volume"
    if fault == "conversion":

        def fails(*_args, **_kwargs):
            raise UploadRefusedError("no volume")

        monkeypatch.setattr("qc.conversion.convert_series", fails)
    elif fault == "refused":
        error, match = ComplianceError, "expected a field strength"
    else:
        error, match = UsageError, "found a locked one"
        with opened(trial) as registry:
            registry.lock_reads([(registry.subjects()[0], "wk00")], reader="R1")
    before = state(trial)
    with pytest.raises(error, match=match):
        ingest(trial, prepared / ("weak" if fault == "refused" else "second"), replace_because="wrong images")
    assert state(trial) == before
    nothing_is_left(trial)


def _ingest_beside(root, sent, results):
    try:
        results.put(ingest(Trial(root), sent).subject)
    except UsageError as error:
        results.put(error.message)


@pytest.mark.requirement("INTAKE-11")
def test_of_two_ingests_of_one_visit_at_once_one_is_accepted(copied, prepared):
    trial = copied("empty")
    results = SPAWN.Queue()
    processes = [
        SPAWN.Process(target=_ingest_beside, args=(trial.root, prepared / name, results))
        for name in ("first", "second")
    ]
    for process in processes:
        process.start()
    words = sorted((results.get() for _ in processes), key=len)
    for process in processes:
        process.join()
    assert words[1] == f"subject {words[0]}, visit wk00: expected no accepted scan, found one (received)"
    held, files = state(trial)
    assert (len(held), len(files)) == (1, 8)


def test_an_upload_waits_for_another_one_of_its_subject_only_for_a_time(copied, prepared, monkeypatch):
    trial = copied("read")
    before = state(trial)
    monkeypatch.setattr(staging, "WAIT_S", 0.2)
    with opened(trial) as registry:
        (code,) = registry.subjects()
    with (
        staging.only_writer(trial, code, wait_s=0),
        pytest.raises(
            UsageError,
            match=rf"subject {code}: an upload or analysis is in progress \(process {os.getpid()} on \S+\)",
        ),
    ):
        ingest(trial, prepared / "second", replace_because="wrong images")
    assert state(trial) == before


def test_a_running_ingest_keeps_its_private_folder_and_a_stale_one_is_swept(tmp_path):
    with private_folder(tmp_path) as running:
        (running / "name.dcm").touch()
        stale = tmp_path / "intake-stale"
        stale.mkdir()
        (stale / "name.dcm").touch()
        sweep(tmp_path)
        assert (running / "name.dcm").exists()
        assert not stale.exists()
    assert not list(tmp_path.glob("intake-*"))
