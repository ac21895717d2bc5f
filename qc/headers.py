"""All checks of the headers of an upload, for any assignment of its series to contrasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import Choice
from mri_pipeline.intake.contrast import Recognised
from qc.compliance import UploadPurpose, check_compliance
from qc.coverage import compare_coverage, odd_slices, split_series
from qc.findings import ComplianceReport, Finding
from qc.protocol_change import PreviousScan, compare_scanners, compare_with_previous
from qc.scan_profile import scan_profile


@dataclass(frozen=True)
class HeaderChecks:
    """The checks of one upload. They are repeated if the images show that two series are exchanged.

    Parameters
    ----------
    protocol : Protocol
    purpose : UploadPurpose
    recognised : sequence of Recognised
        All series of the upload.
    merged, unfit
        As in `qc.coverage.split_series`.
    intake : sequence of Finding
        Findings on the upload before its series are chosen.
    previous : PreviousScan or None
        Another visit of the patient. A change of scanner or protocol is flagged.
    overruled : bool
        True if the reading centre accepts violated limits (`ComplianceReport.overruled`).
    """

    protocol: Protocol
    purpose: UploadPurpose
    recognised: Sequence[Recognised]
    merged: Mapping[str, int]
    unfit: AbstractSet[str]
    intake: Sequence[Finding] = ()
    previous: PreviousScan | None = None
    overruled: bool = False

    def judge(self, chosen: Mapping[Contrast, Choice]) -> ComplianceReport:
        """Judge the chosen series.

        Parameters
        ----------
        chosen : mapping of Contrast to Choice

        Returns
        -------
        ComplianceReport
        """
        limits = self.protocol.acquisition
        report = check_compliance(chosen, self.recognised, self.protocol, purpose=self.purpose)
        report = report.adding(
            *self.intake,
            *split_series(chosen, merged=self.merged, unfit=self.unfit),
            *odd_slices(chosen, self.recognised),
            *compare_coverage(chosen, limits.max_coverage_loss_mm),
        )
        if chosen:
            profile = scan_profile(chosen)
            report = report.adding(*compare_scanners(profile, limits))
            if self.previous is not None:
                report = report.adding(*compare_with_previous(profile, self.previous, limits))
        return self.decided(report)

    def decided(self, report: ComplianceReport) -> ComplianceReport:
        """A report after the decision of the reading centre, if there is one.

        Parameters
        ----------
        report : ComplianceReport

        Returns
        -------
        ComplianceReport
        """
        return report.overruled() if self.overruled else report
