"""Reading: export of worklists and import of decisions. The registry records reader and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.analysis.read_check import check_read, number_counted
from mri_pipeline.analysis.space import keep_space, load_record
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.reading_settings import Role
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.decisions import import_decisions
from mri_pipeline.reading.items import ReadingItem, item_from_derivatives
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.worklist import Faces, export_worklist
from mri_pipeline.registry import Registry, ScanState
from reading_centre.use_cases.faces import locate_faces
from reading_centre.use_cases.known_reads import Summary, counts_of, known_reads, locked_visits, reader_code
from reading_centre.use_cases.staging import only_writer


def export_reads(folder: Path, out: Path) -> Summary:
    """Write a blinded worklist of every analysed visit whose read is not locked.

    The spaces of the subjects are kept from now on, because returned masks are on their grids
    (`mri_pipeline.analysis.space`). The face is blanked in all images, unless the protocol keeps it. A subject whose
    face cannot be located is left out.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    out : Path
        New or empty folder for the worklist.

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
        If there is no trial, or the space of a subject is missing, and as `export_worklist`.
    AnalysisError
        If the face can be located in no subject. Nothing is written then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        items = _analysed(trial, registry)
        spaces = [trial.derivatives.space(subject) for subject in sorted({item.subject for item in items})]
        for space in spaces:
            load_record(space)  # before anything is written
        deface = protocol.reading.deface
        locked = locked_visits(registry)
        unread = {item.subject for item in items if (item.subject, item.visit) not in locked}
        faces, failed = locate_faces(space for space in spaces if space.subject in unread) if deface else ({}, {})
        if failed and not faces:
            raise next(iter(failed.values()))
        items = [item for item in items if item.subject not in failed]
        spaces = [space for space in spaces if space.subject not in failed]
        worklist = export_worklist(
            items,
            out,
            reads=trial.reads,
            key=Sealed.open(trial).secret("reading"),
            number_lesions=lambda kind, mask: number_counted(kind, mask, protocol.lesions),
            face_of=(lambda item: faces[item.subject].unpacked()) if deface else None,
            order_of_visits_known=protocol.reading.order_of_visits_known,
            locked=locked,
        )
        alone = sum(len(load_record(space).made_from) == 1 for space in spaces)
        for space in spaces:
            keep_space(space, trial.kept_space(space.subject))
        details = {"items": len(worklist.codes), "locked": worklist.locked, "defaced": deface}
        registry.audit("worklist exported", details=details | {"left out": sorted(failed)})
    faces_found = list(worklist.faces.values())
    return {
        "exported": len(worklist.codes),
        "locked": worklist.locked,
        "defaced": faces_found.count(Faces.DEFACED),
        "nothing_to_deface": faces_found.count(Faces.ABSENT),
        "spaces_kept_from_one_visit": alone,  # which is interpolated less than the later ones: better wait for a second
        "folder": str(worklist.folder),
        "failed": [
            f"sub-{code} FAILED, its visits are not in the worklist: {error.message}\nHint:  {error.hint}"
            for code, error in failed.items()
        ],
    }


def _analysed(trial: Trial, registry: Registry) -> list[ReadingItem]:
    return [
        item_from_derivatives(trial.derivatives, subject.code, visit.visit)
        for subject in registry.state().subjects
        for visit in subject.visits
        if visit.scan is ScanState.ANALYSED
    ]


def import_reads(folder: Path, worklist: Path, *, reader: str) -> Summary:
    """Import the decisions of a reader into files and registry. Unread visits remain open.

    The read of another reader is never replaced. If the protocol asks for two reads of each visit, complete pairs are
    compared.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    worklist : Path
        Folder of the exported worklist with the decisions.
    reader : str
        Code of the reader.

    Returns
    -------
    dict
        ``confirmed``, ``unchanged`` and ``not_read_yet``: number of visits. ``notes``: messages to the reader on what
        was cut off or does not count.

    Raises
    ------
    SettingsError
        If ``trial.toml`` lists readers and this is none of them.
    UsageError, GridMismatchError, ImageError
        As `mri_pipeline.reading.decisions.import_decisions`. Nothing is stored then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        code = reader_code(protocol, registry, reader, Role.READER)

        def enter(records: Sequence[ReadRecord]) -> None:
            reads = {(record.subject, record.visit): counts_of(record) for record in records}
            registry.record_reads(reads, reader=code, status=ReadStatus.CONFIRMED)

        imported = import_decisions(
            worklist,
            reads=trial.reads,
            reader=code,
            enter=enter,
            check=lambda masks, what: check_read(masks, protocol.lesions, what=what),
            known=known_reads(registry, code, ReadStatus.CONFIRMED, wanted=protocol.reading.readers),
            hold=lambda subject: only_writer(trial, subject),
        )
        if imported.notes:
            registry.audit("notes on reads", reader=code, details={"notes": list(imported.notes)})
    return {
        "confirmed": len(imported.reads),
        "unchanged": len(imported.unchanged),
        "not_read_yet": len(imported.unread),
        "notes": list(imported.notes),
    }
