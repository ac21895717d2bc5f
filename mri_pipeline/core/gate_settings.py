"""Settings of the gate of a scanner in ``trial.toml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.settings import Settings


class ScannerGateSettings(Settings):
    """Persons who decide on a dummy run, and the consequence for a visit from a scanner without an accepted one.

    A scanner is the combination of manufacturer, model, serial number, field strength, software version and receive
    coil.

    Attributes
    ----------
    persons : int
        Persons who decide on a dummy run. 0: the limits decide, and a person may decide otherwise. 1: the gate stays
        closed until a person accepts it. 2: a second person has to confirm every decision.
    answer_within_days : int
        Time for the answer of the site to the queries of an acceptance report.
    without_dummy_run : Action
        Consequence for a visit from a scanner without an accepted dummy run.
    """

    persons: Annotated[int, Field(ge=0, le=2)] = 0
    answer_within_days: Annotated[int, Field(gt=0)] = 14
    without_dummy_run: Action = Action.REFUSE
