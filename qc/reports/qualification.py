"""The report of a qualification: verdict, every requirement with what was expected and found, and its signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from qc.reports.page import render


class Status(StrEnum):
    """Result of a requirement, or of a stage."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_DONE = "not done"
    BY_TESTS = "by tests"
    """Not checked on this installation: the automated tests of this version verify it."""


class Stage(StrEnum):
    """Part of a qualification."""

    INSTALLATION = "Installation (IQ)"
    OPERATION = "Operation (OQ)"
    PERFORMANCE = "Performance (PQ)"


@dataclass(frozen=True)
class Line:
    """One check.

    Parameters
    ----------
    expected, found : str
    passed : bool
    """

    expected: str
    found: str
    passed: bool


@dataclass(frozen=True)
class RequirementResult:
    """One requirement with its checks.

    Parameters
    ----------
    id, text, source : str
    lines : tuple of Line
        Empty if no check was made.
    tests : tuple of str
        Tests of this version that verify it.
    """

    id: str
    text: str
    source: str
    lines: tuple[Line, ...]
    tests: tuple[str, ...]

    @property
    def stage(self) -> Stage:
        """The part to which it belongs, by its id."""
        groups = {"IQ": Stage.INSTALLATION, "PQ": Stage.PERFORMANCE}
        return groups.get(self.id.partition("-")[0], Stage.OPERATION)

    @property
    def status(self) -> Status:
        """Passed if all checks are; without checks by tests, except for the performance."""
        if self.lines:
            return Status.PASSED if all(line.passed for line in self.lines) else Status.FAILED
        return Status.BY_TESTS if self.tests and self.stage is not Stage.PERFORMANCE else Status.NOT_DONE


@dataclass(frozen=True)
class QualificationSignature:
    """Signature of a report.

    Parameters
    ----------
    code, name, role : str
        Of the person.
    at : str
        UTC (ISO 8601).
    meaning : str
    content : str
        SHA-256 of what was signed (`QualificationReport.digest`).
    account : str
        Fingerprint of the account.
    """

    code: str
    name: str
    role: str
    at: str
    meaning: str
    content: str
    account: str


@dataclass(frozen=True)
class QualificationReport:
    """Result of a qualification.

    Parameters
    ----------
    trial, version : str
        Name of the trial, and version of the software.
    settings_digest : str
        Of the protocol and the code.
    started, ended : str
        UTC (ISO 8601).
    environment : mapping of str to str
    results : tuple of RequirementResult
    """

    trial: str
    version: str
    settings_digest: str
    started: str
    ended: str
    environment: Mapping[str, str]
    results: tuple[RequirementResult, ...]

    @property
    def failed(self) -> list[RequirementResult]:
        """Requirements with a failed check."""
        return [one for one in self.results if one.status is Status.FAILED]

    @property
    def verdict(self) -> Status:
        """Passed if no requirement failed and none that is to be checked was left out."""
        if self.failed:
            return Status.FAILED
        return Status.NOT_DONE if any(one.status is Status.NOT_DONE for one in self.results) else Status.PASSED

    @property
    def digest(self) -> str:
        """SHA-256 of the content without signature."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """The report without signature, as JSON values.

        Returns
        -------
        dict
        """
        results = [asdict(one) | {"stage": one.stage.value, "status": one.status.value} for one in self.results]
        return asdict(self) | {"results": results, "verdict": self.verdict.value}


def qualification_json(report: QualificationReport, signature: QualificationSignature | None) -> str:
    """The report for machines.

    Parameters
    ----------
    report : QualificationReport
    signature : QualificationSignature or None
        None: not signed.

    Returns
    -------
    str
        JSON: the content, its digest, and the signature.
    """
    signed = None if signature is None else asdict(signature)
    record = report.content() | {"content_sha256": report.digest, "signature": signed}
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


_VERDICTS = {
    Status.PASSED: "Passed: all checked requirements are met.",
    Status.FAILED: "Failed: at least one requirement is not met.",
    Status.NOT_DONE: "Not complete: no check failed, and requirements were not checked.",
}


def qualification_html(report: QualificationReport, signature: QualificationSignature | None) -> str:
    """The report as one page without external parts.

    Parameters
    ----------
    report : QualificationReport
    signature : QualificationSignature or None
        None: not signed.

    Returns
    -------
    str
    """
    stages = {stage: [one for one in report.results if one.stage is stage] for stage in Stage}
    return render(
        "qualification.html.j2",
        report=report,
        signature=signature,
        verdict=_VERDICTS[report.verdict],
        stages=stages,
        statuses=tuple(Status),
        counts={stage: _counts(results) for stage, results in stages.items()},
        not_done=[one for one in report.results if one.status is Status.NOT_DONE],
    )


def _counts(results: list[RequirementResult]) -> list[int]:
    return [sum(one.status is status for one in results) for status in Status]
