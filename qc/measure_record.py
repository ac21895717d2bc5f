"""The measures of an upload as numbers by name, for the registry and for reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import Any, Final

from mri_pipeline.core.visits import Contrast
from qc.measures import ImageMeasures

_DIGITS: Final = 6
"""Significant digits of a stored measure."""


def measure_record(measures: Mapping[Contrast, ImageMeasures]) -> dict[str, dict[str, float]]:
    """The numbers of the measures of an upload.

    Parameters
    ----------
    measures : mapping of Contrast to ImageMeasures

    Returns
    -------
    dict of str to dict of str to float
        By contrast and name, such as ``brain.bias_percent``, with six significant digits. A measure that could not be
        made, one that is misleading in this scan (`qc.field_scan.FieldMeasures`), a digest and a transform have no
        entry.
    """
    return {contrast.value: _comparable(values) for contrast, values in measures.items()}


def _comparable(values: ImageMeasures) -> dict[str, float]:
    misleading = {f"field.{name}" for name in values.field.misleading} if values.field else set()
    return {name: value for name, value in numbers(values) if name not in misleading}


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Name and value of each number within a dataclass.

    Parameters
    ----------
    value : object
        Dataclass, number, or anything else, which has no numbers.
    name : str, optional
        Its name.

    Yields
    ------
    tuple of (str, float)

    Examples
    --------
    >>> from qc.content import ContentMeasures
    >>> dict(numbers(ContentMeasures(head_litres=2.0, detail_percent=9.0, coherence=float("nan"))))["head_litres"]
    2.0
    """
    if is_dataclass(value):
        for part in fields(value):
            yield from numbers(getattr(value, part.name), f"{name}.{part.name}" if name else part.name)
    elif isinstance(value, Real) and math.isfinite(value):
        yield name, float(f"{float(value):.{_DIGITS}g}")
