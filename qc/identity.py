"""Comparison of a scan with the accepted scans: images, patient and day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.registry import KnownScan, ScanIdentity, WithdrawnImages
from qc.findings import Finding

DAYS_PER_WEEK: Final = 7

_PARTS: Final = ("number", "name", "birth date")
"""Parts of `ScanIdentity.person`."""

WINDOW: Final = "window"
"""Rule of the distance of a scan from its planned day."""

WITHDRAWN: Final = "withdrawn"
"""Rule of images that were withdrawn before."""

BEFORE_INFUSION: Final = "before_infusion"
"""Rule of the site's statement that a scan came before the infusion."""


def check_identity(
    scan: ScanIdentity, *, subject: str, visit: str, known: Sequence[KnownScan], protocol: Protocol
) -> tuple[Finding, ...]:
    """Judge whether a scan is of this subject and visit.

    Parameters
    ----------
    scan : ScanIdentity
    subject, visit : str
        Blinded code and label of a planned visit.
    known : sequence of KnownScan
        Accepted scans of the subject, and those of other subjects with the same patient, study or images
        (`Registry.relatives`). The scan of this visit itself, which may be replaced, is ignored.
    protocol : Protocol

    Returns
    -------
    tuple of Finding
        Violations alone. ``same_images``, ``same_study``, ``patient`` and ``order_of_days`` refuse the scan.
        ``birth_date`` (number and name agree), ``patient_not_compared``, ``patient_elsewhere``, ``window``,
        ``study_date`` and ``before_infusion`` are queries. The messages contain no blinded code, because they are kept
        beside identified data.
    """
    others = [k for k in known if (k.subject, k.visit) != (subject, visit)]
    own = [k for k in others if k.subject == subject]
    return (
        *_same_images(scan, subject, others),
        *_same_study(scan, subject, others),
        *_patient(scan, subject, own, others),
        *_days(scan, visit, own, protocol),
        *infusion_query(scan.before_infusion, visit, protocol),
    )


def check_withdrawn(withdrawn: Sequence[WithdrawnImages], *, subject: str, visit: str) -> tuple[Finding, ...]:
    """Judge a scan whose images were withdrawn before.

    Parameters
    ----------
    withdrawn : sequence of WithdrawnImages
        As `Registry.withdrawn_images`.
    subject, visit : str
        Blinded code and label of a planned visit.

    Returns
    -------
    tuple of Finding
        Violations of the rule ``withdrawn`` alone. Images that another scan of this visit has replaced are a query,
        others refuse the scan. The reason of the withdrawal is named to the subject's own visits alone.
    """
    findings = []
    for images in withdrawn:
        same_visit = (images.subject, images.visit) == (subject, visit)
        if images.subject != subject:
            whose = "another subject"
        else:
            whose = f"{'this visit' if same_visit else f'visit {images.visit}'} (reason: {images.reason})"
        expected = "expected images that were not withdrawn"
        message = f"{expected}, found {', '.join(images.contrasts)} of a withdrawn scan of {whose}"
        make = _query if same_visit and images.replaced else _refuse
        findings.append(make(WITHDRAWN, message))
    return tuple(findings)


def _same_images(scan: ScanIdentity, subject: str, others: Sequence[KnownScan]) -> list[Finding]:
    findings = []
    for other in others:
        keys = set(other.identity.images.values())
        contrasts = ", ".join(contrast for contrast, key in scan.images.items() if key in keys)
        if contrasts:
            findings.append(
                _refuse(
                    "same_images",
                    f"expected images of this visit alone, found {contrasts} of {_whose(other, subject)}",
                )
            )
    return findings


def _same_study(scan: ScanIdentity, subject: str, others: Sequence[KnownScan]) -> list[Finding]:
    return [
        _refuse("same_study", f"expected a study of this visit alone, found the study of {_whose(other, subject)}")
        for other in others
        if not scan.studies.isdisjoint(other.identity.studies)
    ]


def _whose(other: KnownScan, subject: str) -> str:
    return f"visit {other.visit}" if other.subject == subject else "another subject"


def _patient(
    scan: ScanIdentity, subject: str, own: Sequence[KnownScan], others: Sequence[KnownScan]
) -> list[Finding]:
    findings = []
    answers = [scan.agreement(k.identity) for k in own]
    found = [{of_visit[part] for of_visit in answers} for part in range(len(_PARTS))]
    agrees = [True in answer for answer in found]
    differs = [part for part, answer in zip(_PARTS, found, strict=True) if False in answer and True not in answer]
    if differs:
        another = " and ".join([", ".join(differs[:-1]), differs[-1]] if differs[1:] else differs)
        message = f"expected the patient of the subject's other visits, found a patient with another {another}"
        mistyped = all(agrees[:2])
        findings.append(_query("birth_date", message) if mistyped else _refuse("patient", message))
    visits = [k.visit for k in own if any(k.identity.person)]
    if visits and any(scan.person) and all(answer == {None} for answer in found):
        expected = f"expected patient data that can be compared with those of visit {', '.join(visits)}"
        findings.append(_query("patient_not_compared", f"{expected}, found none in the same form"))
    elsewhere = {k.subject for k in others if scan.same_person(k.identity)} - {subject}
    if len(elsewhere) == 1:  # of more subjects: a constant of the site's software, which identifies no patient
        findings.append(
            _query("patient_elsewhere", "expected a patient of one subject, found the patient of another subject")
        )
    return findings


def _days(scan: ScanIdentity, visit: str, own: Sequence[KnownScan], protocol: Protocol) -> list[Finding]:
    if scan.shifted_day is None:
        return [
            _query("study_date", "expected the date of the study, found none; order and window are not checked")
        ]
    days = {k.visit: k.identity.shifted_day for k in own if k.identity.shifted_day is not None}
    days[visit] = scan.shifted_day
    labels = [planned.label for planned in protocol.visits]
    here = labels.index(visit)
    not_after = [label for label in labels[:here] if label in days and days[label] >= days[visit]]
    not_before = [label for label in labels[here + 1 :] if label in days and days[label] <= days[visit]]
    if not_after or not_before:
        wrong = [
            f"not {where} {', '.join(others)}"
            for where, others in (("after", not_after), ("before", not_before))
            if others
        ]
        return [
            _refuse(
                "order_of_days",
                f"visit {visit}: expected the days of the scans in the order of the visits, found a scan "
                f"{' and '.join(wrong)}",
            )
        ]
    return _window(visit, days, protocol)


def check_clock(day: int | None, today: int) -> tuple[Finding, ...]:
    """Judge whether the day of a scan has come.

    Parameters
    ----------
    day : int or None
        Day of the study as proleptic ordinal; None if the headers contain none.
    today : int
        The day of the check.

    Returns
    -------
    tuple of Finding
        A query of the rule ``study_date`` for a day later than the next one (time zones). Order and window are those of
        a wrong clock.
    """
    if day is None or day <= today + 1:
        return ()
    return (
        _query(
            "study_date",
            "expected a date of the study up to today, found a later one; order and window are unclear",
        ),
    )


def later_windows(
    scan: ScanIdentity, *, subject: str, visit: str, known: Sequence[KnownScan], protocol: Protocol
) -> dict[str, list[Finding]]:
    """Windows of the later visits, which are counted from the first visit.

    Parameters
    ----------
    scan, subject, visit, known, protocol
        As in `check_identity`.

    Returns
    -------
    dict of str to list of Finding
        Queries by the label of the visit that they concern; an empty list for a visit within its window. Empty if the
        scan is not that of the first visit, or has no date.
    """
    if visit != protocol.visits[0].label or scan.shifted_day is None:
        return {}
    days = {k.visit: k.identity.shifted_day for k in known if k.subject == subject and k.visit != visit}
    dated = {label: day for label, day in days.items() if day is not None}
    return {label: _window(label, {**dated, visit: scan.shifted_day}, protocol) for label in dated}


def _window(visit: str, days: dict[str, int], protocol: Protocol) -> list[Finding]:
    """Distance of a visit from its planned day."""
    first, planned = protocol.visits[0], protocol.visit(visit)
    if visit == first.label or first.label not in days:
        return []
    late = days[visit] - days[first.label] - DAYS_PER_WEEK * (planned.week - first.week)
    if abs(late) <= planned.window_days:
        return []
    return [
        Finding(
            WINDOW,
            Action.QUERY,
            f"visit {visit}: expected a scan within {planned.window_days} days of week {planned.week}, found a scan "
            f"{abs(late)} days {'later' if late > 0 else 'earlier'}",
            measured=float(abs(late)),
            limit=float(planned.window_days),
            unit="d",
        )
    ]


def infusion_query(before_infusion: bool | None, visit: str, protocol: Protocol) -> list[Finding]:  # noqa: FBT001
    """The query of a visit that must precede the infusion.

    Parameters
    ----------
    before_infusion : bool or None
        Statement of the site; None if there is none.
    visit : str
        Label of a planned visit.
    protocol : Protocol

    Returns
    -------
    list of Finding
        Empty if the visit need not precede an infusion, or if the site states that it did.
    """
    if not protocol.visit(visit).before_infusion or before_infusion:
        return []
    if before_infusion is None:
        expected = "expected the site's statement that the scan came before the infusion, found none"
    else:
        expected = "expected a scan before the infusion, found a scan after it by the site's statement"
    return [_query(BEFORE_INFUSION, f"visit {visit}: {expected}")]


def _refuse(rule: str, message: str) -> Finding:
    return Finding(rule, Action.REFUSE, message)


def _query(rule: str, message: str) -> Finding:
    return Finding(rule, Action.QUERY, message)
