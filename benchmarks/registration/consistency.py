"""Consistency of registrations: forward and backward, loops, orientations, an added visit.

Usage: ``python benchmarks/registration/consistency.py DATA``

Distances are means over the brain, in mm.

- *forward and backward*: fixed to moving and moving to fixed, registered independently. FLAIRs use the brain masks of
  both scans, as in the pipeline. Other contrasts use the mask of the fixed scan.
- *loop*: FLAIR to T1 to T2 to FLAIR of one visit; FLAIRs of three visits; FLAIRs and T1 (or T2) of two visits. Every
  transform is a direct registration. The pipeline registers all scans to one, so that its loops close by construction.
- *orientation*: either scan stored in another orientation, compared with the original orientation.
- *added visit*: motion of the earlier visits in the midpoint space when a visit is added, and their motion relative to
  each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
from heads import CONTRASTS, HEADS, brain_mask, distance_mm, scan_file
from simulated import moved_mask

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Affine, Image, LabelImage
from mri_pipeline.images.midway import midway
from mri_pipeline.images.register import register_rigid

HEADS_USED = ("01", "03", "19", "P14")
ORIENTATIONS = ("LAS", "PSR", "LIA")
Scan = tuple[str, int, str]
"""Head, number of the visit, contrast."""


class Scans:
    """Scans of a folder and the transforms between them, each registered once."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.way = cache(self._way)
        self.mask = cache(self._mask)

    def file(self, scan: Scan) -> Path:
        """File of a scan."""
        head, visit, contrast = scan
        return self.data / scan_file(HEADS[head][visit], contrast)

    def image(self, scan: Scan) -> Image:
        """Load a scan."""
        return load_image(self.file(scan))

    def contrasts(self, head: str, visit: int) -> list[Scan]:
        """Contrasts of a visit, the FLAIR first."""
        found = [(head, visit, contrast) for contrast in CONTRASTS]
        return [scan for scan in found if self.file(scan).exists()]

    def _mask(self, scan: Scan) -> LabelImage:
        flair = (scan[0], scan[1], "FLAIR")
        if scan == flair:
            return brain_mask(self.file(flair))
        return moved_mask(self.mask(flair), self.image(scan).grid, self.way(flair, scan))

    def _way(self, fixed: Scan, moving: Scan) -> Affine:
        """Transform from the fixed to the moving scan."""
        masks, same = (self.mask(fixed), self.other_mask(fixed, moving)), fixed[2] == moving[2]
        return way_between(self.image(fixed), self.image(moving), masks, same=same)

    def other_mask(self, fixed: Scan, moving: Scan) -> LabelImage | None:
        """Brain mask of the moving scan; known to the pipeline between FLAIRs only."""
        return self.mask(moving) if fixed[2] == moving[2] == "FLAIR" else None


def way_between(fixed: Image, moving: Image, masks: tuple[LabelImage, LabelImage | None], *, same: bool) -> Affine:
    found = register_rigid(fixed, moving, intra_modal=same, fixed_mask=masks[0], moving_mask=masks[1])
    return found.moving_to_fixed.inverse()


def star(scans: Scans, head: str) -> Iterator[tuple[Scan, Scan]]:
    """Registrations of the pipeline: each scan to its FLAIR, each FLAIR to the first."""
    for visit in range(len(HEADS[head])):
        flair, *others = scans.contrasts(head, visit)
        if visit:
            yield (head, 0, "FLAIR"), flair
        for other in others:
            yield flair, other


def loops(scans: Scans, head: str) -> Iterator[list[Scan]]:
    visits = [scans.contrasts(head, visit) for visit in range(len(HEADS[head]))]
    yield from (visit for visit in visits if len(visit) == 3)
    if len(visits) == 3:
        yield [visit[0] for visit in visits]
    for (flair, *others), (next_flair, *next_others) in pairwise(visits):
        for one in others:
            yield from ([flair, next_flair, other, one] for other in next_others if other[2] == one[2])


def around(scans: Scans, loop: Sequence[Scan]) -> float:
    ways = [scans.way(one, other) for one, other in pairwise([*loop, loop[0]])]
    whole = reduce(lambda done, way: way @ done, ways)
    return distance_mm(whole, Affine.identity(), scans.mask(loop[0]))


def turned(scans: Scans, fixed: Scan, moving: Scan) -> list[float]:
    """Change of the result if either scan is stored in another orientation."""
    way, same = scans.way(fixed, moving), fixed[2] == moving[2]
    mask, other_mask = scans.mask(fixed), scans.other_mask(fixed, moving)
    one, other = scans.image(fixed), scans.image(moving)
    ways = []
    for axes in ORIENTATIONS:
        masks = mask, other_mask and other_mask.reoriented(axes)
        ways.append(way_between(one, other.reoriented(axes), masks, same=same))
    axes = ORIENTATIONS[1]
    ways.append(way_between(one.reoriented(axes), other, (mask.reoriented(axes), other_mask), same=same))
    return [distance_mm(way, found, mask) for found in ways]


def added(scans: Scans, head: str) -> Iterator[tuple[float, float]]:
    """Motion of each earlier visit in the midpoint space, and relative to the first visit, if a visit is added."""
    flairs: list[Scan] = [(head, visit, "FLAIR") for visit in range(len(HEADS[head]))]
    to_first = [Affine.identity()] + [scans.way(flairs[0], flair).inverse() for flair in flairs[1:]]
    for number in range(2, len(flairs)):
        before, after = midway(to_first[:number]), midway(to_first[: number + 1])
        for visit in range(number):
            mask = scans.mask(flairs[visit])
            there = before[0].inverse() @ before[visit], after[0].inverse() @ after[visit]
            yield distance_mm(before[visit], after[visit], mask), distance_mm(*there, mask)


def row(what: str, values: Sequence[float]) -> None:
    if values:
        spread = ", ".join(f"{x:.3f}" for x in (np.median(values), *np.percentile(values, [95, 100])))
        print(f"| {what} | {len(values)} | {spread} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    scans = Scans(parser.parse_args().data)
    legs = {head: list(star(scans, head)) for head in HEADS_USED}
    print("| test | registrations | mm: median, 95 %, maximum |")
    print("| --- | --- | --- |")
    for head in HEADS_USED:
        row(f"forward and backward, {head}", [around(scans, leg) for leg in legs[head]])
    for head in HEADS_USED:
        for loop in loops(scans, head):
            row(f"loop of {head}: " + ", ".join(f"{c} {v + 1}" for _, v, c in loop), [around(scans, loop)])
    row("other orientations", [mm for leg in legs["01"] for mm in turned(scans, *leg)])
    moves = list(added(scans, "P14"))
    row("third visit added: motion in the midpoint space", [space for space, _ in moves])
    row("third visit added: against each other", [between for _, between in moves])


if __name__ == "__main__":
    main()
