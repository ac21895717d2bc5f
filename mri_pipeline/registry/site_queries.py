"""Queries to the sites: entered with a scan or a dummy run, answered by the site, closed by the reading centre."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.requirements import require_texts
from mri_pipeline.registry.schema import QueryRow, ScanRow
from mri_pipeline.registry.trail import append

SUPERSEDED = "superseded by a later upload"
"""Reason why a query is closed by the receipt of another scan."""

WITHDRAWN_SCAN = "the scan was withdrawn"
"""Reason why a query is closed by the withdrawal of a scan without a replacement."""

STATED = "superseded by a statement of the site"
"""Reason why a query is closed by a statement that comes with the same scan again."""


_ENTERED = (
    "site", "rule", "contrast", "message", "measured", "limit_value", "unit", "to_do", "entered_at"
)  # fmt: skip
"""Columns of a new query, which its audit entry states."""


class QueryState(StrEnum):
    """State of a query."""

    OPEN = "open"
    ANSWERED = "answered"
    CLOSED = "closed"


@dataclass(frozen=True)
class Question:
    """A finding that the site has to answer.

    Parameters
    ----------
    message : str
        What was expected and found, without patient data.
    rule, contrast : str
        Stable name of the rule, and the scan; may be empty.
    measured, limit : float or None
        Measured value and limit, in `unit`.
    unit : str
    to_do : str
        What the site has to do.
    """

    message: str
    rule: str = ""
    contrast: str = ""
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    to_do: str = ""

    def __str__(self) -> str:
        """The message."""
        return self.message


@dataclass(frozen=True)
class Query:
    """A query of the trial.

    Parameters
    ----------
    number : int
    site, subject, visit : str
        Subject (blinded code) and visit are empty for a dummy run.
    state : QueryState
    question : Question
    entered_at, answered_at, closed_at : str
        UTC (ISO 8601); empty until then.
    answer, answered_by : str
    close_reason, closed_by : str
    """

    number: int
    site: str
    subject: str
    visit: str
    state: QueryState
    question: Question
    entered_at: str
    answer: str
    answered_by: str
    answered_at: str
    close_reason: str
    closed_by: str
    closed_at: str


def enter_queries(
    session: Session, findings: Iterable[Question | str], *, site: str, subject: str = "", visit: str = ""
) -> None:
    """Enter the findings on a scan or a dummy run as open queries, and close those of an earlier upload.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that enters the scan.
    findings : iterable of Question or str
        A text is a question without value and limit.
    site, subject, visit : str
        Subject and visit are empty for a dummy run.
    """
    _close_all(session, QueryRow.site == site, QueryRow.subject == subject, QueryRow.visit == visit)
    _enter(session, findings, site=site, subject=subject, visit=visit)


def renew_queries(
    session: Session, scan: ScanRow, questions: Sequence[Question], *, rule: str, site: str, reason: str
) -> None:
    """Replace the findings and queries of one rule on an accepted scan.

    A question that was put for this scan is not put again, also if its query was closed.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that changes what the rule says.
    scan : ScanRow
    questions : sequence of Question
        All questions of this rule.
    rule : str
    site : str
        Code of the site.
    reason : str
        Why queries of this rule with another message are closed.
    """
    messages = [question.message for question in questions]
    of_rule = (QueryRow.subject == scan.subject, QueryRow.visit == scan.visit, QueryRow.rule == rule)
    earlier = set(session.scalars(select(QueryRow.message).where(*of_rule))) - set(messages)
    new = [question for question in questions if question.message not in scan.findings]
    findings = [*(f for f in scan.findings if f not in earlier), *(question.message for question in new)]
    if findings != scan.findings:
        scan.findings = findings
        target = f"{scan.subject} {scan.visit}"
        append(session, AuditAction.SCAN_FINDINGS_CHANGED, target, {"findings": findings})
    _close_all(session, *of_rule, QueryRow.message.not_in(messages), reason=reason)
    _enter(session, new, site=site, subject=scan.subject, visit=scan.visit)


def close_queries(session: Session, subject: str, visit: str, *, reason: str) -> None:
    """Close all queries on a visit.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that withdraws its scan.
    subject, visit : str
        Blinded code and visit label.
    reason : str
    """
    _close_all(session, QueryRow.subject == subject, QueryRow.visit == visit, reason=reason)


def _close_all(session: Session, *where: ColumnElement[bool], reason: str = SUPERSEDED) -> None:
    not_closed = select(QueryRow).where(*where, QueryRow.state != QueryState.CLOSED.value)
    for row in session.scalars(not_closed.order_by(QueryRow.id)):
        _close(session, row, reason=reason, by="")


def _enter(session: Session, findings: Iterable[Question | str], *, site: str, subject: str, visit: str) -> None:
    questions = [Question(finding) if isinstance(finding, str) else finding for finding in findings]
    for question in questions:
        row = QueryRow(
            site=site, subject=subject, visit=visit, state=QueryState.OPEN.value, entered_at=utc_now(),
            rule=question.rule, contrast=question.contrast, message=question.message, measured=question.measured,
            limit_value=question.limit, unit=question.unit, to_do=question.to_do,
        )  # fmt: skip
        session.add(row)
        session.flush()
        append(session, AuditAction.QUERY_ENTERED, _target(row), {name: getattr(row, name) for name in _ENTERED})


class SiteQueries:
    """The queries of one trial. Each method is one transaction; every change is audited.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Query]:
        """All queries in the order of their numbers.

        Returns
        -------
        list of Query
        """
        with reading(self._engine) as session:
            return [_query(row) for row in session.scalars(select(QueryRow).order_by(QueryRow.id))]

    def count(self) -> dict[QueryState, int]:
        """Number of queries in each state.

        Returns
        -------
        dict of QueryState to int
        """
        with reading(self._engine) as session:
            states = list(session.scalars(select(QueryRow.state)))
        return {state: states.count(state.value) for state in QueryState}

    def get(self, number: int) -> Query:
        """One query.

        Parameters
        ----------
        number : int

        Returns
        -------
        Query

        Raises
        ------
        UsageError
            If there is no query of that number.
        """
        with reading(self._engine) as session:
            return _query(_existing(session, number))

    def answer(self, number: int, *, text: str, by: str) -> Query:
        """Enter the answer of the site. A later answer replaces it; the audit trail has all.

        Parameters
        ----------
        number : int
        text : str
            Without patient data.
        by : str
            Who answered.

        Returns
        -------
        Query

        Raises
        ------
        UsageError
            If there is no such query, if it is closed, if `text` or `by` is empty, or if `by` is too long.
        """
        require_texts(answer=text, by=by)
        with writing(self._engine) as session:
            row = _not_closed(session, number)
            row.state, row.answer, row.answered_by, row.answered_at = (
                QueryState.ANSWERED.value,
                text,
                by,
                utc_now(),
            )
            details = {"answer": text, "by": by, "at": row.answered_at}
            append(session, AuditAction.QUERY_ANSWERED, _target(row), details, reader=by)
            return _query(row)

    def close(self, number: int, *, reason: str, by: str) -> Query:
        """Close a query, answered or not.

        Parameters
        ----------
        number : int
        reason : str
            Without patient data.
        by : str
            Who closed it.

        Returns
        -------
        Query

        Raises
        ------
        UsageError
            If there is no such query, if it is closed, if `reason` or `by` is empty, or if `by` is too long.
        """
        require_texts(reason=reason, by=by)
        with writing(self._engine) as session:
            row = _not_closed(session, number)
            _close(session, row, reason=reason, by=by)
            return _query(row)


def _close(session: Session, row: QueryRow, *, reason: str, by: str) -> None:
    row.state, row.close_reason, row.closed_by, row.closed_at = QueryState.CLOSED.value, reason, by, utc_now()
    details = {"reason": reason, "by": by, "at": row.closed_at}
    append(session, AuditAction.QUERY_CLOSED, _target(row), details, reader=by)


def _target(row: QueryRow) -> str:
    return " ".join(filter(None, (f"query {row.id}", row.subject or row.site, row.visit)))


def _existing(session: Session, number: int) -> QueryRow:
    row = session.get(QueryRow, number)
    if row is None:
        raise UsageError(
            f"expected the number of a query, found {number}, which does not exist",
            hint="list the queries: mri-pipeline query list TRIAL --state all",
        )
    return row


def _not_closed(session: Session, number: int) -> QueryRow:
    row = _existing(session, number)
    if row.state == QueryState.CLOSED.value:
        raise UsageError(f"query {number}: expected one that is not closed, found a closed one")
    return row


def _query(row: QueryRow) -> Query:
    return Query(
        row.id, row.site, row.subject, row.visit, QueryState(row.state),
        Question(row.message, row.rule, row.contrast, row.measured, row.limit_value, row.unit, row.to_do),
        row.entered_at, row.answer, row.answered_by, row.answered_at, row.close_reason, row.closed_by,
        row.closed_at,
    )  # fmt: skip
