"""Known motions: real 1 mm scans averaged to thick slices after a random motion, and scans of a simulated head.

Usage: ``python benchmarks/registration/simulated.py DATA RESULTS.jsonl [--trials N] [--phantom]``

*Published*: the scans of `cross_sectional_mni` (3 T, skull-stripped, four contrasts of one visit on one grid), averaged
to slices of 3 mm, with 2 % noise added to their own noise. *Phantom*: whole heads of the digital reference trial with
noise, coil sensitivity and slices of 3 mm. Their contrasts are aligned by construction, and the moving scan is of a
later visit with other lesions. The fixed scan is moved by up to 5 mm and 5° along and about each axis, the moving scan
by up to 10 mm and 10°. Errors are mean distances over the brain:

- to the *truth*: published scans are treated as perfectly aligned.
- to *ourselves* (published only): the motions composed with our own transform of the unmoved published scans (1 mm).
  This error measures reproducibility. It does not contain a systematic error.

Motions that the results contain are skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from heads import distance_mm
from scipy.spatial.transform import Rotation

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.register import register_rigid
from mri_pipeline.images.resample import resample
from mri_pipeline.phantom.acquire import Quality, acquire
from mri_pipeline.phantom.anatomy import Tissue
from mri_pipeline.phantom.scanner import SIEMENS_SKYRA, acquisitions
from mri_pipeline.phantom.subject import SimulatedSubject, head_signal, simulate_subject

SLICE_MM = 3
NOISE = 0.02
FOLDER = Path("ljubljana") / "cross_sectional_mni"
PATIENTS = ("patient07", "patient19")
CONTRASTS = ("FLAIR", "T1", "T1POST", "T2")
PHANTOM_SEEDS = (101, 102)
PHANTOM_PAIRS = {
    "FLAIR": (Contrast.FLAIR, Contrast.FLAIR),
    "T1": (Contrast.FLAIR, Contrast.T1W),
    "T1POST": (Contrast.FLAIR, Contrast.T1W_GD),
    "T2": (Contrast.FLAIR, Contrast.T2W),
    "T1 to T1": (Contrast.T1W, Contrast.T1W),
}
BRAIN = (Tissue.GREY, Tissue.DEEP_GREY, Tissue.IRON, Tissue.WHITE)


@dataclass(frozen=True)
class Trial:
    """Two scans, the brain mask of the fixed scan, and the motion of each scan from the true position of the head."""

    head: str
    contrast: str
    same: bool
    fixed: Image
    moving: Image
    mask: LabelImage
    to_fixed: Affine
    to_moving: Affine


def motion(rng: np.random.Generator, mm: float, degrees: float) -> Affine:
    """Random rigid motion about the origin of the world."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-mm, mm, 3)
    return Affine(matrix)


def cut(image: Image, move: Affine, rng: np.random.Generator) -> Image:
    """The scan after a motion, in axial slices with a random offset."""
    depth = 66 * SLICE_MM
    affine = np.eye(4)
    affine[:3, 3] = (-95 + rng.uniform(), -125 + rng.uniform(), -80 + rng.uniform(0, SLICE_MM))
    moved = resample(image, Grid((192, 232, depth), affine), move, order=1).data
    slices = moved.reshape(192, 232, depth // SLICE_MM, SLICE_MM).mean(axis=-1)
    slices = slices + NOISE * np.percentile(slices, 98) * rng.standard_normal(slices.shape)
    thick = affine @ np.diag([1.0, 1.0, SLICE_MM, 1.0])
    thick[2, 3] += (SLICE_MM - 1) / 2
    return Image(slices.astype(np.float32), Grid(slices.shape, thick))


@cache
def scan(data: Path, patient: str, contrast: str) -> Image:
    return load_image(data / FOLDER / patient / f"{contrast}.nii.gz")


def brain(flair: Image) -> LabelImage:
    return LabelImage(flair.data > 0, flair.grid)


@cache
def unmoved(data: Path, patient: str, contrast: str) -> Affine:
    """Our own transform from the FLAIR to a published scan, unmoved."""
    flair, other = scan(data, patient, "FLAIR"), scan(data, patient, contrast)
    same = contrast == "FLAIR"
    return register_rigid(flair, other, intra_modal=same, fixed_mask=brain(flair)).moving_to_fixed.inverse()


def published_trials(data: Path, number: int) -> Iterator[Trial]:
    """Trials of published scans: one motion of the FLAIR and one of each contrast, patients in turn."""
    rng = np.random.default_rng([2026, number])
    patient = PATIENTS[number % 2]
    flair = scan(data, patient, "FLAIR")
    to_fixed = motion(rng, 5.0, 5.0)
    fixed = cut(flair, to_fixed, rng)
    mask = moved_mask(brain(flair), fixed.grid, to_fixed)
    for contrast in CONTRASTS:
        to_moving = motion(rng, 10.0, 10.0)
        moving = cut(scan(data, patient, contrast), to_moving, rng)
        yield Trial(patient, contrast, contrast == "FLAIR", fixed, moving, mask, to_fixed, to_moving)


def moved_mask(mask: LabelImage, grid: Grid, move: Affine) -> LabelImage:
    share = resample(Image(mask.mask.astype(np.float32), mask.grid), grid, move, order=1)
    return LabelImage(share.data > 0.5, grid)


@cache
def phantom(seed: int) -> SimulatedSubject:
    return simulate_subject(seed)


@cache
def phantom_signal(seed: int, visit: int, contrast: Contrast) -> Image:
    subject = phantom(seed)
    return head_signal(subject, subject.visits[visit], acquisitions(SIEMENS_SKYRA)[contrast])


def phantom_scan(seed: int, visit: int, contrast: Contrast, pose: Affine, rng: np.random.Generator) -> Image:
    """Scan of a simulated head, with slices approximately aligned to the head."""
    acquisition = acquisitions(SIEMENS_SKYRA)[contrast]
    return acquire(
        phantom_signal(seed, visit, contrast),
        acquisition.grid(pose @ motion(rng, 3.0, 3.0)),
        pose,
        slice_thickness_mm=acquisition.thickness_mm,
        quality=Quality(),
        scale=SIEMENS_SKYRA.white_matter_level,
        rng=rng,
    )


def phantom_trials(number: int) -> Iterator[Trial]:
    """Trials of simulated heads: one motion of the first visit and one of each contrast of the last visit."""
    rng = np.random.default_rng([2027, number])
    seed = PHANTOM_SEEDS[number % 2]
    anatomy = phantom(seed).anatomy
    head = LabelImage(sum(anatomy.fractions[t].astype(int) for t in BRAIN) > 127, anatomy.grid)
    to_fixed = motion(rng, 5.0, 5.0)
    fixed = {c: phantom_scan(seed, 0, c, to_fixed, rng) for c in (Contrast.FLAIR, Contrast.T1W)}
    for name, (first, second) in PHANTOM_PAIRS.items():
        to_moving = motion(rng, 10.0, 10.0)
        moving = phantom_scan(seed, -1, second, to_moving, rng)
        mask = moved_mask(head, fixed[first].grid, to_fixed)
        yield Trial(f"phantom {seed}", name, first == second, fixed[first], moving, mask, to_fixed, to_moving)


def result(trial: Trial, between: Affine | None) -> dict[str, Any]:
    """Errors of a trial; `between` is our own transform of the unmoved published scans."""
    start = time.process_time()
    found = register_rigid(trial.fixed, trial.moving, intra_modal=trial.same, fixed_mask=trial.mask)
    cpu_s = time.process_time() - start
    way, back = found.moving_to_fixed.inverse(), trial.to_fixed.inverse()
    row = {
        "head": trial.head,
        "contrast": trial.contrast,
        "truth_mm": distance_mm(way, trial.to_moving @ back, trial.mask),
        "shift_mm": shift_mm(trial, way).tolist(),
        "quality": found.quality,
        "failed": found.failed,
        "cpu_s": cpu_s,
    }
    if between is not None:
        row["ourselves_mm"] = distance_mm(way, trial.to_moving @ between @ back, trial.mask)
    return row


def shift_mm(trial: Trial, way: Affine) -> np.ndarray:
    """Shift (mm) of the brain's centre by a transform (fixed to moving) against the truth, in the axes of the head."""
    back = trial.to_fixed.inverse()
    points = trial.mask.grid.world(np.argwhere(trial.mask.mask)[::97].astype(float))
    centre = back.points(points).mean(axis=0)[None]
    found = trial.to_moving.inverse() @ way @ trial.to_fixed
    return np.asarray((found.points(centre) - centre)[0])


def summary(rows: list[dict[str, Any]]) -> None:
    print(
        "| head | moving | motions (failed) | lowest quality | to the truth | to ourselves | shift: mean; SD | CPU s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for head, contrast in dict.fromkeys((r["head"], r["contrast"]) for r in rows):
        of = [r for r in rows if (r["head"], r["contrast"]) == (head, contrast)]
        spread = [
            ", ".join(f"{x:.2f}" for x in (np.mean(e), *np.percentile(e, [50, 95, 100]))) if e else ""
            for e in ([r[name] for r in of if name in r] for name in ("truth_mm", "ourselves_mm"))
        ]
        shift = np.array([r["shift_mm"] for r in of])
        shifts = "; ".join(", ".join(f"{x:+.2f}" for x in v) for v in (shift.mean(axis=0), shift.std(axis=0)))
        quality, cpu_s = min(r["quality"] for r in of), np.median([r["cpu_s"] for r in of])
        count = f"{len(of)} ({sum(r['failed'] for r in of)})"
        print(f"| {head} | {contrast} | {count} | {quality:.2f} | {' | '.join(spread)} | {shifts} | {cpu_s:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--trials", type=int, default=50, help="motions for each contrast")
    parser.add_argument("--phantom", action="store_true", help="heads of the digital reference trial")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    if not arguments.summary:
        kinds = len(PHANTOM_PAIRS if arguments.phantom else CONTRASTS)
        with arguments.results.open("a+") as file:
            file.seek(0)
            done = len(file.readlines()) // kinds
            for number in range(done, arguments.trials):
                data = arguments.data
                trials = phantom_trials(number) if arguments.phantom else published_trials(data, number)
                rows = [
                    result(t, None if arguments.phantom else unmoved(data, t.head, t.contrast)) for t in trials
                ]
                file.write("".join(json.dumps(row) + "\n" for row in rows))
                file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
