"""Make ``mri_pipeline/data/t2_nodes.json``: probability that a component of local FLAIR contrast is a T2 lesion.

Lesions are the components of which at least half lies in an expert mask, and those of which at least 40 % lies in an
inserted lesion (14 to 500 mm³, FLAIR 15 to 60 % above the white matter around; half weight). The others are the
components of the untouched scans that lie outside the patient's own lesions and their surroundings of 3 mm; those of
scans without an expert mask have half weight, since some may be lesions.

Usage::

    python training/t2_nodes.py SHARED_DATA [--copies 2] [--seed 12] [--apart FOLDER] [--out FILE]

Each patient is scored with the coefficients of the others; the script prints the share of inserted lesions that have
an accepted component, and the number of accepted components in the untouched scan.
"""

import argparse
from pathlib import Path

import numpy as np
from heads import Head, Recipe, heads, insert
from nodes import Sample, hits_of, report, write
from published import lesion_shapes
from scipy import ndimage

from mri_pipeline.core.io.priors import T2_NODES_FILE
from mri_pipeline.core.spatial import BoolArray
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.contrast import local_contrast
from mri_pipeline.lesions.t2.nodes import FEATURES, t2_nodes

VOLUMES_MM3 = (14, 500)
RECIPE = Recipe(
    lesions=40,
    apart_mm=10.0,
    levels={
        Contrast.FLAIR: (1.15, 1.60),
        Contrast.T2W: (1.20, 1.80),
        Contrast.T1W: (0.75, 1.00),
        Contrast.T1W_GD: (0.75, 1.00),
    },
)
REAL_SHARE, INSERTED_SHARE, OTHER_SHARE, NEAR_SHARE, NEAR_MM = 0.5, 0.4, 0.05, 0.2, 3.0


def sample(head: Head, inserted: list[BoolArray]) -> Sample:
    """Features, labels and weights of the components of a head."""
    nodes = t2_nodes(
        head.visit, head.tissue, local_contrast(head.visit.contrasts[Contrast.FLAIR], head.visit, head.tissue)
    )
    labels = []
    if inserted:
        lesions = np.any(inserted, axis=0)
        labels = [np.where(n.components.means(lesions) >= INSERTED_SHARE, 1.0, -1.0) for n in nodes]
    else:
        near = head.own
        if near.any():
            near = ndimage.distance_transform_edt(~near, sampling=head.visit.grid.spacing_mm) <= NEAR_MM
        for at_level in nodes:
            share, beside = at_level.components.means(head.own), at_level.components.means(near)
            other = np.where((share < OTHER_SHARE) & (beside < NEAR_SHARE), 0.0, -1.0)
            labels.append(np.where((share >= REAL_SHARE) & head.expert, 1.0, other))
    labels = [np.where(n.allowed, label, -1.0) for n, label in zip(nodes, labels, strict=True)]
    weight = 1.0 if head.expert and not inserted else 0.5
    return Sample.of(head, nodes, labels, hits_of(nodes, inserted), untouched=not inserted, weight=weight)


def main() -> None:
    """Insert, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=2, help="copies of each head with inserted lesions")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--apart", type=Path, help="folder for the models without each patient, for benchmarks")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "mri_pipeline/data" / T2_NODES_FILE
    )
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    samples = []
    for head in heads(arguments.data, (1, 3), enhanced=False):
        pool = lesion_shapes(arguments.data / "ljubljana" / "lesion_masks_mni", head.patient, VOLUMES_MM3)
        samples.append(sample(head, []))
        samples += [sample(*insert(head, pool, RECIPE, rng)) for _ in range(arguments.copies)]
        print(f"{head.name}: {len(samples[-1].label)} components", flush=True)
    report(samples, FEATURES)
    write(samples, FEATURES, arguments.out, arguments.apart)


if __name__ == "__main__":
    main()
