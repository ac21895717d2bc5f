"""Execution by Nipype: a failure is reported with its reason and does not stop the other subjects."""

import os
import signal
import subprocess
import sys

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans, load_job
from mri_pipeline.core.errors import AnalysisError, SettingsError
from mri_pipeline.core.plan import PlannedVisit
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from workflows import ONE_THREAD, batch
from workflows.engine import failure_reason, memory_limit_gb, run_workflow
from workflows.outcome import Outcome, outcome_file
from workflows.plugin import Plugin


class _In(BaseInterfaceInputSpec):
    fault = traits.Str("")


class _Out(TraitedSpec):
    done = traits.Bool()


class Work(SimpleInterface):
    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime):
        if self.inputs.fault == "ours":
            raise AnalysisError("expected a brain, found a pumpkin")
        if self.inputs.fault == "unexpected":
            raise ZeroDivisionError("nobody expected this")
        self._results["done"] = True
        return runtime


def make_workflow(tmp_path, **faults):
    workflow = pe.Workflow(name="wf", base_dir=str(tmp_path / "work"))
    for name, fault in faults.items():
        workflow.add_nodes([pe.Node(Work(fault=fault), name=name)])
    return workflow


@pytest.mark.parametrize("plugin", [Plugin.LINEAR, Plugin.MULTIPROC])
def test_a_failed_node_is_known_with_its_reason_and_the_others_run(tmp_path, plugin):
    seen = []
    workflow = make_workflow(tmp_path, good="", bad="ours", worse="unexpected", fine="")
    failed = run_workflow(
        workflow,
        plugin=plugin,
        nprocs=2,
        crash_folder=tmp_path / "crashes",
        progress=lambda node, status: seen.append((node, status)),
    )
    assert sorted(failed) == ["wf.bad", "wf.worse"]
    assert {node for node, status in seen if status == "end"} >= {"wf.good", "wf.fine"}
    assert failure_reason(tmp_path / "crashes", "wf.bad") == "expected a brain, found a pumpkin"
    assert failure_reason(tmp_path / "crashes", "wf.worse") == "ZeroDivisionError: nobody expected this"


def test_a_workflow_without_fault_has_no_failed_node(tmp_path):
    workflow = make_workflow(tmp_path, good="")
    assert run_workflow(workflow, plugin=Plugin.LINEAR, nprocs=1, crash_folder=tmp_path / "crashes") == []
    assert (
        failure_reason(tmp_path / "crashes", "wf.good")
        == "process terminated without output (killed, or out of memory)"
    )


def test_processes_and_memory(tmp_path):
    with pytest.raises(SettingsError, match="expected at least one process, found 0"):
        run_workflow(make_workflow(tmp_path, a=""), plugin=Plugin.LINEAR, nprocs=0, crash_folder=tmp_path)
    assert 0.1 < memory_limit_gb() < 100_000


def make_job(tmp_path, subject):
    return SubjectJob(
        subject=subject,
        visits=(VisitScans(visit="a", week=None, scans={Contrast.FLAIR: tmp_path / "f.nii.gz"}),),
        planned=(PlannedVisit(label="a", week=None),),
        protocol="test",
        rules=LesionRules(),
        derivatives=tmp_path / "out",
        reports=tmp_path / "out" / "reports",
        work=tmp_path / "work",
    )


def test_a_request_comes_back_as_it_went(tmp_path):
    job = make_job(tmp_path, "AB12")
    assert load_job(job.save()) == job
    job.file.write_text("{}")
    with pytest.raises(SettingsError, match="expected an analysis job"):
        load_job(job.file)


# a stand-in for `python -m workflows.job`: it succeeds, fails with a word, or is killed
STAND_IN = f"""#!{sys.executable}
import os, pathlib, sys
job = pathlib.Path(sys.argv[3])
name = job.parent.name
if name == "sub-KILLED":
    os.kill(os.getpid(), {int(signal.SIGKILL)})
done = name != "sub-BAD"
from workflows.outcome import Outcome, outcome_file
outcome = Outcome(subject=name[4:], done=done, reason="" if done else "no brain")
outcome_file(job.parent).write_text(outcome.model_dump_json())
sys.exit(0 if done else 4)
"""


@pytest.mark.parametrize("plugin", [Plugin.LINEAR, Plugin.MULTIPROC])
def test_a_subject_that_fails_or_is_killed_leaves_the_others_done(tmp_path, monkeypatch, plugin):
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr(batch.RunSubject, "_cmd", str(program))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    jobs = [make_job(tmp_path, subject) for subject in ("GOOD", "BAD", "KILLED", "FINE")]
    outcome = batch.run_batch(jobs, work=tmp_path / "work", plugin=plugin, nprocs=2)
    assert [(o.subject, o.done) for o in outcome.outcomes] == [
        ("GOOD", True), ("BAD", False), ("KILLED", False), ("FINE", True),
    ]  # fmt: skip
    assert [o.reason for o in outcome.failed] == [
        "no brain", "its process ended without a result (killed, or out of memory)",
    ]  # fmt: skip


def test_an_outcome_of_an_earlier_run_is_not_taken_for_this_one(tmp_path, monkeypatch):
    job = make_job(tmp_path, "KILLED")
    job.save()
    stale = Outcome(subject="KILLED", done=True)
    outcome_file(job.subject_work).write_text(stale.model_dump_json())
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr(batch.RunSubject, "_cmd", str(program))
    outcome = batch.run_batch([job], work=tmp_path / "work", plugin=Plugin.LINEAR, nprocs=1)
    assert not outcome.outcomes[0].done


def test_a_subject_runs_on_one_thread_whatever_the_shell_says(tmp_path, monkeypatch):
    program = tmp_path / "stand-in"
    kept = tmp_path / "environment"
    program.write_text(f"#!/bin/sh\nenv > {kept}\nexit 4\n")
    program.chmod(0o755)
    monkeypatch.setattr(batch.RunSubject, "_cmd", str(program))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    batch.run_batch([make_job(tmp_path, "ANY")], work=tmp_path / "work", plugin=Plugin.MULTIPROC, nprocs=2)
    told = dict(line.split("=", 1) for line in kept.read_text().splitlines() if "=" in line)
    assert {name: told.get(name) for name in ONE_THREAD} == dict.fromkeys(ONE_THREAD, "1")


def test_the_command_line_runs_on_one_thread():
    program = "import workflows, os; print(*(os.environ[name] for name in workflows.ONE_THREAD))"
    bare = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    found = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1", "1"]


def test_nipype_calls_nobody():
    assert os.environ["NIPYPE_NO_ET"] == "1"
    assert Plugin("SLURM") is Plugin.SLURM
