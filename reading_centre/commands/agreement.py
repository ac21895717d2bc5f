"""``mri-pipeline agreement``."""

from __future__ import annotations

from reading_centre.command_options import AsJson, TrialFolder
from reading_centre.console import say_paths


def agreement(trial: TrialFolder, as_json: AsJson = False) -> None:
    """Report how well readers agree, by endpoint: kappa, ICC, Bland-Altman, Dice (reports/agreement.html and CSV)."""
    from reading_centre.use_cases.reading.agreement import write_agreement

    say_paths(write_agreement(trial), as_json=as_json)
