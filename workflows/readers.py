"""Readers confirm or correct: worklists out, decisions in, locks; the registry records who and when."""

from __future__ import annotations

from pathlib import Path

from mri_pipeline.errors import UsageError
from mri_pipeline.layout import Trial
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.tracking_gel import label_gel
from mri_pipeline.model import LabelImage, ReadStatus
from mri_pipeline.protocol import LesionRules, load_protocol
from mri_pipeline.reading.blinding import Sealed
from mri_pipeline.reading.decisions import import_decisions
from mri_pipeline.reading.items import LesionKind, item_from_derivatives
from mri_pipeline.reading.store import lock_read
from mri_pipeline.reading.worklist import export_worklist
from mri_pipeline.registry import ReadCounts, Registry, ScanState

Summary = dict[str, int | str]


def _number(kind: LesionKind, mask: LabelImage, rules: LesionRules) -> LabelImage:
    """The lesions a reader decides on, by the one definition of a lesion."""
    if kind is LesionKind.GEL:
        return label_gel(mask, rules)
    least = rules.t2_min_volume_mm3 if kind is LesionKind.T2 else rules.black_hole_min_volume_mm3
    return label_lesions(mask.mask, mask.grid, min_volume_mm3=least, connectivity=rules.connectivity)


def export_reads(folder: Path, out: Path) -> Summary:
    """Write a blinded worklist of every analysed visit whose read is not locked."""
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        items = [
            item_from_derivatives(trial.derivatives, subject.code, visit.visit)
            for subject in registry.state().subjects
            for visit in subject.visits
            if visit.scan is ScanState.ANALYSED
        ]
        worklist = export_worklist(
            items,
            out,
            reads=trial.reads,
            key=Sealed.open(trial).secret("reading"),
            number_lesions=lambda kind, mask: _number(kind, mask, protocol.lesions),
            order_of_visits_known=protocol.reading.order_of_visits_known,
        )
        registry.audit("worklist exported", details={"items": len(worklist.codes), "locked": worklist.locked})
    return {"exported": len(worklist.codes), "locked": worklist.locked, "folder": str(worklist.folder)}


def import_reads(folder: Path, worklist: Path, *, reader: str) -> Summary:
    """Take a reader's decisions back; what is not read yet stays open."""
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        imported = import_decisions(worklist, reads=trial.reads, reader=reader)
        for record in imported.reads:
            counts = ReadCounts(
                accepted=record.accepted,
                rejected=record.rejected,
                voxels_added=record.voxels_added,
                voxels_erased=record.voxels_erased,
                digest=record.digest,
            )
            registry.record_read(
                record.subject, record.visit, reader=reader, status=ReadStatus.CONFIRMED, counts=counts
            )
    return {"confirmed": len(imported.reads), "not_read_yet": len(imported.unread)}


def lock_reads(folder: Path, *, reader: str) -> Summary:
    """Make every confirmed read of this reader final.

    Raises
    ------
    UsageError
        If the reader has no confirmed read.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        confirmed = [
            (subject.code, visit.visit)
            for subject in registry.state().subjects
            for visit in subject.visits
            if visit.read is ReadStatus.CONFIRMED and reader in visit.readers
        ]
        if not confirmed:
            raise UsageError(
                "expected confirmed reads of this reader, found none",
                hint="import a worklist first: mri-pipeline read TRIAL --import DIR --reader R",
            )
        for subject, visit in confirmed:
            lock_read(trial.reads, subject, visit, reader=reader)
            registry.lock_read(subject, visit, reader=reader)
    return {"locked": len(confirmed)}
