"""Separation of true and false matches by the quality figure: ROC on real heads.

Usage: ``python benchmarks/registration/quality.py DATA RESULTS.jsonl [--restarts N]``

- *true*: all pairs of one head that the pipeline would register.
- *false optimum*: the same pairs, fitted without a search from starts up to 60 mm and 35° away; more than 2 mm from the
  true match (mean over the brain).
- *half match*: the same from starts 8 to 20 mm and 8 to 20° away, if the result is not the true match.
- *stranger*: heads of two patients, registered with all attempts.
- *noise*: a head and pure noise on its grid, registered with all attempts.

Results are appended line by line. The summary is printed at the end (``--summary`` prints only the summary).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from heads import HEADS, Pair, brain_mask, distance_mm, scan_file, stranger_pairs, true_pairs
from scipy.spatial.transform import Rotation

from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.spatial import Affine, FloatArray, Image
from mri_pipeline.images.agreement import agreement
from mri_pipeline.images.joint_density import refine_rigid, widened
from mri_pipeline.images.matching import refine
from mri_pipeline.images.register import RegisterSettings, register_rigid
from mri_pipeline.images.sampling import level_of, samples_of

WRONG_MM = 2.0


def away(
    rng: np.random.Generator, centre: FloatArray, mm: tuple[float, float], degrees: tuple[float, float]
) -> Affine:
    """Random motion about a point, with length and angle between limits."""
    shift, axis = rng.standard_normal((2, 3))
    matrix = np.eye(4)
    turn = axis / np.linalg.norm(axis) * rng.uniform(*degrees)
    matrix[:3, :3] = Rotation.from_rotvec(turn, degrees=True).as_matrix()
    matrix[:3, 3] = centre + shift / np.linalg.norm(shift) * rng.uniform(*mm) - matrix[:3, :3] @ centre
    return Affine(matrix)


def of_one_head(pair: Pair, restarts: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    fixed, moving, mask = load_image(pair.fixed), load_image(pair.moving), brain_mask(pair.fixed)
    settings, same = RegisterSettings(), pair.intra_modal
    true = register_rigid(fixed, moving, intra_modal=same, fixed_mask=mask)
    yield {"kind": "true", "quality": true.quality, "error_mm": 0.0}
    margin = 0.0 if same else settings.margin_across_mm
    levels = [
        (samples_of(fixed, mm, mask=mask, margin_mm=margin, max_points=n), level_of(moving, mm))
        for mm, n in zip(settings.levels_mm, settings.max_points, strict=False)
    ]
    region = widened(mask, margin)
    limits = {"iterations": settings.iterations, "full_overlap": settings.full_overlap}
    there = true.moving_to_fixed.inverse()
    centre = levels[0][0].points_mm.mean(axis=0)
    for kind, least_and_most_mm, degrees in (
        ("false optimum", (20, 60), (0, 35)),
        ("half match", (8, 20), (8, 20)),
    ):
        for _ in range(restarts):
            start = there @ away(rng, centre, least_and_most_mm, degrees)
            if kind == "false optimum":
                match = refine(*levels[0], start, linear=same, scale_floor=0.3, tolerance_mm=0.1, **limits)
                start = match.fixed_to_moving
            match = refine(*levels[1], start, linear=same, scale_floor=0.1, tolerance_mm=0.02, **limits)
            found = match.fixed_to_moving
            for mm, n in zip((settings.levels_mm[2], settings.sharp_mm), settings.max_points[2:], strict=True):
                found = refine_rigid(
                    fixed,
                    moving,
                    region,
                    found,
                    spacing_mm=mm,
                    max_points=n,
                    tolerance_mm=settings.sharp_tolerance_mm,
                )
            error = distance_mm(found, there, mask)
            if error > WRONG_MM:
                yield {"kind": kind, "quality": agreement(*levels[-1], found), "error_mm": error}


def of_strangers(pair: Pair) -> Iterator[dict[str, Any]]:
    mask = brain_mask(pair.fixed)
    found = register_rigid(
        load_image(pair.fixed), load_image(pair.moving), intra_modal=pair.intra_modal, fixed_mask=mask
    )
    yield {"kind": "stranger", "quality": found.quality, "error_mm": None}


def of_noise(flair: Path, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    fixed = load_image(flair)
    for same in (True, False):
        noise = Image(rng.gamma(2.0, 100.0, fixed.grid.shape).astype(np.float32), fixed.grid)
        found = register_rigid(fixed, noise, intra_modal=same, fixed_mask=brain_mask(flair))
        yield {"name": "noise", "same": same, "kind": "noise", "quality": found.quality, "error_mm": None}


def summary(rows: list[dict[str, Any]]) -> None:
    settings = RegisterSettings()
    print(
        "| contrasts | match | number | quality: minimum, median, maximum | area under the ROC curve | accepted |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for same in (True, False):
        of = {
            kind: np.array([r["quality"] for r in rows if r["same"] == same and r["kind"] == kind])
            for kind in ("true", "half match", "false optimum", "stranger", "noise")
        }
        for kind, found in of.items():
            if not len(found):
                continue
            spread = ", ".join(f"{x:.2f}" for x in (found.min(), np.median(found), found.max()))
            true = of["true"][:, None]
            area = "" if kind == "true" else f"{np.mean((true > found) + 0.5 * (true == found)):.4f}"
            share = f"{np.count_nonzero(found >= settings.min_quality)} of {len(found)}"
            print(f"| {'same' if same else 'different'} | {kind} | {len(found)} | {spread} | {area} | {share} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--restarts", type=int, default=3, help="restarts of each kind for each pair")
    parser.add_argument("--thin", type=int, default=1, help="use every n-th pair of different patients")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    if not arguments.summary:
        rng = np.random.default_rng(2026)
        with arguments.results.open("w") as file:
            strangers = list(stranger_pairs(arguments.data))[:: arguments.thin]
            for pair in [*true_pairs(arguments.data), *strangers]:
                found = of_strangers(pair) if pair.stranger else of_one_head(pair, arguments.restarts, rng)
                for row in found:
                    file.write(json.dumps({"name": pair.name, "same": pair.intra_modal} | row) + "\n")
                    file.flush()
            for visits in HEADS.values():
                for row in of_noise(arguments.data / scan_file(visits[0], "FLAIR"), rng):
                    file.write(json.dumps(row) + "\n")
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
