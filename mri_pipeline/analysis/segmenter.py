"""Run an external segmenter on one visit (docs/segmenters.md).

The command runs without a shell in a separate folder. Its printed output goes to a file in that folder. It is never
part of a message, because it may contain anything.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from mri_pipeline.core.errors import AnalysisError, ImageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.method import METHOD
from mri_pipeline.core.processes import die_with_parent
from mri_pipeline.core.robust import median
from mri_pipeline.core.segmenters import PLACEHOLDERS, Segmenter
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.t2.external import check_map

LOG = "segmenter.log"
BRAIN_MEDIAN = METHOD.external.brain_median


def run_segmenter(
    segmenter: Segmenter, images: Mapping[Contrast, Image], brain: LabelImage, folder: Path, *, visit: str = ""
) -> Image:
    """Run the command of a segmenter on one visit and read and check its output.

    Parameters
    ----------
    segmenter : Segmenter
    images : mapping of Contrast to Image
        Images of the visit, all on the grid of `brain`.
    brain : LabelImage
    folder : Path
        Working folder. It is emptied and then holds the images, files of the command and its printed output (`LOG`).
    visit : str, optional
        Label of the visit, for messages.

    Returns
    -------
    Image
        Output of the command.

    Raises
    ------
    AnalysisError
        If the visit lacks an image that the command uses, if the command cannot be started, exceeds its time limit or
        ends with an exit code other than 0, or if its output is missing or invalid
        (`mri_pipeline.lesions.t2.external.check_map`).
    """
    what = f"segmenter {segmenter.name} {segmenter.version}" + (f", visit {visit}" if visit else "")
    lacking = [contrast.value for contrast in segmenter.contrasts if contrast not in images]
    if lacking:
        raise AnalysisError(
            f"{what}: expected {' and '.join(lacking)}, which its command names, found none",
            hint="use a segmenter that does not need this scan, or add the scan to the visit",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder = folder.resolve()
    output = folder / segmenter.output
    output.parent.mkdir(parents=True, exist_ok=True)
    values = {"mask": str(output), "folder": str(folder)}
    for name, contrast in PLACEHOLDERS.items():
        if contrast in images:
            values[name] = str(nifti.save(_scaled(images[contrast], brain), folder / f"{name}.nii.gz"))
    values["brain"] = str(nifti.save(brain, folder / "brain.nii.gz"))
    _run(segmenter, segmenter.arguments(values), folder, what=what)
    try:
        found = nifti.load_map(output)
    except ImageError as error:
        raise AnalysisError(
            f"{what}: expected its output {segmenter.output}, found: {error.message}; {_look_in(folder)}",
            hint=_BY_HAND,
        ) from error
    check_map(found, brain, segmenter, what)
    return found


def _look_in(folder: Path) -> str:
    return f"its output is in {folder.name}/{LOG} of this step"


_BY_HAND = "run the command by hand on the images beside that file (docs/segmenters.md)"


def _scaled(image: Image, brain: LabelImage) -> Image:
    """Clip an image at 0 and scale the median of the brain to `BRAIN_MEDIAN`."""
    positive = np.clip(image.data, 0.0, None)
    middle = float(median(positive[brain.mask])) if brain.mask.any() else 0.0
    return Image(positive * np.float32(BRAIN_MEDIAN / middle) if middle > 0 else positive, image.grid)


def _run(segmenter: Segmenter, arguments: list[str], folder: Path, *, what: str) -> None:
    with (folder / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that child processes can be ended with it
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:
            raise AnalysisError(
                f"{what}: expected a program that can be run as {Path(segmenter.command[0]).name}, found "
                f"{error.strerror}",
                hint="install it, or name its absolute path; the command is a list, each argument by itself",
            ) from error
        try:
            code = process.wait(60 * segmenter.timeout_minutes)
        except subprocess.TimeoutExpired as error:
            raise AnalysisError(
                f"{what}: expected it to end within {segmenter.timeout_minutes:g} minutes, found it still running; "
                + _look_in(folder),
                hint="raise timeout_minutes",
            ) from error
        finally:
            with suppress(ProcessLookupError):  # end its child processes in all cases
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise AnalysisError(f"{what}: expected exit code 0, found {code}; {_look_in(folder)}", hint=_BY_HAND)
