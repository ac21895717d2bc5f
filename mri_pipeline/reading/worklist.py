"""Export of a blinded worklist: images and numbered proposals under reading codes."""

from __future__ import annotations

import csv
import hmac
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

import numpy as np

from mri_pipeline import __version__
from mri_pipeline.blinding.codes import keyed_code
from mri_pipeline.blinding.secret import derived_key
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.reading.adjudication import NAMES, Dispute, Masks
from mri_pipeline.reading.items import IMAGE_FILES, LesionKind, ReadingItem
from mri_pipeline.reading.proposal_store import save_previous, save_proposal
from mri_pipeline.reading.proposals import Proposal, describe_proposals, labels_digest, numbered_by_place
from mri_pipeline.reading.record import Opinion, Purpose, StoredPrevious, StoredProposal
from mri_pipeline.reading.serial import CHANGE_COLUMNS, CHANGES_CSV, PREVIOUS, Previous

FORMAT = 1
WORKLIST_JSON, WORKLIST_CSV, LESIONS_CSV, README = "worklist.json", "worklist.csv", "lesions.csv", "README.md"
ITEMS = "items"
EXPORT_TIME = 946_684_800
"""Time stamp of every exported file (2000-01-01 UTC). The time of the analysis would give a hint at the visit."""

LESION_COLUMNS = (
    "reading_code", "type", "lesion", "volume_mm3", "voxel_x", "voxel_y", "voxel_z", "x_mm", "y_mm", "z_mm",
    "probability", "decision", "comment",
)  # fmt: skip
ADJUDICATION_COLUMNS = (
    *LESION_COLUMNS[:-2], "seen_by", "volume_a_mm3", "volume_b_mm3", *LESION_COLUMNS[-2:],
)  # fmt: skip
WORKLIST_COLUMNS = ("reading_code", "images", "t2_lesions", "gel", "black_holes", "done")
SERIES_COLUMNS = ("reading_code", "series", "position", *WORKLIST_COLUMNS[1:])

NumberLesions = Callable[[LesionKind, LabelImage], LabelImage]
"""Numbers the lesions of a mask (`mri_pipeline.lesions.components`), in any order."""
DisputeOf = Callable[[ReadingItem], Dispute]
"""The two reads of a visit (`mri_pipeline.reading.adjudication`)."""
PreviousOf = Callable[[ReadingItem], Previous | None]
"""The previous visit of a subject; None if there is none or it is not confirmed."""
FaceOf = Callable[[ReadingItem], LabelImage]
"""Voxels of the face of a visit (`mri_pipeline.images.face`), on the grid of its images."""


class Faces(StrEnum):
    """Defacing status of the images of a visit."""

    DEFACED = "defaced"
    ABSENT = "nothing to deface"  # no signal there: skull-stripped, or defaced before upload
    KEPT = "not defaced"  # by the protocol


@dataclass(frozen=True)
class Worklist:
    """An exported worklist.

    Parameters
    ----------
    folder : Path
    codes : tuple of str
        Reading codes in the order of the worklist.
    locked : int
        Number of visits that were left out because their read is locked.
    faces : mapping of str to Faces
        Defacing status, by reading code.
    """

    folder: Path
    codes: tuple[str, ...]
    locked: int = 0
    faces: Mapping[str, Faces] = field(default_factory=dict)


def reading_code(key: bytes, subject: str, visit: str, purpose: Purpose = Purpose.READ) -> str:
    """The reading code of a visit. It reveals neither subject nor visit nor order, and is the same at every export.

    The codes of a visit for different purposes are unrelated.

    Parameters
    ----------
    key : bytes
        The secret key of the trial.
    subject, visit : str
        Blinded code and visit label.
    purpose : Purpose

    Returns
    -------
    str
        See `mri_pipeline.blinding.codes.keyed_code`.
    """
    name = "reading" if purpose is Purpose.READ else purpose.value
    return keyed_code(derived_key(key, name), f"{subject}|{visit}")


def is_drawn(key: bytes, subject: str, visit: str, reader: str, *, percent: float) -> bool:
    """Whether a reader reads a visit a second time. The draw is the same at every export.

    Parameters
    ----------
    key : bytes
        The secret key of the trial for reading codes.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader.
    percent : float
        Share of the visits.

    Returns
    -------
    bool
    """
    digest = hmac.digest(derived_key(key, "rereads"), f"{reader}|{subject}|{visit}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < percent / 100 * 2**64


def export_worklist(
    items: Iterable[ReadingItem],
    folder: Path,
    *,
    reads: Path,
    key: bytes,
    number_lesions: NumberLesions,
    face_of: FaceOf | None,
    order_of_visits_known: bool = False,
    locked: Collection[tuple[str, str]] = (),
    dispute_of: DisputeOf | None = None,
    rereads: Sequence[ReadingItem] = (),
    previous_of: PreviousOf | None = None,
    reader: str = "",
) -> Worklist:
    """Write a worklist for readers, and store its proposals in ``reads/``.

    Parameters
    ----------
    items : iterable of ReadingItem
        The visits to read, those of a subject in the order of time. Visits with a locked read are left out.
    folder : Path
        New or empty.
    reads : Path
        ``reads/`` of the trial.
    key : bytes
        The secret key of the trial for reading codes.
    number_lesions : callable
        Gives every lesion of a mask its own label.
    face_of : callable or None
        Gives the voxels that are blanked in all images of a visit. None: the images are exported as they are.
    order_of_visits_known : bool
        Whether readers may know which visits belong to one subject and their order (``[reading]`` of the protocol).
        If False, only the anatomy in the images links two visits.
    locked : collection of (subject, visit)
        Visits with a locked read.
    dispute_of : callable, optional
        For an adjudication: the two reads of a visit. Their lesions take the place of the masks of the item, and
        `number_lesions` must number every connected component.
    rereads : sequence of ReadingItem
        Visits for a hidden second read, also locked ones. Only their codes differ from those of the first read.
    previous_of : callable, optional
        For a serial reading: the previous visit of each item. It is exported beside the item, with the proposed
        changes. Second reads have none.
    reader : str
        Code of the reader for whom the worklist is; empty for all readers.

    Returns
    -------
    Worklist

    Raises
    ------
    UsageError
        If the folder is not empty, there is nothing to read, or a visit comes twice.
    GridMismatchError
        If an image, a mask or the face of a visit is on another grid than its FLAIR.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "expected a new or empty folder for the worklist, found files in it", hint="name another folder"
        )
    everything = list(items)
    chosen = [item for item in everything if (item.subject, item.visit) not in locked]
    if not chosen and not rereads:
        raise UsageError(
            "expected analysed visits that are not locked, found none",
            hint="'mri-pipeline status TRIAL' shows the visits; 'mri-pipeline run TRIAL' analyses new scans",
        )
    purpose = Purpose.READ if dispute_of is None else Purpose.ADJUDICATION
    coded = _coded(chosen, key, purpose) | _coded(rereads, key, Purpose.REREAD)
    series = _series(chosen, key, purpose) | _series(rereads, key, Purpose.REREAD)
    rows, digests, faces = [], {}, {}
    for code in sorted(coded):  # in the order of the codes, so that file system metadata reveals nothing either
        item = coded[code]
        row, digests[code], faces[code] = _export_item(
            item, code, folder / ITEMS / code, reads,
            number_lesions=number_lesions, face_of=face_of, dispute=None if dispute_of is None else dispute_of(item),
            purpose=Purpose.REREAD if any(item is again for again in rereads) else purpose, previous_of=previous_of,
            reader=reader,
        )  # fmt: skip
        rows.append(row | series[code])
    columns = SERIES_COLUMNS if order_of_visits_known else WORKLIST_COLUMNS
    _write_csv(folder / WORKLIST_CSV, columns, rows)
    content = {"format": FORMAT, "software": {"mri-pipeline": __version__}, "items": digests, "faces": faces}
    write_atomic(folder / WORKLIST_JSON, json.dumps(content, indent=1, sort_keys=True) + "\n")
    readme = "README.reader.md" if dispute_of is None else "README.adjudicator.md"
    text = (files("mri_pipeline.reading") / readme).read_text(encoding="utf-8")
    write_atomic(folder / README, text)
    _one_time(folder)
    return Worklist(folder, tuple(sorted(coded)), locked=len(everything) - len(chosen), faces=faces)


def _coded(items: Sequence[ReadingItem], key: bytes, purpose: Purpose) -> dict[str, ReadingItem]:
    coded: dict[str, ReadingItem] = {}
    for item in items:
        other = coded.setdefault(reading_code(key, item.subject, item.visit, purpose), item)
        if other is not item:
            raise UsageError(
                "expected every visit once, found one twice (or two visits with one reading code)",
                hint="report this to the developers",
            )
    return coded


def _series(items: Sequence[ReadingItem], key: bytes, purpose: Purpose) -> dict[str, dict[str, object]]:
    """A code for each subject and the position of each visit, for protocols that allow readers to know them.

    The series of second reads look like those of other subjects.
    """
    series_key = derived_key(key, "reread series" if purpose is Purpose.REREAD else "series")
    positions: dict[str, int] = {}
    found: dict[str, dict[str, object]] = {}
    for item in items:
        positions[item.subject] = positions.get(item.subject, 0) + 1
        found[reading_code(key, item.subject, item.visit, purpose)] = {
            "series": keyed_code(series_key, item.subject),
            "position": positions[item.subject],
        }
    return found


def _export_item(
    item: ReadingItem,
    code: str,
    folder: Path,
    reads: Path,
    *,
    number_lesions: NumberLesions,
    face_of: FaceOf | None,
    dispute: Dispute | None,
    purpose: Purpose,
    previous_of: PreviousOf | None,
    reader: str,
) -> tuple[dict[str, object], dict[str, str], Faces]:
    """Write one visit; returns its row of the worklist, the digests of its proposals and its defacing status."""
    masks = dispute.together(number_lesions) if dispute else numbered_proposals(item, number_lesions)
    grid = masks[LesionKind.T2].grid
    for kind, mask in masks.items():
        grid.require_same(mask.grid, f"item {code}, {kind.file}")
    face = None if face_of is None else face_of(item)
    if face is not None:
        grid.require_same(face.grid, f"item {code}, face")
    names, blanked = _export_images(item, code, folder, grid, face)
    rows = []
    for kind, mask in masks.items():
        nifti.save(mask, folder / kind.file)
        probability = nifti.load_map(item.probabilities[kind]) if kind in item.probabilities else None
        if probability is not None:
            grid.require_same(probability.grid, f"item {code}, probability of {kind.value}")
        rows += _lesion_rows(code, kind, describe_proposals(mask, probability))
    if dispute is not None:
        rows = _export_opinions(dispute, masks, folder, rows)
    _write_csv(folder / LESIONS_CSV, LESION_COLUMNS if dispute is None else ADJUDICATION_COLUMNS, rows)
    stored = proposal_of(item, code, masks, purpose, () if dispute is None else dispute.opinions)
    shown = None
    if previous_of is not None and purpose is Purpose.READ:
        if (previous := previous_of(item)) is not None:
            changes = _export_previous(previous, code, folder, masks[LesionKind.T2], face)
            shown = StoredPrevious(previous.opinion, changes)
        save_previous(reads, item.subject, item.visit, reader, shown)
    save_proposal(reads, stored, masks)
    known = {kind.value: digest for kind, digest in stored.digests.items()}
    known |= {} if shown is None else {PREVIOUS: shown.previous.digest}
    row: dict[str, object] = {"reading_code": code, "images": " ".join(names), "done": ""}
    row |= {kind.file.removesuffix(".nii.gz"): "" for kind in LesionKind}
    row |= {kind.file.removesuffix(".nii.gz"): int(mask.data.max()) for kind, mask in masks.items()}
    faces = Faces.KEPT if face is None else Faces.DEFACED if blanked else Faces.ABSENT
    return row, known, faces


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
    item: ReadingItem, code: str, masks: Masks, purpose: Purpose, opinions: tuple[Opinion, ...] = ()
) -> StoredProposal:
    """The record of the proposals that a reader sees.

    Parameters
    ----------
    item : ReadingItem
    code : str
        From `reading_code`.
    masks : mapping of LesionKind to LabelImage
        The proposed lesions.
    purpose : Purpose
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
    _write_csv(folder / CHANGES_CSV, CHANGE_COLUMNS, rows)
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
            nifti.save(image, folder / name)
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


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def _one_time(folder: Path) -> None:
    """Give all files and folders the same time stamp, folders after their content."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (EXPORT_TIME, EXPORT_TIME))
    os.utime(folder, (EXPORT_TIME, EXPORT_TIME))
