"""Export of blinded worklists."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mri_pipeline.analysis.reads.check import number_counted, number_parts
from mri_pipeline.analysis.space import keep_space, load_record
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.accounts import Role
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.errors import AnalysisError, UsageError
from mri_pipeline.core.io.exchange import identity
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.reading.adjudication import Dispute, blinded_order
from mri_pipeline.reading.items import ReadingItem, item_from_derivatives
from mri_pipeline.reading.worklist import DisputeOf, Worklist, export_worklist
from mri_pipeline.reading.worklist_item import Faces
from mri_pipeline.registry import Registry, ScanState, Use
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.reading.awaiting import awaits_read, rereads_for
from reading_centre.use_cases.reading.comparison import (
    compare_open_reads,
    dispute_from_files,
    opinions_of,
    reasons_of,
)
from reading_centre.use_cases.reading.faces import PackedMask, locate_faces
from reading_centre.use_cases.reading.known_reads import (
    Summary,
    locked_visits,
    reader_code,
)
from reading_centre.use_cases.reading.serial import previous_visits


def export_reads(folder: Path, out: Path, *, reader: str = "") -> Summary:
    """Write a blinded worklist: of every analysed visit whose read is not locked, or for one reader.

    The worklist of a reader has the visits that await a read by this reader. That of an adjudicator has the visits with
    two reads that disagree.

    The spaces of the subjects are kept from now on, because returned masks are on their grids
    (`mri_pipeline.analysis.space`). The face is blanked in all images, unless the protocol keeps it. A subject whose
    face cannot be located is left out.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    out : Path
        New or empty folder for the worklist.
    reader : str
        Code of the reader or adjudicator. Empty: one worklist for all readers.

    Returns
    -------
    dict
        ``exported`` and ``locked``: number of visits in the worklist, and left out because their read is locked.
        ``defaced`` and ``nothing_to_deface``: number of visits whose face was blanked, and without a face.
        ``spaces_kept_from_one_visit``: number of subjects whose space comes from one visit. ``folder``: that of the
        worklist. ``failed``: a message for each subject that was left out.

    Raises
    ------
    UsageError
        If there is no trial, its audit trail is broken, or the space of a subject is missing, and as `export_worklist`.
    AnalysisError
        If the face can be located in no subject. Nothing is written then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        reader = reader_code(protocol, registry, reader) if reader else ""
        analysed = {code: identity(trial.derivatives.folder(code)) for code in registry.subjects()}
        chosen = _chosen(trial, protocol, registry, reader)
        spaces = {subject: trial.derivatives.space(subject) for subject in sorted(chosen.subjects)}
        made_from = {
            subject: load_record(space).made_from for subject, space in spaces.items()
        }  # before anything else
        faces, failed = chosen.faces(spaces) if protocol.reading.deface else ({}, {})
        chosen = chosen.without(failed)
        worklist = _write_worklist(trial, protocol, registry, out, reader=reader, chosen=chosen, faces=faces)
        _require_unchanged(trial, {code: analysed[code] for code in spaces})
        kept = [subject for subject in spaces if subject not in failed]
        for subject in kept:
            keep_space(spaces[subject], trial.kept_space(subject))
        details: dict[str, object] = {
            "items": len(worklist.codes),
            "locked": worklist.locked,
            "defaced": protocol.reading.deface,
        }
        details |= {"rereads": len(chosen.rereads)} if chosen.rereads else {}
        details |= {"left out": sorted(failed)}
        registry.audit(AuditAction.WORKLIST_EXPORTED, reader=reader, details=details)
    faces_found = list(worklist.faces.values())
    return {
        "exported": len(worklist.codes),
        "locked": worklist.locked,
        "defaced": faces_found.count(Faces.DEFACED),
        "nothing_to_deface": faces_found.count(Faces.ABSENT),
        # one visit is interpolated less than the later ones: better wait for a second
        "spaces_kept_from_one_visit": sum(len(made_from[subject]) == 1 for subject in kept),
        "folder": str(worklist.folder),
        "failed": [
            f"sub-{code} FAILED, its visits are not in the worklist: {error.message}\nHint:  {error.hint}"
            for code, error in failed.items()
        ],
    }


@dataclass(frozen=True)
class _Chosen:
    """The visits of a worklist; for an adjudicator with their two reads."""

    items: list[ReadingItem]
    rereads: list[ReadingItem]
    dispute_of: DisputeOf | None
    locked: set[tuple[str, str]]

    @property
    def subjects(self) -> set[str]:
        return {item.subject for item in (*self.items, *self.rereads)}

    def faces(
        self, spaces: Mapping[str, SpaceFiles]
    ) -> tuple[Mapping[str, PackedMask], Mapping[str, AnalysisError]]:
        """The faces of the subjects that the worklist will show, and the errors of those whose face is not found.

        Raises
        ------
        AnalysisError
            If no face is found.
        """
        unread = {item.subject for item in self.items if (item.subject, item.visit) not in self.locked}
        unread |= {item.subject for item in self.rereads}
        faces, failed = locate_faces(space for subject, space in spaces.items() if subject in unread)
        if failed and not faces:
            raise next(iter(failed.values()))
        return faces, failed

    def without(self, subjects: Collection[str]) -> _Chosen:
        items, rereads = ([i for i in some if i.subject not in subjects] for some in (self.items, self.rereads))
        return replace(self, items=items, rereads=rereads)


def _write_worklist(
    trial: Trial,
    protocol: Protocol,
    registry: Registry,
    out: Path,
    *,
    reader: str,
    chosen: _Chosen,
    faces: Mapping[str, PackedMask],
) -> Worklist:
    adjudication = chosen.dispute_of is not None
    return export_worklist(
        chosen.items,
        out,
        reads=trial.reads,
        key=Sealed.open(trial).secret("reading"),
        number_lesions=partial(number_parts if adjudication else number_counted, rules=protocol.lesions),
        face_of=(lambda item: faces[item.subject].unpacked()) if protocol.reading.deface else None,
        order_of_visits_known=protocol.reading.order_of_visits_known,
        locked=chosen.locked,
        dispute_of=chosen.dispute_of,
        rereads=chosen.rereads,
        previous_of=None if adjudication else previous_visits(trial, protocol, registry, reader),
        reader=reader,
    )


def _require_unchanged(trial: Trial, analysed: Mapping[str, tuple[int, int] | None]) -> None:
    """Refuse a worklist with images of two analyses: a run has published results since `analysed` was taken."""
    changed = [code for code, before in analysed.items() if identity(trial.derivatives.folder(code)) != before]
    if changed:
        raise UsageError(
            f"expected one analysis of each subject during the export, found new results of {', '.join(changed)}",
            hint="delete the worklist that was written, and repeat the export after the end of the run",
        )


def _chosen(trial: Trial, protocol: Protocol, registry: Registry, reader: str) -> _Chosen:
    everybody = not reader
    role = Role.READER if everybody else protocol.reader(reader).role
    if role is Role.ADJUDICATOR:
        compare_open_reads(trial, protocol, registry)
    chosen, opinions = [], {}
    for subject in registry.state().subjects:
        for visit in subject.visits:
            if visit.scan is not ScanState.ANALYSED:
                continue
            if everybody or awaits_read(visit, reader, role, protocol):
                chosen.append(item_from_derivatives(trial.derivatives, subject.code, visit.visit))
                opinions[subject.code, visit.visit] = opinions_of(visit)
    rereads = rereads_for(trial, protocol, registry, reader)
    if reader and not chosen and not rereads:
        raise _nothing_awaits(role)
    locked = locked_visits(registry)
    if role is Role.READER:
        return _Chosen(chosen, rereads, None, locked)
    key = Sealed.open(trial).secret("reading")
    reasons = reasons_of(registry, order_known=protocol.reading.order_of_visits_known)

    def dispute_of(item: ReadingItem) -> Dispute:
        subject, visit = item.subject, item.visit
        order = blinded_order(key, subject, visit, opinions[subject, visit])
        return dispute_from_files(trial, subject, visit, order, reasons.get((subject, visit), ()))

    return _Chosen(chosen, rereads, dispute_of, locked)


def _nothing_awaits(role: Role) -> UsageError:
    adjudicator = role is Role.ADJUDICATOR
    what = "two reads that disagree" if adjudicator else "visits that await a read by this reader"
    return UsageError(f"expected {what}, found none", hint="see mri-pipeline status TRIAL")
