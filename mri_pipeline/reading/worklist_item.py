"""Export of one visit of a worklist: images, numbered proposals and the table of the lesions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.reading.adjudication import NAMES, Dispute, Masks
from mri_pipeline.reading.items import IMAGE_FILES, LesionKind, ReadingItem
from mri_pipeline.reading.proposal_store import save_previous, save_proposal
from mri_pipeline.reading.proposals import Proposal, describe_proposals, labels_digest, numbered_by_place
from mri_pipeline.reading.record import Opinion, ReadPurpose, StoredPrevious, StoredProposal
from mri_pipeline.reading.serial import CHANGE_COLUMNS, CHANGES_CSV, PREVIOUS, Previous

LESIONS_CSV = "lesions.csv"
LESION_COLUMNS = (
    "reading_code", "type", "lesion", "volume_mm3", "voxel_x", "voxel_y", "voxel_z", "x_mm", "y_mm", "z_mm",
    "probability", "decision", "comment",
)  # fmt: skip
ADJUDICATION_COLUMNS = (
    *LESION_COLUMNS[:-3], "seen_by", "volume_a_mm3", "volume_b_mm3", *LESION_COLUMNS[-2:],
)  # fmt: skip

NumberLesions = Callable[[LesionKind, LabelImage], LabelImage]
"""Numbers the lesions of a mask (`mri_pipeline.lesions.components`), in any order."""


class Faces(StrEnum):
    """Defacing status of the images of a visit."""

    DEFACED = "defaced"
    ABSENT = "nothing to deface"  # no signal there: skull-stripped, or defaced before upload
    KEPT = "not defaced"  # by the protocol


@dataclass(frozen=True)
class ItemSource:
    """What one item of a worklist is made from.

    Parameters
    ----------
    item : ReadingItem
    code : str
        From `reading_code`.
    purpose : ReadPurpose
    face : LabelImage or None
        Voxels that are blanked in all images. None: the images are exported as they are.
    dispute : Dispute or None
        For an adjudication: the two reads of the visit.
    previous : Previous or None
        For a serial reading: the previous visit.
    """

    item: ReadingItem
    code: str
    purpose: ReadPurpose
    face: LabelImage | None = None
    dispute: Dispute | None = None
    previous: Previous | None = None


@dataclass(frozen=True)
class ExportedItem:
    """An item of a written worklist.

    Parameters
    ----------
    row : mapping of str to object
        Its row of the worklist.
    digests : mapping of str to str
        Of its proposals, by the kind of lesion.
    faces : Faces
    stored : StoredProposal
    masks : mapping of LesionKind to LabelImage
        The numbered proposals.
    shown : StoredPrevious or None
        The previous visit, as it was exported.
    """

    row: Mapping[str, object]
    digests: Mapping[str, str]
    faces: Faces
    stored: StoredProposal
    masks: Masks
    shown: StoredPrevious | None


def export_item(source: ItemSource, folder: Path, number_lesions: NumberLesions) -> ExportedItem:
    """Write one visit of a worklist.

    Parameters
    ----------
    source : ItemSource
    folder : Path
        New folder of the item.
    number_lesions : callable
        Gives every lesion of a mask its own label; of an adjudication every connected component.

    Returns
    -------
    ExportedItem

    Raises
    ------
    GridMismatchError
        If an image, a mask or the face is on another grid than the proposals.
    """
    item, code, dispute = source.item, source.code, source.dispute
    masks = dispute.together(number_lesions) if dispute else numbered_proposals(item, number_lesions)
    grid = _one_grid(code, masks, source.face)
    names, blanked = _export_images(item, code, folder, grid, source.face)
    rows = _export_masks(item, code, folder, masks)
    row: dict[str, object] = {"reading_code": code, "images": " ".join(names), "done": ""}
    row |= {kind.file.removesuffix(".nii.gz"): "" for kind in LesionKind}
    row |= {kind.file.removesuffix(".nii.gz"): int(mask.data.max()) for kind, mask in masks.items()}
    if dispute is not None:
        rows = _export_opinions(dispute, masks, folder, rows)
        row |= {"to_decide": len(rows), "differs_in": "; ".join(dispute.reasons)}
    write_csv(folder / LESIONS_CSV, LESION_COLUMNS if dispute is None else ADJUDICATION_COLUMNS, rows)
    stored = proposal_of(item, code, masks, source.purpose, () if dispute is None else dispute.opinions)
    digests = {kind.value: digest for kind, digest in stored.digests.items()}
    shown = None
    if source.previous is not None:
        changes = _export_previous(source.previous, code, folder, masks[LesionKind.T2], source.face)
        shown = StoredPrevious(source.previous.opinion, changes)
        digests[PREVIOUS] = shown.previous.digest
    faces = Faces.KEPT if source.face is None else Faces.DEFACED if blanked else Faces.ABSENT
    return ExportedItem(row, digests, faces, stored, masks, shown)


def store_item(exported: ExportedItem, reads: Path, *, serial: bool, reader: str) -> None:
    """Store the proposals of an exported item for its import.

    Parameters
    ----------
    exported : ExportedItem
    reads : Path
        ``reads/`` of the trial.
    serial : bool
        True: also the previous visit, or that there is none.
    reader : str
        Code of the reader for whom the worklist is; empty for all readers.
    """
    stored = exported.stored
    if serial:
        save_previous(reads, stored.subject, stored.visit, reader, exported.shown)
    save_proposal(reads, stored, exported.masks)


def _one_grid(code: str, masks: Masks, face: LabelImage | None) -> Grid:
    grid = masks[LesionKind.T2].grid
    for kind, mask in masks.items():
        grid.require_same(mask.grid, f"item {code}, {kind.file}")
    if face is not None:
        grid.require_same(face.grid, f"item {code}, face")
    return grid


def _export_masks(item: ReadingItem, code: str, folder: Path, masks: Masks) -> list[dict[str, object]]:
    """Write the numbered proposals; returns a row for each."""
    rows = []
    for kind, mask in masks.items():
        nifti.save(mask, folder / kind.file)
        probability = nifti.load_map(item.probabilities[kind]) if kind in item.probabilities else None
        if probability is not None:
            mask.grid.require_same(probability.grid, f"item {code}, probability of {kind.value}")
        rows += _lesion_rows(code, kind, describe_proposals(mask, probability))
    return rows


def numbered_proposals(item: ReadingItem, number_lesions: NumberLesions) -> dict[LesionKind, LabelImage]:
    """The proposed lesions of a visit, numbered by place.

    Parameters
    ----------
    item : ReadingItem
    number_lesions : callable
        Gives every lesion of a mask its own label.

    Returns
    -------
    dict of LesionKind to LabelImage
    """
    proposed = {kind: nifti.load_labels(path) for kind, path in item.masks.items()}
    return {kind: numbered_by_place(number_lesions(kind, mask)) for kind, mask in proposed.items()}


def proposal_of(
    item: ReadingItem, code: str, masks: Masks, purpose: ReadPurpose, opinions: tuple[Opinion, ...] = ()
) -> StoredProposal:
    """The record of the proposals that a reader sees.

    Parameters
    ----------
    item : ReadingItem
    code : str
        From `reading_code`.
    masks : mapping of LesionKind to LabelImage
        The proposed lesions.
    purpose : ReadPurpose
    opinions : tuple of Opinion
        For an adjudication: the two reads.

    Returns
    -------
    StoredProposal
    """
    digests = {kind: labels_digest(mask) for kind, mask in masks.items()}
    return StoredProposal(item.subject, item.visit, code, digests, purpose, opinions)


def _export_opinions(
    dispute: Dispute, masks: Masks, folder: Path, rows: Sequence[dict[str, object]]
) -> list[dict[str, object]]:
    """Write the masks of both reads; returns the rows of the lesions that they do not outline in the same way."""
    for name, opinion in zip(NAMES, (dispute.a, dispute.b), strict=True):
        for kind in masks:
            nifti.save(opinion[kind], folder / f"{name}_{kind.file}")
    asked = {kind.value: set(dispute.to_decide(kind, mask)) for kind, mask in masks.items()}
    return [
        row | dispute.row(LesionKind(str(row["type"])), int(str(row["lesion"])), masks)
        for row in rows
        if int(str(row["lesion"])) in asked[str(row["type"])]
    ]


def _export_previous(
    previous: Previous, code: str, folder: Path, proposed: LabelImage, face: LabelImage | None
) -> dict[int, str]:
    """Write the previous visit with its confirmed lesions, and the proposed changes; returns the changes."""
    _export_images(previous.item, code, folder / PREVIOUS, proposed.grid, face)
    for kind, mask in previous.masks.items():
        proposed.grid.require_same(mask.grid, f"item {code}, {PREVIOUS}/{kind.file}")
        nifti.save(mask, folder / PREVIOUS / kind.file)
    changes = previous.changes(proposed)
    rows = [
        {"reading_code": code, "lesion": number, "proposed_change": change, "decision": "", "comment": ""}
        for number, change in changes.items()
    ]
    write_csv(folder / CHANGES_CSV, CHANGE_COLUMNS, rows)
    return changes


def _export_images(
    item: ReadingItem, code: str, folder: Path, grid: Grid, face: LabelImage | None
) -> tuple[list[str], bool]:
    """Write the images of a visit; returns their names, and whether anything was blanked."""
    names, blanked = [], False
    for contrast, name in IMAGE_FILES.items():
        if contrast in item.images:
            image = nifti.load_image(item.images[contrast])
            grid.require_same(image.grid, f"item {code}, {name}")
            if face is not None:
                blanked |= bool(image.data[face.mask].any())
                image = Image(np.where(face.mask, np.float32(0), image.data), image.grid)
            nifti.save_rounded(image, folder / name)
            names.append(name.removesuffix(".nii.gz"))
    return names, blanked


def _lesion_rows(code: str, kind: LesionKind, proposals: Iterable[Proposal]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for proposal in proposals:
        i, j, k = proposal.voxel
        x, y, z = proposal.position_mm
        rows.append(
            {
                "reading_code": code,
                "type": kind.value,
                "lesion": proposal.number,
                "volume_mm3": f"{proposal.volume_mm3:.1f}",
                "voxel_x": i + 1,
                "voxel_y": j + 1,
                "voxel_z": k + 1,
                "x_mm": f"{x:.1f}",
                "y_mm": f"{y:.1f}",
                "z_mm": f"{z:.1f}",
                "probability": "" if proposal.probability is None else f"{proposal.probability:.2f}",
                "decision": "",
                "comment": "",
            }
        )
    return rows


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table of a worklist.

    Parameters
    ----------
    path : Path
    columns : sequence of str
    rows : iterable of mapping
        Other keys are left out.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())
