"""Process of one subject: ``python -m workflows.job JOB [--nprocs K] [--parent PID]``."""

from __future__ import annotations

import argparse
import logging
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from mri_pipeline.analysis.publication import clear_work, publish, staged
from mri_pipeline.analysis.subject_job import SubjectJob, load_job
from mri_pipeline.core import provenance
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import AnalysisError, ReadingCentreError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.locks import LockedError, exclusive
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.processes import die_with_parent
from mri_pipeline.core.records import VisitQuality
from workflows.alignment.selection import align
from workflows.engine import failure_reason, run_workflow
from workflows.logs import log_to_file, remove_handler
from workflows.outcome import Outcome, outcome_file, outcome_of
from workflows.plugin import Plugin
from workflows.subject import init_subject_wf

_LOGGER = logging.getLogger(__name__)

WAIT_S: Final = 600.0
"""How long the analysis of a subject waits for an upload or another analysis of it."""

_IN_USE = "expected no other process on this subject, found an upload or analysis in progress"


def run_subject(job: SubjectJob, *, nprocs: int = 1) -> None:
    """Run both workflows of a subject in this process.

    Parameters
    ----------
    job : SubjectJob
    nprocs : int
        Number of workers; 1 runs the nodes one after another in this process.

    Raises
    ------
    AnalysisError
        With the first failed step and its message, or if no visit can be used.
    """
    crashes = job.subject_work / "crashes"
    plugin = Plugin.MULTIPROC if nprocs > 1 else Plugin.LINEAR
    alignment = align(job, plugin=plugin, nprocs=nprocs)
    started = time.time()
    workflow = init_subject_wf(job=job, alignment=alignment)
    failed = run_workflow(workflow, plugin=plugin, nprocs=nprocs, crash_folder=crashes)
    if failed:
        reason = failure_reason(crashes, failed[0], since=started - 1.0)
        step = ".".join(part for part in failed[0].split(".")[1:] if part)
        raise AnalysisError(f"step {step}: {reason}")


def analyse(job: SubjectJob, *, nprocs: int) -> list[VisitQuality]:
    """Analyse a subject and publish its results, whole or not at all. The caller holds the locks of the job.

    Parameters
    ----------
    job : SubjectJob
    nprocs : int
        As for `run_subject`.

    Returns
    -------
    list of VisitQuality
        Quality of the scans of every visit.

    Raises
    ------
    AnalysisError
        As `run_subject`.
    """
    unfinished = staged(job)
    run_subject(unfinished, nprocs=nprocs)
    quality = load_result(DerivativeDataset(unfinished.derivatives).result(job.subject)).quality
    publish(job, unfinished)
    return list(quality)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job and write its outcome file. No error is raised.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the command line.

    Returns
    -------
    int
        Exit code: 0, that of the error, or 1 for an unexpected fault.
    """
    parser = argparse.ArgumentParser(prog="workflows.job", description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--parent", type=int, default=None, help="process with which this one ends")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with_parent(options.parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent handles Ctrl-C
    try:
        job = load_job(options.job)
    except ReadingCentreError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    with ExitStack() as held:
        held.callback(remove_handler, log_to_file(job.log_file))
        _LOGGER.info("analysis of sub-%s starts: %s", job.subject, provenance.software())
        code, outcome = _run_job(job, options.nprocs, held)
        # beside the job file: the software may have been renewed since the run started, and with it `subject_work`
        write_atomic(outcome_file(options.job.parent), outcome.model_dump_json())
        return code


def _run_job(job: SubjectJob, nprocs: int, held: ExitStack) -> tuple[int, Outcome]:
    """Run a job under its locks, which `held` keeps."""
    code, reason, untouched = 0, "", True
    outcome = Outcome(subject=job.subject, done=False)
    try:
        for path in job.locks:
            held.enter_context(_waiting(path))
        job.require_scans()
        untouched = False
        outcome = outcome_of(job.subject, analyse(job, nprocs=nprocs))
        if not outcome.failed_visits and not job.keep_work:
            clear_work(job)
    except LockedError as error:
        code, reason = error.exit_code, f"{_IN_USE} ({error.holder})"
        _LOGGER.error(reason)  # noqa: TRY400 - an expected error needs no traceback
    except ReadingCentreError as error:
        code, reason = error.exit_code, error.message
        _LOGGER.error("%s %s", reason, error.hint)  # noqa: TRY400
    except Exception as error:
        _LOGGER.exception("unexpected fault")
        code, reason = 1, f"unexpected {type(error).__name__}"
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return code, outcome.model_copy(
        update={
            "done": code == 0,
            "reason": reason,
            "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in usage), 2),
            "peak_memory_gib": round(max(u.ru_maxrss for u in usage) / 2**20, 3),
            "untouched": untouched,
        }
    )


@contextmanager
def _waiting(path: Path) -> Iterator[None]:
    """Hold a lock. While it waits, the process logs the holder of the lock."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(path, wait_s=0))
        except LockedError as error:
            _LOGGER.info("waits for %s", error.holder)
            held.enter_context(exclusive(path, wait_s=WAIT_S))
        yield


if __name__ == "__main__":
    sys.exit(main())
