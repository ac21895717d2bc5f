"""Reports of a trial after a read: masks and numbers as in the tables, and the reader who confirmed them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mri_pipeline.analysis import steps
from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.errors import ReadingCentreError, UsageError
from mri_pipeline.core.io.exchange import identity
from mri_pipeline.core.io.locks import exclusive
from mri_pipeline.core.io.results import load_result, save_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.records import SubjectResult
from mri_pipeline.registry import Registry, ScanState, SubjectState, Use, VisitState
from qc.reports.index import INDEX_PAGE
from qc.reports.read_attribution import AUTOMATIC, ReadAttribution
from qc.reports.subject.digest import report_digest
from reading_centre.use_cases.analysis.checked import Checked
from reading_centre.use_cases.analysis.overview import Listed, latest_result, write_overview
from reading_centre.use_cases.analysis.subject_jobs import ACCEPTED, locked_inputs, make_job
from reading_centre.use_cases.tables.counting import LockInputs, counted_masks
from reading_centre.use_cases.trial.staging import only_writer

if TYPE_CHECKING:
    from qc.reports.subject.files import CountedSubject

_DIGEST = re.compile(r'<meta name="shown" content="([0-9a-f]*)">')
_HEAD: Final = 4096
"""Bytes of a report that contain its digest."""
_ATTEMPTS: Final = 3
_NO_NUMBERS: Final = "no numbers of its reads: "
WAIT_S: Final = 20.0
"""Longest waiting time for an upload, import or analysis of a subject."""


def refresh_reports(folder: Path) -> list[str]:
    """Update outdated reports. A page that does not exist is left to the analysis.

    A report is made without the lock of its subject, so that no reader waits for it, and put in its place under the
    lock if nothing has changed. The report of a subject without scans is removed.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    list of str
        A message for each report that could not be written. It shows an earlier state.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    failed = []
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        locked, states = locked_inputs(registry), registry.state().subjects
        checked = Checked(trial, protocol)
        known = checked.states(states, locked)
        for subject in states:
            code = subject.code
            if checked.report_current(code, known[code]):
                continue
            try:
                if _outdated(_Shown(trial, protocol, subject, locked.get(code, {}))):
                    _renew(trial, protocol, registry, code)
                else:
                    checked.set_report_current(code, known[code])
            except (ReadingCentreError, OSError) as error:  # the read is stored all the same
                failed.append(f"sub-{code}: the report could not be renewed: {_message(error)}")
        checked.save()
        if (trial.reports / INDEX_PAGE).is_file() and not checked.reports_current(known, methods=False):
            try:
                write_trial_index(trial, protocol, registry)
            except (ReadingCentreError, OSError) as error:
                failed.append(f"the index of the reports could not be renewed: {_message(error)}")
    return failed


def write_trial_index(trial: Trial, protocol: Protocol, registry: Registry, *, methods: bool = False) -> Path:
    """Write the page over all subjects, unless it is known to be current.

    It shows blinded codes and no sites, and the numbers of the tables.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    methods : bool
        True: write the methods text, too.

    Returns
    -------
    Path
    """
    with exclusive(trial.work / "index.lock", wait_s=WAIT_S):
        locked, states = locked_inputs(registry), registry.state().subjects
        checked = Checked(trial, protocol)
        known = checked.states(states, locked)
        if checked.pages_current(known, methods=methods):
            return trial.reports / INDEX_PAGE
        digest = settings_digest(protocol.lesions)
        listed = [_listed(_Shown(trial, protocol, one, locked.get(one.code, {})), digest) for one in states]
        page = write_overview(
            trial.reports,
            listed,
            settings_digest=settings_digest(protocol),
            rules=protocol.lesions if methods else None,
            from_dicom=True,
        )
        if not any(one.reason.startswith(_NO_NUMBERS) for one in listed):
            checked.set_pages_current(known, methods=methods)
            checked.save()
        return page


@dataclass(frozen=True)
class _Shown:
    """What the pages show of a subject."""

    trial: Trial
    protocol: Protocol
    subject: SubjectState
    depends: LockInputs

    @property
    def has_scans(self) -> bool:
        return any(visit.scan in ACCEPTED for visit in self.subject.visits)

    @property
    def analysed(self) -> dict[str, VisitState]:
        return {visit.visit: visit for visit in self.subject.visits if visit.scan is ScanState.ANALYSED}

    @property
    def attributions(self) -> dict[str, ReadAttribution]:
        """Of the visits with a read that counts."""
        reads = {visit: state.counting for visit, state in self.analysed.items()}
        return {
            visit: ReadAttribution(read.status, read.reader, read.version) for visit, read in reads.items() if read
        }

    @property
    def reads(self) -> str:
        """As in `CountedSubject`."""
        counting = {visit: state.counting for visit, state in self.analysed.items()}
        reads = [(v, r.status.value, r.reader, r.version, r.digest) for v, r in counting.items() if r]
        return json.dumps([reads, dict(self.depends)], sort_keys=True) if reads else ""

    @cached_property
    def job(self) -> SubjectJob:
        """The job of the analysed visits. Only of a subject with scans."""
        job = make_job(self.trial, self.protocol, self.subject)
        return job.model_copy(update={"visits": tuple(one for one in job.visits if one.visit in self.analysed)})

    @cached_property
    def automatic(self) -> SubjectResult:
        return load_result(self.trial.derivatives.result(self.subject.code))

    @cached_property
    def digest(self) -> str:
        return report_digest(self.job, self.automatic, self.reads)

    @property
    def report(self) -> Path:
        return self.trial.reports / f"sub-{self.subject.code}.html"

    @property
    def newest_image(self) -> int:
        """Time of the newest image of the report, in ns."""
        images = list(self.trial.derivatives.folder(self.subject.code).rglob("*.nii.gz"))
        images += (path for visit in self.job.visits for path in visit.scans.values())
        return max((path.stat().st_mtime_ns for path in images), default=0)

    def counted(self) -> CountedSubject | None:
        """The subject as the tables count it; None if no read counts."""
        from qc.reports.subject.files import CountedSubject, CountedVisit  # noqa: PLC0415 - matplotlib takes a second

        automatic, counted = counted_masks(self.trial, self.protocol, self.subject, self.depends)
        if counted is None:
            return None
        tracking = steps.track(
            counted.masks, tissue_location=counted.location, rules=self.protocol.lesions, weeks=counted.weeks
        )
        visits = {
            masks.visit: CountedVisit(masks, tracked, self.attributions.get(masks.visit, AUTOMATIC))
            for masks, tracked in zip(counted.masks, tracking.visits, strict=True)
        }
        result = replace(tracking.result(self.subject.code), quality=automatic.quality)
        save_result(result, self._cache)
        for other in self._cache.parent.glob(f"{self.subject.code}-*.json"):
            if other != self._cache:
                other.unlink()
        return CountedSubject(result, visits, self.reads)

    @property
    def counted_result(self) -> SubjectResult | None:
        """The numbers of `counted`, which are kept from one page to the next."""
        try:
            return load_result(self._cache)
        except UsageError:
            counted = self.counted()
            return None if counted is None else counted.result

    @property
    def _cache(self) -> Path:
        return self.trial.work / "counted" / f"{self.subject.code}-{self.digest}.json"


def _outdated(shown: _Shown) -> bool:
    """True if a report shows something else, or an image is newer than it."""
    if not shown.report.is_file():
        return False
    if not shown.has_scans:
        return True
    with shown.report.open("rb") as stream:
        found = _DIGEST.search(stream.read(_HEAD).decode("utf-8", errors="replace"))
    same = found is not None and found.group(1) == shown.digest
    return not same or shown.newest_image > shown.report.stat().st_mtime_ns


def _renew(trial: Trial, protocol: Protocol, registry: Registry, code: str) -> None:
    """Write the report of a subject. Its lock is held only for the comparison with the present state at the end."""
    from qc.reports.subject.files import write_report  # noqa: PLC0415 - as above

    for _ in range(_ATTEMPTS):
        shown, analysis = _shown_of(trial, protocol, registry, code), identity(trial.derivatives.folder(code))
        with TemporaryDirectory(dir=trial.reports, prefix=".report-") as folder:
            made = None
            if shown.has_scans:
                made = write_report(
                    shown.job.model_copy(update={"reports": Path(folder)}), shown.automatic, shown.counted()
                )
            with only_writer(trial, code, wait_s=WAIT_S):
                now = _shown_of(trial, protocol, registry, code)
                if now.subject != shown.subject or identity(trial.derivatives.folder(code)) != analysis:
                    continue
                if made is None:
                    shown.report.unlink(missing_ok=True)
                else:
                    made.replace(shown.report)
                return
    raise UsageError("expected a subject that does not change, found changes in every attempt")


def _shown_of(trial: Trial, protocol: Protocol, registry: Registry, code: str) -> _Shown:
    return _Shown(trial, protocol, registry.subject(code), locked_inputs(registry).get(code, {}))


def _listed(shown: _Shown, rules_digest: str) -> Listed:
    """A subject as the index lists it. The numbers of a subject that the tables refuse are not shown."""
    code, scans = shown.subject.code, {visit.visit: visit.scan for visit in shown.subject.visits}
    if not shown.has_scans:
        return Listed(code, scans, None, "")
    result, reason = latest_result(shown.trial.derivatives, code, rules_digest)
    if result is None or not shown.attributions:
        return Listed(code, scans, result, reason)
    try:
        return Listed(code, scans, shown.counted_result, reason, reads=shown.attributions)
    except (ReadingCentreError, OSError) as error:
        return Listed(code, scans, None, f"{_NO_NUMBERS}{_message(error)}")


def _message(error: ReadingCentreError | OSError) -> str:
    return error.message if isinstance(error, ReadingCentreError) else error.strerror or "a file cannot be read"
