"""Power of the protocol's primary analysis, simulated from its planning values.

    python benchmarks/power.py [--trials 2000] [--seed 1]

Planning values (MESEMS): mean of 7.4 GEL over three scans, SD 11.4, 80 subjects in each arm, half as many GEL under
treatment, two-sided 5 %. The GEL rate of a subject is gamma distributed and the scans are Poisson at that rate. The sum
over three scans is therefore negative binomial with exactly this mean and SD. The planning values do not specify GEL at
baseline. Two extremes are simulated: *unrelated* to the later scans, or Poisson at the *same rate* of the subject.

Every simulated trial is analysed by docs/examples/primary_analysis.py. For each scenario the script prints the share
of trials with p < 0.05 and its Monte Carlo standard error, with the treatment effect (power) and without it (type I
error). It also prints the geometric mean of the rate ratio and the number of trials without a fit. These count as not
significant.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "examples"))
from primary_analysis import fit_negative_binomial

MEAN, SD, SCANS = 7.4, 11.4, 3
EFFECT = 0.5
DROP_OUT = 0.15
LEVEL = 0.05
THETA = MEAN**2 / (SD**2 - MEAN)  # shape of a negative binomial with this mean and SD: 0.447


@dataclass(frozen=True)
class Scenario:
    """Assumptions that the planning values leave open.

    Parameters
    ----------
    name : str
    per_arm : int
        Subjects randomised to each arm.
    drop_out : float
        Probability that a subject leaves the trial, after a random number of scans (0 to 2 of 3).
    complete : bool
        True: only subjects with all scans are analysed. False: all available scans.
    baseline : str
        "none": not part of the model; "unrelated" or "same rate": covariate of the model.
    """

    name: str
    per_arm: int
    drop_out: float
    complete: bool
    baseline: str


SCENARIOS = tuple(
    Scenario(f"{per_arm} per arm, {about}", per_arm, drop_out, complete, baseline)
    for (per_arm, drop_out, complete, about), baseline in product(
        (
            (80, 0.0, True, "all complete"),
            (80, DROP_OUT, False, "15 % drop out, available scans"),
            (80, DROP_OUT, True, "15 % drop out, complete only"),
            (94, DROP_OUT, True, "15 % drop out, complete only"),
        ),
        ("none", "unrelated", "same rate"),
    )
)


def simulate(
    rng: np.random.Generator, scenario: Scenario, effect: float
) -> tuple[pd.Series, pd.DataFrame, pd.Series]:
    """Count, design and number of scans of the analysable subjects of one trial."""
    treated = np.repeat([0.0, 1.0], scenario.per_arm)
    rate = rng.gamma(THETA, 1 / THETA, treated.size) * MEAN / SCANS
    baseline_rate = rate if scenario.baseline == "same rate" else rng.permutation(rate)
    design = pd.DataFrame({"intercept": 1.0, "group": treated})
    if scenario.baseline != "none":
        design["baseline"] = rng.poisson(baseline_rate)
    counts = rng.poisson(rate * effect**treated, (SCANS, treated.size))
    leaves = rng.random(treated.size) < scenario.drop_out
    scans = np.where(leaves, rng.integers(0, SCANS, treated.size), SCANS)
    seen = counts * (np.arange(SCANS)[:, None] < scans)
    kept = scans == SCANS if scenario.complete else scans > 0
    return pd.Series(seen.sum(axis=0)[kept]), design[kept].reset_index(drop=True), pd.Series(scans[kept])


def rejections(scenario: Scenario, effect: float, *, trials: int, seed: int) -> tuple[float, float, int]:
    """Share of trials with p < 0.05, geometric mean of the rate ratio, trials without a fit."""
    rng = np.random.default_rng(seed)
    significant, logarithms = 0, []
    for _ in range(trials):
        try:
            fit = fit_negative_binomial(*simulate(rng, scenario, effect))
        except (ValueError, np.linalg.LinAlgError):
            continue
        significant += fit.p_value("group") < LEVEL
        logarithms.append(fit.coefficients["group"])
    return significant / trials, float(np.exp(np.mean(logarithms))), trials - len(logarithms)


def expected_power(per_arm: float) -> float:
    """Power by formula: Wald test of two negative binomial means without covariate."""
    variance = (1 / MEAN + 1 / (MEAN * EFFECT) + 2 / THETA) / per_arm
    return float(stats.norm.cdf(abs(np.log(EFFECT)) / np.sqrt(variance) - stats.norm.ppf(1 - LEVEL / 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.process_time()
    print(
        f"theta {THETA:.4f}; formula without covariate: power {expected_power(80):.3f} with 80 per arm analysed, ",
        end="",
    )
    print(f"{expected_power(80 * (1 - DROP_OUT)):.3f} with 68; seed {chosen.seed}, {chosen.trials} trials each")
    print("| scenario | baseline GEL | power | type I error | mean rate ratio | not fitted |")
    print("| --- | --- | --- | --- | --- | --- |")
    for scenario in SCENARIOS:
        cells = []
        for effect in (EFFECT, 1.0):
            share, ratio, failed = rejections(scenario, effect, trials=chosen.trials, seed=chosen.seed)
            cells.append(
                (f"{share:.3f} ± {np.sqrt(share * (1 - share) / chosen.trials):.3f}", f"{ratio:.3f}", str(failed))
            )
        columns = [" and ".join(pair) if i else pair for i, pair in enumerate(zip(*cells, strict=True))]
        power, first_kind = columns[0]
        print(
            f"| {scenario.name} | {scenario.baseline} | {power} | {first_kind} | {columns[1]} | {columns[2]} |",
            flush=True,
        )
    print(f"{time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    main()
