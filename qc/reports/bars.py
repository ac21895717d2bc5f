"""Measures of a scan beside their limits and reference ranges, as bars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import Contrast
from qc.change import CHANGE_RULES
from qc.quality_rules import RULES
from qc.reports.names import rule_name

_SAME_RANGE: Final = {Contrast.T1W_GD: Contrast.T1W}
"""Contrasts without reference scans of their own."""

_SMALLEST: Final = 0.001
"""Smaller numbers are not shown."""

_PADDING: Final = 0.08


@dataclass(frozen=True)
class Bar:
    """One measure.

    Parameters
    ----------
    name, text : str
        Its name, and value with limit in words.
    value, limit, low, high : float or None
        Places on the bar, 0 to 100: value, limit, and ends of the reference range; None if there is none.
    violated : bool
        True if the value is beyond the limit.
    """

    name: str
    text: str
    value: float | None
    limit: float | None
    low: float | None
    high: float | None
    violated: bool


def bars(contrast: Contrast, values: Mapping[str, float], protocol: Protocol) -> list[Bar]:
    """The bars of a scan.

    Parameters
    ----------
    contrast : Contrast
    values : mapping of str to float
        Measures by name (`qc.measure_record.measure_record`).
    protocol : Protocol
        With the limits.

    Returns
    -------
    list of Bar
        One for each measure with a limit of image quality, measured or not.
    """
    found = []
    for rule in CHANGE_RULES:
        settings = [
            r.setting for r in RULES if r.name == rule.rule and (not r.contrasts or contrast in r.contrasts)
        ]
        if not settings:
            continue
        limit = getattr(protocol.image_quality, settings[0]).value
        least = settings[0].startswith("min_")
        value = values[rule.value] * rule.scale if rule.value in values else None
        reference = reference_ranges()["ranges"].get(rule.rule, {}).get(_SAME_RANGE.get(contrast, contrast).value)
        unit = f" {rule.unit}" if rule.unit else ""
        shown = "not measured" if value is None else f"{_number(value)}{unit}"
        text = f"{shown} (limit: {'at least' if least else 'at most'} {limit:g}{unit})"
        violated = value is not None and (value < limit if least else value > limit)
        low, high = reference or (None, None)
        places = _places((value, limit, low, high))
        found.append(Bar(rule_name(rule.rule), text, *places, violated))
    return found


def _places(numbers: tuple[float | None, ...]) -> tuple[float | None, float | None, float | None, float | None]:
    """Places on a common scale from 0 to 100."""
    known = [number for number in numbers if number is not None]
    start, end = min(known), max(known)
    width = (end - start) or 1.0
    start, width = start - _PADDING * width, (1 + 2 * _PADDING) * width
    one, two, three, four = (None if n is None else round(100 * (n - start) / width, 1) for n in numbers)
    return one, two, three, four


def _number(value: float) -> str:
    if 0 < abs(value) < _SMALLEST:
        return f"< {_SMALLEST}" if value > 0 else f"> -{_SMALLEST}"
    return f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else f"{value:.1g}"


@cache
def reference_ranges() -> dict[str, Any]:
    """Reference ranges of the measures.

    Returns
    -------
    dict
        ``source`` in words; ``ranges`` by rule and contrast: smallest and largest value.
    """
    text = (files("qc.reports") / "templates" / "reference_ranges.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
