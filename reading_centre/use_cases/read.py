"""Reading: export of worklists, import of decisions, locking. The registry records reader and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.analysis.derivatives import files_of_counts
from mri_pipeline.analysis.read_check import check_read, number_counted
from mri_pipeline.analysis.space import keep_space, load_record
from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.decisions import import_decisions
from mri_pipeline.reading.items import ReadingItem, item_from_derivatives
from mri_pipeline.reading.lock import is_locked, keep_inputs, lock_read, unlock_read
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.store import load_record as load_read_record
from mri_pipeline.reading.worklist import Faces, export_worklist
from mri_pipeline.registry import ReadCounts, Registry, ScanState, VisitState
from reading_centre.use_cases.faces import locate_faces

Summary = dict[str, int | str | list[str]]


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
        unread = {item.subject for item in items if not is_locked(trial.reads, item.subject, item.visit)}
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
        ``confirmed`` and ``not_read_yet``: number of visits. ``notes``: messages to the reader on what was cut off or
        does not count.

    Raises
    ------
    UsageError, GridMismatchError, ImageError
        As `mri_pipeline.reading.decisions.import_decisions`. Nothing is stored then.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:

        def enter(records: Sequence[ReadRecord]) -> None:
            reads = {(record.subject, record.visit): _counts(record) for record in records}
            registry.record_reads(reads, reader=reader, status=ReadStatus.CONFIRMED)

        imported = import_decisions(
            worklist,
            reads=trial.reads,
            reader=reader,
            enter=enter,
            check=lambda masks, what: check_read(masks, protocol.lesions, what=what),
        )
        if imported.notes:
            registry.audit("notes on reads", reader=reader, details={"notes": list(imported.notes)})
    return {
        "confirmed": len(imported.reads),
        "not_read_yet": len(imported.unread),
        "notes": list(imported.notes),
    }


def _counts(record: ReadRecord) -> ReadCounts:
    return ReadCounts(
        accepted=record.accepted,
        rejected=record.rejected,
        voxels_added=record.voxels_added,
        voxels_erased=record.voxels_erased,
        digest=record.digest,
    )


def lock_reads(folder: Path, *, reader: str) -> Summary:
    """Lock all confirmed reads of a reader, in the files and in the registry.

    Either all reads are locked or none. An interrupted lock is completed. The images that the counts read are copied,
    so that a later analysis changes no locked number.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    reader : str
        Code of the reader.

    Returns
    -------
    dict
        ``locked``: number of visits.

    Raises
    ------
    UsageError
        If the reader has no confirmed read, or if a read in the files differs from the registry.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        confirmed = {
            (subject.code, visit.visit): _known_record(trial, subject.code, visit)
            for subject in registry.state().subjects
            for visit in subject.visits
            if visit.read is ReadStatus.CONFIRMED and reader in visit.readers
        }
        if not confirmed:
            raise UsageError(
                "expected confirmed reads of this reader, found none",
                hint="import a worklist first: mri-pipeline read TRIAL --import DIR --reader R",
            )
        locked: list[ReadRecord] = []
        rules = protocol.lesions.model_dump(mode="json")
        inputs = {}
        try:
            for (subject, visit), record in confirmed.items():
                kept = keep_inputs(trial.reads, subject, visit, files_of_counts(trial.derivatives, subject, visit))
                inputs[subject, visit] = {"files": kept, "rules": rules}
                if record.status is not ReadStatus.LOCKED:
                    lock_read(trial.reads, subject, visit, reader=reader)
                    locked.append(record)
            registry.lock_reads(confirmed, reader=reader, inputs=inputs)
        except BaseException:
            for record in locked:
                unlock_read(trial.reads, record)
            raise
    return {"locked": len(confirmed)}


def _known_record(trial: Trial, subject: str, visit: VisitState) -> ReadRecord:
    record = load_read_record(trial.reads, subject, visit.visit)
    if record is None or record.digest != visit.read_digest:
        raise UsageError(
            f"subject {subject}, visit {visit.visit}: expected the read that the registry knows, found "
            + ("none" if record is None else "another"),
            hint="import the reader's worklist again",
        )
    return record
