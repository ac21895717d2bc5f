"""The official BIDS validator on an input dataset."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

from mri_pipeline.core.errors import ExternalToolError, UsageError

_LOGGER = logging.getLogger(__name__)
_PROGRAM = "bids-validator-deno"
_SHOWN = 5
_OF_ONE_IMAGE = {"SYMLINK_BROKEN", "EMPTY_FILE", "NIFTI_HEADER_UNREADABLE"}
"""Errors of one image file. They do not stop the dataset: the analysis reports the visit of that image as failed."""


def require_valid(bids_dir: Path) -> None:
    """Run the BIDS validator, if it is installed, and refuse a dataset with errors.

    Warnings are accepted. Unreadable images are accepted, too: the analysis reports their visits as failed.

    Parameters
    ----------
    bids_dir : Path

    Raises
    ------
    UsageError
        If the dataset has errors.
    ExternalToolError
        If the validator itself fails.
    """
    program = shutil.which(_PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(_PROGRAM)
    if program is None:
        _LOGGER.info("%s is not installed: the dataset is not validated", _PROGRAM)
        return
    done = subprocess.run([program, "--json", str(bids_dir)], capture_output=True, text=True, check=False)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExternalToolError(
            f"{_PROGRAM}: expected a JSON report, found none (exit code {done.returncode})",
            hint="use --skip-bids-validation",
        ) from error
    errors = [issue for issue in issues if issue.get("severity") == "error" and issue["code"] not in _OF_ONE_IMAGE]
    if errors:
        listed = "; ".join(f"{issue['code']} {issue.get('location', '')}".strip() for issue in errors[:_SHOWN])
        raise UsageError(
            f"expected a valid BIDS dataset, found {len(errors)} errors of the validator: {listed}"
            + ("; ..." if len(errors) > _SHOWN else ""),
            hint="correct the dataset, or use --skip-bids-validation",
        )
