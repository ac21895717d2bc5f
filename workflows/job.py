"""Process of one subject: ``python -m workflows.job REQUEST [--nprocs K]``."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.analysis.subject_job import SubjectJob, load_job
from mri_pipeline.core import provenance
from mri_pipeline.core.errors import AnalysisError, ReadingCentreError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import DerivativeDataset
from mri_pipeline.core.records import VisitQuality
from qc.registration import all_qc_flags
from workflows.alignment import align
from workflows.engine import failure_reason, run_workflow
from workflows.logs import log_to_file
from workflows.outcome import Outcome, outcome_file
from workflows.plugin import Plugin
from workflows.subject import init_subject_wf

_LOGGER = logging.getLogger(__name__)


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
    options = parser.parse_args(arguments)
    code, reason, subject = 0, "", ""
    quality: list[VisitQuality] = []
    try:
        job = load_job(options.job)
        subject = job.subject
        log_to_file(job.log_file)
        _LOGGER.info("analysis of sub-%s starts: %s", subject, provenance.software())
        run_subject(job, nprocs=options.nprocs)
        quality = list(load_result(DerivativeDataset(job.derivatives).result(subject)).quality)
    except ReadingCentreError as error:
        code, reason = error.exit_code, error.message
        sys.stderr.write(f"{reason}\n")
        _LOGGER.error("%s %s", reason, error.hint)  # noqa: TRY400 - an expected error needs no traceback
    except Exception as error:
        traceback.print_exc()
        _LOGGER.exception("unexpected fault")
        code, reason = 1, f"unexpected {type(error).__name__}"
    if subject:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        outcome = Outcome(
            subject=subject,
            done=code == 0,
            reason=reason,
            failed_visits={visit.visit: visit.failure for visit in quality if visit.failure},
            qc_flags=[message for visit in quality if not visit.failure for message in all_qc_flags([visit])],
            cpu_seconds=round(sum(u.ru_utime + u.ru_stime for u in usage), 2),
            peak_memory_gib=round(max(u.ru_maxrss for u in usage) / 2**20, 3),
        )
        write_atomic(outcome_file(options.job.parent), outcome.model_dump_json())
    return code


if __name__ == "__main__":
    sys.exit(main())
