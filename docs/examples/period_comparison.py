"""Paired Wilcoxon tests within each group: period 2 against period 1, and volumes at two visits, from released tables.

    python docs/examples/period_comparison.py RELEASED/endpoints.csv RANDOMISATION.csv

Only subjects with both numbers are compared; counts and volumes of a period are those of complete periods, so that both
have the same exposure. `period_comparison.R` makes the same tests with R's ``wilcox.test``.

An example to start from, not a validated analysis program: the trial's statistical analysis plan rules.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from primary_analysis import is_provisional, or_sentence, read_trial
from scipy import stats

FIRST, SECOND = "wk04_12_24_complete", "wk28_36_48_complete"
COMPARISONS = {
    **{
        measure: (f"{measure}_{FIRST}", f"{measure}_{SECOND}")
        for measure in ("gel_count", "gel_volume_ml", "combined_unique_active_count", "new_or_enlarging_t2_count")
    },
    **{
        f"{measure}_{first}_{last}": (f"{measure}_{first}", f"{measure}_{last}")
        for measure in ("t2_volume_ml", "bh_volume_ml")
        for first, last in (("wk00", "wk24"), ("wk24", "wk48"))
    },
}
"""Columns of endpoints.csv that are compared, by name."""

SMALLEST = 6
"""Fewest subjects whose two numbers differ. With 5, no two-sided exact test can give p < 0.05."""


def paired_test(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Wilcoxon's signed rank test of second minus first.

    Equal pairs are left out, ties have mean ranks. p is two-sided, from the normal approximation with corrections for
    ties and continuity.

    Returns
    -------
    dict of str to float
        ``n`` pairs, ``n_different``, ``median_first``, ``median_second``, ``median_difference``, ``v`` (sum of the
        ranks of the positive differences) and ``p``.

    Raises
    ------
    ValueError
        If fewer than `SMALLEST` pairs differ.
    """
    pairs = pd.DataFrame({"first": first, "second": second}).dropna()
    # decimals of the tables: differences that are equal in the tables are ties
    difference = (pairs["second"] - pairs["first"]).round(6)
    different = difference[difference != 0]
    if len(different) < SMALLEST:
        raise ValueError(
            f"expected at least {SMALLEST} subjects whose two numbers differ, found {len(different)} of {len(pairs)}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = stats.wilcoxon(different, zero_method="wilcox", correction=True, method="asymptotic")
    ranks = stats.rankdata(different.abs())
    return {
        "n": len(pairs),
        "n_different": len(different),
        "median_first": pairs["first"].median(),
        "median_second": pairs["second"].median(),
        "median_difference": float(np.median(difference)),
        "v": float(ranks[different > 0].sum()),
        "p": float(test.pvalue),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print all comparisons within each group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoints", type=Path)
    parser.add_argument("randomisation", type=Path)
    chosen = parser.parse_args(arguments)
    if is_provisional(chosen.endpoints):
        print("PROVISIONAL: these tables hold numbers that no reader has locked\n")
    trial = read_trial(chosen.endpoints, chosen.randomisation)
    for name, (first, second) in COMPARISONS.items():
        for group, subjects in trial.groupby("group"):
            try:
                found = paired_test(subjects[first], subjects[second])
            except ValueError as error:
                print(f"{name}, {group}: no test: {error}")
                continue
            print(f"{name}, {group}: " + ", ".join(f"{quantity} {value:.6g}" for quantity, value in found.items()))


if __name__ == "__main__":
    or_sentence(main)
