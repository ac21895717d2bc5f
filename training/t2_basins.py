"""Make ``mri_pipeline/data/t2_basins.json``: probability that a candidate of local FLAIR contrast is a T2 lesion.

Lesions are the candidates of which at least half lies in an expert mask, and those of which at least 40 % lies in an
inserted lesion (14 to 500 mm³, FLAIR 15 to 60 % above the white matter around; half weight). The others are the
candidates of the untouched scans outside the patient's own lesions and their surroundings of 3 mm, and those of the
same heads with one intensity for each tissue and noise of 3 and 8 % (half weight). Clinical scans without an expert
mask have half weight: their own lesions are those that the program finds, and some of the other candidates may be
lesions.

The probability is monotonic in features whose direction is known (`RISES`, `FALLS`), so that the model does not
extrapolate: a candidate of less contrast is never more likely.

Usage (requires the extra `training`)::

    python training/t2_basins.py SHARED_DATA [--copies 2] [--seed 12] [--apart FOLDER] [--out FILE]

Each patient is scored with the model of the others. The script prints the lesions of the expert masks and the inserted
ones that have an accepted candidate, and the number of accepted candidates outside of lesions.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from heads import CLINICAL, Head, Recipe, clinical_heads, insert
from numpy.typing import NDArray
from published import cases, lesion_shapes, load_case, prepare, priors, thick
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

from mri_pipeline.core.io.priors import T2_BASINS_FILE, save_trees
from mri_pipeline.core.method.t2.segmentation import T2Settings
from mri_pipeline.core.spatial import BoolArray, FloatArray, Image
from mri_pipeline.core.trees import BoostedTrees
from mri_pipeline.core.visits import Contrast, VisitImages
from mri_pipeline.lesions.t2.basins import FEATURES, Surroundings, candidates, white_matter_contrast
from mri_pipeline.lesions.t2.evidence import evidence_of_visits

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
UNLABELLED = (*CLINICAL, ("20", ""))
SLICES_MM = (1, 3)
REAL_SHARE, INSERTED_SHARE, OTHER_SHARE, NEAR_SHARE, NEAR_MM = 0.5, 0.4, 0.05, 0.2, 3.0
SURE_TISSUE = 0.8
NOISE = (0.03, 0.08)
DEPTH, TREES, RATE, SHARE, LEAST_IN_LEAF, PENALTY = 3, 150, 0.06, 0.4, 20, 1.0
RISES = (
    "peak",
    "contrast",
    "step_near",
    "step_wide",
    "brightness",
    "score_peak",
    "score",
    "over_mirrored",
    "location",
)
FALLS = ("csf", "csf_near", "csf_wide", "saddle", "mirrored")


@dataclass(frozen=True, eq=False)
class Sample:
    """Candidates of a head: features, labels (1 lesion, 0 other, -1 neither), and those on each known lesion."""

    name: str
    patient: str
    features: FloatArray
    label: FloatArray
    weight: float
    hits: list[BoolArray]


def labelled_heads(data: Path) -> Iterator[Head]:
    """Scans with an expert mask at each slice thickness."""
    made = priors(data)
    for name, (folder, mask, left_out) in cases(data).items():
        images, truth = load_case(folder, mask)
        grid = images[Contrast.FLAIR].grid
        for thickness in SLICES_MM:
            visit, tissue = prepare({c: thick(i, thickness) for c, i in images.items()}, made[left_out])
            own = thick(Image(truth.astype(np.float32), grid), thickness).data > (0.3 if thickness > 1 else 0.5)
            yield Head(f"{name} {thickness} mm", left_out or name.partition("-")[0], visit, tissue, own)


def unlabelled_heads(data: Path) -> Iterator[Head]:
    """Clinical scans with T1. Their own lesions are those that the rule finds."""
    return clinical_heads(data, UNLABELLED, model=nothing())


def flat(head: Head, noise: float, rng: np.random.Generator) -> Head:
    """A head without lesions: one intensity for each tissue, and noise in units of white matter."""
    tissue, brain = head.tissue, head.visit.brain.mask
    shares = np.stack([tissue.white_matter.data, tissue.grey_matter.data, tissue.csf.data])
    contrasts = {}
    for contrast, image in head.visit.contrasts.items():
        level = [float(np.median(image.data[brain & (share > SURE_TISSUE)])) for share in shares]
        data = np.tensordot(level, shares, 1) / np.maximum(shares.sum(axis=0), SURE_TISSUE)
        data += rng.normal(0.0, noise * level[0], brain.shape)
        contrasts[contrast] = Image(np.where(brain, data, 0).astype(np.float32), image.grid)
    visit = VisitImages(contrasts, head.visit.brain)
    return replace(head, name=f"{head.name} flat", visit=visit, own=np.zeros_like(brain))


def nothing() -> BoostedTrees:
    """A model that accepts no candidate."""
    return BoostedTrees(-100.0, np.zeros((1, 0), dtype=np.intp), np.zeros((1, 0)), np.zeros((1, 1)), FEATURES)


def sample(head: Head, inserted: Sequence[BoolArray], weight: float, *, expert: bool) -> Sample:
    """Features and labels of the candidates of a head."""
    (evidence,), threshold = evidence_of_visits([head.visit], head.tissue, T2Settings())
    found = candidates(
        head.visit,
        head.tissue,
        evidence,
        threshold,
        flair=white_matter_contrast(head.visit, head.tissue),
        surroundings=Surroundings.of(head.tissue),
    )
    parts = found.components
    if inserted:
        lesions = list(inserted)
        label = np.where(parts.means(np.any(inserted, axis=0)) >= INSERTED_SHARE, 1.0, -1.0)
    else:
        numbers, count = ndimage.label(head.own, np.ones((3, 3, 3)))
        lesions = [numbers == k for k in range(1, count + 1)] if expert else []
        near = head.own
        if near.any():
            near = ndimage.distance_transform_edt(~near, sampling=head.visit.grid.spacing_mm) <= NEAR_MM
        share = parts.means(head.own)
        label = np.where((share < OTHER_SHARE) & (parts.means(near) < NEAR_SHARE), 0.0, -1.0)
        label[(share >= REAL_SHARE) & expert] = 1.0
    hits = [parts.means(lesion) >= INSERTED_SHARE for lesion in lesions]
    return Sample(head.name, head.patient, found.features, label, weight, hits)


def fitted(samples: Sequence[Sample]) -> BoostedTrees:
    """Model of all samples."""
    known = [s.label >= 0 for s in samples]
    features = np.vstack([s.features[k] for s, k in zip(samples, known, strict=True)])
    label = np.concatenate([s.label[k] for s, k in zip(samples, known, strict=True)])
    weight = np.concatenate([np.full(int(k.sum()), s.weight) for s, k in zip(samples, known, strict=True)])
    fit = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_depth=DEPTH,
        max_leaf_nodes=2**DEPTH,
        learning_rate=RATE,
        max_features=SHARE,
        min_samples_leaf=LEAST_IN_LEAF,
        l2_regularization=PENALTY,
        monotonic_cst=[(name in RISES) - (name in FALLS) for name in FEATURES],
        early_stopping=False,
        random_state=0,
    ).fit(features, label, sample_weight=weight)
    trees = [complete(predictor.nodes) for (predictor,) in fit._predictors]  # noqa: SLF001 - there is no public access
    model = BoostedTrees(
        float(fit._baseline_prediction.item()),  # noqa: SLF001
        np.array([features for features, _, _ in trees]),
        np.array([thresholds for _, thresholds, _ in trees]),
        np.array([leaves for _, _, leaves in trees]),
        FEATURES,
    )
    if not np.allclose(model.probability(features), fit.predict_proba(features)[:, 1]):
        msg = "the exported trees differ from the fitted model: this version of scikit-learn keeps its trees otherwise"
        raise RuntimeError(msg)
    return model


def complete(nodes: NDArray[np.void]) -> tuple[list[int], list[float], list[float]]:
    """A tree of scikit-learn as a complete tree: a leaf above the last level is repeated below."""
    features, thresholds, level = [], [], [0]
    for _ in range(DEPTH):
        below = []
        for node in level:
            leaf = bool(nodes["is_leaf"][node])
            features.append(0 if leaf else int(nodes["feature_idx"][node]))
            thresholds.append(0.0 if leaf else float(nodes["num_threshold"][node]))
            below += [node, node] if leaf else [int(nodes["left"][node]), int(nodes["right"][node])]
        level = below
    return features, thresholds, [float(nodes["value"][node]) for node in level]


def report(samples: Sequence[Sample], models: dict[str, BoostedTrees]) -> None:
    """Print what each patient's heads give with the model of the others."""
    probabilities = [models[s.patient].probability(s.features) for s in samples]
    for least in (0.5, 0.6, 0.7, 0.8):
        print(f"probability of at least {least}:")
        for own, probability in zip(samples, probabilities, strict=True):
            found = sum(bool(hit.any()) and probability[hit].max() >= least for hit in own.hits)
            false = int(((probability >= least) & (own.label == 0)).sum())
            print(f"  {own.name}: found {found} of {len(own.hits)}, outside of lesions {false}")


def main() -> None:
    """Insert, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=2, help="copies of each head with inserted lesions")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--apart", type=Path, help="folder for the models without each patient, for benchmarks")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "mri_pipeline/data" / T2_BASINS_FILE
    )
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    samples = []
    for made, expert in ((labelled_heads, True), (unlabelled_heads, False)):
        for head in made(arguments.data):
            pool = lesion_shapes(arguments.data / "ljubljana" / "lesion_masks_mni", head.patient, VOLUMES_MM3)
            samples.append(sample(head, [], 1.0 if expert else 0.5, expert=expert))
            for _ in range(arguments.copies):
                other, lesions = insert(head, pool, RECIPE, rng)
                samples.append(sample(other, lesions, 0.5 / arguments.copies, expert=False))
            samples.extend(
                sample(
                    flat(head, noise, np.random.default_rng(arguments.seed)), [], 0.5 / len(NOISE), expert=False
                )
                for noise in (NOISE if expert else ())
            )
            print(f"{head.name}: {len(samples[-1].label)} candidates", flush=True)
    patients = sorted({s.patient for s in samples})
    models = {p: fitted([s for s in samples if s.patient != p]) for p in patients}
    report(samples, models)
    save_trees(fitted(samples), arguments.out)
    if arguments.apart:
        arguments.apart.mkdir(parents=True, exist_ok=True)
        for patient, model in models.items():
            save_trees(model, arguments.apart / f"without_{patient}.json")


if __name__ == "__main__":
    main()
