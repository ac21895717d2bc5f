"""Evaluation report: predicted against reference masks, as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from mri_pipeline.core.provenance import software
from mri_pipeline.lesions.scoring.scores import LEAST_MM3, Detection, MaskScores, Rule
from mri_pipeline.lesions.scoring.summary import Spread, VolumeAgreement, by_size, pooled, spread, volume_agreement
from qc.reports.evaluation_figures import detection, volumes

TEMPLATE = "templates/evaluation.html.j2"

MEASURES: Mapping[str, Callable[[MaskScores], float | None]] = {
    "dice": lambda s: s.dice,
    "volume_difference_ml": lambda s: s.difference_ml,
    "absolute_volume_difference_ml": lambda s: abs(s.difference_ml),
    "volume_difference_percent": lambda s: s.difference_percent,
    "lesion_difference": lambda s: len(s.predictions) - len(s.references),
    "absolute_lesion_difference": lambda s: abs(len(s.predictions) - len(s.references)),
    "lesion_recall": lambda s: s.detection(Rule.TENTH).recall,
    "lesion_precision": lambda s: s.detection(Rule.TENTH).precision,
    "lesion_f1": lambda s: s.detection(Rule.TENTH).f1,
    "anima_recall": lambda s: s.detection(Rule.ANIMA).recall,
    "anima_precision": lambda s: s.detection(Rule.ANIMA).precision,
    "anima_f1": lambda s: s.detection(Rule.ANIMA).f1,
}
"""Measures of a case by column name; None is "not defined"."""

_TITLES = {
    "dice": ("Dice", 2),
    "volume_difference_ml": ("volume, predicted minus reference (mL)", 2),
    "absolute_volume_difference_ml": ("absolute difference of volume (mL)", 2),
    "volume_difference_percent": ("difference of volume (% of reference)", 0),
    "lesion_difference": ("lesions, predicted minus reference", 1),
    "absolute_lesion_difference": ("absolute difference of lesions", 1),
    "lesion_recall": ("lesion recall, 10 % rule", 2),
    "lesion_precision": ("lesion precision, 10 % rule", 2),
    "lesion_f1": ("lesion F1, 10 % rule", 2),
    "anima_recall": ("lesion recall, Anima's rule", 2),
    "anima_precision": ("lesion precision, Anima's rule", 2),
    "anima_f1": ("lesion F1, Anima's rule", 2),
}
_NONE, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_SIGNED = {"volume_difference_ml", "volume_difference_percent", "lesion_difference"}


@dataclass(frozen=True)
class EvaluatedCase:
    """One pair of masks.

    Parameters
    ----------
    case : str
        Label of the case.
    scores : MaskScores
    tuned_on : bool or None
        True if the case was used for tuning the segmentation; None if not stated.
    other_labels : bool
        True if a mask contains labels other than 0 and 1. All of them count as lesion.
    """

    case: str
    scores: MaskScores
    tuned_on: bool | None = None
    other_labels: bool = False


def evaluation_html(cases: Sequence[EvaluatedCase], *, data: str) -> str:
    """Render the report as HTML text.

    Parameters
    ----------
    cases : sequence of EvaluatedCase
        At least one case.
    data : str
        Name of the data set.

    Returns
    -------
    str
        One HTML page with embedded figures.
    """
    scores = [case.scores for case in cases]
    agreement = volume_agreement([s.reference_ml for s in scores], [s.predicted_ml for s in scores])
    sizes = by_size(scores)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("qc.reports") / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        data=data,
        cases=[_row(case) for case in cases],
        tuning=_tuning(cases),
        empty=[case.case for case in cases if case.scores.dice is None],
        relabelled=[case.case for case in cases if case.other_labels],
        tiles=[(title, *_mean(scores, name)) for name, title in _TILES.items()],
        spreads=[(title, _spread(spread(scores, MEASURES[name]), name)) for name, (title, _) in _TITLES.items()],
        agreement=_agreement(agreement),
        volumes=volumes([(c.case, c.scores.reference_ml, c.scores.predicted_ml) for c in cases], agreement),
        detection=detection(
            [(c.case, c.scores.reference_ml, c.scores.dice) for c in cases if c.scores.dice is not None], sizes
        ),
        sizes=[(size.name, [_found(size.detections[rule]) for rule in Rule]) for size in sizes]
        + [("all", [_found(pooled(scores, rule)) for rule in Rule])],
        least=f"{LEAST_MM3:g}",
        below=(sum(s.references_below for s in scores), sum(s.predictions_below for s in scores)),
        software=software(),
    )


_TILES = {
    "dice": "Dice",
    "absolute_volume_difference_ml": "absolute volume error, mL",
    "lesion_f1": "lesion F1, 10 % rule",
    "anima_f1": "lesion F1, Anima's rule",
}


def _agreement(found: VolumeAgreement) -> str:
    message = f"bias {_number(found.bias_ml, 2, signed=True)} mL"
    if found.limits_ml:
        low, high = (_number(limit, 2, signed=True) for limit in found.limits_ml)
        message += f", 95 % limits of agreement {low} to {high} mL"
    return message + ("" if found.correlation is None else f", correlation {_number(found.correlation, 3)}")


def _mean(scores: Sequence[MaskScores], name: str) -> tuple[str, int]:
    """Mean over the cases with a defined measure, and their number."""
    found = spread(scores, MEASURES[name])
    return (_NONE, 0) if found is None else (_number(found.mean, 2), found.cases)


def _tuning(cases: Sequence[EvaluatedCase]) -> str:
    stated = [case.tuned_on for case in cases if case.tuned_on is not None]
    unknown = len(cases) - len(stated)
    if not stated:
        return "use for tuning not stated"
    message = f"{sum(stated)} of them used for tuning the segmentation"
    return message + (f", {unknown} not stated" if unknown else "")


def _number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    if value is None:
        return _NONE
    value = round(value, decimals) or 0.0  # no signed zero
    shown = f"{value:+.{decimals}f}" if signed and value else f"{value:.{decimals}f}"
    return shown.replace("-", _MINUS)


def _spread(found: Spread | None, name: str) -> list[str]:
    if found is None:
        return [*(4 * [_NONE]), "0"]
    values = (found.mean, found.median, found.least, found.most)
    return [*(_number(v, _TITLES[name][1], signed=name in _SIGNED) for v in values), str(found.cases)]


def _row(case: EvaluatedCase) -> dict[str, str]:
    scores = case.scores
    return {
        "case": case.case,
        "tuned": {True: "yes", False: "no", None: _NONE}[case.tuned_on],
        "reference_ml": _number(scores.reference_ml, 2),
        "predicted_ml": _number(scores.predicted_ml, 2),
        "references": str(len(scores.references)),
        "predictions": str(len(scores.predictions)),
        **{
            name: _number(MEASURES[name](scores), decimals, signed=name in _SIGNED)
            for name, (_, decimals) in _TITLES.items()
        },
    }


def _found(found: Detection) -> tuple[str, str, str, str]:
    """Found of all references, recall, true of all predictions, precision."""
    return (
        f"{found.references_found} of {found.references}",
        _number(found.recall, 2),
        f"{found.predictions_true} of {found.predictions}",
        _number(found.precision, 2),
    )
