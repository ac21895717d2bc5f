"""Do registrations agree with each other: there and back, around a loop, in any orientation, with a visit added?

Usage: ``python benchmarks/registration/consistency.py DATA``

Distances are means over the brain, in mm.

- *there and back*: fixed to moving to fixed, each registered on its own: FLAIRs with the brains of both, as the
  pipeline does, other contrasts with that of the fixed scan.
- *loop*: FLAIR to T1 to T2 to FLAIR of one visit; FLAIRs of three visits; FLAIRs and T1 (or T2) of two visits. Every
  leg is registered directly; the pipeline itself registers a star, whose ways close by construction.
- *orientation*: either scan stored along other axes, against the same scans as they are.
- *added visit*: by how much the earlier visits' ways into the midway space move when a visit is added, and by how much
  they then move against each other.
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
    """The scans of a folder and the ways between them, each registered once."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.way = cache(self._way)
        self.mask = cache(self._mask)

    def file(self, scan: Scan) -> Path:
        """Where a scan lies."""
        head, visit, contrast = scan
        return self.data / scan_file(HEADS[head][visit], contrast)

    def image(self, scan: Scan) -> Image:
        """A scan."""
        return load_image(self.file(scan))

    def contrasts(self, head: str, visit: int) -> list[Scan]:
        """The scans that a visit has, the FLAIR first."""
        found = [(head, visit, contrast) for contrast in CONTRASTS]
        return [scan for scan in found if self.file(scan).exists()]

    def _mask(self, scan: Scan) -> LabelImage:
        flair = (scan[0], scan[1], "FLAIR")
        if scan == flair:
            return brain_mask(self.file(flair))
        return moved_mask(self.mask(flair), self.image(scan).grid, self.way(flair, scan))

    def _way(self, fixed: Scan, moving: Scan) -> Affine:
        """From the fixed scan to the moving one."""
        masks, same = (self.mask(fixed), self.other_mask(fixed, moving)), fixed[2] == moving[2]
        return way_between(self.image(fixed), self.image(moving), masks, same=same)

    def other_mask(self, fixed: Scan, moving: Scan) -> LabelImage | None:
        """The brain of the moving scan, where the pipeline knows it: between FLAIRs."""
        return self.mask(moving) if fixed[2] == moving[2] == "FLAIR" else None


def way_between(fixed: Image, moving: Image, masks: tuple[LabelImage, LabelImage | None], *, same: bool) -> Affine:
    found = register_rigid(fixed, moving, intra_modal=same, fixed_mask=masks[0], moving_mask=masks[1])
    return found.moving_to_fixed.inverse()


def star(scans: Scans, head: str) -> Iterator[tuple[Scan, Scan]]:
    """What the pipeline registers."""
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
    """What other storage of either scan changes."""
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
    """Move of each earlier visit in the midway space, and against the first one, when a visit is added."""
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
    print("| what | number | mm: median, 95 %, greatest |")
    print("| --- | --- | --- |")
    for head in HEADS_USED:
        row(f"there and back, {head}", [around(scans, leg) for leg in legs[head]])
    for head in HEADS_USED:
        for loop in loops(scans, head):
            row(f"loop of {head}: " + ", ".join(f"{c} {v + 1}" for _, v, c in loop), [around(scans, loop)])
    row("other orientations", [mm for leg in legs["01"] for mm in turned(scans, *leg)])
    moves = list(added(scans, "P14"))
    row("third visit added: into the midway space", [space for space, _ in moves])
    row("third visit added: against each other", [between for _, between in moves])


if __name__ == "__main__":
    main()
