"""Limits of the tables of the digital reference trial, from ``limits.toml``."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from mri_pipeline.core.settings import Settings, parse_settings


class Limit(Settings):
    """Limit of one column of lesion_timepoints.csv against the truth.

    Attributes
    ----------
    requirement, column : str
    max_difference : int or None
        Largest absolute difference of a count.
    max_error_percent : float or None
        Largest absolute error of a volume, in per cent of the true one.
    source : str
        The documented accuracy.
    """

    requirement: str
    column: str
    max_difference: Annotated[int, Field(ge=0)] | None = None
    max_error_percent: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    source: str

    @model_validator(mode="after")
    def _one_limit(self) -> Limit:
        if (self.max_difference is None) == (self.max_error_percent is None):
            raise ValueError("one of max_difference and max_error_percent")
        return self

    @property
    def expected(self) -> str:
        """The limit in words."""
        if self.max_error_percent is not None:
            rule = f"within {self.max_error_percent:g} % of the truth"
        else:
            rule = f"within {self.max_difference} of the truth" if self.max_difference else "equal to the truth"
        return f"{self.column}: {rule} ({self.source})"

    def error(self, measured: str, truth: str) -> float:
        """Error of a value in the unit of the limit.

        Parameters
        ----------
        measured, truth : str
            Cells; empty if unknown.

        Returns
        -------
        float
            Infinite if only one is empty, or if a volume is measured where there is none.
        """
        if not measured or not truth:
            return 0.0 if measured == truth else np.inf
        difference = abs(float(measured) - float(truth))
        if self.max_error_percent is None or difference == 0:
            return difference
        return 100 * difference / float(truth) if float(truth) else np.inf


class _File(Settings):
    limits: tuple[Limit, ...]


def load_limits() -> tuple[Limit, ...]:
    """The limits of the digital reference trial.

    Returns
    -------
    tuple of Limit
    """
    text = (files("reading_centre.qualification") / "limits.toml").read_text(encoding="utf-8")
    return parse_settings(_File, text, source="limits.toml", hint="").limits
