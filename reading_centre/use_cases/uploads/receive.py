"""The DICOM node of a trial: C-STORE and C-ECHO; every study is checked as an upload (`receive_visit`)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_RELEASE

from mri_pipeline.core.errors import (
    ComplianceError,
    ReadingCentreError,
    UnreadableUploadError,
    UploadRefusedError,
    UsageError,
)
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.intake.quarantine import measure_upload
from qc.gate import is_complete_visit
from reading_centre.use_cases.trial.private_folder import private_folder, sweep
from reading_centre.use_cases.trial.storage import no_free_port
from reading_centre.use_cases.uploads.incoming import Incoming, Study
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from reading_centre.use_cases.uploads.task import upload_task

_LOG = logging.getLogger(__name__)

_VERIFICATION: Final = "1.2.840.10008.1.1"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Not accepted: a small object may expand without limit."""
_AGAIN_S: Final = 60.0
"""Between two attempts to quarantine a study."""
_SUCCESS, _NO_RESOURCES, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_RETRY = "mri-pipeline quarantine retry TRIAL ENTRY --subject N --visit V"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Node:
    """Settings of the DICOM node.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0 takes a free one.
    ae_title : str
        Own AE title.
    quiet_s : float
        A study is complete if nothing came for this time and nothing is missing, in seconds.
    broken_s : float
        How long a study that broke off or lacks a part waits for the rest, in seconds.
    """

    host: str
    port: int
    ae_title: str = "MRI_PIPELINE"
    quiet_s: float = 60.0
    broken_s: float = 1800.0


def receive_studies(
    folder: Path, node: Node, *, stop: threading.Event, report: Report, waiting: Report | None = None
) -> None:
    """Receive studies until `stop` is set.

    A study is kept in quarantine with the reason if its subject or visit is not known, if it is broken, if it lacks a
    required sequence, or if the node stops before it is complete. Nothing of it is lost as long as the process is not
    killed.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    node : Node
    stop : threading.Event
    report : callable
        Called with one line for the start and for every study. No line contains patient data.
    waiting : callable, optional
        Called with one line for every association that has sent objects, and for a study that is incomplete. It is
        called from several threads.

    Raises
    ------
    UsageError, SettingsError
        If there is no trial, no site has an AE title, or the port cannot be used.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    sites = {title: site.code for site in protocol.sites for title in site.ae_titles}
    if not sites:
        raise UsageError(
            "expected a site with ae_titles in trial.toml, found none",
            hint='add the AE titles of its scanner or PACS: ae_titles = ["SITE01_PACS"]',
        )
    sweep(trial.work)
    with private_folder(trial.work) as private:
        incoming = Incoming(private, max_bytes=protocol.max_upload_mb * 1_000_000)
        said = _Waiting(node, waiting or (lambda _line: None))
        task = _Desk(trial, protocol, report, said)
        entity, port = _started(node, incoming, sites, said)
        try:
            report(f"listening on {node.host}:{port} as {node.ae_title}; {len(sites)} calling AE titles")
            while not stop.wait(min(1.0, node.quiet_s / 4)):
                for study in incoming.due(
                    quiet_s=node.quiet_s, broken_s=node.broken_s, is_complete=task.is_complete
                ):
                    task.take_in(study)
                task.try_again()
        finally:
            entity.shutdown()
            for study in incoming.due(quiet_s=0.0, broken_s=0.0):
                task.refuse(study, _stopped())
            task.try_again(now=True)


class _Waiting:
    """Reports what a study waits for."""

    def __init__(self, node: Node, say: Report) -> None:
        self._node, self._say = node, say

    def ended(self, study: Study, objects: int) -> None:
        """An association has ended."""
        if study.whole:
            text = f"waiting for {self._node.quiet_s:g} s without further ones"
        elif study.lost:
            text = f"a transfer broke off; waiting up to {self._node.broken_s:g} s for its repetition"
        else:
            text = "another association is sending"
        self._say(f"site {study.site}: {objects} objects of a study received; {text}")

    def incomplete(self, study: Study) -> None:
        """A study is quiet, and something seems to be missing."""
        self._say(
            f"site {study.site}: study of {study.objects} objects: incomplete; waiting up to "
            f"{self._node.broken_s:g} s for the rest"
        )


class _Desk:
    """Ingests studies or quarantines them. A study that cannot be quarantined (disk full) waits."""

    def __init__(self, trial: Trial, protocol: Protocol, report: Report, said: _Waiting) -> None:
        self._trial, self._protocol, self._report, self._said = trial, protocol, report, said
        self._waiting: list[tuple[Study, UploadRefusedError]] = []
        self._next_s = 0.0

    def is_complete(self, study: Study) -> bool:
        """True if nothing of a study seems to be missing. Faults of this computer are left to `take_in`."""
        try:
            with private_folder(self._trial.work) as work:
                complete = is_complete_visit(study.folder, protocol=self._protocol, work_dir=work / "upload")
        except Exception as error:  # noqa: BLE001 - the node serves the other sites
            _LOG.warning("site %s: a study could not be checked (%s)", study.site, type(error).__name__)
            return True
        if not complete:
            self._said.incomplete(study)
        return complete

    def take_in(self, study: Study) -> None:
        """Ingest a study if it is whole and its subject and visit are known, else quarantine it."""
        try:
            if not study.whole:
                raise UnreadableUploadError(
                    "the transfer of the study broke off and was not repeated",
                    hint=f"ask the site to send it again; if it is whole: {_RETRY}",
                )
            subject, visit = subject_and_visit(study, self._protocol)
        except UploadRefusedError as error:
            self.refuse(study, error)
            return
        try:
            taken = receive_visit(
                self._trial.root, study.folder, site=study.site, subject=subject, visit=visit, complete=True
            )
        except UploadRefusedError as error:  # it is in quarantine
            self._say(study, f"refused: {error.message}")
        except Exception as error:  # noqa: BLE001 - the node serves the other sites; nothing that was sent is lost
            self.refuse(study, _not_taken(error))
            return
        else:
            self._say(study, f"{taken.subject} {taken.visit} accepted, {len(taken.queries)} queries")
        study.discard()

    def refuse(self, study: Study, error: UploadRefusedError) -> None:
        """Quarantine a study with the reason."""
        try:
            with upload_task(self._trial.root, study.site, study.folder) as task:
                _, digest = measure_upload(study.folder)
                task.refuse(study.folder, error, digest=digest, site=study.site, kind="visit")
        except Exception as fault:  # noqa: BLE001 - see above
            _LOG.error("site %s: a study cannot be kept in quarantine (%s)", study.site, type(fault).__name__)
            self._waiting.append((study, error))
            return
        self._say(study, f"in quarantine: {error.message}")
        study.discard()

    def try_again(self, *, now: bool = False) -> None:
        """Quarantine what could not be quarantined before: after some time, or now."""
        if not now and time.monotonic() < self._next_s:
            return
        waiting, self._waiting = self._waiting, []
        self._next_s = time.monotonic() + _AGAIN_S
        for study, error in waiting:
            self.refuse(study, error)

    def _say(self, study: Study, text: str) -> None:
        self._report(f"site {study.site}: study of {study.objects} objects: {text}")


def subject_and_visit(study: Study, protocol: Protocol) -> tuple[str, str]:
    """Subject and visit that the site has stated in the headers.

    The subject is ClinicalTrialSubjectID, or else PatientID if it is in the site's list of subjects; a hospital number
    is never taken for a trial number. The visit is ClinicalTrialTimePointID, or else StudyDescription.

    Parameters
    ----------
    study : Study
    protocol : Protocol

    Returns
    -------
    subject : str
        Trial number.
    visit : str
        Label of the visit.

    Raises
    ------
    ComplianceError
        If one of them is missing, unknown or contradictory.
    """
    listed = {number.upper() for number in protocol.site(study.site).subjects}
    subjects = study.subjects or {number for number in study.patients if number.upper() in listed}
    labels = {visit.label.lower(): visit.label for visit in protocol.visits}
    texts = study.visits or study.descriptions
    visits = {labels.get(text.lower(), "") for text in texts}
    faults = []
    if len(subjects) != 1:
        faults.append(
            "one trial number in ClinicalTrialSubjectID, or in PatientID for a listed subject, found "
            + (f"{len(subjects)} of them" if subjects else "none")
        )
    if len(visits) != 1 or "" in visits:
        faults.append(
            "one visit of the protocol in ClinicalTrialTimePointID or StudyDescription, found "
            + (f"{len(texts)} texts" if len(texts) > 1 else "a text that is no visit" if texts else "none")
        )
    if faults:
        raise ComplianceError("expected " + "; expected ".join(faults), hint=f"ingest it by hand: {_RETRY}")
    return subjects.pop(), visits.pop()


def _stopped() -> UploadRefusedError:
    return UnreadableUploadError(
        "the node stopped before the study was complete: it was in transfer, or a part of it was missing",
        hint=f"ask the site to send it again; if it is whole: {_RETRY}",
    )


def _not_taken(error: Exception) -> UploadRefusedError:
    if isinstance(error, ReadingCentreError):
        return ComplianceError(error.message, hint=f"{error.hint}; then: {_RETRY}".lstrip("; "))
    _LOG.error("a study could not be ingested: unexpected %s", type(error).__name__)
    return UnreadableUploadError(
        f"expected a study that can be ingested, found an unexpected {type(error).__name__}", hint=f"try: {_RETRY}"
    )


def _started(node: Node, incoming: Incoming, sites: Mapping[str, str], said: _Waiting) -> tuple[AE, int]:
    """The listening node, and its port."""
    entity = AE(ae_title=node.ae_title)
    syntaxes = [syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax != _DEFLATED]
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), syntaxes)
    entity.add_supported_context(_VERIFICATION)
    entity.require_calling_aet = list(sites)

    def store(event: Event) -> int:
        return _store(event, incoming, sites)

    def ended(event: Event, *, released: bool) -> None:
        for study, objects in incoming.end(event.assoc, released=released):
            said.ended(study, objects)

    def message(event: Any) -> None:
        """The request of a release. EVT_RELEASED follows the answer, and may come after the close."""
        if isinstance(event.primitive, A_RELEASE):
            ended(event, released=True)

    handlers: Any = [
        (evt.EVT_C_STORE, store),
        (evt.EVT_ACSE_RECV, message),
        (evt.EVT_ABORTED, partial(ended, released=False)),
        (evt.EVT_CONN_CLOSE, partial(ended, released=False)),
    ]
    try:
        server: Any = entity.start_server((node.host, node.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise no_free_port(error) from error
    return entity, int(server.server_address[1])


def _store(event: Event, incoming: Incoming, sites: Mapping[str, str]) -> int:
    """Store an object. The answer is success only if it is on the disk."""
    site = sites[event.assoc.requestor.ae_title.strip()]
    try:
        incoming.store(event.assoc, site, event.encoded_dataset())
    except UnreadableUploadError:
        _LOG.warning("site %s: an object cannot be read", site)
        return _NOT_UNDERSTOOD
    except (UploadRefusedError, OSError) as error:
        _LOG.warning("site %s: an object cannot be stored (%s)", site, type(error).__name__)
        return _NO_RESOURCES
    return _SUCCESS
