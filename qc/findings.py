"""Findings of all checks of an upload, and the report that they form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from mri_pipeline.core.errors import ComplianceError
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast

NEVER_OVERRULED: Final = frozenset({
    "field_strength", "sequence", "whole_series", "split_series", "blank_slices", "repeated_slices", "copied_scan",
    "same_images", "same_study", "patient", "conversion", "inverted",
})  # fmt: skip
"""Rules whose refusal stands: the trial's own rule, scans that cannot be converted or analysed, and images of another
visit or patient (for changed patient data there is ``--patient-changed``)."""


SEND_AGAIN: Final = "send the whole series again, as the scanner wrote it; if it is so there, scan again"
"""What the site has to do about a series that is not whole."""


@dataclass(frozen=True)
class Finding:
    """One limit that was judged.

    Parameters
    ----------
    rule : str
        Stable name of the rule, for tables.
    action : Action or None
        Consequence of a violation; None if the limit is met.
    message : str
        What was expected and found, without patient data.
    contrast : Contrast or None
        The scan; None if the finding concerns the whole upload.
    measured, limit : float or None
        Measured value and limit, in `unit`.
    unit : str
        Unit, such as "mm", "min" or "%"; empty for a ratio.
    to_do : str
        What the site has to do; empty if nothing.
    """

    rule: str
    action: Action | None
    message: str
    contrast: Contrast | None = None
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    to_do: str = ""


@dataclass(frozen=True)
class ComplianceReport:
    """Result of a check against the protocol.

    Parameters
    ----------
    findings : tuple of Finding
        Limits met and violated, in the order of the checks.
    """

    findings: tuple[Finding, ...]

    def of(self, action: Action) -> tuple[Finding, ...]:
        """The violated limits with an action.

        Parameters
        ----------
        action : Action

        Returns
        -------
        tuple of Finding
        """
        return tuple(f for f in self.findings if f.action is action)

    def require(self) -> None:
        """Raise an error if a finding refuses the upload.

        Raises
        ------
        ComplianceError
            With all reasons in one line, and what to do for each.
        """
        reasons = self.of(Action.REFUSE)
        if reasons:
            otherwise = "check the limits in trial.toml, or repeat the scan according to the protocol"
            raise ComplianceError(
                "; ".join(finding.message for finding in reasons),
                hint="; ".join(dict.fromkeys(finding.to_do or otherwise for finding in reasons)),
            )

    def overruled(self) -> ComplianceReport:
        """The report after a decision of the reading centre to accept the upload.

        Returns
        -------
        ComplianceReport
            Refusals become queries, except those of `NEVER_OVERRULED`.
        """
        return ComplianceReport(
            tuple(
                replace(f, action=Action.QUERY, message=f"{f.message} (accepted by the reading centre)")
                if f.action is Action.REFUSE and f.rule not in NEVER_OVERRULED
                else f
                for f in self.findings
            )
        )

    def adding(self, *findings: Finding) -> ComplianceReport:
        """The report with further findings.

        Parameters
        ----------
        *findings : Finding

        Returns
        -------
        ComplianceReport
        """
        return ComplianceReport((*self.findings, *findings))

    def without_optional(self, required: Collection[Contrast]) -> tuple[ComplianceReport, frozenset[Contrast]]:
        """The report after optional scans with a refusal were left out.

        Parameters
        ----------
        required : collection of Contrast
            Scans whose refusal stands.

        Returns
        -------
        report : ComplianceReport
            Refusals of optional scans are queries.
        left_out : frozenset of Contrast
            These scans.
        """
        refused = frozenset(f.contrast for f in self.of(Action.REFUSE) if f.contrast is not None)
        left_out = refused - frozenset(required)
        return ComplianceReport(
            tuple(
                replace(f, action=Action.QUERY, message=f"{f.message}; the scan is optional and not used")
                if f.action is Action.REFUSE and f.contrast in left_out
                else f
                for f in self.findings
            )
        ), left_out
