"""New lesions of 3 to 8 mm in a rescan of the same real head, and false new lesions in quiet pairs.

Usage::

    python benchmarks/serial/new_lesions.py SHARED_DATA OUT.jsonl [--cases CASE ...] [--slices 3] [--models FOLDER]

The first visit is a published scan (`accuracy/published.py`), averaged to slices of 3 mm. The second is the same head
scanned again (`accuracy/rescan.py`: other position, coil field, gain and noise). In the quiet pair nothing is new. In
the other pair the second visit has up to ten new lesions: balls of 3 to 8 mm anywhere in white matter, 5 mm from the
patient's lesions and 12 mm from each other, with the levels of `accuracy/white_matter_insertion.py` (FLAIR 25 to 40 %
brighter than the white matter around). None enhances: the T1 after gadolinium is not used.

Both visits are registered, prepared, segmented and tracked together, as in an analysis of two visits. A new lesion is
found if a lesion that the tracking calls new overlaps it. A lesion called new is false if it lies 2 mm or more from
all new lesions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
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
from mri_pipeline.core.spatial import Affine, BoolArray, Image
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
VISITS = ("1", "2")


@dataclass(frozen=True)
class PreparedPair:
    """Two prepared visits on the grid of their midpoint space, and the way of the first to it."""

    visits: tuple[VisitImages, ...]
    tissue: TissueMaps
    first_to_subject: Affine


def prepare_pair(scans: tuple[Mapping[Contrast, Image], ...], made: Learned) -> PreparedPair:
    """Register and prepare two visits. The scans of each visit share a grid and are aligned."""
    flairs = [images[Contrast.FLAIR] for images in scans]
    heads = [preparation.extract_brain(flair) for flair in flairs]
    later = preparation.register(
        flairs[0], flairs[1], fixed_brain=heads[0].mask, moving_brain=heads[1].mask, intra_modal=True
    )
    space = preparation.subject_space(
        flairs=flairs,
        brains=[head.mask for head in heads],
        templates_to_flair=[head.template_to_image for head in heads],
        later_to_first=[preparation.require_match(later, "second to first visit")],
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
    return PreparedPair(tuple(visits), tissue, ways[0])


def new_lesions(pair: PreparedPair, made: Learned) -> BoolArray:
    """Lesions that the tracking of both visits calls new, on the grid of the pair."""
    rules = LesionRules()
    found = segment_t2(pair.visits, pair.tissue, rules, model=made.t2_model)
    masks = [
        VisitMasks(label, t2.mask, None, None, flair=visit.contrasts[Contrast.FLAIR])
        for label, t2, visit in zip(VISITS, found, pair.visits, strict=True)
    ]
    tracking = steps.track(masks, tissue_location=pair.tissue.location, rules=rules, weeks={"1": 0, "2": 24})
    return tracking.visits[1].masks[MaskLabel.NEW_T2].mask


def balls() -> list[BoolArray]:
    """Balls of 3 to 8 mm on voxels of 1 mm."""
    found = []
    for diameter in np.arange(DIAMETERS_MM[0], DIAMETERS_MM[1] + 0.25, 0.5):
        half = int(np.ceil(diameter / 2))
        squared = np.sum(np.square(np.indices([2 * half + 1] * 3) - half), axis=0)
        found.append(squared <= (diameter / 2) ** 2)
    return found


def rows_of(
    pair: PreparedPair, first: Image, lesions: list[Inserted], slices: int, new: BoolArray
) -> list[dict[str, Any]]:
    """One row for each new lesion, and one for the pair with its false lesions."""
    grid = pair.visits[0].grid
    rows: list[dict[str, Any]] = []
    true = np.zeros(grid.shape, dtype=bool)
    for lesion in lesions:
        share = thick(Image(lesion.voxels.astype(np.float32), first.grid), slices)
        there = resample(share, grid, pair.first_to_subject, order=1).data
        voxels = there >= min(SHARE, float(there.max()) / 2)
        true |= voxels
        rows.append(
            {
                "diameter_mm": round(float((6 * lesion.volume_mm3 / np.pi) ** (1 / 3)), 2),
                "flair": round(lesion.flair, 3),
                "found": bool(new[voxels].any()),
            }
        )
    parts = label_lesions(new, grid, min_volume_mm3=0)
    apart = distance_to(true, grid.spacing_mm) >= NEAR_MM
    volumes = [
        round(float(np.count_nonzero(parts.data == n) * grid.voxel_volume_mm3), 1)
        for n in range(1, int(parts.data.max(initial=0)) + 1)
        if apart[parts.data == n].all()
    ]
    return [*rows, {"false_mm3": volumes, "right": int(parts.data.max(initial=0)) - len(volumes)}]


def summary(rows: list[dict[str, Any]]) -> None:
    """Print sensitivity by diameter, false lesions and F1."""
    for slices in sorted({row["slices"] for row in rows}):
        put = [row for row in rows if row["slices"] == slices and "found" in row]
        pairs = [row for row in rows if row["slices"] == slices and "false_mm3" in row]
        print(f"\n{slices} mm slices")
        for low, high in BANDS_MM:
            of = [row["found"] for row in put if low <= row["diameter_mm"] < high + (high == DIAMETERS_MM[1])]
            print(f"  {low} to {high} mm: found {sum(of)} of {len(of)}")
        for quiet in (False, True):
            false = [row["false_mm3"] for row in pairs if row["quiet"] is quiet]
            print(
                f"  {'quiet' if quiet else 'active'} pairs: {sum(map(len, false))} false in {len(false)}: {false}"
            )
        large = [row["found"] for row in put if row["diameter_mm"] >= FROM_MM]
        false_number = sum(len(row["false_mm3"]) for row in pairs if not row["quiet"])
        right = sum(row["right"] for row in pairs if not row["quiet"])
        if large and right + false_number:
            recall, precision = sum(large) / len(large), right / (right + false_number)
            f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
            print(
                f"  from {FROM_MM} mm: recall {sum(large)} of {len(large)}, precision {precision:.2f}, F1 {f1:.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--slices", type=int, nargs="+", default=[3], help="slice thickness in mm")
    parser.add_argument("--seed", type=int, default=607)
    parser.add_argument("--models", type=Path, help="models without each patient: folders gel and t2 (`learned`)")
    arguments = parser.parse_args()
    made = learned(arguments.data, arguments.models)
    with arguments.results.open("w") as file:
        for name, (folder, reference, left_out) in cases(arguments.data).items():
            if arguments.cases and name not in arguments.cases:
                continue
            images, own = load_case(folder, reference)
            images.pop(Contrast.T1W_GD, None)
            rng = np.random.default_rng(arguments.seed)
            visit, tissue = prepare(images, made[left_out].prior)
            changed, lesions = insert(images, visit, tissue, own, balls(), rng)
            for quiet, scans, true in ((True, images, []), (False, changed, lesions)):
                again = scanned_again(scans, rng)
                for slices in arguments.slices:
                    pair = prepare_pair(
                        tuple({c: thick(i, slices) for c, i in v.items()} for v in (images, again)), made[left_out]
                    )
                    new = new_lesions(pair, made[left_out])
                    for row in rows_of(pair, images[Contrast.FLAIR], true, slices, new):
                        file.write(json.dumps({"case": name, "quiet": quiet, "slices": slices} | row) + "\n")
                    file.flush()
    summary([json.loads(line) for line in arguments.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
