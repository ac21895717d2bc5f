"""What the models of components share: samples, the fit, and a report with each patient left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from heads import Head
from logistic import fit

from mri_pipeline.core.io.priors import save_model
from mri_pipeline.core.logistic import LogisticModel
from mri_pipeline.core.spatial import BoolArray, FloatArray
from mri_pipeline.lesions.nodes import Nodes

HIT_SHARE = 0.3
"""Least share of a component in an inserted lesion that it finds."""


@dataclass(frozen=True)
class Sample:
    """Components of one copy of a head.

    `label` is 1 for a lesion, 0 for another structure and -1 for neither; `level` the level of each component; `hits`
    the components that find each inserted lesion, with its volume in voxels.
    """

    name: str
    patient: str
    features: FloatArray
    label: FloatArray
    weight: FloatArray
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
        weight: float = 1.0,
    ) -> Self:
        """Stack the components of all levels."""
        label = np.concatenate([*labels, np.zeros(0)])
        level = np.concatenate([*(np.full(len(x), n) for n, x in enumerate(labels)), np.zeros(0)])
        features = np.vstack([at_level.features for at_level in nodes])
        return cls(head.name, head.patient, features, label, np.full(len(label), weight), level, hits, untouched)


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


def fitted(samples: Sequence[Sample], names: tuple[str, ...]) -> LogisticModel:
    """The model from all components with a label."""
    known = [s.label >= 0 for s in samples]
    features = np.vstack([s.features[k] for s, k in zip(samples, known, strict=True)])
    label = np.concatenate([s.label[k] for s, k in zip(samples, known, strict=True)])
    weight = np.concatenate([s.weight[k] for s, k in zip(samples, known, strict=True)])
    return fit(features, label, names, weight)


def report(samples: Sequence[Sample], names: tuple[str, ...]) -> None:
    """Print what each patient's heads give with the model of the others."""
    patients = sorted({s.patient for s in samples})
    models = {p: fitted([s for s in samples if s.patient != p], names) for p in patients}
    probabilities = [models[s.patient].probability(s.features) for s in samples]
    for least in (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9):
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


def write(samples: Sequence[Sample], names: tuple[str, ...], out: Path, apart: Path | None) -> None:
    """Write the model of all patients, and those without each patient to the folder `apart`."""
    save_model(fitted(samples, names), out)
    print(out.read_text())
    if apart:
        apart.mkdir(parents=True, exist_ok=True)
        for patient in sorted({s.patient for s in samples}):
            save_model(
                fitted([s for s in samples if s.patient != patient], names), apart / f"without_{patient}.json"
            )
