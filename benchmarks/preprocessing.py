"""Cost of preprocessing: CPU seconds of each stage for each visit, and peak memory, by number of visits.

    OMP_NUM_THREADS=1 python benchmarks/preprocessing.py [--visits 2 4 7 14] [--dimension 2D] [--scans FOLDER]

One visit of the digital reference subject (FLAIR, T1 before and after contrast, T2; whole heads) is simulated. It
serves as every visit, each time moved by a known motion of a few millimetres and degrees. ``--scans`` uses a visit of
real scans instead: a folder with ``FLAIR``, ``T1W``, ``T1W_GD`` and ``T2W`` ``.nii.gz``, or some of them. Every number
of visits runs in a separate process. The stages run in the order of the workflow, with files on disk between them.
Peak memory is that reported by the system. *motion* is the largest distance over the brain between the known and the
registered motion. The script measures and asserts nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

import numpy as np
from registration.heads import distance_mm

from mri_pipeline.analysis import preparation
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.spatial import Affine, Grid, Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.acquire import rigid
from mri_pipeline.phantom.scanner import Dimension
from mri_pipeline.phantom.subject import simulate_subject, simulate_visit

USED = {Contrast.FLAIR: "FLAIR", Contrast.T1W: "T1W", Contrast.T1W_GD: "T1W_GD", Contrast.T2W: "T2W"}
STAGES = ("brain", "within", "between", "space", "prepare", "tissue")
P = ParamSpec("P")
Result = TypeVar("Result")


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def run(self, stage: str, step: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a step and add its CPU seconds to a stage."""
        start = time.process_time()
        result = step(*args, **kwargs)
        self.seconds[stage] += time.process_time() - start
        return result


def motion_of(visit: int) -> Affine:
    """Head motion at a visit: up to 4 degrees and 5 mm, the same in every run."""
    rng = np.random.default_rng(visit)
    turn, shift = rng.uniform(-4, 4, 3), rng.uniform(-5, 5, 3)
    return rigid((turn[0], turn[1], turn[2]), (shift[0], shift[1], shift[2]))


def displaced(image: Image, motion: Affine) -> Image:
    return Image(image.data, Grid(image.grid.shape, motion.matrix @ image.grid.affine))


def write_scans(folder: Path, dimension: Dimension) -> None:
    """Write the scans of one simulated visit."""
    subject = simulate_subject(2026)
    for contrast, image in simulate_visit(subject, subject.visits[0], dimension=dimension).images.items():
        if contrast in USED:
            nifti.save(image, folder / f"{USED[contrast]}.nii.gz")


def preprocess(scans: Path, visits: int, work: Path) -> tuple[dict[str, float], float, float]:
    """CPU seconds by stage, peak memory in GiB and the largest motion error in mm of one subject."""
    load_template()  # once for each process, for any number of visits
    clock = Clock()

    def load(visit: int, contrast: Contrast) -> Image:
        return displaced(nifti.load_image(scans / f"{USED[contrast]}.nii.gz"), motion_of(visit))

    present = [c for c, name in USED.items() if (scans / f"{name}.nii.gz").exists()]
    brains, ways, to_first, errors = [], [], [], []
    for visit in range(visits):
        flair = load(visit, Contrast.FLAIR)
        brains.append(clock.run("brain", preparation.extract_brain, flair))
        to_flair = {Contrast.FLAIR: Affine.identity()}
        for contrast in present[1:]:
            moving = load(visit, contrast)
            found = clock.run(
                "within", preparation.register, flair, moving, fixed_brain=brains[-1].mask, intra_modal=False
            )
            to_flair[contrast] = found.moving_to_fixed
        ways.append(to_flair)
        if visit:
            first = load(0, Contrast.FLAIR)
            found = clock.run(
                "between", preparation.register, first, flair, fixed_brain=brains[0].mask, intra_modal=True
            )
            to_first.append(found.moving_to_fixed)
            known = motion_of(0) @ motion_of(visit).inverse()
            errors.append(distance_mm(found.moving_to_fixed, known, brains[-1].mask))
    space = clock.run(
        "space",
        preparation.subject_space,
        flairs=[load(visit, Contrast.FLAIR) for visit in range(visits)],
        brains=[found.mask for found in brains],
        templates_to_flair=[found.template_to_image for found in brains],
        later_to_first=to_first,
    )
    for visit, (way, to_flair) in enumerate(zip(space.flairs_to_subject, ways, strict=True)):
        images = {contrast: load(visit, contrast) for contrast in present}
        to_subject = {contrast: way @ inner for contrast, inner in to_flair.items()}
        prepared = clock.run("prepare", preparation.prepare_visit, images, to_subject, space.brain)
        for contrast, image in prepared.items():
            nifti.save(image, work / f"{visit}_{USED[contrast]}.nii.gz")
    flairs, t1ws = (
        [nifti.load_image(work / f"{visit}_{USED[c]}.nii.gz") for visit in range(visits) if c in present]
        for c in (Contrast.FLAIR, Contrast.T1W)
    )
    clock.run(
        "tissue",
        preparation.map_subject_tissue,
        flairs=flairs,
        t1ws=t1ws,
        brain=space.brain,
        template_to_subject=space.template_to_subject,
    )
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return dict(clock.seconds), peak_gib, max(errors, default=0.0)


def _measure(scans: Path, visits: int) -> tuple[dict[str, float], float, float]:
    with TemporaryDirectory() as work:
        return preprocess(scans, visits, Path(work))


def main() -> None:
    """Print a line for each number of visits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", nargs="+", type=int, default=[2, 4, 7, 14])
    parser.add_argument("--dimension", type=Dimension, default=Dimension.TWO_D, choices=list(Dimension))
    parser.add_argument("--scans", type=Path, help="folder with the scans of one visit")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        scans = options.scans or Path(folder)
        if options.scans is None:
            write_scans(scans, options.dimension)
        print(
            "visits " + " ".join(f"{stage:>8s}" for stage in STAGES) + "   per visit (CPU s)  peak GiB  motion mm"
        )
        for visits in options.visits:
            # separate process: the peak memory is that of this number of visits
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, peak_gib, error_mm = pool.apply(_measure, (scans, visits))
            cells = " ".join(f"{seconds.get(stage, 0.0) / visits:8.2f}" for stage in STAGES)
            total = sum(seconds.values()) / visits
            print(f"{visits:6d} {cells}   {total:19.2f}  {peak_gib:8.2f}  {error_mm:9.2f}", flush=True)


if __name__ == "__main__":
    main()
