"""Export of a blinded worklist: images and numbered proposals under reading codes."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from mri_pipeline import __version__
from mri_pipeline.blinding.codes import keyed_code
from mri_pipeline.blinding.secret import derived_key
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.spatial import LabelImage
from mri_pipeline.reading.adjudication import Dispute
from mri_pipeline.reading.items import ReadingItem
from mri_pipeline.reading.record import ReadPurpose
from mri_pipeline.reading.serial import Previous
from mri_pipeline.reading.worklist_item import Faces, ItemSource, NumberLesions, export_item, store_item, write_csv

FORMAT = 1
WORKLIST_JSON, WORKLIST_CSV, README = "worklist.json", "worklist.csv", "README.md"
ITEMS = "items"
EXPORT_TIME = 946_684_800
"""Time stamp of every exported file (2000-01-01 UTC). The time of the analysis would give a hint at the visit."""

WORKLIST_COLUMNS = ("reading_code", "images", "t2_lesions", "gel", "black_holes", "done")
ADJUDICATION_LIST_COLUMNS = (*WORKLIST_COLUMNS[:-1], "to_decide", "differs_in", "done")

DisputeOf = Callable[[ReadingItem], Dispute]
"""The two reads of a visit (`mri_pipeline.reading.adjudication`)."""
PreviousOf = Callable[[ReadingItem], Previous | None]
"""The previous visit of a subject; None if there is none or it is not confirmed."""
FaceOf = Callable[[ReadingItem], LabelImage]
"""Voxels of the face of a visit (`mri_pipeline.images.face`), on the grid of its images."""


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


def reading_code(key: bytes, subject: str, visit: str, purpose: ReadPurpose = ReadPurpose.READ) -> str:
    """The reading code of a visit. It reveals neither subject nor visit nor order, and is the same at every export.

    The codes of a visit for different purposes are unrelated.

    Parameters
    ----------
    key : bytes
        The secret key of the trial.
    subject, visit : str
        Blinded code and visit label.
    purpose : ReadPurpose

    Returns
    -------
    str
        See `mri_pipeline.blinding.codes.keyed_code`.
    """
    name = "reading" if purpose is ReadPurpose.READ else purpose.value
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
    _require_new(folder)
    everything = list(items)
    chosen = [item for item in everything if (item.subject, item.visit) not in locked]
    if not chosen and not rereads:
        raise _nothing_to_read()
    purpose = ReadPurpose.READ if dispute_of is None else ReadPurpose.ADJUDICATION
    coded = _coded(chosen, key, purpose) | _coded(rereads, key, ReadPurpose.REREAD)
    series = _series(chosen, key, purpose) | _series(rereads, key, ReadPurpose.REREAD)
    rows, digests, faces = [], {}, {}
    for code in sorted(coded):  # in the order of the codes, so that file system metadata reveals nothing either
        item = coded[code]
        own = ReadPurpose.REREAD if any(item is again for again in rereads) else purpose
        serial = previous_of if own is ReadPurpose.READ else None
        source = ItemSource(
            item, code, own,
            face=None if face_of is None else face_of(item),
            dispute=None if dispute_of is None else dispute_of(item),
            previous=None if serial is None else serial(item),
        )  # fmt: skip
        exported = export_item(source, folder / ITEMS / code, number_lesions)
        store_item(exported, reads, serial=serial is not None, reader=reader)
        rows.append(dict(exported.row) | series[code])
        digests[code], faces[code] = exported.digests, exported.faces
    columns = WORKLIST_COLUMNS if dispute_of is None else ADJUDICATION_LIST_COLUMNS
    write_csv(folder / WORKLIST_CSV, with_series(columns) if order_of_visits_known else columns, rows)
    _write_beside(folder, digests, faces, purpose)
    return Worklist(folder, tuple(sorted(coded)), locked=len(everything) - len(chosen), faces=faces)


def with_series(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a worklist whose readers may know the order of the visits.

    Parameters
    ----------
    columns : tuple of str

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> with_series(WORKLIST_COLUMNS)[:4]
    ('reading_code', 'series', 'position', 'images')
    """
    return columns[0], "series", "position", *columns[1:]


def _require_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "expected a new or empty folder for the worklist, found files in it", hint="name another folder"
        )


def _nothing_to_read() -> UsageError:
    return UsageError(
        "expected analysed visits that are not locked, found none",
        hint="'mri-pipeline status TRIAL' shows the visits; 'mri-pipeline run TRIAL' analyses new scans",
    )


def _write_beside(
    folder: Path, digests: Mapping[str, Mapping[str, str]], faces: Mapping[str, Faces], purpose: ReadPurpose
) -> None:
    """Write the files of the whole worklist, and give all files the same time stamp."""
    content = {"format": FORMAT, "software": {"mri-pipeline": __version__}, "items": digests, "faces": faces}
    write_atomic(folder / WORKLIST_JSON, json.dumps(content, indent=1, sort_keys=True) + "\n")
    readme = "README.adjudicator.md" if purpose is ReadPurpose.ADJUDICATION else "README.reader.md"
    text = (files("mri_pipeline.reading") / readme).read_text(encoding="utf-8")
    write_atomic(folder / README, text)
    _one_time(folder)


def _coded(items: Sequence[ReadingItem], key: bytes, purpose: ReadPurpose) -> dict[str, ReadingItem]:
    coded: dict[str, ReadingItem] = {}
    for item in items:
        code = reading_code(key, item.subject, item.visit, purpose)
        other = coded.setdefault(code, item)
        if other is item:
            continue
        if (other.subject, other.visit) == (item.subject, item.visit):
            raise UsageError(f"expected each visit once, found subject {item.subject}, visit {item.visit} twice")
        raise UsageError(
            f"expected a reading code for each visit, found {code} for two of them",
            hint="report this to the developers",
        )
    return coded


def _series(items: Sequence[ReadingItem], key: bytes, purpose: ReadPurpose) -> dict[str, dict[str, object]]:
    """A code for each subject and the position of each visit, for protocols that allow readers to know them.

    The series of second reads look like those of other subjects.
    """
    series_key = derived_key(key, "reread series" if purpose is ReadPurpose.REREAD else "series")
    positions: dict[str, int] = {}
    found: dict[str, dict[str, object]] = {}
    for item in items:
        positions[item.subject] = positions.get(item.subject, 0) + 1
        found[reading_code(key, item.subject, item.visit, purpose)] = {
            "series": keyed_code(series_key, item.subject),
            "position": positions[item.subject],
        }
    return found


def _one_time(folder: Path) -> None:
    """Give all files and folders the same time stamp, folders after their content."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (EXPORT_TIME, EXPORT_TIME))
    os.utime(folder, (EXPORT_TIME, EXPORT_TIME))
