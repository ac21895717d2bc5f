"""Execution by Nipype: a failure is reported with its reason and does not stop the other subjects."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from mri_pipeline.core.errors import AnalysisError, SettingsError
from workflows import ONE_THREAD
from workflows.engine import failure_reason, run_workflow
from workflows.interfaces.base import ContentStep, Step
from workflows.interfaces.images import MatchFlairs
from workflows.interfaces.segmenter import RunSegmenter
from workflows.memory import memory_limit_gb
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
        if self.inputs.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
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


class _ReadIn(BaseInterfaceInputSpec):
    file = File(exists=True, mandatory=True)
    log = traits.Str(mandatory=True, nohash=True)
    setting = traits.Str("")


class _ReadOut(TraitedSpec):
    file = File(exists=True)


class Read(Step):
    """Copies its input file, and enters its name in a log."""

    input_spec = _ReadIn
    output_spec = _ReadOut

    def _run_interface(self, runtime):
        with Path(self.inputs.log).open("a") as log:
            log.write(f"{type(self).__name__} ")
        copy = Path(runtime.cwd) / "copy.txt"
        copy.write_bytes(Path(self.inputs.file).read_bytes())
        self._results["file"] = str(copy)
        return runtime


class ReadScan(Read, ContentStep):
    pass


@pytest.mark.parametrize("plugin", [Plugin.LINEAR, Plugin.MULTIPROC])
def test_a_replaced_scan_of_the_same_size_and_time_is_read_again(tmp_path, plugin):
    scan, log = tmp_path / "scan.txt", tmp_path / "log.txt"

    def run(content):
        scan.write_text(content)
        os.utime(scan, (1e9, 1e9))
        log.write_text("")
        workflow = pe.Workflow(name="wf", base_dir=str(tmp_path / "work"))
        read = pe.Node(ReadScan(file=str(scan), log=str(log)), name="read")
        later = pe.Node(Read(log=str(log)), name="later")
        workflow.connect([(read, later, [("file", "file")])])
        assert run_workflow(workflow, plugin=plugin, nprocs=1, crash_folder=tmp_path / "crashes") == []
        (copied,) = (tmp_path / "work/wf/later").glob("copy.txt")
        return log.read_text().split(), copied.read_text()

    assert run("one") == (["ReadScan", "Read"], "one")
    assert run("one") == ([], "one")
    assert run("two") == (["ReadScan", "Read"], "two")


def test_an_expensive_step_is_not_repeated_for_a_file_that_was_written_again(tmp_path):
    scan, log = tmp_path / "scan.txt", tmp_path / "log.txt"
    scan.write_text("one")
    for setting, expected in (("first", ["Read", "ReadScan"]), ("second", ["Read"])):
        log.write_text("")
        workflow = pe.Workflow(name="wf", base_dir=str(tmp_path / "work"))
        before = pe.Node(Read(file=str(scan), log=str(log), setting=setting), name="before")
        expensive = pe.Node(ReadScan(log=str(log)), name="expensive")
        workflow.connect([(before, expensive, [("file", "file")])])
        assert run_workflow(workflow, plugin=Plugin.LINEAR, nprocs=1, crash_folder=tmp_path / "crashes") == []
        assert log.read_text().split() == expected
    assert issubclass(MatchFlairs, ContentStep)
    assert issubclass(RunSegmenter, ContentStep)


@pytest.mark.timeout(60)
def test_a_killed_worker_ends_the_workflow(tmp_path):
    """Nipype's MultiProc waits for it for ever."""
    workflow = make_workflow(tmp_path, bad="killed", good="")
    with pytest.raises(AnalysisError, match="expected all worker processes until the end, found a killed worker"):
        run_workflow(workflow, plugin=Plugin.MULTIPROC, nprocs=2, crash_folder=tmp_path / "crashes")


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


def test_the_command_line_runs_on_one_thread():
    program = "import workflows, os; print(*(os.environ[name] for name in workflows.ONE_THREAD))"
    bare = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    found = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1", "1"]


def test_nipype_calls_nobody():
    assert os.environ["NIPYPE_NO_ET"] == "1"
    assert Plugin("SLURM") is Plugin.SLURM
