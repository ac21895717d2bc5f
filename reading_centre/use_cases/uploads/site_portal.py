"""The portal of a site: its subjects and what is due, its uploads, its queries. Nothing of another site is returned."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.intake.deidentify import Blinding
from mri_pipeline.intake.identity_words import word_table
from mri_pipeline.registry import Gate, Query, QueryState, Registry, ScanState, require_storable
from mri_pipeline.registry.job_records import Job, JobKind, JobState, Quota, QuotaError
from reading_centre.use_cases.office.visit_plan import Due, Window, planned_windows
from reading_centre.use_cases.office.visits import AWAITED
from reading_centre.use_cases.trial.storage import require_room
from reading_centre.use_cases.uploads.waiting import UploadRequestError, WaitingUpload, sweep_uploads

MOST_AT_ONCE: Final = 5
"""Uploads of a site that are not ended."""
UNLISTED: Final = "not listed"
"""Name of a subject that the site's list in ``trial.toml`` lacks."""
_MB: Final = 1_000_000


@dataclass(frozen=True)
class SiteVisit:
    """A visit as its site sees it.

    Parameters
    ----------
    visit : str
        Label.
    state : str
        ``received``, ``refused`` or ``missing``.
    window : Window or None
        Its days; None if they are not known.
    due : str
        `Due` of a visit that awaits a scan, else empty.
    open_queries : int
        Queries that wait for an answer.
    """

    visit: str
    state: str
    window: Window | None
    due: str
    open_queries: int


@dataclass(frozen=True)
class SiteSubject:
    """A subject as its site sees it.

    Parameters
    ----------
    name : str
        As `SitePortal.name_of`.
    visits : tuple of SiteVisit
        In the order of the protocol.
    """

    name: str
    visits: tuple[SiteVisit, ...]


@dataclass(frozen=True)
class Statement:
    """What a person states with an upload.

    Parameters
    ----------
    kind : JobKind
        A visit or a dummy run.
    size_bytes : int
    content : str
        Digest by which the browser knows the same files again.
    subject : str
        Trial number; empty for a dummy run.
    visit : str
        Label; empty for a dummy run.
    before_infusion : bool or None
        Whether the scan came before the infusion of that visit.
    replace_because : str
        Why an earlier scan of the visit is replaced; empty if it is not.
    sent_whole : bool
        True if files are sent as they are because the browser could not read them, with the consent of the person.
    """

    kind: JobKind
    size_bytes: int
    content: str
    subject: str = ""
    visit: str = ""
    before_infusion: bool | None = None
    replace_because: str = ""
    sent_whole: bool = False


class SitePortal:
    """The portal of one site.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    site : str
        Code of the site.
    """

    def __init__(self, trial: Trial, protocol: Protocol, registry: Registry, site: str) -> None:
        self._trial, self.protocol, self._registry = trial, protocol, registry
        self.site = protocol.site(site)

    @property
    def gate(self) -> Gate:
        """Verdict on the latest dummy run."""
        try:
            return self._registry.site(self.site.code).gate
        except SettingsError:  # the site was added while the trial is served
            entered = self._registry.state().sites
            return next((site.gate for site in entered if site.code == self.site.code), Gate.NONE)

    def names(self) -> dict[str, str]:
        """Trial numbers of the listed subjects, by blinded code.

        Returns
        -------
        dict of str to str
        """
        sealed = Sealed.open(self._trial)
        return {sealed.preview(self.site.code, number): number for number in self.site.subjects}

    def name_of(self, code: str, names: Mapping[str, str]) -> str:
        """A subject as the site knows it.

        Parameters
        ----------
        code : str
            Blinded code; empty for no subject.
        names : mapping of str to str
            From `names`.

        Returns
        -------
        str
            Trial number of a listed subject. For other subjects `UNLISTED`, or the code if the site has no list: a
            single code beside the numbers would tell to whom it belongs.
        """
        return names.get(code, UNLISTED if code and names else code)

    def subjects(self, *, today: dt.date) -> list[SiteSubject]:
        """The subjects with their visits; a listed subject without any scan has a row, too.

        Parameters
        ----------
        today : datetime.date
            For what is due.

        Returns
        -------
        list of SiteSubject
            In the order of their names.
        """
        names = self.names()
        of_site = [s for s in self._registry.state().subjects if s.site == self.site.code]
        states = {s.code: {visit.visit: visit.scan for visit in s.visits} for s in of_site}
        days, secret = self._registry.scan_days(), Sealed.open(self._trial).secret("blinding")
        waiting = Counter((q.subject, q.visit) for q in self.queries() if q.state is QueryState.OPEN)

        def visit_of(code: str, label: str, windows: dict[str, Window]) -> SiteVisit:
            scan, window = states.get(code, {}).get(label, ScanState.MISSING), windows.get(label)
            due = (window.due(today) if window else Due.UNKNOWN) if scan in AWAITED else ""
            return SiteVisit(
                label, scan.value if scan in AWAITED else "received", window, str(due), waiting[code, label]
            )

        found = []
        for code in {*names, *states}:
            windows = planned_windows(self.protocol, days.get(code, {}), Blinding(code, secret).shift.days)
            visits = tuple(visit_of(code, visit.label, windows) for visit in self.protocol.visits)
            found.append(SiteSubject(self.name_of(code, names), visits))
        return sorted(found, key=lambda subject: subject.name)

    def browser_identity(self) -> dict[str, Any]:
        """What the browser of the site needs to replace names by pseudonyms.

        Returns
        -------
        dict
            ``key`` (of this site, hexadecimal), and the words of the search (`mri_pipeline.intake.identity_words`).
        """
        key = Sealed.open(self._trial).browser_key(self.site.code).hex()
        return {"key": key, **word_table()}

    # queries

    def queries(self) -> list[Query]:
        """The queries of the site, the latest first.

        Returns
        -------
        list of Query
        """
        return [query for query in self._registry.site_queries.all() if query.site == self.site.code][::-1]

    def query(self, number: int) -> Query | None:
        """A query of the site.

        Parameters
        ----------
        number : int

        Returns
        -------
        Query or None
            None also for a query of another site.
        """
        return next((query for query in self.queries() if query.number == number), None)

    # uploads

    def uploads(self) -> list[Job]:
        """The latest uploads, the newest first.

        Returns
        -------
        list of Job
        """
        latest = self._registry.jobs.latest(site=self.site.code)
        return [job for job in latest if job.kind in {JobKind.VISIT, JobKind.DUMMY_RUN}]

    def upload(self, code: str) -> Job | None:
        """An upload of the site.

        Parameters
        ----------
        code : str

        Returns
        -------
        Job or None
            None also for an upload of another site.
        """
        job = self._registry.jobs.find(code)
        own = job is not None and job.site == self.site.code and job.kind in {JobKind.VISIT, JobKind.DUMMY_RUN}
        return job if own else None

    def begin(self, stated: Statement, *, account: str) -> Job:
        """Begin an upload.

        Parameters
        ----------
        stated : Statement
        account : str
            Code of the person.

        Returns
        -------
        Job

        Raises
        ------
        UploadRequestError
            If the gate would refuse the statement, if the upload is too large, if there is no room for it, or if the
            site has too many uploads that are not ended.
        """
        if stated.kind is JobKind.VISIT:
            self._require_visit(stated)
        sweep_uploads(self._trial, self._registry)
        self._require_room(stated.size_bytes)
        quota = Quota(MOST_AT_ONCE, 2 * self.protocol.max_upload_mb * _MB)
        try:
            job = self._registry.jobs.begin(
                stated.kind, site=self.site.code, visit=stated.visit, account=account,
                size_bytes=stated.size_bytes, sent_whole=stated.sent_whole, quota=quota,
            )  # fmt: skip
        except QuotaError as error:
            raise UploadRequestError(error.message, hint=error.hint) from error
        WaitingUpload(self._trial, job.code).create({
            "subject": stated.subject, "before_infusion": stated.before_infusion,
            "replace_because": stated.replace_because, "content": stated.content,
        })  # fmt: skip
        return job

    def discard(self, job: Job, *, account: str) -> None:
        """Give up an upload that is not whole. An upload that is whole stays.

        Parameters
        ----------
        job : Job
            Of this site.
        account : str
            Code of the person.

        Raises
        ------
        BusyError
            If a part is being written.
        """
        if job.state is not JobState.RECEIVING:
            return
        waiting = WaitingUpload(self._trial, job.code)
        with waiting.held() if waiting.folder.is_dir() else nullcontext():
            outcome = {"reason": "it was discarded by the site"}
            jobs, only = self._registry.jobs, JobState.RECEIVING
            if jobs.end(job.code, JobState.DISCARDED, outcome, only=only, by=account):
                waiting.remove()

    def _require_visit(self, stated: Statement) -> None:
        try:
            visit = self.protocol.visit(stated.visit)
            code = Sealed.open(self._trial).preview(self.site.code, stated.subject)
            require_storable("reason", stated.replace_because)
        except (SettingsError, UsageError) as error:
            raise UploadRequestError(
                error.message, hint="check the visit, the number of the subject and the reason"
            ) from error
        if self.gate is not Gate.ACCEPTED:
            raise UploadRequestError(
                "expected an accepted dummy run before the first visit, found none", hint="send a dummy run first"
            )
        listed = {number.upper() for number in self.site.subjects}
        if listed and stated.subject.upper() not in listed:
            raise UploadRequestError(
                f"this number is not in the list of the site's {len(listed)} subjects",
                hint="check the number, or ask the reading centre to add it",
            )
        self._require_replaceable(code, stated)
        if visit.before_infusion and stated.before_infusion is None:
            raise UploadRequestError(
                "expected a statement whether the scan came before the infusion, found none",
                hint="answer yes or no",
            )

    def _require_replaceable(self, code: str, stated: Statement) -> None:
        if not self._registry.upload(code, stated.visit):
            return
        if not stated.replace_because:
            raise UploadRequestError(
                "expected a reason for replacing the earlier scan of the visit, found none",
                hint="check the visit, or give the reason",
            )
        try:
            self._registry.require_replaceable(code, stated.visit)
        except UsageError as error:
            raise UploadRequestError(
                "expected a visit whose scan can be replaced, found that the reads of this visit are locked",
                hint="ask the reading centre",
            ) from error

    def _require_room(self, size_bytes: int) -> None:
        most = self.protocol.max_upload_mb * _MB
        if not 0 < size_bytes <= most:
            raise UploadRequestError(
                f"expected an upload of up to {most // _MB} MB, found "
                + ("none" if size_bytes <= 0 else f"{-(-size_bytes // _MB)} MB"),
                hint="send one visit alone",
            )
        try:
            require_room(self._trial.root, size_bytes)
        except UsageError as error:
            raise UploadRequestError(
                "expected room on the server for the upload, found too little", hint="ask the reading centre"
            ) from error
