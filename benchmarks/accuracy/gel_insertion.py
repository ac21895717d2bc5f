"""Enhancing lesions inserted into real scans: sensitivity by size and increase, and false positives.

Usage::

    python benchmarks/accuracy/gel_insertion.py SHARED_DATA RESULTS.jsonl [--heads 12] [--slices 1 3]

The scans are those of the Ljubljana cross-sectional patients 07 and 19 (3 T, T1 before and after gadolinium, FLAIR,
T2, 1 mm), as published and averaged to slices of 3 mm. Each copy of a head gets up to eight lesions. Their distance is
at least 12 mm from each other and 5 mm from the patient's own lesions. Their shapes are those of real T2 lesions of
*other* patients, scaled to a diameter of 3 to 10 mm. They are solid, rings or open rings (from 6 mm) and lie in deep,
juxtacortical or infratentorial white matter or at a ventricle.

After gadolinium the enhancing part is 15 to 60 % brighter than white matter. Up to 1 mm beyond it, FLAIR is 1.4, T2 1.6
and T1 0.9 of white matter. The original voxels are scaled, so that noise, texture and partial volume with CSF remain.
Edges are smoothed (0.7 mm). Each copy is analysed from the start: brain, bias field, tissue maps, T2 lesions, GEL.

A lesion is found if accepted voxels lie on it. A *false* lesion touches no inserted lesion. Lesions found in the
original scans are listed with their location for visual review.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from published import Analysed, analyse, cases, learned, lesion_shapes, load_case, thick
from scipy import ndimage

from mri_pipeline.core.anatomy import LOCATION_LABELS, Location
from mri_pipeline.core.spatial import BoolArray, FloatArray, Grid, Image
from mri_pipeline.core.visits import Contrast

LEVELS = {Contrast.FLAIR: 1.4, Contrast.T2W: 1.6, Contrast.T1W: 0.9}
DIAMETERS_MM = (3.0, 10.0)
INCREASES = (0.15, 0.6)
LEAST_RING_MM = 6.0
APART_MM = 12.0
FROM_OWN_MM = 5.0
EDGE_MM = 0.7
OEDEMA_MM = 1.0
TISSUE = 0.7
LESIONS = 8
PLACES = {
    "deep": Location.DEEP_WHITE_MATTER,
    "juxtacortical": Location.JUXTACORTICAL,
    "infratentorial": Location.INFRATENTORIAL,
    "ventricle": Location.PERIVENTRICULAR,
}


@dataclass(frozen=True)
class Inserted:
    """One inserted lesion: its properties and its enhancing voxels (indices on the published grid)."""

    place: str
    form: str
    diameter_mm: float
    enhancement: float
    voxels: tuple[np.ndarray, ...]


def shaped(shape: BoolArray, diameter_mm: float, rng: np.random.Generator) -> BoolArray:
    """Scale a lesion to a diameter (that of the sphere of equal volume) and rotate it at random."""
    volume = np.pi / 6 * diameter_mm**3
    turned = np.flip(shape, [a for a in range(3) if rng.random() < 0.5]).transpose(rng.permutation(3))
    scale = (volume / shape.sum()) ** (1 / 3)
    level = ndimage.zoom(np.pad(ndimage.gaussian_filter(np.pad(turned.astype(float), 3), 0.8), 4), scale, order=1)
    # level that encloses the required volume
    return np.asarray(level > np.sort(level.ravel())[::-1][min(round(volume), level.size - 1)])


def enhancing_part(lesion: BoolArray, form: str, rng: np.random.Generator) -> BoolArray:
    """Enhancing part: the whole lesion, its shell of 2 mm (ring), or that shell without a cap (open ring)."""
    if form == "solid":
        return lesion
    shell = lesion & (ndimage.distance_transform_edt(lesion) <= 2.0)
    if form == "open ring":
        way = rng.normal(size=3)
        centre = np.argwhere(lesion).mean(axis=0)
        ahead = np.tensordot(way, np.indices(lesion.shape) - centre[:, None, None, None], axes=1)
        shell &= ahead < np.quantile(ahead[lesion], 0.75)
    return shell


def soft(mask: BoolArray) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), EDGE_MM))


def placed(found: Analysed, own: BoolArray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Sites far from the patient's lesions and from each other, one of each location in turn, until none is left."""
    location, white = found.tissue.location.data, found.tissue.white_matter.data
    depth = ndimage.distance_transform_edt(found.visit.brain.mask, sampling=found.visit.grid.spacing_mm)
    free = found.tissue.above_foramen_magnum & (depth > 6.0) & (white > 0.5)
    free &= ndimage.distance_transform_edt(~own) > FROM_OWN_MM
    codes = {place: [k for k, v in LOCATION_LABELS.items() if v is kind] for place, kind in PLACES.items()}
    for place in rng.permutation(np.repeat(list(PLACES), LESIONS // len(PLACES))):
        choice = np.argwhere(free & np.isin(location, codes[str(place)]))
        if not len(choice):
            continue
        at = choice[rng.integers(len(choice))]
        away = np.linalg.norm((np.indices(free.shape).T - at) * found.visit.grid.spacing_mm, axis=-1).T
        free &= away > APART_MM
        yield str(place), at


def mean(found: Analysed, contrast: Contrast, box: tuple[slice, ...], voxels: BoolArray) -> float:
    """Mean of a scan within a mask, relative to white matter."""
    values = found.visit.contrasts[contrast].data[box][voxels]
    return float(values.mean()) if values.size else 1.0


def insert(
    images: dict[Contrast, Image],
    found: Analysed,
    own: BoolArray,
    pool: list[BoolArray],
    rng: np.random.Generator,
    *,
    enhancements: Sequence[float] = INCREASES,
) -> tuple[dict[Contrast, Image], list[Inserted]]:
    """Insert lesions into the scans of a visit."""
    data = {c: i.data.astype(np.float32).copy() for c, i in images.items()}
    lesions = []
    for place, at in placed(found, own, rng):
        diameter = rng.uniform(*DIAMETERS_MM)
        form = str(rng.choice(["solid", "ring", "open ring"])) if diameter >= LEAST_RING_MM else "solid"
        enhancement = rng.uniform(*enhancements)
        lesion = np.pad(shaped(pool[rng.integers(len(pool))], diameter, rng), 4)
        bright = enhancing_part(lesion, form, rng)
        start = at - np.array(lesion.shape) // 2
        if (start < 0).any() or (start + lesion.shape > found.visit.grid.shape).any():
            continue
        box = tuple(slice(s, s + n) for s, n in zip(start, lesion.shape, strict=True))
        around = soft(ndimage.distance_transform_edt(~lesion) <= OEDEMA_MM)
        solid = found.visit.contrasts[Contrast.FLAIR].data[box] > TISSUE
        for contrast, level in LEVELS.items():
            data[contrast][box] *= 1.0 + around * (level / mean(found, contrast, box, lesion & solid) - 1.0)
        data[Contrast.T1W_GD][box] *= 1.0 + soft(bright) * (
            (1.0 + enhancement) / mean(found, Contrast.T1W_GD, box, lesion & solid) - 1.0
        )
        inside = np.argwhere(bright & found.visit.brain.mask[box]) + start
        lesions.append(Inserted(place, form, float(diameter), float(enhancement), tuple(inside.T)))
    return {c: Image(d, images[c].grid) for c, d in data.items()}, lesions


def rows_of(found: Analysed, lesions: list[Inserted], grid: Grid, slices: int) -> Iterator[dict[str, Any]]:
    """One row for each inserted lesion, and one for the head with its false lesions."""
    mask = found.enhancing.mask.data
    true = np.zeros(grid.shape, dtype=bool)
    for lesion in lesions:
        true[lesion.voxels] = True
        x, y, z = lesion.voxels
        z = np.minimum(z // slices, mask.shape[2] - 1)
        t2 = found.t2_lesions.mask.mask[x, y, z]
        kind = {k: v for k, v in asdict(lesion).items() if k != "voxels"}
        yield kind | {
            "found": bool(mask[x, y, z].any()),
            "in_t2": float(t2.mean()),
            "volume_mm3": len(x) * grid.voxel_volume_mm3,
        }
    near = thick(Image(ndimage.binary_dilation(true, iterations=2).astype(np.float32), grid), slices).data > 0
    numbers = np.setdiff1d(np.unique(mask), np.append(np.unique(mask[near]), 0))
    places = [mask_place(found, mask == number) for number in numbers]
    yield {"false": places, "lesions": len(lesions), "candidates": list(candidates_of(found, near))}


def candidates_of(found: Analysed, true: BoolArray) -> Iterator[dict[str, Any]]:
    """Features of all candidates, and the share of each that lies on an inserted lesion."""
    places = found.enhancing.places.data
    for number, candidate in enumerate(found.enhancing.candidates, start=1):
        own = places == number
        yield asdict(candidate.features) | {
            "enhancement": candidate.enhancement,
            "accepted": candidate.accepted,
            "lesion_put_in": float(true[own].mean()) if own.any() else 0.0,
        }


def mask_place(found: Analysed, voxels: BoolArray) -> dict[str, Any]:
    """Location and volume of a false lesion."""
    grid = found.visit.grid
    centre = grid.world(np.argwhere(voxels).astype(float)).mean(axis=0)
    codes = found.tissue.location.data[voxels]
    label = LOCATION_LABELS.get(int(np.bincount(codes).argmax()))
    return {
        "mm": [round(float(v)) for v in centre],
        "volume_mm3": float(np.count_nonzero(voxels) * grid.voxel_volume_mm3),
        "location": str(label.value) if label else "outside",
    }


def summary(rows: list[dict[str, Any]]) -> None:
    """Print sensitivity by size, increase, form and location, and false lesions for each head."""
    for slices in sorted({r["slices"] for r in rows}):
        put = [r for r in rows if r["slices"] == slices and "found" in r]
        heads = [r for r in rows if r["slices"] == slices and "false" in r]
        print(f"\n{slices} mm slices: {len(put)} lesions in {len(heads)} heads")
        aim = [r for r in put if r["diameter_mm"] >= 4.5 and r["enhancement"] >= 0.25]
        print(f"  from 4.5 mm and 25 %: {share(aim)}")
        for low, high in ((3, 4.5), (4.5, 6), (6, 8), (8, 10)):
            cells = []
            for weak, strong in ((0.15, 0.25), (0.25, 0.4), (0.4, 0.6)):
                of = [r for r in put if low <= r["diameter_mm"] < high and weak <= r["enhancement"] < strong]
                cells.append(f"{weak:.0%} to {strong:.0%}: {share(of)}")
            print(f"  {low} to {high} mm   {'   '.join(cells)}")
        for key in ("place", "form", "patient"):
            kinds = sorted({r[key] for r in aim})
            print(
                f"  by {key} (of those): {'   '.join(f'{k}: {share([r for r in aim if r[key] == k])}' for k in kinds)}"
            )
        untouched = [r for r in heads if not r["lesions"]]
        false = [len(r["false"]) for r in heads if r["lesions"]]
        if false:
            print(
                f"  false lesions for each head with insertions: mean {np.mean(false):.2f}, maximum {max(false)}"
            )
        for r in untouched:
            print(f"  original {r['patient']}: {len(r['false'])} false {r['false']}")


def share(rows: list[dict[str, Any]]) -> str:
    return f"{sum(r['found'] for r in rows)}/{len(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument(
        "--heads", type=int, default=12, help="copies of each patient's head, besides the original"
    )
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 3], help="slice thickness in mm")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument(
        "--enhancements",
        type=float,
        nargs=2,
        default=INCREASES,
        help="minimum and maximum increase over white matter",
    )
    parser.add_argument("--without-pre", action="store_true", help="analyse without T1 before gadolinium")
    parser.add_argument("--summary", action="store_true", help="print the summary of existing results")
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    if not arguments.summary:
        made = learned(arguments.data, arguments.models)
        pools = arguments.data / "ljubljana" / "lesion_masks_mni"
        with arguments.results.open("w") as file:
            for name, (folder, reference, left_out) in cases(arguments.data).items():
                images, own = load_case(folder, reference)
                if Contrast.T1W_GD not in images:
                    continue
                untouched = analyse(images, made[left_out])
                pool = lesion_shapes(pools, left_out, (50, 2000), least_fill=0.35)
                rng = np.random.default_rng(arguments.seed)
                for head in range(arguments.heads + 1):
                    copy, lesions = images, []
                    if head:
                        copy, lesions = insert(
                            images,
                            untouched,
                            own,
                            pool,
                            rng,
                            enhancements=arguments.enhancements,
                        )
                    if arguments.without_pre:
                        copy = {c: i for c, i in copy.items() if c is not Contrast.T1W}
                    for slices in arguments.slices:
                        found = analyse({c: thick(i, slices) for c, i in copy.items()}, made[left_out])
                        for row in rows_of(found, lesions, untouched.visit.grid, slices):
                            key = {"patient": name, "head": head, "slices": slices, "pre": Contrast.T1W in copy}
                            file.write(json.dumps(key | row) + "\n")
                        file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
