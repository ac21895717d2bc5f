"""Requirements of the changes of the registry. Each function refuses what does not meet one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry.schema import LONGEST_NAME, ReadRow, ScanRow, ScanState, SiteRow

LOCKED_HINT = "a locked read is final, unless its reader unlocks it: mri-pipeline read TRIAL --unlock CODE/VISIT"
"""Hint of the errors on locked reads."""


def require_site(own: str, code: str, site: str) -> None:
    """Refuse a subject of another site.

    Parameters
    ----------
    own : str
        Code of the subject's site.
    code : str
        Blinded code of the subject.
    site : str
        Code of the site that uploads.

    Raises
    ------
    UsageError
        If they differ.
    """
    if own != site:
        raise UsageError(
            f"subject {code}: expected the site it belongs to, found site {site}",
            hint="check --site and --subject",
        )


def require_latest(row: SiteRow, upload_digest: str, received: str) -> None:
    """Refuse the verdict on a dummy run that states no scanner if a later one of the site was judged.

    Parameters
    ----------
    row : SiteRow
    upload_digest : str
        SHA-256 of the dummy run. A further verdict on the same one is never too late.
    received : str
        UTC (ISO 8601) when it was received; empty for now.

    Raises
    ------
    UsageError
        If the gate has the verdict on another dummy run since then.
    """
    if not received or not row.gate_at or row.dummy_run_digest == upload_digest:
        return
    if datetime.fromisoformat(row.gate_at) > datetime.fromisoformat(received):
        raise later_dummy_run(row.code)


def later_dummy_run(site: str) -> UsageError:
    """The error for a dummy run after a later one was judged.

    Parameters
    ----------
    site : str
        Code of the site.

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        f"site {site}: expected its latest dummy run, found an earlier one than the one that was judged last",
        hint="ask the site for a new dummy run, then: mri-pipeline dummy-run TRIAL UPLOAD --site S",
    )


def require_storable(name: str, text: str) -> None:
    """Refuse a text that a database cannot store.

    Parameters
    ----------
    name : str
        Of the argument or option.
    text : str
        Empty, or an answer or a reason.

    Raises
    ------
    UsageError
        With the name.
    """
    refused = text.count("\0") + len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    if refused:
        raise UsageError(
            f"{name}: expected text in UTF-8 without NUL, found {refused} other characters", hint="write it again"
        )


def require_texts(*, by: str, **texts: str) -> None:
    """Refuse an empty text, and one that a database cannot store.

    Parameters
    ----------
    by : str
        Who acts.
    **texts : str
        Answer or reason.

    Raises
    ------
    UsageError
        With the name of the argument.
    """
    for name, value in {**texts, "by": by}.items():
        if not value.strip():
            raise UsageError(f"expected a text as {name}, found none", hint="write it without patient data")
        require_storable(name, value)
    if len(by) > LONGEST_NAME:
        raise UsageError(
            f"expected at most {LONGEST_NAME} characters as by, found {len(by)}",
            hint="give role or initials; details belong to the reason or the answer",
        )


def require_not_locked(session: Session, subject: str, visit: str) -> None:
    """Refuse to change a visit whose read is locked.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label.

    Raises
    ------
    UsageError
        If it is locked.
    """
    reads = select(ReadRow.status).where(ReadRow.subject == subject, ReadRow.visit == visit)
    if ReadStatus.LOCKED.value in set(session.scalars(reads)):
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an open read, found a locked one",
            hint=LOCKED_HINT,
        )


def accepted_scan(session: Session, subject: str, visit: str) -> ScanRow:
    """The accepted scan of a visit.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    ScanRow
        Received, analysed or failed.

    Raises
    ------
    UsageError
        If there is none.
    """
    row = session.get(ScanRow, (subject, visit))
    if row is None or not is_accepted(row):
        raise UsageError(
            f"subject {subject}, visit {visit}: expected an accepted scan, found none",
            hint="list the visits: mri-pipeline status TRIAL",
        )
    return row


def is_accepted(row: ScanRow | None) -> bool:
    """True if a visit has an accepted scan.

    Parameters
    ----------
    row : ScanRow or None
        None if the visit has no row.

    Returns
    -------
    bool
    """
    return row is not None and row.status not in {ScanState.MISSING.value, ScanState.REFUSED.value}


def another_scan(subject: str, visit: str, state: ScanState) -> UsageError:
    """The error for a second scan of a visit.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    state : ScanState
        Of the accepted scan.

    Returns
    -------
    UsageError
        The exception. The caller raises it.
    """
    return UsageError(
        f"subject {subject}, visit {visit}: expected no accepted scan, found one ({state.value})",
        hint="to replace it: mri-pipeline ingest ... --replace REASON",
    )
