"""Lesions inserted into white matter by a second recipe, and heads whose own lesions are filled in.

The recipe did not shape the T2 rule. The GEL model was trained with a recipe of the same kind and wider limits. T2
lesions and GEL are measured on the same lesions.

Usage::

    python benchmarks/accuracy/white_matter_insertion.py SHARED_DATA RESULTS.jsonl [--heads 3] [--slices 1 3]

Scans: Ljubljana cross-sectional patients 07 and 19 (3 T, T1 before and after gadolinium) and MSLesSeg P14 at visit 2
(1.5 T, no gadolinium), at 1 mm and averaged to thicker slices. Each copy of a head receives up to ten lesions:

- shapes: lesions of 48 to 400 mm³ in the expert masks of other patients, in their own size, flipped and rotated by
  multiples of 90 degrees; edges are blurred by 0.6 mm;
- places: uniform in white matter, 5 mm from the patient's lesions and 12 mm from each other;
- FLAIR: 25 to 40 % brighter than the white matter within 2 to 6 mm; T2w 30 to 55 % brighter; T1 0 to 20 % darker;
- T1 after gadolinium: 20 to 60 % brighter than that white matter; a third of the lesions of at least 120 mm³ enhance
  as a ring of 1.5 mm.

A lesion is found if a found lesion overlaps it. A found lesion is *false* if it lies 2 mm or more from all inserted
lesions and from the expert mask. In the filled head, the patient's own lesions are replaced by white matter: the mean
of the white matter around and the noise of white matter elsewhere. Every lesion found in it is false. It is *apart from
the filling* if less than 30 % of it lies within 3 mm of the replaced lesions. The others are remainders of true lesions
that the expert mask does not hold, or of the filling.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from published import Analysed, analyse, cases, learned, lesion_shapes, load_case, thick
from scipy import ndimage

from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.black_holes import segment_black_holes

CASES = ("ljubljana-07", "ljubljana-19", "P14-T2")
LESIONS = 10
VOLUMES_MM3 = (48, 400)
EDGE_MM = 0.6
APART_MM = 12.0
FROM_OWN_MM = 5.0
RING_MM = 1.5
LEAST_RING_MM3 = 120
NEAR_MM = 2.0
BESIDE_MM, BESIDE_SHARE = 3.0, 0.3
LEVELS = {Contrast.FLAIR: (1.25, 1.40), Contrast.T2W: (1.30, 1.55), Contrast.T1W: (0.80, 1.00)}
ENHANCED = (1.2, 1.6)


@dataclass(frozen=True)
class Inserted:
    """An inserted lesion: its voxels in the 1 mm head, its levels relative to the white matter around, and its form."""

    voxels: BoolArray
    volume_mm3: float
    flair: float
    enhancement: float
    ring: bool


def insert(  # noqa: PLR0917
    images: dict[Contrast, Image],
    visit: VisitImages,
    tissue: TissueMaps,
    own: BoolArray,
    pool: list[BoolArray],
    rng: np.random.Generator,
) -> tuple[dict[Contrast, Image], list[Inserted]]:
    """Insert lesions into the scans of a head of 1 mm voxels."""
    data = {contrast: image.data.astype(np.float32).copy() for contrast, image in images.items()}
    brain = visit.brain.mask
    white = brain & (tissue.white_matter.data > 0.5) & ~own
    free = white & tissue.above_foramen_magnum & (ndimage.distance_transform_edt(~own) > FROM_OWN_MM)
    places = rng.permutation(np.argwhere(free))
    lesions: list[Inserted] = []
    for at in places[: 60 * LESIONS]:
        if len(lesions) == LESIONS or not free[tuple(at)]:
            continue
        shape = pool[rng.integers(len(pool))]
        shape = np.flip(shape, [a for a in range(3) if rng.random() < 0.5]).transpose(rng.permutation(3))
        lesion = np.pad(shape, 8)
        start = at - np.array(lesion.shape) // 2
        if (start < 0).any() or (start + lesion.shape > brain.shape).any():
            continue
        box = tuple(slice(s, s + n) for s, n in zip(start, lesion.shape, strict=True))
        distance = ndimage.distance_transform_edt(~lesion)
        around = white[box] & (distance > 2.0) & (distance <= 6.0)
        if not brain[box][lesion].all() or white[box][lesion].mean() < 0.6 or around.sum() < 20:
            continue
        levels = {contrast: rng.uniform(*limits) for contrast, limits in LEVELS.items()}
        levels[Contrast.T1W_GD] = rng.uniform(*ENHANCED)
        ring = bool(shape.sum() >= LEAST_RING_MM3 and rng.random() < 1 / 3)
        bright = lesion & (ndimage.distance_transform_edt(lesion) <= RING_MM) if ring else lesion
        for contrast, values in data.items():
            part = bright if contrast is Contrast.T1W_GD else lesion
            wanted = levels[contrast] * float(np.median(values[box][around]))
            factor = wanted / float(values[box][part].mean())
            values[box] *= 1.0 + ndimage.gaussian_filter(part.astype(np.float32), EDGE_MM) * (factor - 1.0)
        voxels = np.zeros(brain.shape, dtype=bool)
        voxels[box] = lesion
        lesions.append(
            Inserted(voxels, float(shape.sum()), levels[Contrast.FLAIR] - 1.0, levels[Contrast.T1W_GD] - 1.0, ring)
        )
        near = np.linalg.norm(places - at, axis=1) <= APART_MM
        free[tuple(places[near].T)] = False
    return {contrast: Image(values, images[contrast].grid) for contrast, values in data.items()}, lesions


def filled(
    images: dict[Contrast, Image], found: Analysed, own: BoolArray, rng: np.random.Generator
) -> dict[Contrast, Image]:
    """Replace the patient's lesions, with a margin of 1 mm, by white matter."""
    wide = ndimage.binary_dilation(own)
    white = found.visit.brain.mask & (found.tissue.white_matter.data > 0.8) & ~ndimage.binary_dilation(wide)
    result = {}
    for contrast, image in images.items():
        level = blurred(np.where(white, image.data, 0)) / np.maximum(blurred(white.astype(np.float32)), 1e-4)
        noise = rng.choice((image.data - level)[white], size=int(wide.sum()))
        data = image.data.astype(np.float32).copy()
        data[wide] = level[wide] + noise
        result[contrast] = Image(data, image.grid)
    return result


def blurred(data: FloatArray) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(data.astype(np.float32), 4.0))


def rows_of(  # noqa: PLR0917
    found: Analysed,
    lesions: list[Inserted],
    own: BoolArray,
    filling: BoolArray,
    grid: Grid,
    slices: int,
) -> Iterator[dict[str, Any]]:
    """One row for each inserted lesion, and one for the head with its false lesions.

    `own` are lesions that the head shows, `filling` those that were replaced by white matter.
    """
    t2 = found.t2_lesions.mask
    gel = found.enhancing.mask if found.enhancing else None

    def slab(mask: BoolArray) -> BoolArray:
        return np.asarray(thick(Image(mask.astype(np.float32), grid), slices).data >= 0.5 / slices)

    for lesion in lesions:
        voxels = slab(lesion.voxels)
        yield {
            "volume_mm3": lesion.volume_mm3,
            "flair": lesion.flair,
            "enhancement": lesion.enhancement,
            "ring": lesion.ring,
            "t2_found": bool(t2.mask[voxels].any()),
            "gel_found": bool(gel.mask[voxels].any()) if gel else None,
        }
    true = slab(np.any([own, *(lesion.voxels for lesion in lesions)], axis=0))
    distance = ndimage.distance_transform_edt(~true, sampling=found.visit.grid.spacing_mm) if true.any() else None
    holes = None
    if Contrast.T1W in found.visit.contrasts:
        holes = segment_black_holes(found.visit, found.tissue, t2, gel, LesionRules()).black_holes
    row: dict[str, Any] = {"lesions": len(lesions)}
    for name, mask in (("t2", t2), ("gel", gel), ("holes", holes)):
        if mask is None:
            continue
        numbers = np.unique(mask.data[mask.mask])
        if distance is not None:
            numbers = np.setdiff1d(numbers, np.unique(mask.data[distance < NEAR_MM]))
        volume = float(np.isin(mask.data, numbers).sum() * mask.grid.voxel_volume_mm3) if len(numbers) else 0.0
        row |= {f"false_{name}": len(numbers), f"false_{name}_mm3": volume}
    if filling.any():
        apart = apart_from(slab(filling), t2)
        row |= {"false_t2_apart": len(apart), "false_t2_apart_mm3": sum(apart)}
    yield row


def apart_from(filling: BoolArray, lesions: LabelImage) -> list[float]:
    """Volumes in mm³ of the lesions that do not lie beside the filling, the largest first."""
    distance = ndimage.distance_transform_edt(~filling, sampling=lesions.grid.spacing_mm)
    voxels = np.bincount(lesions.data.ravel())[1:]
    beside = np.bincount(lesions.data[distance <= BESIDE_MM], minlength=len(voxels) + 1)[1:]
    apart = (voxels > 0) & (beside < BESIDE_SHARE * voxels)
    return sorted((float(n * lesions.grid.voxel_volume_mm3) for n in voxels[apart]), reverse=True)


def summary(rows: list[dict[str, Any]]) -> None:
    """Sensitivity by volume and enhancement, and false lesions of each kind of head."""
    for slices in sorted({row["slices"] for row in rows}):
        put = [row for row in rows if row["slices"] == slices and "flair" in row]
        print(f"\n{slices} mm slices, lesions inserted into white matter: found / inserted")
        for low, high in ((48, 100), (100, 200), (200, 401)):
            of = [row for row in put if low <= row["volume_mm3"] < high]
            gel = [row for row in of if row["gel_found"] is not None]
            strong = [row for row in gel if row["enhancement"] >= 0.25]
            print(
                f"  {low} to {high - (high == 401)} mm3: T2 {share(of, 't2_found')}, GEL {share(gel, 'gel_found')}, "
                f"GEL of 25 % and more {share(strong, 'gel_found')}"
            )
        for row in rows:
            if row["slices"] == slices and "lesions" in row and row["head"] in ("untouched", "filled"):
                false = {key.removeprefix("false_"): value for key, value in row.items() if "false" in key}
                print(f"  {row['head']} {row['case']}: false {false}")


def share(rows: list[dict[str, Any]], key: str) -> str:
    return f"{sum(row[key] for row in rows)}/{len(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--heads", type=int, default=3, help="copies of each head with inserted lesions")
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 3], help="slice thickness in mm")
    parser.add_argument("--seed", type=int, default=1913)
    parser.add_argument("--summary", action="store_true", help="print the summary of existing results")
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    if not arguments.summary:
        measure(arguments)
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


def measure(arguments: argparse.Namespace) -> None:
    """Analyse all heads and write one line of JSON for each lesion and head."""
    made = learned(arguments.data, arguments.models)
    masks = arguments.data / "ljubljana" / "lesion_masks_mni"
    with arguments.results.open("w") as file:
        for name, (folder, reference, left_out) in cases(arguments.data).items():
            if name not in CASES:
                continue
            images, own = load_case(folder, reference)
            grid = images[Contrast.FLAIR].grid
            first = analyse(images, made[left_out])
            rng = np.random.default_rng(arguments.seed)
            pool = lesion_shapes(masks, left_out, VOLUMES_MM3)
            none: list[Inserted] = []
            heads = [("untouched", images, none), ("filled", filled(images, first, own, rng), none)]
            heads += [
                (f"copy {k + 1}", *insert(images, first.visit, first.tissue, own, pool, rng))
                for k in range(arguments.heads)
            ]
            for head, scans, lesions in heads:
                nowhere = np.zeros_like(own)
                known, filling = (nowhere, own) if head == "filled" else (own, nowhere)
                for slices in arguments.slices:
                    found = analyse({c: thick(i, slices) for c, i in scans.items()}, made[left_out])
                    for row in rows_of(found, lesions, known, filling, grid, slices):
                        file.write(json.dumps({"case": name, "head": head, "slices": slices} | row) + "\n")
                    file.flush()


if __name__ == "__main__":
    main()
