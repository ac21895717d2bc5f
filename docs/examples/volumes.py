"""Analysis of variance of logarithms of lesion volumes between the groups, from released tables.

    python docs/examples/volumes.py RELEASED/endpoints.csv RANDOMISATION.csv --reference placebo

A volume of 0 has no logarithm: it counts as half the volume of the smallest lesion that the protocol counts, 0.007 mL
with the default of 14 mm³. The number of such volumes is reported. `volumes.R` fits the same models with R's ``lm``.

An example to start from, not a validated analysis program: the trial's statistical analysis plan rules.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from primary_analysis import is_provisional, or_sentence, read_trial, require_two_groups
from scipy import stats

ZERO_ML = 0.007
"""What a volume of 0 counts as: half of t2_min_volume_mm3 and black_hole_min_volume_mm3 of the protocol."""

MEASURES = ("t2_volume_ml", "bh_volume_ml")
RESPONSES = {
    **{f"{measure}_{week}": (f"{measure}_{week}", "") for measure in MEASURES for week in ("wk24", "wk48")},
    **{
        f"{measure}_change_{first}_{last}": (f"{measure}_{last}", f"{measure}_{first}")
        for measure in MEASURES
        for first, last in (("wk00", "wk24"), ("wk24", "wk48"))
    },
}
"""Volume, and the earlier volume by which it is divided, of each model."""


def responses(trial: pd.DataFrame, name: str, *, zero_ml: float = ZERO_ML) -> tuple[pd.DataFrame, int]:
    """Logarithm of a volume, or of its ratio to an earlier one, for each subject with known volumes.

    Returns
    -------
    subjects : DataFrame
        Columns `group` and `response`.
    zeros : int
        Number of volumes of 0.
    """
    last, first = RESPONSES[name]
    names = [column for column in (last, first) if column]
    known = trial[["group", *names]].dropna()
    volumes = known[names].astype(float)
    logs = np.log(volumes.where(volumes > 0, zero_ml))
    response = logs[last] - logs[first] if first else logs[last]
    return pd.DataFrame({"group": known["group"], "response": response}), int((volumes == 0).to_numpy().sum())


def variance_analysis(subjects: pd.DataFrame, *, reference: str) -> dict[str, float]:
    """One-way analysis of variance of the response, and the ratio of the groups' geometric means.

    Returns
    -------
    dict of str to float
        ``n``, ``f``, ``df`` (of the residuals), ``p``, ``ratio`` with its 95 % confidence limits (t distribution), and
        the geometric mean of both groups.

    Raises
    ------
    ValueError
        If there are not two groups of two subjects, or the response does not vary within them.
    """
    require_two_groups(subjects, reference)
    sizes = subjects["group"].value_counts()
    if sizes.min() < 2:
        raise ValueError(f"expected at least 2 subjects in each group, found {sizes.min()} in one")
    means = subjects.groupby("group")["response"].transform("mean")
    if np.allclose(subjects["response"], means, rtol=0, atol=1e-9):
        raise ValueError("expected volumes that vary within the groups, found equal ones")
    design = pd.DataFrame({"intercept": 1.0, "group": (subjects["group"] != reference).astype(float)})
    fit = sm.OLS(subjects["response"], design).fit()
    estimate, half = fit.params["group"], stats.t.ppf(0.975, fit.df_resid) * fit.bse["group"]
    return {
        "n": len(subjects),
        "f": float(fit.fvalue),
        "df": float(fit.df_resid),
        "p": float(fit.f_pvalue),
        "ratio": math.exp(estimate),
        "ratio_low": math.exp(estimate - half),
        "ratio_high": math.exp(estimate + half),
        "mean_reference": math.exp(fit.params["intercept"]),
        "mean_other": math.exp(fit.params["intercept"] + estimate),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print all models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoints", type=Path)
    parser.add_argument("randomisation", type=Path)
    parser.add_argument("--reference", required=True, help="the group with which the other is compared")
    parser.add_argument("--zero-ml", type=float, default=ZERO_ML, help="what a volume of 0 counts as, in mL")
    chosen = parser.parse_args(arguments)
    if not chosen.zero_ml > 0:
        raise ValueError("--zero-ml: expected a positive volume, found another number")
    if is_provisional(chosen.endpoints):
        print("PROVISIONAL: these tables hold numbers that no reader has locked\n")
    trial = read_trial(chosen.endpoints, chosen.randomisation)
    for name in RESPONSES:
        subjects, zeros = responses(trial, name, zero_ml=chosen.zero_ml)
        try:
            found = variance_analysis(subjects, reference=chosen.reference)
        except ValueError as error:
            print(f"{name}: no analysis: {error}")
            continue
        print(
            f"{name}: zeros {zeros}, " + ", ".join(f"{quantity} {value:.6g}" for quantity, value in found.items())
        )


if __name__ == "__main__":
    or_sentence(main)
