"""Negative binomial regression of the lesions of each visit, with a random effect of the subject, from released tables.

    python docs/examples/mixed_effects.py RELEASED/lesion_timepoints.csv RANDOMISATION.csv --reference placebo

It uses all visits of weeks 4, 12 and 24 with a known count, also those of subjects with missing visits.
`mixed_effects.R` fits the same model with R's ``glmmTMB``. docs/statistics.md describes the model.

An example to start from, not a validated analysis program: the trial's statistical analysis plan rules.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from primary_analysis import (
    KEY,
    NOT_OVERDISPERSED,
    WaldFit,
    is_provisional,
    or_sentence,
    read_trial,
    require_two_groups,
)
from scipy import optimize, special

ENDPOINTS = ("gel_count", "new_or_enlarging_t2_count", "new_t2_count", "combined_unique_active_count")
WEEKS = (4, 12, 24)
_SMALLEST_SD, _LARGEST_THETA = 1e-3, 1e4  # beyond, the likelihood has its maximum at the border
_STEP = 1e-4  # of numerical derivatives


@dataclass(frozen=True)
class MixedFit(WaldFit):
    """Negative binomial regression (NB2) with a normal random intercept of each subject, by maximum likelihood.

    Parameters
    ----------
    coefficients, standard_errors : Series
        By term, on the log scale; errors from the observed information of all parameters.
    theta : float
        Variance mu + mu² / theta within a subject.
    sd : float
        Standard deviation of the random intercepts.
    log_likelihood : float
    subjects, visits : int
    """

    theta: float
    sd: float
    log_likelihood: float
    subjects: int
    visits: int


class _Likelihood:
    """The marginal log-likelihood of (coefficients, log theta, log sd), by adaptive Gauss-Hermite quadrature.

    One node is Laplace's approximation.
    """

    def __init__(
        self, count: np.ndarray, design: np.ndarray, offset: np.ndarray, subject: np.ndarray, nodes: int
    ) -> None:
        self._count, self._design, self._offset, self._subject = count, design, offset, subject
        self._points, self._weights = special.roots_hermite(nodes)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._subject, values)

    def _joint(self, fixed: np.ndarray, theta: float, sd: float, effect: np.ndarray) -> np.ndarray:
        """Log density of the counts of each subject and its standardised effect, without constants of the counts."""
        eta = fixed + sd * effect[self._subject]
        density = self._count * eta - (self._count + theta) * np.logaddexp(math.log(theta), eta)
        return self._sums(density) - effect**2 / 2

    def __call__(self, parameters: np.ndarray) -> float:
        beta, theta, sd = parameters[:-2], math.exp(parameters[-2]), math.exp(parameters[-1])
        fixed = self._design @ beta + self._offset
        mode, curvature = self._mode(fixed, theta, sd)
        width = np.sqrt(2 / curvature)
        terms = [
            math.log(weight) + point**2 + self._joint(fixed, theta, sd, mode + width * point)
            for point, weight in zip(self._points, self._weights, strict=True)
        ]
        integrals = special.logsumexp(terms, axis=0) + np.log(width) - math.log(2 * math.pi) / 2
        y = self._count
        constants = (
            special.gammaln(y + theta) - special.gammaln(theta) - special.gammaln(y + 1) + theta * math.log(theta)
        )
        return float(integrals.sum() + constants.sum())

    def _mode(self, fixed: np.ndarray, theta: float, sd: float) -> tuple[np.ndarray, np.ndarray]:
        """The most probable effect of each subject and the curvature there: Newton's method on a concave function."""
        effect = np.zeros(self._subject.max() + 1)
        for _ in range(100):
            share = special.expit(fixed + sd * effect[self._subject] - math.log(theta))
            slope = sd * self._sums(self._count - (self._count + theta) * share) - effect
            curvature = sd**2 * self._sums((self._count + theta) * share * (1 - share)) + 1
            step = np.clip(slope / curvature, -2, 2)
            effect += step
            if np.abs(step).max() < 1e-11:
                break
        return effect, curvature


def visits_of(
    timepoints: Path, randomisation: Path, *, endpoint: str = "gel_count", weeks: tuple[int, ...] = WEEKS
) -> pd.DataFrame:
    """One row for every visit that can be analysed.

    Columns `subject` (a number), `group`, `week`, `baseline` (GEL at week 0), `count` and `exposure`: 1 scan for GEL,
    the weeks since the reference visit for changes.
    """
    table = read_trial(timepoints, randomisation, validate="one_to_many")
    table = table.assign(id=table.groupby(KEY).ngroup())
    week_of = table.set_index(["id", "visit"])["week"]
    week_of = week_of[week_of.index.get_level_values("visit").notna()]
    reference = [
        week_of.get((row.id, row.reference_visit), np.nan) if isinstance(row.reference_visit, str) else np.nan
        for row in table[["id", "reference_visit"]].itertuples()
    ]
    baseline = table[table["week"] == 0].set_index("id")["gel_count"]
    rows = pd.DataFrame(
        {
            "subject": table["id"],
            "group": table["group"],
            "week": table["week"],
            "baseline": table["id"].map(baseline),
            "count": table[endpoint],
            "exposure": 1 if endpoint == "gel_count" else table["week"] - reference,
        }
    )
    return rows[rows["week"].isin(weeks)].dropna().reset_index(drop=True)


def mixed_model(visits: pd.DataFrame, *, reference: str, nodes: int = 1) -> MixedFit:
    """The count of each visit on group, week (as factor) and baseline, with a random intercept of each subject.

    Parameters
    ----------
    visits : DataFrame
        Of `visits_of`.
    reference : str
        The group with which the other is compared.
    nodes : int
        Of the quadrature. 1 is Laplace's approximation, as in ``glmmTMB``.

    Raises
    ------
    ValueError
        If there are not two groups with lesions, or the likelihood has no maximum within its borders.
    """
    require_two_groups(visits, reference)
    if visits["subject"].value_counts().max() < 2:
        raise ValueError("expected subjects with at least two visits, found none")
    design = pd.DataFrame(
        {"intercept": 1.0, "group": visits["group"] != reference, "baseline": visits["baseline"]}
    )
    for week in sorted(set(visits["week"]))[1:]:
        design[f"week_{int(week):02d}"] = visits["week"] == week
    x = design.astype(float).to_numpy()
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError("expected different baselines and weeks, found terms that depend on each other")
    count, offset = visits["count"].to_numpy(float), np.log(visits["exposure"].to_numpy(float))
    likelihood = _Likelihood(count, x, offset, pd.factorize(visits["subject"])[0], nodes)
    start = np.zeros(x.shape[1] + 2)
    start[0] = math.log(count.sum() / np.exp(offset).sum())
    start[-1] = math.log(0.5)
    best, covariance = _maximum(likelihood, start)
    names = list(design.columns)
    errors = np.sqrt(np.diag(covariance))
    return MixedFit(
        pd.Series(best[:-2], names), pd.Series(errors[:-2], names), math.exp(best[-2]), math.exp(best[-1]),
        likelihood(best), visits["subject"].nunique(), len(visits),
    )  # fmt: skip


def _maximum(likelihood: _Likelihood, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum and the inverse of the observed information: quasi-Newton, then Newton steps."""
    bounds = [(-30, 30)] * (len(start) - 2) + [(-8, 12), (-9, 4)]
    best = optimize.minimize(lambda p: -likelihood(p), start, method="L-BFGS-B", bounds=bounds).x
    for _ in range(20):
        if math.exp(best[-1]) < _SMALLEST_SD:
            raise ValueError("expected subjects that differ, found no variance between them: use primary_analysis")
        if math.exp(best[-2]) > _LARGEST_THETA:
            raise ValueError(NOT_OVERDISPERSED)
        slope, information = _derivatives(likelihood, best)
        if np.linalg.eigvalsh(information).min() <= 0:
            break
        step = np.linalg.solve(information, slope)
        best = best + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-7:
            return best, np.linalg.inv(information)
    raise ValueError("expected a likelihood with a maximum, found none: too few visits or lesions")


def _derivatives(function: _Likelihood, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and observed information (negative second derivatives), by central differences."""
    steps = np.eye(len(at)) * _STEP
    centre = function(at)
    up, down = [function(at + step) for step in steps], [function(at - step) for step in steps]
    slope = (np.array(up) - down) / (2 * _STEP)
    second = np.diag((np.array(up) + down - 2 * centre) / _STEP**2)
    for i in range(len(at)):
        for j in range(i):
            a, b = steps[i], steps[j]
            corners = function(at + a + b) - function(at + a - b) - function(at - a + b) + function(at - a - b)
            second[i, j] = second[j, i] = corners / (4 * _STEP**2)
    return slope, -second


def numbers(fit: MixedFit) -> dict[str, float]:
    """The quantities of mixed_effects.R."""
    found = {"n_subjects": fit.subjects, "n_visits": fit.visits, "theta": fit.theta, "sd": fit.sd}
    found["log_likelihood"] = fit.log_likelihood
    for term, value in fit.coefficients.items():
        found[f"coefficient_{term}"] = value
        found[f"standard_error_{term}"] = fit.standard_errors[term]
    found["p_group"] = fit.p_value("group")
    return found | dict(zip(("rate_ratio", "rate_ratio_low", "rate_ratio_high"), fit.ratio("group"), strict=True))


def main(arguments: list[str] | None = None) -> None:
    """Print the analysis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timepoints", type=Path)
    parser.add_argument("randomisation", type=Path)
    parser.add_argument("--reference", required=True, help="the group with which the other is compared")
    parser.add_argument("--endpoint", choices=ENDPOINTS, nargs="+", default=[ENDPOINTS[0]])
    parser.add_argument(
        "--nodes", type=int, default=25, help="of the quadrature; 1 is Laplace's approximation, as in R"
    )
    chosen = parser.parse_args(arguments)
    if is_provisional(chosen.timepoints):
        print("PROVISIONAL: these tables hold numbers that no reader has locked\n")
    for endpoint in chosen.endpoint:
        visits = visits_of(chosen.timepoints, chosen.randomisation, endpoint=endpoint)
        try:
            fit = mixed_model(visits, reference=chosen.reference, nodes=chosen.nodes)
        except ValueError as error:
            print(f"{endpoint}: no result: {error}")
            continue
        print(f"{endpoint}:\n" + "\n".join(f"  {name:28s} {value:.6g}" for name, value in numbers(fit).items()))


if __name__ == "__main__":
    or_sentence(main)
