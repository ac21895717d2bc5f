"""Registration and brain extraction on real scans: errors, quality and CPU seconds as a table.

Usage: ``python benchmarks/registration/run.py DATA [--trials N]`` where DATA holds ``ljubljana/longitudinal`` (source:
docs/accuracy.md). The script measures and asserts nothing.

- *between* and *within*: mean distance over the brain to the authors' affine transforms (patient 01, whose published
  brain mask is correct). A rigid transform can't have less than 0.1 to 0.4 mm.
- *capture*: the same pairs with the header of the moving scan rotated by up to 30 degrees and shifted by up to 60 mm.
  The error is against the transform found from the true header.
- *strangers*: scans of two different patients. Their heads match, but less well.
- *brain*: Dice with the published mask, in total and within the field of view of the T1 of visit 1. The published mask
  ends flat there, without the lowest and the highest slices of the brain.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from heads import displaced, distance_mm
from labels import resample_labels

from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.io.nifti import load_image, load_labels
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.images.brain import extract_brain
from mri_pipeline.images.register import Registration, register_rigid
from mri_pipeline.images.resample import covered

Result = TypeVar("Result")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def row(what: str, pair: str, found: Registration, error_mm: float, cpu_s: float) -> None:
    state = "failed" if found.failed else "ok"
    print(
        f"{what:<11}{pair:<24}{error_mm:8.2f} mm{found.quality:8.2f}  {found.method:<19}{state:<7}{cpu_s:6.1f} s"
    )


def dice(a: LabelImage, b: LabelImage) -> float:
    return 2 * np.count_nonzero(a.mask & b.mask) / (np.count_nonzero(a.mask) + np.count_nonzero(b.mask))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=4, help="displacements for each pair")
    arguments = parser.parse_args()
    folder = arguments.data / "ljubljana" / "longitudinal" / "patient01"
    stranger = load_image(folder.parent / "patient03" / "study2_FLAIR.nii.gz")
    to_common = {s: load_transform(folder / f"study{s}_FLAIR_to_common_space.txt") for s in (1, 2)}
    flair = {s: load_image(folder / f"study{s}_FLAIR.nii.gz") for s in (1, 2)}
    common = load_labels(folder / "brainmask.nii.gz")
    reference = {s: resample_labels(common, flair[s].grid, to_common[s].inverse()) for s in (1, 2)}

    t1 = load_image(folder / "study1_T1W.nii.gz")
    t1_to_common = to_common[1] @ load_transform(folder / "study1_T1W_intrastudy_to_FLAIR.txt")
    masks = {}
    for study in (1, 2):
        brain, cpu_s = timed(lambda s=study: extract_brain(flair[s], load_template()))
        masks[study] = brain.mask
        seen = covered(t1, flair[study].grid, to_common[study].inverse() @ t1_to_common).mask
        both = [LabelImage(mask.mask & seen, mask.grid) for mask in (brain.mask, reference[study])]
        figures = f"Dice {dice(brain.mask, reference[study]):.3f}, within that T1 {dice(*both):.3f}"
        print(f"brain      visit {study}: {figures}{cpu_s:8.1f} s")

    pairs = [("FLAIR 2 to 1", 1, flair[2], to_common[1].inverse() @ to_common[2], True)]
    for study in (1, 2):
        for contrast in ("T1W", "T2W"):
            image = load_image(folder / f"study{study}_{contrast}.nii.gz")
            truth = load_transform(folder / f"study{study}_{contrast}_intrastudy_to_FLAIR.txt")
            pairs.append((f"{contrast} to FLAIR, visit {study}", study, image, truth, False))
    rng = np.random.default_rng(2026)
    for name, study, moving, truth, same in pairs:
        fixed, mask = flair[study], masks[study]
        found, cpu_s = timed(
            lambda f=fixed, m=moving, s=same, k=mask: register_rigid(
                f, m, intra_modal=s, fixed_mask=k, moving_mask=masks[2] if s else None
            )
        )
        error = distance_mm(found.moving_to_fixed.inverse(), truth.inverse(), reference[study])
        row("between" if same else "within", name, found, error, cpu_s)
        for _ in range(arguments.trials):
            away, way = displaced(moving, rng, 60.0, 30.0)
            again, cpu_s = timed(
                lambda f=fixed, m=away, s=same, k=mask: register_rigid(f, m, intra_modal=s, fixed_mask=k)
            )
            error = distance_mm(
                again.moving_to_fixed.inverse(), way @ found.moving_to_fixed.inverse(), reference[study]
            )
            row("capture", name, again, error, cpu_s)
    for same in (True, False):
        found, cpu_s = timed(lambda s=same: register_rigid(flair[1], stranger, intra_modal=s, fixed_mask=masks[1]))
        row("strangers", "patient 03 to 01", found, float("nan"), cpu_s)


if __name__ == "__main__":
    main()
