"""Enhancement of T1 after contrast, judged by the images (`mri_pipeline.images.enhancement`).

Usage: ``python benchmarks/intake/enhancement.py DATA RESULTS.csv [--seeds 101 202] [--no-phantom]``

*Published*: T1 and T1POST of `cross_sectional_mni` (3 T, skull-stripped) in the given order, exchanged, and T1 against
itself after a motion, a change of gain and added noise; at 1 mm and averaged to slices of 3 mm. The two visits of
`longitudinal/patient01` (1.5 T, with skull, other slices and voxels): both look post-contrast, and the second has a new
enhancing lesion. *Phantom*: whole heads of the digital reference trial, 2D spin echo and 3D gradient echo of two
scanners; of two sessions for pairs without a difference in contrast; 2D before against 3D after; with noise and motion.

Each line has the expected and the found verdict and both tails. A verdict that contradicts the truth is an error;
undecided is none.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.enhancement import Enhancement, compare_t1
from mri_pipeline.images.resample import resample
from mri_pipeline.phantom.acquire import Quality
from mri_pipeline.phantom.scanner import PHILIPS_ACHIEVA, SIEMENS_SKYRA, Dimension, ScannerModel, acquisitions
from mri_pipeline.phantom.subject import SimulatedSubject, simulate_subject, simulate_visit

VISITS = ("wk00", "wk04")
QUALITIES = {
    "usual": None,
    "snr10": Quality(snr=10.0),
    "motion1": Quality(motion_mm=1.0),
    "motion3": Quality(motion_mm=3.0),
}


@dataclass(frozen=True)
class Pair:
    """Two T1 and what they are."""

    name: str
    first: Image
    second: Image
    expected: Enhancement
    region: LabelImage | None = None


def brain(image: Image) -> LabelImage:
    return LabelImage((image.data > 0).astype(np.uint8), image.grid)


def thick(image: Image) -> Image:
    """Slices of 3 mm."""
    depth = image.grid.shape[2] // 3
    data = image.data[..., : depth * 3].reshape(*image.grid.shape[:2], depth, 3).mean(axis=-1)
    affine = image.grid.affine @ np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] += image.grid.affine[:3, 2]
    return Image(data.astype(np.float32), Grid(data.shape, affine))


def again(image: Image, seed: int) -> Image:
    """The same scan, moved, with another gain and noise of 5 % of the median."""
    move = np.eye(4)
    move[:3, 3] = (1.5, 0.7, 1.1)
    moved = resample(image, image.grid, Affine(move)).data
    noise = np.random.default_rng(seed).normal(0, 0.05 * np.median(image.data[image.data > 0]), moved.shape)
    return Image((1.7 * (moved + noise * (moved > 0))).astype(np.float32), image.grid)


def published(data: Path) -> Iterator[Pair]:
    for patient in ("07", "19"):
        folder = data / "ljubljana" / "cross_sectional_mni" / f"patient{patient}"
        before, after = (load_image(folder / f"{name}.nii.gz").reoriented() for name in ("T1", "T1POST"))
        for slices, one, two in (("1mm", before, after), ("3mm", thick(before), thick(after))):
            name = f"patient{patient} stripped {slices}"
            yield Pair(f"{name} given", one, two, Enhancement.PRESENT, brain(one))
            yield Pair(f"{name} exchanged", two, one, Enhancement.REVERSED, brain(two))
            yield Pair(f"{name} T1 twice", one, again(one, 1), Enhancement.ABSENT, brain(one))
            yield Pair(f"{name} T1POST twice", two, again(two, 2), Enhancement.ABSENT, brain(two))
    folder = data / "ljubljana" / "longitudinal" / "patient01"
    one, two = (load_image(folder / f"study{n}_T1W.nii.gz") for n in (1, 2))
    yield Pair("patient01 skull two visits", one, two, Enhancement.ABSENT)
    yield Pair("patient01 skull two visits exchanged", two, one, Enhancement.ABSENT)


def scans(
    subject: SimulatedSubject, scanner: ScannerModel, dimension: Dimension, quality: Quality | None
) -> dict[tuple[str, Contrast], Image]:
    wanted = (Contrast.T1W, Contrast.T1W_GD)
    series = {c: a for c, a in acquisitions(scanner, dimension).items() if c in wanted}
    found = {}
    for visit in VISITS:
        scan = simulate_visit(subject, visit, scanner=scanner, dimension=dimension, series=series, quality=quality)
        found |= {(visit, contrast): scan.images[contrast] for contrast in wanted}
    return found


def simulated(seed: int) -> Iterator[Pair]:
    subject = simulate_subject(seed)
    usual = {}
    for scanner, dimension, quality in product((SIEMENS_SKYRA, PHILIPS_ACHIEVA), Dimension, QUALITIES):
        if quality != "usual" and (scanner is PHILIPS_ACHIEVA or dimension is Dimension.THREE_D):
            continue
        found = scans(subject, scanner, dimension, QUALITIES[quality])
        name = f"phantom{seed} {scanner.vendor.name} {dimension.value} {quality}"
        before, after = (found["wk00", c] for c in (Contrast.T1W, Contrast.T1W_GD))
        yield Pair(f"{name} given", before, after, Enhancement.PRESENT)
        yield Pair(f"{name} exchanged", after, before, Enhancement.REVERSED)
        for contrast in (Contrast.T1W, Contrast.T1W_GD):
            pair = (found[visit, contrast] for visit in VISITS)
            yield Pair(f"{name} {contrast.value} twice", *pair, Enhancement.ABSENT)
        if quality == "usual":
            usual[scanner.vendor.name, dimension] = before, after
    for vendor in ("SIEMENS", "PHILIPS"):
        flat, volume = (usual[vendor, dimension] for dimension in (Dimension.TWO_D, Dimension.THREE_D))
        name = f"phantom{seed} {vendor} 2D and 3D"
        yield Pair(f"{name} given", flat[0], volume[1], Enhancement.PRESENT)
        yield Pair(f"{name} exchanged", flat[1], volume[0], Enhancement.REVERSED)
        yield Pair(f"{name} T1w twice", flat[0], volume[0], Enhancement.ABSENT)
        yield Pair(f"{name} after twice", flat[1], volume[1], Enhancement.ABSENT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[101, 202])
    parser.add_argument("--no-phantom", action="store_true")
    arguments = parser.parse_args()
    counts = {"right": 0, "undecided": 0, "wrong": 0}
    with arguments.results.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("pair", "expected", "found", "result", "upper", "lower", "cpu_s"))
        for source in (
            published(arguments.data),
            *([] if arguments.no_phantom else map(simulated, arguments.seeds)),
        ):
            for pair in source:
                start = time.process_time()
                check = compare_t1(pair.first, pair.second, region=pair.region)
                seconds = time.process_time() - start
                right = check.enhancement is pair.expected
                undecided = check.enhancement is Enhancement.UNDECIDED
                result = "right" if right else "undecided" if undecided else "wrong"
                counts[result] += 1
                row = (
                    pair.name,
                    pair.expected,
                    check.enhancement,
                    result,
                    check.upper,
                    check.lower,
                    f"{seconds:.1f}",
                )
                writer.writerow(row)
                file.flush()
                print(*row)
    print(counts)


if __name__ == "__main__":
    main()
