"""Agreement of reads by endpoint: between two readers, and of one reader with an earlier read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_pipeline.core.agreement import Estimate, bland_altman, cohens_kappa, dice_coefficient, icc_2_1
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import VisitCounts
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.core.visits import VisitMasks
from mri_pipeline.lesions.tracking.track import count_subject

COUNTS = (
    "gel_count", "t2_count", "new_t2_count", "enlarging_t2_count", "new_or_enlarging_t2_count",
    "combined_unique_active_count", "bh_count",
)  # fmt: skip
VOLUMES_ML = ("gel_volume_ml", "t2_volume_ml", "bh_volume_ml")
MASKS = ("t2_lesions", "gel", "black_holes")


@dataclass(frozen=True)
class ReadPair:
    """Two reads of one visit.

    Parameters
    ----------
    first, second : VisitCounts
        The numbers of the visit under each read.
    dice : mapping of str to float or None
        Dice coefficient of the masks, by name in `MASKS`. None if both are empty. A kind that the visit lacks is
        absent.
    """

    first: VisitCounts
    second: VisitCounts
    dice: Mapping[str, float | None]


@dataclass(frozen=True)
class AgreementRow:
    """One statistic of one endpoint.

    Parameters
    ----------
    endpoint : str
        Column of lesion_timepoints.csv, or name of a mask.
    statistic : str
    estimate : Estimate
    n : int
        Number of visits.
    """

    endpoint: str
    statistic: str
    estimate: Estimate
    n: int


def read_pairs(
    first: Sequence[VisitMasks], second: Sequence[VisitMasks], location: LabelImage, rules: LesionRules
) -> list[ReadPair]:
    """Pair the reads of one subject. New and enlarging lesions are counted within each series of reads.

    Parameters
    ----------
    first, second : sequence of VisitMasks
        The same visits in the order of time.
    location : LabelImage
        Location map of the subject.
    rules : LesionRules

    Returns
    -------
    list of ReadPair
    """
    weeks: dict[str, int | None] = {masks.visit: None for masks in first}
    counts = [count_subject("", series, location, rules, weeks).visits for series in (first, second)]
    return [ReadPair(a, b, dict(_dice(one, two))) for a, b, one, two in zip(*counts, first, second, strict=True)]


def _dice(first: VisitMasks, second: VisitMasks) -> Iterator[tuple[str, float | None]]:
    for name in MASKS:
        one, two = getattr(first, name), getattr(second, name)
        if one is not None and two is not None:
            yield name, dice_coefficient(one.mask, two.mask)


def agreement_rows(pairs: Sequence[ReadPair]) -> list[AgreementRow]:
    """All statistics of a set of pairs.

    Parameters
    ----------
    pairs : sequence of ReadPair

    Returns
    -------
    list of AgreementRow
        ICC(2,1), Bland-Altman bias and limits for every number; kappa for whether a count is above 0; quartiles of
        Dice. An endpoint that no visit has is left out.
    """
    rows: list[AgreementRow] = []
    for endpoint in (*COUNTS, *VOLUMES_ML):
        values = [(getattr(pair.first, endpoint), getattr(pair.second, endpoint)) for pair in pairs]
        known = [(a, b) for a, b in values if a is not None and b is not None]
        if known:
            rows += _of_numbers(endpoint, known)
    for name in MASKS:
        found = [value for pair in pairs if (value := pair.dice.get(name)) is not None]
        if found:
            low, median, high = (float(q) for q in np.percentile(found, (25, 50, 75)))
            rows.append(AgreementRow(name, "dice_median", Estimate(median, low, high), len(found)))
    return rows


def _of_numbers(endpoint: str, known: Sequence[tuple[float, float]]) -> Iterator[AgreementRow]:
    n, first, second = len(known), [a for a, _ in known], [b for _, b in known]
    if endpoint in COUNTS:
        present = cohens_kappa([a > 0 for a in first], [b > 0 for b in second])
        yield AgreementRow(endpoint, "kappa_any", present, n)
    yield AgreementRow(endpoint, "icc_2_1", icc_2_1(known), n)
    differences = bland_altman(first, second)
    if differences:
        low, high = differences.limits or (None, None)
        yield AgreementRow(endpoint, "bland_altman_bias", Estimate(differences.bias, low, high), n)
