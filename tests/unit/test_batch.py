"""One process per subject: the end of each is reported and affects no other; no process outlives the run."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from mri_pipeline.analysis import publication
from mri_pipeline.analysis.publication import Provenance, is_current, output_digests
from mri_pipeline.analysis.subject_job import VisitScans, files_state, load_job
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import AnalysisError, SettingsError, UsageError
from mri_pipeline.core.io import disk
from mri_pipeline.core.io.locks import exclusive
from mri_pipeline.core.io.results import save_result
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import SubjectResult, VisitQuality
from mri_pipeline.core.visits import Contrast
from tests.unit.subject_jobs import subject_job
from workflows import ONE_THREAD, batch, executors
from workflows import job as subject_process
from workflows.batch import only_run, run_batch
from workflows.executors import Execution
from workflows.outcome import Outcome, outcome_file
from workflows.plugin import Plugin
from workflows.pool import WatchedMultiProc

REPOSITORY = Path(__file__).parents[2]

# a stand-in for `python -m workflows.job`: it succeeds, fails with a word, is killed, or sleeps
STAND_IN = f"""
import os, pathlib, sys, time
job = pathlib.Path(sys.argv[1])
name = job.parent.name
if name == "sub-KILLED":
    os.kill(os.getpid(), {int(signal.SIGKILL)})
if name == "sub-SLEEPS":
    from mri_pipeline.core.processes import die_with_parent
    die_with_parent(int(sys.argv[sys.argv.index("--parent") + 1]))
    (job.parent / "pid").write_text(str(os.getpid()))
    time.sleep(300)
if name == "sub-SILENT":
    sys.exit(3)
done = name != "sub-BAD"
from workflows.outcome import Outcome, outcome_file
outcome = Outcome(subject=name[4:], done=done, reason="" if done else "no brain")
outcome_file(job.parent).write_text(outcome.model_dump_json())
sys.exit(0 if done else 4)
"""


def make_job(folder, subject, **more):
    scans = {"a": {Contrast.FLAIR: folder / "f.nii.gz"}}
    out = folder / "out"
    return subject_job(folder, scans, subject=subject, derivatives=out, reports=out / "reports", **more)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    monkeypatch.setattr(executors, "PROGRAM", (sys.executable, str(program)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *sys.path]))
    return program


def test_a_job_comes_back_as_it_went(tmp_path):
    job = make_job(tmp_path, "AB12", beside={"a.json": "{}"}, locks=(tmp_path / "a.lock",))
    assert load_job(job.save()) == job
    job.file.write_text("{}")
    with pytest.raises(SettingsError, match="expected an analysis job"):
        load_job(job.file)


@pytest.mark.parametrize("plugin", [Plugin.LINEAR, Plugin.MULTIPROC])
@pytest.mark.requirement("RUN-04")
def test_a_subject_that_fails_or_is_killed_leaves_the_others_done(tmp_path, stand_in, plugin):
    told, ended = [], []
    jobs = [make_job(tmp_path, subject) for subject in ("GOOD", "BAD", "KILLED", "SILENT", "FINE")]
    outcome = run_batch(
        jobs,
        Execution(plugin, nprocs=2),
        progress=lambda state: told.append((state.done, state.failed, state.total, sorted(state.running))),
        finished=lambda job, one: ended.append((job.subject, one.done)),
    )
    assert [(o.subject, o.done) for o in outcome.outcomes] == [
        ("GOOD", True), ("BAD", False), ("KILLED", False), ("SILENT", False), ("FINE", True),
    ]  # fmt: skip
    assert [o.reason for o in outcome.failed] == [
        "no brain",
        "its process was ended by SIGKILL (possibly out of memory)",
        "process terminated without output (killed, or out of memory)",
    ]
    assert sorted(ended) == sorted((o.subject, o.done) for o in outcome.outcomes)
    assert told[-1] == (2, 3, 5, [])
    assert {subject for *_, running in told for subject in running} == {job.subject for job in jobs}
    assert max(len(running) for *_, running in told) == (1 if plugin is Plugin.LINEAR else 2)
    assert [Path(o.log) for o in outcome.outcomes] == [job.log_file for job in jobs]


def test_an_outcome_of_an_earlier_run_is_not_taken_for_this_one(tmp_path, stand_in):
    job = make_job(tmp_path, "KILLED")
    job.save()
    outcome_file(job.subject_work).write_text(Outcome(subject="KILLED", done=True).model_dump_json())
    assert not run_batch([job], Execution(Plugin.LINEAR, nprocs=1)).outcomes[0].done


def test_a_program_that_cannot_be_run_is_a_failed_subject(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "PROGRAM", ("/no/such/program",))
    (outcome,) = run_batch([make_job(tmp_path, "ANY")], Execution(Plugin.LINEAR, nprocs=1)).outcomes
    assert (outcome.done, outcome.reason) == (
        False, "expected a command that can be run, found No such file or directory",
    )  # fmt: skip
    with pytest.raises(SettingsError, match="expected at least one process, found 0"):
        run_batch([make_job(tmp_path, "ANY")], Execution(Plugin.LINEAR, nprocs=0))


def test_a_subject_runs_on_one_thread_whatever_the_shell_says(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "PROGRAM", ("sh", "-c", "env"))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    job = make_job(tmp_path, "ANY")
    run_batch([job], Execution(Plugin.MULTIPROC, nprocs=2))
    found = dict(line.split("=", 1) for line in job.log_file.read_text().splitlines() if "=" in line)
    assert {name: found.get(name) for name in ONE_THREAD} == dict.fromkeys(ONE_THREAD, "1")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


RUN = """
import signal, sys
from pathlib import Path
from tests.unit.test_batch import make_job
from workflows import executors
from workflows.batch import run_batch
from workflows.executors import Execution
from workflows.plugin import Plugin
for number in (signal.SIGTERM, signal.SIGINT):  # a shell ignores SIGINT in the background
    signal.signal(number, signal.default_int_handler)
executors.PROGRAM = (sys.executable, sys.argv[1])
run_batch([make_job(Path(sys.argv[2]), "SLEEPS")], Execution(Plugin.MULTIPROC, nprocs=2))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.requirement("RUN-01")
def test_no_process_of_a_subject_outlives_the_run(tmp_path, stand_in, sent):
    run = subprocess.Popen([sys.executable, "-c", RUN, stand_in, tmp_path], stderr=subprocess.DEVNULL)
    written = make_job(tmp_path, "SLEEPS").subject_work / "pid"
    try:
        wait_for(lambda: written.is_file() and written.read_text())
        child = int(written.read_text())
        assert alive(child)
        run.send_signal(sent)
        run.wait(60)
        wait_for(lambda: not alive(child))
    finally:
        run.kill()
        run.wait()


def test_the_process_of_a_subject_ends_if_its_run_has_ended(tmp_path):
    command = [sys.executable, "-m", "workflows.job", str(make_job(tmp_path, "AB12").save()), "--parent", "1"]
    assert subprocess.run(command, check=False, cwd=REPOSITORY).returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob("outcome.json"))


class _Adopting(executors.LocalExecutor):
    def adopt(self, job):
        self.adopted = job.subject
        return True

    def ended(self):
        return {self.adopted: executors.Ending("")}


def test_a_job_of_an_earlier_run_is_recorded_with_its_own_visits(tmp_path, monkeypatch):
    earlier = make_job(tmp_path, "AB12")
    earlier.save()
    outcome = Outcome(subject="AB12", done=True)
    outcome_file(earlier.subject_work).write_text(outcome.model_dump_json())
    later = VisitScans(visit="b", week=None, scans={Contrast.FLAIR: tmp_path / "g.nii.gz"})
    job = earlier.model_copy(update={"visits": (*earlier.visits, later)})
    monkeypatch.setattr(batch, "make_executor", lambda *_args, **_more: _Adopting(1))
    recorded = []
    run_batch([job], Execution(Plugin.SLURM, nprocs=1), finished=lambda one, _outcome: recorded.append(one))
    assert recorded == [earlier]


def test_an_open_quotation_mark_in_the_job_command_is_refused(tmp_path):
    cluster = executors.ClusterOptions(command="srun --comment='x")
    with pytest.raises(SettingsError, match="--job-command: expected a command, found an open quotation mark"):
        run_batch([make_job(tmp_path, "AB12")], Execution(Plugin.MULTIPROC, nprocs=1, cluster=cluster))


def test_a_step_without_a_result_ends_the_analysis():
    plugin = object.__new__(WatchedMultiProc)
    lost = Future()
    lost.set_exception(FileNotFoundError("_inputs.pklz"))
    plugin._task_obj = {1: lost}
    with pytest.raises(AnalysisError, match=r"a result of every step, found FileNotFoundError$"):
        plugin._send_procs_to_workers()


def test_one_run_at_a_time_and_the_message_says_whose(tmp_path):
    another = rf"a run in progress \(process {os.getpid()} on "
    with only_run(tmp_path), pytest.raises(UsageError, match=another), only_run(tmp_path):
        pass


# the process of a subject


@pytest.fixture
def analysed(tmp_path, monkeypatch):
    """A function that runs `workflows.job` with a stand-in for the analysis; `during` is called in its middle."""

    def run(job, *, during=lambda: None, value="new"):
        def work(unfinished, *, nprocs):
            folder = DerivativeDataset(unfinished.derivatives)
            folder.anat(job.subject, "a").mkdir(parents=True)
            (folder.anat(job.subject, "a") / "mask").write_text(value)
            during()
            unfinished.reports.mkdir()
            (unfinished.reports / f"sub-{job.subject}.html").write_text(value)
            save_result(SubjectResult(job.subject), folder.result(job.subject))

        monkeypatch.setattr(subject_process, "run_subject", work)
        code = subject_process.main([str(job.save())])
        return code, Outcome.model_validate_json(outcome_file(job.subject_work).read_bytes())

    return run


def published(job):
    root = job.derivatives
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_results_are_published_whole(tmp_path, analysed):
    job = make_job(tmp_path, "AB12", beside={"index.json": "{}"})
    assert analysed(job, value="old")[1].done
    before = published(job)
    assert set(before) == {
        "sub-AB12/ses-a/anat/mask", "sub-AB12/sub-AB12_desc-lesions_result.json", "sub-AB12/index.json",
        "sub-AB12/sub-AB12_desc-provenance_result.json", "reports/sub-AB12.html",
    }  # fmt: skip

    def look():
        assert {name: text for name, text in published(job).items() if "unfinished" not in name} == before

    stale = DerivativeDataset(job.derivatives).anat("AB12", "gone") / "mask"
    stale.parent.mkdir(parents=True)
    stale.touch()
    before = published(job)
    code, outcome = analysed(job, during=look)
    assert (code, outcome.done) == (0, True)
    assert {text for name, text in published(job).items() if name.endswith(("mask", "html"))} == {"new"}
    assert not stale.exists()


def test_an_analysis_that_fails_changes_nothing(tmp_path, analysed):
    job = make_job(tmp_path, "AB12")
    analysed(job, value="old")
    before = published(job)

    def fail():
        raise AnalysisError("no brain")

    code, outcome = analysed(job, during=fail)
    assert (code, outcome.done, outcome.reason, outcome.untouched) == (4, False, "no brain", False)
    assert {name: text for name, text in published(job).items() if "unfinished" not in name} == before
    analysed(job, value="old")
    assert published(job) == before  # nothing of the failed one is left


@pytest.mark.requirement("INTAKE-11")
def test_a_subject_in_use_is_left_alone(tmp_path, analysed, monkeypatch):
    monkeypatch.setattr(subject_process, "WAIT_S", 0.1)
    job = make_job(tmp_path, "AB12", locks=(tmp_path / "locks" / "AB12.lock",))
    with exclusive(job.locks[0], wait_s=0):
        _, outcome = analysed(job)
    assert (outcome.done, outcome.untouched) == (False, True)
    assert f"found an upload or analysis in progress (process {os.getpid()} on " in outcome.reason
    assert published(job) == {}


def test_the_lock_is_held_during_the_analysis(tmp_path, analysed):
    job = make_job(tmp_path, "AB12", locks=(tmp_path / "locks" / "AB12.lock",))

    def upload():
        with pytest.raises(UsageError, match="found it held by process"), exclusive(job.locks[0], wait_s=0):
            pass

    assert analysed(job, during=upload)[1].done
    with exclusive(job.locks[0], wait_s=0):
        pass


@pytest.mark.parametrize("how", ["replaced", "moved", "interrupted"])
def test_scans_replaced_since_the_job_was_made_are_not_analysed(tmp_path, analysed, how):
    scan = tmp_path / "f.nii.gz"
    scan.write_bytes(b"one")
    job = make_job(tmp_path, "AB12", locks=(tmp_path / "staging" / "AB12.lock",))
    visit = job.visits[0].model_copy(update={"files": files_state(job.visits[0].scans)})
    job = job.model_copy(update={"visits": (visit,)})
    assert analysed(job)[1].done
    if how == "replaced":
        scan.write_bytes(b"two")
    elif how == "moved":  # the job was made before an ingest had moved them to rawdata
        visit = visit.model_copy(update={"scans": {}, "files": files_state({})})
        job = job.model_copy(update={"visits": (visit,)})
    else:
        (tmp_path / "staging" / "AB12_a_receipt").mkdir(parents=True)
    code, outcome = analysed(job, value="other")
    assert (code, outcome.done, outcome.untouched) == (2, False, True)
    found = "an upload that was interrupted" if how == "interrupted" else "others: they were replaced"
    assert found in outcome.reason
    assert json.dumps(published(job)).count("other") == 0


def finished_job(tmp_path, analysed, **more):
    """An analysed subject with scans, reports and results."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("f.nii.gz", "t1.nii.gz"):
        (raw / name).write_text(name)
    scans = {"a": {Contrast.FLAIR: raw / "f.nii.gz", Contrast.T1W: raw / "t1.nii.gz"}}
    out = tmp_path / "out"
    job = subject_job(
        tmp_path, scans, derivatives=out, reports=out / "reports", raw=raw, locks=(tmp_path / "a.lock",), **more
    )
    code, outcome = analysed(job)
    assert (code, outcome.done) == (0, True)
    return job


@pytest.mark.requirement("RUN-02")
def test_a_subject_whose_results_are_current_is_not_analysed_again(tmp_path, stand_in, analysed):
    job = finished_job(tmp_path, analysed)
    before = published(job)
    told = []
    # known after the first analysis, or a setting such as the readers of the trial
    again = job.model_copy(update={"settled": ("a",), "keep_work": True, "settings_digest": "other"})
    (outcome,) = run_batch(
        [again], Execution(Plugin.LINEAR, nprocs=1), finished=lambda *ended: told.append(ended)
    ).outcomes
    assert (outcome.done, outcome.unchanged, outcome.cpu_seconds) == (True, True, 0.0)
    assert told[0][1] == outcome.model_copy(update={"log": ""})
    assert published(job) == before
    assert not outcome_file(job.subject_work).read_text().count('"unchanged":true')  # that of the analysis stays


def other_results(job):
    next(DerivativeDataset(job.derivatives).folder(job.subject).rglob("mask")).write_text("edited")


def other_scan(job):
    (job.raw / "t1.nii.gz").write_text("another")


def no_report(job):
    (job.reports / f"sub-{job.subject}.html").unlink()


def more_results(job):
    (DerivativeDataset(job.derivatives).folder(job.subject) / "more").touch()


def failed_visit(job):
    derivatives = DerivativeDataset(job.derivatives)
    quality = (VisitQuality("a", "no brain", False, 0.0, (), ""),)
    save_result(SubjectResult(job.subject, quality=quality), derivatives.result(job.subject))
    stated = Provenance.model_validate_json(derivatives.provenance(job.subject).read_bytes())
    outputs = output_digests(derivatives, job.subject)
    derivatives.provenance(job.subject).write_text(
        stated.model_copy(update={"outputs": outputs}).model_dump_json()
    )


def unreadable_scan(job):
    (job.raw / "t1.nii.gz").unlink()
    (job.raw / "t1.nii.gz").mkdir()


def exchanged_scans(job):
    flair, t1 = job.raw / "f.nii.gz", job.raw / "t1.nii.gz"
    flair.rename(job.raw / "x")
    t1.rename(flair)
    (job.raw / "x").rename(t1)


@pytest.mark.parametrize(
    "change", [other_results, other_scan, no_report, more_results, failed_visit, unreadable_scan, exchanged_scans]
)
def test_a_subject_whose_files_have_changed_is_analysed_again(tmp_path, analysed, change):
    job = finished_job(tmp_path, analysed)
    assert is_current(job)
    change(job)
    assert not is_current(job)


@pytest.mark.parametrize(
    "update",
    [
        {"rules": LesionRules(combined_counts_persistent_gel=False)},
        {"refused": ("b",)},
        {"planned": ()},
        {"order_source": "labels"},
        {"ignored": ("x",)},
        {"protocol": "another"},
        {"visits": "scan_key"},
        {"visits": "week"},
        {"visits": "one contrast less"},
        {"visits": "exchanged contrasts"},
    ],
    ids=str,
)
def test_a_subject_of_another_job_is_analysed_again(tmp_path, analysed, update):
    job = finished_job(tmp_path, analysed)
    (visit,) = job.visits
    others = {
        "scan_key": {"scan_key": "other"}, "week": {"week": 4},
        "one contrast less": {"scans": {Contrast.FLAIR: visit.scans[Contrast.FLAIR]}},
        "exchanged contrasts": {"scans": dict(zip(visit.scans, reversed(visit.scans.values()), strict=True))},
    }  # fmt: skip
    if "visits" in update:
        update = {"visits": (visit.model_copy(update=others[update["visits"]]),)}
    assert is_current(job)
    assert not is_current(job.model_copy(update=update))


def test_other_software_analyses_again(tmp_path, analysed, monkeypatch):
    job = finished_job(tmp_path, analysed)
    monkeypatch.setattr(publication, "software", lambda: {"numpy": "0"})
    assert not is_current(job)


def test_the_space_of_the_readers_counts(tmp_path, analysed):
    job = finished_job(tmp_path, analysed)
    kept = tmp_path / "kept"
    kept.mkdir()
    job = job.model_copy(update={"kept_space": kept})
    assert is_current(job)
    (kept / "brain").write_text("of another space")
    assert not is_current(job)


def test_a_subject_in_use_is_not_taken_for_current(tmp_path, analysed):
    job = finished_job(tmp_path, analysed)
    with exclusive(job.locks[0], wait_s=0):
        assert batch._current(job) is None
    assert batch._current(job).unchanged


def test_a_cache_that_cannot_be_removed_is_no_failure(tmp_path, analysed, monkeypatch, caplog):
    job = make_job(tmp_path, "AB12")
    (job.subject_work / "node").mkdir(parents=True)

    def rmtree(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    plain = publication.shutil.rmtree
    monkeypatch.setattr(
        publication.shutil, "rmtree", lambda path, **more: (rmtree if path.name == "node" else plain)(path, **more)
    )
    code, outcome = analysed(job)
    assert (code, outcome.done) == (0, True)
    assert "the cache of sub-AB12 cannot be removed: Permission denied" in caplog.text


def test_what_an_interrupted_analysis_left_beside_current_results_is_cleared(tmp_path, analysed):
    job = finished_job(tmp_path, analysed)
    job = job.model_copy(update={"beside": {DerivativeDataset(job.derivatives).outcome("AB12").name: "done"}})
    analysed(job)
    DerivativeDataset(job.derivatives).outcome("AB12").write_text("killed")
    left = job.derivatives / ".sub-AB12.unfinished" / "sub-AB12"
    left.mkdir(parents=True)
    (job.subject_work / "node").mkdir()
    assert batch._current(job).unchanged
    assert DerivativeDataset(job.derivatives).outcome("AB12").read_text() == "done"
    assert not left.exists()
    assert not (job.subject_work / "node").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_the_cache_is_removed_after_a_success(tmp_path, analysed, keep):
    job = make_job(tmp_path, "AB12", keep_work=keep)
    caches = [job.subject_work / "align" / "node", job.work / "v0.0.1-other" / "sub-AB12" / "node"]
    others = job.subject_work.parent / "sub-OTHER" / "node"
    for folder in (*caches, others):
        folder.mkdir(parents=True)

    def fail():
        raise AnalysisError("no brain")

    assert analysed(job, during=fail)[0] == 4
    assert all(folder.exists() for folder in caches)
    assert analysed(job)[0] == 0
    assert [folder.exists() for folder in caches] == [keep, keep]
    assert others.exists()
    assert job.file.exists()


def with_scans(tmp_path, subject, size):
    scan = tmp_path / f"{subject}.nii.gz"
    scan.write_bytes(b"x" * size)
    return make_job(tmp_path, subject).model_copy(
        update={"visits": (VisitScans(visit="a", week=None, scans={Contrast.FLAIR: scan}),)}
    )


@pytest.mark.parametrize(
    ("nprocs", "needed"),
    [(1, 12 * 3000 + 2 * (6000 + 3000)), (2, 12 * 5000 + 2 * (6000 + 5000)), (9, 12 * 6000 + 2 * (6000 + 6000))],
)
def test_free_space_is_required_for_the_largest_subjects_at_a_time(tmp_path, monkeypatch, nprocs, needed):
    jobs = [with_scans(tmp_path, subject, size) for subject, size in (("A", 1000), ("B", 3000), ("C", 2000))]
    free = SimpleNamespace(free=needed)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: free)
    batch.require_space(jobs, nprocs)
    free.free -= 1
    with pytest.raises(UsageError, match="free space for the cache and the results of the run"):
        batch.require_space(jobs, nprocs)


def test_results_that_are_replaced_need_no_space_twice(tmp_path, monkeypatch):
    jobs = [with_scans(tmp_path, subject, 1000) for subject in ("A", "B")]
    save_result(SubjectResult("A"), DerivativeDataset(jobs[0].derivatives).result("A"))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=12 * 1000 + 2 * (1000 + 1000)))
    batch.require_space(jobs, 1)


def test_a_run_without_space_starts_no_subject(tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    job = with_scans(tmp_path, "GOOD", 1000)
    with pytest.raises(UsageError, match=r"found 0\.0 GB"):
        run_batch([job], Execution(Plugin.LINEAR, nprocs=1))
    assert not job.file.exists()
