"""New lesions of 3 to 8 mm in rescans of the same real head, and false new lesions in quiet subjects.

Usage::

    python benchmarks/serial/new_lesions.py SHARED_DATA OUT.jsonl [--cases CASE ...] [--slices 3] [--models FOLDER]
        [--quiet-visits 7]

The first visit is a published scan (`accuracy/published.py`), averaged to slices of 3 mm. The second and third are the
same head scanned again (`accuracy/rescan.py`: other position, coil field, gain and noise). In the quiet subject nothing
is new. In the active subject the second and third visit have up to ten new lesions: balls of 3 to 8 mm anywhere in
white matter, 5 mm from the patient's lesions and 12 mm from each other, with the levels of
`accuracy/white_matter_insertion.py` (FLAIR 25 to 40 % brighter than the white matter around). None enhances: the T1
after gadolinium is not used.

All visits are registered, prepared, segmented and tracked together, as in an analysis: once the first two, and once all
three. The quiet subject is also analysed with `--quiet-visits` visits. A new lesion is

- *found* if a lesion that the tracking calls new at the second visit overlaps it;
- *covered* if those lesions cover at least 10 % of its volume;
- *late* if a lesion that is called new at the third visit overlaps it;
- *kept* if the T2 lesions of the third visit cover at least 10 % of its volume.

A lesion called new at any visit is false if it lies 2 mm or more from all new lesions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))

from published import Learned, cases, learned, load_case, prepare, thick
from rescan import scanned_again
from white_matter_insertion import NEAR_MM, Inserted, insert

from mri_pipeline.analysis import preparation, steps
from mri_pipeline.core.anatomy import TissueMaps
from mri_pipeline.core.distances import distance_to
from mri_pipeline.core.io.template import load_template
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.spatial import Affine, BoolArray, Grid, Image
from mri_pipeline.core.visits import Contrast, VisitImages, VisitMasks
from mri_pipeline.images import normalise
from mri_pipeline.images.resample import resample
from mri_pipeline.images.tissue import map_tissue
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.t2.segment import segment_t2

DIAMETERS_MM = (3.0, 8.0)
BANDS_MM = ((3.0, 5.0), (5.0, 6.5), (6.5, 8.0))
FROM_MM = 5.0
SHARE = 0.25
LEAST_COVERED = 0.1
WEEKS = {str(visit + 1): 24 * visit for visit in range(7)}


@dataclass(frozen=True)
class Prepared:
    """Prepared visits on the grid of their midpoint space, and the way of the first to it."""

    visits: tuple[VisitImages, ...]
    tissue: TissueMaps
    first_to_subject: Affine


def prepare_visits(scans: Sequence[Mapping[Contrast, Image]], made: Learned) -> Prepared:
    """Register and prepare visits. The scans of each visit share a grid and are aligned."""
    flairs = [images[Contrast.FLAIR] for images in scans]
    heads = [preparation.extract_brain(flair) for flair in flairs]
    later = [
        preparation.register(flairs[0], flair, fixed_brain=heads[0].mask, moving_brain=head.mask, intra_modal=True)
        for flair, head in zip(flairs[1:], heads[1:], strict=True)
    ]
    space = preparation.subject_space(
        flairs=flairs,
        brains=[head.mask for head in heads],
        templates_to_flair=[head.template_to_image for head in heads],
        later_to_first=[preparation.require_match(way, "later to first visit") for way in later],
    )
    ways = space.flairs_to_subject
    brains = [
        preparation.brain_of_visit(space.brain, flair, way, whole_brain=space.whole_brain)[0]
        for flair, way in zip(flairs, ways, strict=True)
    ]
    prepared = [
        preparation.prepare_visit(images, dict.fromkeys(images, way), brain)
        for images, way, brain in zip(scans, ways, brains, strict=True)
    ]
    tissue = map_tissue(
        flairs=[images[Contrast.FLAIR] for images in prepared],
        t1ws=[images[Contrast.T1W] for images in prepared if Contrast.T1W in images],
        brain=space.brain,
        template=load_template(),
        template_to_subject=space.template_to_subject,
        lesion_prior=made.prior,
    )
    matched = preparation.match_flairs(
        [images[Contrast.FLAIR] for images in prepared], brain=space.brain, tissue=tissue
    )
    visits = [
        VisitImages(
            {
                c: normalise.normalise(image, tissue, brain)
                for c, image in {**images, Contrast.FLAIR: flair}.items()
            },
            brain,
        )
        for images, flair, brain in zip(prepared, matched, brains, strict=True)
    ]
    return Prepared(tuple(visits), tissue, ways[0])


@dataclass(frozen=True)
class Found:
    """Lesions on the grid of the visits: those called new at each visit after the first, and all T2 lesions."""

    new: tuple[BoolArray, ...]
    t2: tuple[BoolArray, ...]


def analysed(prepared: Prepared, made: Learned) -> Found:
    """Segment and track all visits."""
    rules = LesionRules()
    found = segment_t2(prepared.visits, prepared.tissue, rules, model=made.t2_model)
    masks = [
        VisitMasks(label, t2.mask, None, None, flair=visit.contrasts[Contrast.FLAIR])
        for label, t2, visit in zip(WEEKS, found, prepared.visits, strict=False)
    ]
    tracking = steps.track(masks, tissue_location=prepared.tissue.location, rules=rules, weeks=WEEKS)
    return Found(
        tuple(visit.masks[MaskLabel.NEW_T2].mask for visit in tracking.visits[1:]),
        tuple(t2.mask.mask for t2 in found),
    )


def balls() -> list[BoolArray]:
    """Balls of 3 to 8 mm on voxels of 1 mm."""
    found = []
    for diameter in np.arange(DIAMETERS_MM[0], DIAMETERS_MM[1] + 0.25, 0.5):
        half = int(np.ceil(diameter / 2))
        squared = np.sum(np.square(np.indices([2 * half + 1] * 3) - half), axis=0)
        found.append(squared <= (diameter / 2) ** 2)
    return found


def where(lesion: BoolArray, first: Grid, slices: int, prepared: Prepared) -> BoolArray:
    """Voxels of an inserted lesion (1 mm, grid of the first scan) on the grid of the visits."""
    share = thick(Image(lesion.astype(np.float32), first), slices)
    there = resample(share, prepared.visits[0].grid, prepared.first_to_subject, order=1).data
    return np.asarray(there >= min(SHARE, float(there.max()) / 2))


def rows_of(
    prepared: Prepared, found: Found, lesions: list[Inserted], places: list[BoolArray]
) -> list[dict[str, Any]]:
    """One row for each new lesion, and one for the subject with its false lesions."""
    grid = prepared.visits[0].grid
    rows: list[dict[str, Any]] = []
    for lesion, voxels in zip(lesions, places, strict=True):
        row = {
            "diameter_mm": round(float((6 * lesion.volume_mm3 / np.pi) ** (1 / 3)), 2),
            "flair": round(lesion.flair, 3),
            "found": bool(found.new[0][voxels].any()),
            "covered": bool(found.new[0][voxels].mean() >= LEAST_COVERED),
        }
        if len(found.t2) > 2:
            row["late"] = bool(found.new[1][voxels].any())
            row["kept"] = bool(found.t2[2][voxels].mean() >= LEAST_COVERED)
        rows.append(row)
    true = np.any([np.zeros(grid.shape, dtype=bool), *places], axis=0)
    apart = distance_to(true, grid.spacing_mm) >= NEAR_MM
    volumes, right = [], 0
    for new in found.new:
        parts = label_lesions(new, grid, min_volume_mm3=0).data
        false = [n for n in range(1, int(parts.max(initial=0)) + 1) if apart[parts == n].all()]
        volumes += [round(float(np.count_nonzero(parts == n) * grid.voxel_volume_mm3), 1) for n in false]
        right += int(parts.max(initial=0)) - len(false)
    return [*rows, {"false_mm3": volumes, "right": right}]


def summary(rows: list[dict[str, Any]]) -> None:
    """Print sensitivity by diameter, false lesions and F1."""
    for slices, visits in sorted({(row["slices"], row["visits"]) for row in rows}):
        of = [row for row in rows if (row["slices"], row["visits"]) == (slices, visits)]
        print(f"\n{slices} mm slices, {visits} visits")
        summary_of([row for row in of if "found" in row], [row for row in of if "false_mm3" in row])


def summary_of(put: list[dict[str, Any]], subjects: list[dict[str, Any]]) -> None:
    """Print the figures of subjects with the same number of visits."""
    for low, high in BANDS_MM if put else ():
        band = [row for row in put if low <= row["diameter_mm"] < high + (high == DIAMETERS_MM[1])]
        counts = (f"{key} {share(band, key)}" for key in ("found", "covered", "late", "kept") if key in put[0])
        print(f"  {low} to {high} mm: {', '.join(counts)}")
    for quiet in (False, True):
        false = [row["false_mm3"] for row in subjects if row["quiet"] is quiet]
        if false:
            print(f"  {'quiet' if quiet else 'active'}: {sum(map(len, false))} false in {len(false)}: {false}")
    large = [row for row in put if row["diameter_mm"] >= FROM_MM]
    false_number = sum(len(row["false_mm3"]) for row in subjects if not row["quiet"])
    right = sum(row["right"] for row in subjects if not row["quiet"])
    for key in ("found", "covered"):
        if large and right + false_number:
            recall, precision = sum(row[key] for row in large) / len(large), right / (right + false_number)
            f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
            print(f"  from {FROM_MM} mm: {key} {share(large, key)}, precision {precision:.2f}, F1 {f1:.2f}")


def share(rows: list[dict[str, Any]], key: str) -> str:
    return f"{sum(row[key] for row in rows)} of {len(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--slices", type=int, nargs="+", default=[3], help="slice thickness in mm")
    parser.add_argument("--seed", type=int, default=607)
    parser.add_argument("--quiet-visits", type=int, default=0, choices=range(4, len(WEEKS) + 1))
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    made = learned(arguments.data, arguments.models)
    with arguments.results.open("w") as file:
        for name, (folder, reference, left_out) in cases(arguments.data).items():
            if arguments.cases and name not in arguments.cases:
                continue
            images, own = load_case(folder, reference)
            images.pop(Contrast.T1W_GD, None)
            grid = images[Contrast.FLAIR].grid
            rng = np.random.default_rng(arguments.seed)
            rngs = [rng, *(np.random.default_rng([arguments.seed, visit]) for visit in range(3, len(WEEKS) + 1))]
            visit, tissue = prepare(images, made[left_out].prior)
            changed, lesions = insert(images, visit, tissue, own, balls(), rng)
            for quiet, scans, true in ((True, images, []), (False, changed, lesions)):
                counts = [2, 3, *([arguments.quiet_visits] if quiet and arguments.quiet_visits else [])]
                visits = [images, *(scanned_again(scans, again) for again in rngs[: max(counts) - 1])]
                for slices, count in itertools.product(arguments.slices, counts):
                    thicker = [{c: thick(i, slices) for c, i in v.items()} for v in visits[:count]]
                    prepared = prepare_visits(thicker, made[left_out])
                    places = [where(lesion.voxels, grid, slices, prepared) for lesion in true]
                    setting = {"case": name, "quiet": quiet, "slices": slices, "visits": count}
                    for row in rows_of(prepared, analysed(prepared, made[left_out]), true, places):
                        file.write(json.dumps(setting | row) + "\n")
                    file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
