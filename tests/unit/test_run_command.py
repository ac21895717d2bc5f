"""`run`: progress in words, the log of the run, what would be done, and failed subjects alone."""

import json
import subprocess
import sys

import pytest

from benchmarks.tables import write_trial
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.registry import Registry, ScanState
from reading_centre import cli, console
from reading_centre.use_cases.analysis import run
from reading_centre.use_cases.analysis.overview import save_outcome
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from workflows.outcome import BatchOutcome, Outcome
from workflows.progress import RunState, current_step

LOG = """2026-01-01 00:00:00,000 INFO workflows.job: analysis of sub-AB12 starts: {}
2026-01-01 00:00:01,000 INFO workflows.engine: alignment_wf.visit_wk00_wf.brain: end
2026-01-01 00:00:02,000 INFO workflows.engine: subject_wf.lesions_wf.segment_wk04: start
"""


def test_progress_says_subjects_step_and_time_left(tmp_path):
    log = tmp_path / "sub-AB12.log"
    log.write_text(LOG)
    running = {"AB12": log, **{f"C{i}": tmp_path / "none" for i in range(5)}}
    state = RunState(12, done=3, failed=1, running=running, started=0.0)
    assert state.line(240.0) == (
        "3 of 12 subjects done, 1 failed, about 8 min left, running: AB12 segment wk04; C0; C1; C2 and 2 more"
    )
    assert RunState(2, started=0.0).line(5.0) == "0 of 2 subjects done"
    log.write_text(LOG + "2026-01-02 00:00:00,000 INFO workflows.job: analysis of sub-AB12 starts: {}\n")
    assert current_step(log) == ""  # the steps of an earlier run are not shown


def test_off_a_terminal_there_is_a_line_a_minute(monkeypatch, capsys):
    now = iter([0.0, 1.0, 59.0, 61.0, 62.0, 130.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    with console.batch_progress() as show:
        for done in range(5):
            show(RunState(9, done=done, started=0.0))
    assert [line.partition(" subjects")[0] for line in capsys.readouterr().err.splitlines()] == [
        "2 of 9",
        "4 of 9",
    ]


@pytest.fixture(autouse=True)
def remembered(monkeypatch):
    """Checks of files that are seconds old are remembered, too."""
    monkeypatch.setattr("reading_centre.use_cases.analysis.checked.SETTLED_S", -60.0)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return write_trial(tmp_path_factory.mktemp("run") / "trial", subjects=2, shape=(40, 44, 14))


def opened(trial):
    return Registry.open(trial, load_protocol(trial.protocol_file))


def stand_in(monkeypatch, *, fails=(), untouched=()):
    """`run_batch` without analysis; returns the subjects of its jobs."""
    seen = []

    def analyse(jobs, _execution, *, finished, **_):
        outcomes = []
        for job in jobs:
            bad = job.subject in (*fails, *untouched)
            outcome = Outcome(
                subject=job.subject, done=not bad, reason="no brain" * bad, untouched=job.subject in untouched
            )
            seen.append(job.subject)
            outcomes.append(outcome)
            finished(job, outcome)
        return BatchOutcome(tuple(outcomes))

    monkeypatch.setattr(run, "run_batch", analyse)
    return seen


def states(trial, code):
    with opened(trial) as registry:
        return {visit.visit: visit.scan for visit in registry.subject(code).visits}


def test_what_would_be_done_and_failed_subjects_alone(trial, monkeypatch, capsys):
    command = ["run", str(trial.root)]
    assert cli.invoke([*command, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned == dict.fromkeys(
        ("BENCH000", "BENCH001"), "nothing new; current results are not computed again"
    )
    assert cli.invoke([*command, "--rerun-failed"]) == 2
    assert "expected subjects that failed, found none" in capsys.readouterr().err
    save_outcome(trial.derivatives, Outcome(subject="BENCH001", done=False, reason="no brain"))
    assert cli.invoke([*command, "--dry-run", "--rerun-failed"]) == 0
    assert capsys.readouterr().out == "sub-BENCH001: no brain\n1 subjects would be analysed\n"
    seen = stand_in(monkeypatch, fails=("BENCH001",))
    assert cli.invoke([*command, "--rerun-failed"]) == 4
    said = capsys.readouterr().out
    assert seen == ["BENCH001"]
    assert "0 of 1 subjects done" in said
    (log,) = (trial.work / "logs").glob("run-*.log")
    assert f"log of the run: {log}" in said


@pytest.mark.parametrize("calibrate", [False, True])
def test_scans_are_calibrated_if_the_command_says_so(trial, monkeypatch, calibrate):
    asked = []

    def analyse(jobs, _execution, *, finished, **_):
        asked.extend(job.calibrate for job in jobs)
        outcomes = [Outcome(subject=job.subject, done=False, reason="test", untouched=True) for job in jobs]
        for job, outcome in zip(jobs, outcomes, strict=True):
            finished(job, outcome)
        return BatchOutcome(tuple(outcomes))

    monkeypatch.setattr(run, "run_batch", analyse)
    cli.invoke(["run", str(trial.root), *(["--calibrate"] if calibrate else [])])
    assert asked
    assert set(asked) == {calibrate}


def test_a_subject_that_was_not_analysed_keeps_the_status_of_its_scans(trial, monkeypatch):
    before = states(trial, "BENCH000")
    outcome_before = DerivativeDataset(trial.derivatives.root).outcome("BENCH000").exists()
    stand_in(monkeypatch, untouched=("BENCH000",))
    run.run_trial(trial.root, subjects=["BENCH000"])
    assert states(trial, "BENCH000") == before
    assert trial.derivatives.outcome("BENCH000").exists() == outcome_before


def test_numbers_of_a_replaced_scan_are_neither_recorded_nor_in_tables(tmp_path, monkeypatch):
    trial = write_trial(tmp_path / "trial", subjects=1, shape=(40, 44, 14))
    with opened(trial) as registry:
        registry.unlock_read("BENCH000", "wk04", reader="R1", reason="another scan")

    def analyse(jobs, _execution, *, finished, **_):
        with opened(trial) as registry:  # during the run
            registry.record_scan(
                "BENCH000",
                "wk04",
                site="S01",
                upload_digest="other",
                receipt="r2",
                replace_because="wrong patient",
            )
        outcome = Outcome(subject="BENCH000", done=True)
        finished(jobs[0], outcome)
        return BatchOutcome((outcome,))

    monkeypatch.setattr(run, "run_batch", analyse)
    run.run_trial(trial.root)
    before = states(trial, "BENCH000")
    assert set(before.values()) == {ScanState.RECEIVED}  # the numbers of all visits were made with that scan
    with opened(trial) as registry:
        # a scan that is unknown by now, and one that was analysed together with it
        registry.record_analyses("BENCH000", {"none": (ScanStatus.ANALYSED, "")}, scan_keys={"none": "earlier"})
        key = registry.subject("BENCH000").visits[0].scan_key
        registry.record_analyses(
            "BENCH000", {"wk00": (ScanStatus.ANALYSED, "")}, scan_keys={"wk00": key, "wk04": "earlier"}
        )
    assert states(trial, "BENCH000") == before
    # as if its analysis had been recorded all the same
    with opened(trial) as registry:
        for visit in before:
            registry.record_analyses("BENCH000", {visit: (ScanStatus.ANALYSED, "")})
    with pytest.raises(
        UsageError,
        match="subject BENCH000, visit wk04: the analysis is of a scan that was replaced",
    ):
        write_trial_tables(trial.root, provisional=True)


def test_a_line_is_printed_as_it_is(capsys):
    lines = ["sub-AB12: [b]1[/b] :smile: \N{GREEK SMALL LETTER MU}", "x" * 500, "a line\nand another", ""]
    for line in lines:
        console.say(line)
    assert capsys.readouterr().out == "".join(f"{line}\n" for line in lines)


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    program = "from reading_centre.console import say\nfor _ in range(9999): say('x' * 99)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
