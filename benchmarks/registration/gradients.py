"""Alignment of the edges of two contrasts, without an intensity model.

Usage: ``python benchmarks/registration/gradients.py DATA``

Normalised gradient fields (Haber and Modersitzki, MICCAI 2006): the squared cosine between the gradient directions of
two images, weighted with the gradient strengths, is largest if the edges coincide, whichever side is brighter. The
score is computed for shifts of -1, 0 and +1 voxel (1 mm) along each axis. The maximum of a parabola through the three
scores is the shift of the other contrast against the FLAIR. No interpolation is needed. The script prints the shifts
for `cross_sectional_mni` as published and for simulated heads at 1 mm, where they must be zero.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage
from simulated import BRAIN, CONTRASTS, PATIENTS, PHANTOM_PAIRS, PHANTOM_SEEDS, phantom, phantom_signal, scan

from mri_pipeline.core.spatial import BoolArray, FloatArray, Image

SIGMA_MM = 1.0
DEPTH_MM = 6.0
"""Distance from the mask's surface: the cut of skull stripping is an edge, too, and it is in all contrasts."""


def directions(data: FloatArray, within: BoolArray) -> FloatArray:
    """Gradients with normalised length: 1 at strong edges, 0 in noise."""
    gradient = np.stack([ndimage.gaussian_filter1d(_smooth(data, a), SIGMA_MM, a, order=1) for a in range(3)])
    length = np.linalg.norm(gradient, axis=0)
    return np.asarray(gradient / np.hypot(length, 2 * np.median(length[within])))


def _smooth(data: FloatArray, but: int) -> FloatArray:
    for axis in {0, 1, 2} - {but}:
        data = ndimage.gaussian_filter1d(data, SIGMA_MM, axis)
    return data


def shift_mm(one: Image, other: Image, within: BoolArray) -> FloatArray:
    """Shift (mm) of the other image against the first, both on one 1 mm grid in RAS orientation."""
    here, there = directions(one.data, within), directions(other.data, within)
    result = np.zeros(3)
    for axis in range(3):
        back, still, on = (
            float(((here * np.roll(there, -step, axis + 1)).sum(axis=0)[within] ** 2).mean())
            for step in (-1, 0, 1)
        )
        result[axis] = (back - on) / (2 * (back - 2 * still + on))
    return result


def pairs(data: Path) -> Iterator[tuple[str, Image, Image, BoolArray]]:
    """Pairs to compare, with the interior of the brain."""
    for patient in PATIENTS:
        images = {c: scan(data, patient, c).reoriented("RAS") for c in CONTRASTS}
        inside = ndimage.distance_transform_edt(images["FLAIR"].data > 0) > DEPTH_MM
        for contrast in CONTRASTS[1:]:
            yield f"{patient} | FLAIR to {contrast}", images["FLAIR"], images[contrast], inside
        yield f"{patient} | T1 to T1POST", images["T1"], images["T1POST"], inside
    for seed in PHANTOM_SEEDS:
        fractions = phantom(seed).anatomy.fractions
        brain = ndimage.binary_closing(sum(fractions[t].astype(int) for t in BRAIN) > 127, iterations=3)
        inside = ndimage.distance_transform_edt(brain) > DEPTH_MM
        for name, (first, second) in PHANTOM_PAIRS.items():
            if first != second:
                one, other = phantom_signal(seed, 0, first), phantom_signal(seed, 0, second)
                yield f"phantom {seed} | FLAIR to {name}", one, other, inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    print("| head | contrasts | shift in mm (x, y, z) |")
    print("| --- | --- | --- |")
    for name, one, other, inside in pairs(parser.parse_args().data):
        shift = ", ".join(f"{x:+.2f}" for x in shift_mm(one, other, inside))
        print(f"| {name} | {shift} |", flush=True)


if __name__ == "__main__":
    main()
