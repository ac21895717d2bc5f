"""Make ``mri_pipeline/data/gel_nodes.json``: probability that a connected component of enhancement is a lesion.

Enhancing lesions are inserted into real scans after contrast (`heads`), and the enhancing structures of the untouched
scans are the counter-examples. The T1 of the clinical scans is used as the T1 after contrast, without a T1 before it.

The lesions have 40 to 450 mm³, FLAIR 20 to 45 % and enhancement 18 to 65 % above the white matter around; a third of
the larger ones are rings. A component is a lesion if at least 40 % of it lies in an inserted lesion. The components of
the untouched scan that lie outside the patient's own lesions are the others.

Usage::

    python training/gel_nodes.py SHARED_DATA [--copies 3] [--seed 11] [--apart FOLDER] [--out FILE]

Each patient is scored with the coefficients of the others; the script prints the share of inserted lesions that have
an accepted component, and the number of accepted components in the untouched scan.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from heads import Head, Recipe, heads, insert
from logistic import fit
from published import lesion_shapes
from scipy import ndimage

from mri_pipeline.core.io.priors import GEL_NODES_FILE, save_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.method.gel import GelSettings
from mri_pipeline.core.spatial import BoolArray, FloatArray, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.gel.evidence import gel_evidence
from mri_pipeline.lesions.gel.levels import Nodes
from mri_pipeline.lesions.gel.nodes import FEATURES, gel_nodes

VOLUMES_MM3 = (40, 450)
RECIPE = Recipe(
    lesions=10,
    apart_mm=12.0,
    levels={
        Contrast.FLAIR: (1.20, 1.45),
        Contrast.T2W: (1.25, 1.60),
        Contrast.T1W: (0.75, 1.00),
        Contrast.T1W_GD: (1.18, 1.65),
    },
    rings=True,
)
LESION_SHARE, OTHER_SHARE, HIT_SHARE = 0.4, 0.05, 0.3


@dataclass(frozen=True)
class Sample:
    """Components of one copy of a head.

    `label` is 1 for a lesion, 0 for another structure and -1 for neither; `level` is the level of each component;
    `hits` are the components that find each inserted lesion.
    """

    name: str
    patient: str
    features: FloatArray
    label: FloatArray
    level: FloatArray
    hits: list[list[int]]
    untouched: bool

    @classmethod
    def of(
        cls,
        head: Head,
        nodes: Sequence[Nodes],
        labels: Sequence[FloatArray],
        hits: list[list[int]],
        *,
        untouched: bool,
    ) -> Self:
        """Stack the components of all levels."""
        label = np.concatenate([*labels, np.zeros(0)])
        level = np.concatenate([*(np.full(len(x), n) for n, x in enumerate(labels)), np.zeros(0)])
        features = np.vstack([at_level.features for at_level in nodes])
        return cls(head.name, head.patient, features, label, level, hits, untouched)


def sample(head: Head, inserted: list[BoolArray]) -> Sample:
    """Features and labels of the components of a head."""
    grid, settings = head.visit.grid, GelSettings()
    nothing = LabelImage(np.zeros(grid.shape, dtype=np.int32), grid)
    evidence = gel_evidence(head.visit, head.tissue, nothing, settings)
    lesions = np.any([*inserted, np.zeros(grid.shape, dtype=bool)], axis=0)
    near = ndimage.binary_dilation(lesions)
    nodes = gel_nodes(head.visit, head.tissue, evidence, settings)
    labels = []
    for at_level in nodes:
        parts = at_level.components
        other = (parts.means(near) < OTHER_SHARE) & (parts.means(head.own) < OTHER_SHARE) & (not inserted)
        label = np.where(parts.means(lesions) >= LESION_SHARE, 1.0, np.where(other, 0.0, -1.0))
        labels.append(np.where(at_level.allowed, label, -1.0))
    return Sample.of(head, nodes, labels, hits_of(nodes, inserted), untouched=not inserted)


def hits_of(nodes: Sequence[Nodes], inserted: Sequence[BoolArray]) -> list[list[int]]:
    """Positions of the allowed components that find each inserted lesion."""
    hits: list[list[int]] = [[] for _ in inserted]
    start = 0
    for at_level in nodes:
        parts = at_level.components
        if inserted:
            share = parts.means(np.any(inserted, axis=0))
            for entry, mask in enumerate(inserted):
                inside = np.unique(parts.number[mask.ravel()[parts.voxels]])
                hits[entry] += [start + int(n) for n in inside if share[n] >= HIT_SHARE and at_level.allowed[n]]
        start += len(parts.sizes)
    return hits


def fitted(samples: Sequence[Sample]) -> LogisticModel:
    """The model from all components with a label."""
    known = [s.label >= 0 for s in samples]
    features = np.vstack([s.features[k] for s, k in zip(samples, known, strict=True)])
    label = np.concatenate([s.label[k] for s, k in zip(samples, known, strict=True)])
    return fit(features, label, FEATURES)


def report(samples: Sequence[Sample]) -> None:
    """Print what each patient's heads give with the model of the others."""
    patients = sorted({s.patient for s in samples})
    models = {p: fitted([s for s in samples if s.patient != p]) for p in patients}
    probabilities = [models[s.patient].probability(s.features) for s in samples]
    for least in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        found = put = 0
        false = Counter[str]()
        for own, probability in zip(samples, probabilities, strict=True):
            put += len(own.hits)
            found += sum(bool(hit) and probability[hit].max() >= least for hit in own.hits)
            if own.untouched:
                accepted = (probability >= least) & (own.label == 0)
                # a structure has one component at each level
                false[own.name] = max(Counter(own.level[accepted].tolist()).values(), default=0)
        print(
            f"{least}: found {found} of {put}, false {false.total()} in {len(false)} untouched heads {dict(false)}"
        )


def write(samples: Sequence[Sample], out: Path, apart: Path | None) -> None:
    """Write the model of all patients, and those without each patient to the folder `apart`."""
    save_model(fitted(samples), out)
    print(out.read_text())
    if apart:
        apart.mkdir(parents=True, exist_ok=True)
        for patient in sorted({s.patient for s in samples}):
            save_model(fitted([s for s in samples if s.patient != patient]), apart / f"without_{patient}.json")


def main() -> None:
    """Insert, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=3, help="copies of each head with inserted lesions")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--apart", type=Path, help="folder for the models without each patient, for benchmarks")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "mri_pipeline/data" / GEL_NODES_FILE
    )
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    samples = []
    for head in heads(arguments.data, (1, 3, 5)):
        pool = lesion_shapes(arguments.data / "ljubljana" / "lesion_masks_mni", head.patient, VOLUMES_MM3)
        samples.append(sample(head, []))
        samples += [sample(*insert(head, pool, RECIPE, rng)) for _ in range(arguments.copies)]
        print(f"{head.name}: {len(samples[-1].label)} components", flush=True)
    report(samples)
    write(samples, arguments.out, arguments.apart)


if __name__ == "__main__":
    main()
