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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

BASELINE = "gel_count_wk00"
ENDPOINT = "gel_count_wk04_12_24"
ENDPOINTS = (
    ENDPOINT,
    "new_or_enlarging_t2_count_wk04_12_24",
    "new_t2_count_wk04_12_24",
    "combined_unique_active_count_wk04_12_24",
)
KEY = ["site", "subject"]  # a trial number is unique within its site alone
_GRADIENT = 1e-5  # of the log-likelihood at its maximum, for each parameter
_POISSON_ALPHA = 1e-6  # below, the counts are not overdispersed: there is no finite theta


@dataclass(frozen=True)
class NegativeBinomialFit:
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

    coefficients: pd.Series
    standard_errors: pd.Series
    observed_errors: pd.Series
    theta: float
    log_likelihood: float
    n: int

    def ratio(self, term: str) -> tuple[float, float, float]:
        """Rate ratio and its 95 % confidence limits (Wald)."""
        estimate, half = self.coefficients[term], stats.norm.ppf(0.975) * self.standard_errors[term]
        return math.exp(estimate), math.exp(estimate - half), math.exp(estimate + half)

    def p_value(self, term: str) -> float:
        """Two-sided (Wald)."""
        return float(2 * stats.norm.sf(abs(self.coefficients[term] / self.standard_errors[term])))


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
        If the likelihood has no maximum: counts without overdispersion.
    """
    offset = np.log(exposure.to_numpy(dtype=float))
    y, x = count.to_numpy(dtype=float), design.astype(float)
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
        raise ValueError("expected overdispersed counts, found others: a Poisson model may fit them")
    glm = sm.GLM(y, x, family=sm.families.NegativeBinomial(alpha=alpha), offset=offset).fit(tol=1e-12)
    return NegativeBinomialFit(
        joint.params.iloc[:-1], glm.bse, joint.bse.iloc[:-1], 1 / alpha, float(joint.llf), len(y)
    )


def read_trial(endpoints: Path, randomisation: Path) -> pd.DataFrame:
    """One row for every randomised subject: its group, and its endpoints (empty where they are not known).

    Raises
    ------
    ValueError
        If a subject is twice in a list, or in the tables and not in the randomisation list.
    """
    text = {"site": str, "subject": str, "group": str}  # trial numbers may begin with zeros
    measured, groups = pd.read_csv(endpoints, dtype=text), pd.read_csv(randomisation, dtype=text)
    trial = groups[[*KEY, "group"]].merge(measured, on=KEY, how="outer", validate="one_to_one", indicator=True)
    strangers = int((trial["_merge"] == "right_only").sum())
    if strangers:
        raise ValueError(f"expected every subject in the randomisation list, found {strangers} that are not")
    return trial.sort_values(KEY, ignore_index=True)


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
        If there are not two groups, the reference is none of them, or a group has no lesion at all (the ratio is then
        zero or infinite).
    """
    groups = sorted(set(subjects["group"]))
    if len(groups) != 2 or reference not in groups:
        raise ValueError(f"expected two groups, one of them {reference}, found {', '.join(groups) or 'none'}")
    if subjects.groupby("group")["count"].sum().min() == 0:
        raise ValueError("expected lesions in both groups, found none in one")
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
    dictionary = chosen.endpoints.with_name("data_dictionary.json")
    if dictionary.is_file() and json.loads(dictionary.read_bytes())["provisional"]:
        print("PROVISIONAL: these tables hold numbers that no reader has locked\n")
    for name, complete in (("available visits", False), ("complete only", True)):
        subjects = population(trial, complete=complete, endpoint=chosen.endpoint)
        fit = primary_model(subjects, reference=chosen.reference)
        unit = "scans" if offset_of(chosen.endpoint) == "visits" else "weeks"
        print(report(name, subjects, trial, fit, unit))


if __name__ == "__main__":
    main()
