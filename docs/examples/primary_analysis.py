"""The primary analysis of the protocol, from the released tables and the trial's own randomisation list.

    pip install --constraint constraints.txt --editable '.[stats]'
    python docs/examples/primary_analysis.py RELEASED/endpoints.csv RANDOMISATION.csv --reference placebo

RELEASED is what ``mri-pipeline tables TRIAL --release RELEASED --reason "…"`` writes. RANDOMISATION.csv has the columns
``site, subject, group`` and never comes near the pipeline. `primary_analysis.R` fits the same model with R's
``MASS::glm.nb``; docs/statistics.md says what is fitted and which numbers agree.

An example to start from, not a validated analysis program: the trial's statistical analysis plan rules.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import read_sheet

BASELINE = "gel_count_wk00"
ENDPOINT = "gel_count_wk04_12_24"
ENDPOINTS = (
    ENDPOINT,
    "new_or_enlarging_t2_count_wk04_12_24",
    "new_t2_count_wk04_12_24",
    "combined_unique_active_count_wk04_12_24",
)
KEY = ["site", "subject"]  # a trial number is unique within its site alone
NOT_OVERDISPERSED = "expected overdispersed counts, found others: a Poisson model may fit them"
_GRADIENT = 1e-5  # of the log-likelihood at its maximum, for each parameter
_POISSON_ALPHA = 1e-6  # below, the counts are not overdispersed: there is no finite theta


@dataclass(frozen=True)
class WaldFit:
    """Regression of counts with a log link, with Wald tests.

    Parameters
    ----------
    coefficients, standard_errors : Series
        By term, on the log scale.
    """

    coefficients: pd.Series
    standard_errors: pd.Series

    def ratio(self, term: str) -> tuple[float, float, float]:
        """Rate ratio and its 95 % confidence limits (Wald)."""
        estimate, half = self.coefficients[term], stats.norm.ppf(0.975) * self.standard_errors[term]
        return math.exp(estimate), math.exp(estimate - half), math.exp(estimate + half)

    def p_value(self, term: str) -> float:
        """Two-sided (Wald)."""
        return float(2 * stats.norm.sf(abs(self.coefficients[term] / self.standard_errors[term])))


@dataclass(frozen=True)
class NegativeBinomialFit(WaldFit):
    """Negative binomial regression (NB2: variance mu + mu² / theta) with a log link.

    Parameters
    ----------
    coefficients, standard_errors : Series
        By term. The standard errors are those of a generalised linear model with theta at its estimate, as
        ``MASS::glm.nb`` gives them (expected information).
    observed_errors : Series
        The standard errors from the observed information of all parameters together, theta among them.
    theta, log_likelihood : float
    n : int
        Subjects in the model.
    """

    observed_errors: pd.Series
    theta: float
    log_likelihood: float
    n: int


def fit_negative_binomial(count: pd.Series, design: pd.DataFrame, exposure: pd.Series) -> NegativeBinomialFit:
    """Maximum likelihood for the coefficients and theta together.

    Parameters
    ----------
    count : Series of int
        Lesions over all scans of a subject.
    design : DataFrame
        One column for each term, the intercept among them.
    exposure : Series of int
        Scans of which the count is a sum, or weeks that it covers; the logarithm is the offset.

    Raises
    ------
    ValueError
        If the likelihood has no maximum: counts without overdispersion, or terms that depend on each other.
    """
    if np.linalg.matrix_rank(design.astype(float)) < design.shape[1]:
        raise ValueError("expected baselines that differ, found terms of the model that depend on each other")
    offset = np.log(exposure.to_numpy(dtype=float))
    y, x = count.to_numpy(dtype=float), design.astype(float)
    mean = sm.GLM(y, x, family=sm.families.Poisson(), offset=offset).fit().mu
    slope = ((y - mean) ** 2 - y).sum()  # of the likelihood at alpha = 0, times 2 (Lawless 1987)
    if slope <= 0:
        raise ValueError(NOT_OVERDISPERSED)
    start = np.zeros(x.shape[1] + 1)
    start[x.columns.get_loc("intercept")] = math.log(max(y.sum(), 0.5) / np.exp(offset).sum())
    start[-1] = 1.0  # alpha = 1 / theta
    model = sm.NegativeBinomial(y, x, offset=offset)
    with np.errstate(all="ignore"):
        rough = model.fit(  # no warning here: the gradient of the final fit is checked below
            start_params=start, method="bfgs", maxiter=500, gtol=1e-6, disp=False, skip_hessian=True,
            warn_convergence=False,
        )  # fmt: skip
        joint = model.fit(
            start_params=rough.params, method="newton", maxiter=50, tol=1e-12, disp=False, warn_convergence=False
        )
    alpha = float(joint.params.iloc[-1])
    scale = np.abs(model.score(joint.params.to_numpy())).max() if alpha > _POISSON_ALPHA else np.inf
    if not scale < _GRADIENT * len(y) or not np.isfinite(joint.bse).all():
        raise ValueError(NOT_OVERDISPERSED)
    glm = sm.GLM(y, x, family=sm.families.NegativeBinomial(alpha=alpha), offset=offset).fit(tol=1e-12)
    return NegativeBinomialFit(
        joint.params.iloc[:-1], glm.bse, joint.bse.iloc[:-1], 1 / alpha, float(joint.llf), len(y)
    )


def read_trial(table: Path, randomisation: Path, *, validate: str = "one_to_one") -> pd.DataFrame:
    """The rows of a released table with the group of each subject, and one row for every other randomised subject.

    Parameters
    ----------
    table : Path
        endpoints.csv, or with ``validate="one_to_many"`` a table with several rows for each subject.
    randomisation : Path
        CSV as a spreadsheet program saves it.
    validate : str
        Of `pandas.merge`.

    Raises
    ------
    ValueError
        If a subject is twice in a list, or in the tables and not in the randomisation list, or has no group.
    UsageError
        If the randomisation list is no such table.
    """
    groups = read_sheet(randomisation, [*KEY, "group"])
    for row in groups:
        if not row["group"]:
            raise ValueError(f"{row.place('group')}: expected a group, found none")
    listed = pd.DataFrame(groups, columns=[*KEY, "group"])
    measured = pd.read_csv(table, dtype=dict.fromkeys(KEY, str))  # trial numbers may begin with zeros
    trial = listed.merge(measured, on=KEY, how="outer", validate=validate, indicator=True)
    strangers = len(trial.loc[trial["_merge"] == "right_only", KEY].drop_duplicates())
    if strangers:
        raise ValueError(f"expected every subject in the randomisation list, found {strangers} that are not")
    order = [*KEY, *({"week"} & set(trial.columns))]
    return trial.sort_values(order, ignore_index=True)


def require_two_groups(subjects: pd.DataFrame, reference: str) -> None:
    """Refuse data in which two groups cannot be compared.

    Raises
    ------
    ValueError
        If there are not two groups, the reference is none of them, or a group has no lesion at all (the ratio is then
        zero or infinite).
    """
    groups = sorted(set(subjects["group"]))
    if len(groups) != 2 or reference not in groups:
        raise ValueError(f"expected two groups, one of them {reference}, found {', '.join(groups) or 'none'}")
    if "count" in subjects and subjects.groupby("group")["count"].sum().min() == 0:
        raise ValueError("expected lesions in both groups, found none in one")


def is_provisional(table: Path) -> bool:
    """True if the tables hold numbers that no reader has locked."""
    dictionary = table.with_name("data_dictionary.json")
    return dictionary.is_file() and bool(json.loads(dictionary.read_bytes())["provisional"])


def or_sentence(main: Callable[[], None]) -> None:
    """Run a program. What cannot be analysed ends in one sentence and exit code 1."""
    try:
        main()
    except KeyError as error:
        sys.exit(f"expected the columns of the released table, found none named {error}")
    except (OSError, ValueError, UsageError) as error:
        sys.exit(str(error))


def offset_of(endpoint: str) -> str:
    """What the exposure of an endpoint is measured in: ``visits`` for GEL, ``weeks`` for changes between visits."""
    return "visits" if endpoint.startswith("gel_count") else "weeks"


def population(trial: pd.DataFrame, *, complete: bool, endpoint: str = ENDPOINT) -> pd.DataFrame:
    """The subjects who can be analysed, by one of the two rules for missing visits (docs/tables.md).

    Columns `group`, `baseline`, `count` and `exposure`: the visits (or weeks) of the period that the count covers.
    """
    chosen = pd.DataFrame(
        {
            "group": trial["group"],
            "baseline": trial[BASELINE],
            "count": trial[f"{endpoint}_{'complete' if complete else 'available'}"],
            "exposure": trial[f"{endpoint}_{offset_of(endpoint)}"],
        }
    ).dropna()
    return chosen.astype({"baseline": int, "count": int, "exposure": int})


def primary_model(subjects: pd.DataFrame, *, reference: str) -> NegativeBinomialFit:
    """The count over weeks 4 + 12 + 24 on group, adjusted for the number of GEL at baseline.

    Raises
    ------
    ValueError
        As `require_two_groups` and `fit_negative_binomial`.
    """
    require_two_groups(subjects, reference)
    design = pd.DataFrame(
        {"intercept": 1.0, "group": subjects["group"] != reference, "baseline": subjects["baseline"]}
    )
    return fit_negative_binomial(subjects["count"], design, subjects["exposure"])


def report(name: str, subjects: pd.DataFrame, trial: pd.DataFrame, fit: NegativeBinomialFit, unit: str) -> str:
    """A paragraph for a person."""
    sizes = ", ".join(f"{group} {n}" for group, n in subjects["group"].value_counts().sort_index().items())
    ratio, low, high = fit.ratio("group")
    lines = [
        f"{name}: {len(subjects)} of {len(trial)} randomised ({sizes}), {subjects['exposure'].sum()} {unit}",
        f"  rate ratio {ratio:.4f} (95 % CI {low:.4f} to {high:.4f}), p = {fit.p_value('group'):.4f}",
        f"  theta {fit.theta:.4f}, log-likelihood {fit.log_likelihood:.4f}",
    ]
    for term, value in fit.coefficients.items():
        expected, observed = fit.standard_errors[term], fit.observed_errors[term]
        lines.append(
            f"  {term:9s} {value:8.4f}  SE {expected:.4f}  (from the observed information {observed:.4f})"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Print the analysis by both rules for missing visits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoints", type=Path)
    parser.add_argument("randomisation", type=Path)
    parser.add_argument("--reference", required=True, help="the group that the other is compared with")
    parser.add_argument("--endpoint", choices=ENDPOINTS, default=ENDPOINT, help="default: the primary endpoint")
    chosen = parser.parse_args(arguments)
    trial = read_trial(chosen.endpoints, chosen.randomisation)
    if is_provisional(chosen.endpoints):
        print("PROVISIONAL: these tables hold numbers that no reader has locked\n")
    for name, complete in (("available visits", False), ("complete only", True)):
        subjects = population(trial, complete=complete, endpoint=chosen.endpoint)
        try:
            fit = primary_model(subjects, reference=chosen.reference)
        except ValueError as error:
            print(f"{name}: {len(subjects)} of {len(trial)} randomised, no result: {error}")
            continue
        unit = "scans" if offset_of(chosen.endpoint) == "visits" else "weeks"
        print(report(name, subjects, trial, fit, unit))


if __name__ == "__main__":
    or_sentence(main)
