"""Make ``mri_pipeline/data/gel_coefficients.json``: probability that an enhancing candidate is an enhancing lesion.

The input are the candidates of `benchmarks/accuracy/gel_insertion.py`: lesions inserted into real scans of two
patients, and the vessels, dura and choroid plexus of these scans (Lesjak et al., Neuroinformatics 2018, CC-BY). A
candidate is a lesion if most of it lies on an inserted lesion (within 2 mm). It is none if no part of it does. Other
candidates are excluded. Both patients, both slice thicknesses and both kinds (with and without T1 before contrast)
have equal weight.

Usage::

    python benchmarks/accuracy/gel_insertion.py SHARED_DATA PRE.jsonl --seed 77 --heads 6
    python benchmarks/accuracy/gel_insertion.py SHARED_DATA ALONE.jsonl --seed 78 --heads 6 --without-pre
    python training/gel_probability.py PRE.jsonl ALONE.jsonl [--out FILE]

Each patient is scored with the coefficients of the other. The script prints the area under the ROC curve, the Brier
score, and the share of lesions among the candidates in each tenth of probability.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from mri_pipeline.core.io.priors import GEL_COEFFICIENTS_FILE
from mri_pipeline.core.spatial import FloatArray
from mri_pipeline.lesions.gel.probability import GelFeatures

RIDGE = 1e-3
"""Weight of the squared coefficients: finite ones, also where the classes are apart."""
NAMES = tuple(field.name for field in fields(GelFeatures))


@dataclass(frozen=True)
class Candidates:
    """Features (one row for each candidate), label (True for a lesion), weight and patient."""

    features: FloatArray
    lesion: FloatArray
    weight: FloatArray
    patient: tuple[str, ...]

    def of(self, patient: str, *, others: bool = False) -> "Candidates":
        """Candidates of one patient, or of all except one."""
        chosen = np.array([(name == patient) != others for name in self.patient])
        return Candidates(
            self.features[chosen],
            self.lesion[chosen],
            self.weight[chosen],
            tuple(name for name, take in zip(self.patient, chosen, strict=True) if take),
        )


def load(files: Sequence[Path]) -> Candidates:
    """Load the candidates that are clearly a lesion or clearly none."""
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    kinds, vectors, lesion = [], [], []
    for row in rows:
        for candidate in row.get("candidates", ()):
            if not 0.0 < candidate["lesion_put_in"] < 0.5:
                kinds.append((row["patient"], row["slices"], row["pre"]))
                vectors.append(GelFeatures(*(candidate[name] for name in NAMES)).vector)
                lesion.append(candidate["lesion_put_in"] >= 0.5)
    number = Counter(kinds)
    weight = np.array([len(kinds) / (len(number) * number[kind]) for kind in kinds])
    return Candidates(np.array(vectors), np.array(lesion, float), weight, tuple(kind[0] for kind in kinds))


def fitted(candidates: Candidates) -> FloatArray:
    """Intercept and coefficients of a logistic regression with penalised likelihood."""
    design = np.column_stack([np.ones(len(candidates.lesion)), candidates.features])

    def loss(beta: FloatArray) -> tuple[float, FloatArray]:
        score = design @ beta
        likelihood = candidates.weight @ (np.logaddexp(0.0, score) - candidates.lesion * score) / len(score)
        slope = design.T @ (candidates.weight * (1 / (1 + np.exp(-score)) - candidates.lesion)) / len(score)
        return float(likelihood + RIDGE * beta[1:] @ beta[1:]), slope + 2 * RIDGE * np.append(0.0, beta[1:])

    return np.asarray(minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS").x)


def probability(beta: FloatArray, candidates: Candidates) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-(beta[0] + candidates.features @ beta[1:]))))


def report(candidates: Candidates) -> None:
    """Print the scores of each patient with the coefficients of the other."""
    for patient in sorted(set(candidates.patient)):
        own = candidates.of(patient)
        found, true = probability(fitted(candidates.of(patient, others=True)), own), own.lesion > 0
        ranks = rankdata(found)
        area = (ranks[true].mean() - (true.sum() + 1) / 2) / (~true).sum()
        print(f"{patient}: {true.sum()} lesions, {(~true).sum()} others, area under ROC {area:.3f}, ", end="")
        print(f"Brier {np.mean((found - true) ** 2):.3f}")
        tenth = np.minimum((10 * found).astype(int), 9)
        print("  " + "  ".join(f"{t / 10}: {true[tenth == t].sum()}/{(tenth == t).sum()}" for t in range(10)))


def main() -> None:
    """Fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="files of gel_insertion.py")
    default = Path(__file__).parents[1] / "mri_pipeline" / "data" / GEL_COEFFICIENTS_FILE
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    candidates = load(arguments.results)
    report(candidates)
    intercept, *coefficients = (round(float(value), 3) for value in fitted(candidates))
    content = {"intercept": intercept, "coefficients": dict(zip(NAMES, coefficients, strict=True))}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content))


if __name__ == "__main__":
    main()
