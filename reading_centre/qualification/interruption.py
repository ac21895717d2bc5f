"""Operational qualification (OQ): an analysis that is killed and resumed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import listed
from reading_centre.qualification.checks import Result, check
from reading_centre.qualification.contents import contents
from reading_centre.qualification.reference import Reference
from reading_centre.use_cases.analysis.run import run_trial
from workflows.executors import Execution

_LONGEST_S: Final = (20.0, 8.0, 3.0)
"""The analysis is killed at a random moment before the first of these, or the next one if it has ended by then."""
_EARLIEST_S: Final = 1.0


@check("RUN-01", "after SIGKILL at a random moment and a second run the bytes of the undisturbed analysis")
def killed_and_resumed(reference: Reference) -> Result:
    """Analyse one subject again in a copy, kill the analysis with all its processes, resume it, and compare.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    visits = reference.timepoints()
    codes = sorted(
        reference.run.codes.values(),
        key=lambda code: sum(row["subject"] == code and row["scan_status"] == "analysed" for row in visits),
    )
    subject = codes[0]
    undisturbed = contents(reference.trial.derivatives.folder(subject))
    with reference.copy("reports", "quarantine") as trial:
        folder = trial.derivatives.folder(subject)
        shutil.rmtree(folder)
        for longest in _LONGEST_S:
            moment = random.SystemRandom().uniform(_EARLIEST_S, longest)
            if _killed(trial.root, subject, moment):
                break
            shutil.rmtree(folder, ignore_errors=True)  # the analysis has ended
        else:
            return False, f"the analysis ended within {longest:g} s; nothing was killed"
        left = len(contents(folder)) if folder.is_dir() else 0
        outcome = run_trial(trial.root, subjects=[subject], execution=Execution(nprocs=reference.nprocs))
        resumed = contents(folder)
    changed = sorted(name for name in {*undisturbed, *resumed} if undisturbed.get(name) != resumed.get(name))
    whole = left in {0, len(undisturbed)}
    found = f"killed after {moment:.1f} s, {left} results then; {len(resumed)} files, different: "
    found += listed(changed) or "none"
    return not outcome.failed and not changed and whole and bool(resumed), found


def _command(folder: Path, subject: str) -> list[str]:
    return [sys.executable, "-m", "reading_centre", "run", str(folder), "--subject", subject]


def _killed(folder: Path, subject: str, moment: float) -> bool:
    """Start an analysis, and kill it and its processes at a moment. False if it has ended before."""
    with subprocess.Popen(
        _command(folder, subject),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            return True
        else:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
