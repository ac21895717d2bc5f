"""Subjects as jobs of a real Slurm cluster: each fault ends in one line with Slurm's words, the others are done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from psij import JobState, JobStatus

from tests.unit.test_batch import REPOSITORY, make_job, wait_for
from workflows import cluster, executors
from workflows.batch import run_batch
from workflows.executors import ClusterOptions, Execution
from workflows.outcome import Outcome
from workflows.plugin import Plugin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# a stand-in for `python -m workflows.job`
STAND_IN = """
import os, pathlib, subprocess, sys, time
job = pathlib.Path(sys.argv[1])
name = job.parent.name[4:]
with (job.parent / "starts").open("a") as starts:
    starts.write("x")
if name == "CANCELLED":
    subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]])
    time.sleep(300)
if name == "MEMORY":
    block = bytearray(700_000_000)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(300)
if name == "TIME":
    time.sleep(300)
if name.startswith("SLOW"):
    while not (job.parent / "go").exists():
        time.sleep(0.2)
from workflows.outcome import Outcome, outcome_file
outcome_file(job.parent).write_text(Outcome(subject=name, done=True).model_dump_json())
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch, slurm_configuration):
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    monkeypatch.setattr(executors, "PROGRAM", (sys.executable, str(program)))
    monkeypatch.setattr(cluster, "POLL_S", 1)
    monkeypatch.setattr(cluster, "_LATE_FILES_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *sys.path]))
    monkeypatch.setenv("SLURM_CONF", str(slurm_configuration))
    return program


def queue():
    command = ["squeue", "--me", "--noheader", "--format=%j %T"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def run(tmp_path, *subjects, **options):
    jobs = [make_job(tmp_path, subject) for subject in subjects]
    options = {"memory_gb": 0.3, "minutes": 1} | options
    outcome = run_batch(jobs, Execution(Plugin.SLURM, nprocs=6, cluster=ClusterOptions(**options)))
    return {one.subject: one for one in outcome.outcomes}


def test_each_fault_ends_in_one_line_and_the_others_are_done(tmp_path, slurm):
    found = run(tmp_path, "GOOD", "CANCELLED", "MEMORY", "TIME", "FINE", "WELL")
    assert {subject for subject, one in found.items() if one.done} == {"GOOD", "FINE", "WELL"}
    words = {subject: one.reason for subject, one in found.items() if not one.done}
    assert all(text.startswith("its Slurm job ") and "\n" not in text for text in words.values())
    assert "ended as CANCELLED (reason " in words["CANCELLED"]
    assert "ended as TIMEOUT (reason TimeLimit" in words["TIME"]
    # a node without control groups kills: FAILED; with them OUT_OF_MEMORY
    assert "FAILED (reason JobLaunchFailure, exit code 9)" in words["MEMORY"] or "OUT_OF_MEMORY" in words["MEMORY"]
    assert [one.untouched for one in found.values()] == [False, True, False, False, False, False]
    assert queue() == []
    # the next run submits only what is missing
    again = run(tmp_path, "CANCELLED", minutes=1)
    assert again["CANCELLED"].untouched
    assert Path(again["CANCELLED"].log) == make_job(tmp_path, "CANCELLED").log_file


def test_a_wrong_partition_is_said_and_nothing_is_recorded(tmp_path, slurm):
    found = run(tmp_path, "GOOD", "FINE", partition="nowhere")
    for one in found.values():
        assert "expected a job that Slurm accepts, found: invalid partition specified: nowhere" in one.reason
        assert (one.done, one.untouched) == (False, True)


RUN = """
import signal, sys
from pathlib import Path
from tests.unit.test_batch import make_job
from workflows import cluster, executors
from workflows.batch import run_batch
from workflows.executors import ClusterOptions, Execution
from workflows.plugin import Plugin
signal.signal(signal.SIGTERM, signal.default_int_handler)
executors.PROGRAM = (sys.executable, sys.argv[1])
cluster.POLL_S = 1
jobs = [make_job(Path(sys.argv[2]), subject) for subject in ("SLOW1", "SLOW2", "SLOW3")]
run_batch(jobs, Execution(Plugin.SLURM, nprocs=3, cluster=ClusterOptions(memory_gb=0.3, minutes=10)))
"""


def starts(tmp_path, subject):
    return (make_job(tmp_path, subject).subject_work / "starts").read_text()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_leaving_cancels_and_a_killed_run_is_taken_over(tmp_path, slurm, sent):
    first = subprocess.Popen([sys.executable, "-c", RUN, slurm, tmp_path], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(queue()) == 3 and sum("RUNNING" in line for line in queue()) == 2, 120)
        first.send_signal(sent)
        first.wait(60)
    finally:
        first.kill()
        first.wait()
    if sent == signal.SIGTERM:
        wait_for(lambda: queue() == [])
        return
    time.sleep(2)
    assert len(queue()) == 3
    for subject in ("SLOW1", "SLOW2", "SLOW3"):
        (make_job(tmp_path, subject).subject_work / "go").touch()
    found = run(tmp_path, "SLOW1", "SLOW2", "SLOW3")
    assert [one.done for one in found.values()] == [True, True, True]
    assert [starts(tmp_path, subject) for subject in found] == ["x", "x", "x"]
    assert all(isinstance(one, Outcome) for one in found.values())


@pytest.mark.parametrize(
    "message", ["Failed to poll for job status: Traceback ...", "Error updating job statuses x"]
)
def test_jobs_are_not_failed_if_squeue_cannot_be_asked(message):
    ending = cluster._ending("17", JobStatus(JobState.FAILED, message=message))
    assert ending.untouched
    assert ending.cause == "the state of its Slurm job 17 is not known, and it may still run: repeat the run"
    ending = cluster._ending("17", JobStatus(JobState.FAILED, message="TIMEOUT"))
    assert (ending.untouched, ending.cause) == (False, "its Slurm job 17 ended as TIMEOUT")
