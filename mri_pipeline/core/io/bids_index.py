"""The anatomical scans of a BIDS dataset: one file per contrast and session, and the order of the sessions.

bids2table lists the files and parses their names. Files that are there and not used are listed with the reason.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mri_pipeline.core.errors import SettingsError, UsageError, quoted
from mri_pipeline.core.io.session_order import order_sessions
from mri_pipeline.core.visits import Contrast

_LOGGER = logging.getLogger(__name__)

NO_SESSION = "single"
"""Visit label of the scans of a subject without a session level."""

_FILTER_KEYS: Mapping[str, Contrast] = {
    "flair": Contrast.FLAIR,
    "t1w": Contrast.T1W,
    "t1w_gd": Contrast.T1W_GD,
    "t2w": Contrast.T2W,
    "pdw": Contrast.PDW,
}
_OTHER_KEYS = ("bold", "sbref", "fmap", "roi", "dwi", "asl", "m0scan", "pet")
"""Keys of fMRIPrep, QSIPrep, ASLPrep and PETPrep for files that are not read here."""

_INDEXES = ("run", "echo", "inv")
"""Entities whose value is a number in BIDS: leading zeros make no difference."""

_ENTITIES = {
    "session": "ses", "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec", "run": "run", "part": "part",
    "direction": "dir", "echo": "echo", "inversion": "inv", "mtransfer": "mt", "processing": "proc",
    "suffix": "suffix", "extension": "ext", "datatype": "datatype",
}  # fmt: skip
"""Names of entities in a filter file (as PyBIDS and fMRIPrep write them) and in file names."""

Filters = Mapping[Contrast, Mapping[str, tuple[str, ...]]]
"""By contrast and entity, the values that a file may have; an empty tuple means that the entity must be absent."""


class IgnoredFile(BaseModel):
    """An anatomical image that is not used.

    Attributes
    ----------
    path : str
        Relative to the dataset.
    reason : str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    reason: str

    def __str__(self) -> str:
        """Path and reason on one line."""
        return f"{self.path}: {self.reason}"


class SessionScans(BaseModel):
    """The scans of one session.

    Attributes
    ----------
    visit : str
        Label without ``ses-``, or `NO_SESSION`.
    scans : dict of Contrast to str
        Paths relative to the dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    visit: str
    scans: dict[Contrast, str]


class SubjectIndex(BaseModel):
    """The sessions and the ignored files of one subject.

    Attributes
    ----------
    subject : str
        Label without ``sub-``.
    sessions : tuple of SessionScans
        In the order of time.
    order_source : str
        Source of that order (`session_order.order_sessions`).
    ignored : tuple of IgnoredFile
    problems : tuple of str
        Why the subject cannot be analysed: several files of a contrast, or an unknown order of the sessions. Such a
        contrast is left out of its session; without an order there are no sessions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    sessions: tuple[SessionScans, ...]
    order_source: str
    ignored: tuple[IgnoredFile, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    path: str
    entities: Mapping[str, str]

    @property
    def contrast(self) -> Contrast | None:
        """The contrast by suffix and contrast agent; any ``ce-`` label counts as gadolinium."""
        suffix, agent = self.entities.get("suffix"), "ce" in self.entities
        if suffix == "T1w":
            return Contrast.T1W_GD if agent else Contrast.T1W
        plain = {"T2w": Contrast.T2W, "PDw": Contrast.PDW, "FLAIR": Contrast.FLAIR}
        return None if agent else plain.get(suffix or "")


def index_dataset(
    root: Path,
    subjects: Sequence[str],
    *,
    sessions: Sequence[str] = (),
    session_order: Sequence[str] = (),
    filters: Filters | None = None,
) -> dict[str, SubjectIndex]:
    """Find the scans of subjects and put their sessions in order.

    Parameters
    ----------
    root : Path
        The BIDS dataset.
    subjects : sequence of str
        Labels without ``sub-``.
    sessions : sequence of str, optional
        Labels of the sessions to use, without ``ses-``; all if empty.
    session_order : sequence of str, optional
        Labels in the order of time. It overrides every other source (`session_order.order_sessions`).
    filters : mapping, optional
        Of `load_filters`.

    Returns
    -------
    dict of str to SubjectIndex
        In the order of `subjects`; a subject without a scan has no sessions. Two files of one contrast and sessions
        in an unknown order are `problems` of the subject.

    Raises
    ------
    UsageError
        If no subject has one of `sessions`.
    """
    files = _list_files(root, subjects)
    unknown = set(sessions) - {
        f.entities.get("ses", NO_SESSION) for of_subject in files.values() for f in of_subject
    }
    if unknown:
        raise UsageError(
            f"expected sessions of the dataset, found unknown {', '.join(sorted(unknown))}",
            hint="check --session-label",
        )
    return {
        subject: _index_subject(
            root, subject, files[subject], sessions=sessions, session_order=session_order, filters=filters or {}
        )
        for subject in subjects
    }


def _list_files(root: Path, subjects: Sequence[str]) -> dict[str, list[_File]]:
    """The images in every subject's anat folders, sorted by name."""
    import bids2table  # noqa: PLC0415 - it takes half a second to load, and one command needs it

    found: dict[str, dict[str, _File]] = {subject: {} for subject in subjects}
    columns = set(_ENTITIES.values()) | {"space", "desc", "res"}
    table = bids2table.index_dataset(root, include_subjects=[f"sub-{subject}" for subject in subjects])
    for row in table.to_pylist():
        if row["datatype"] == "anat" and row["ext"] in {".nii", ".nii.gz"}:
            entities = {name: _value(name, row[name]) for name in columns if row.get(name) is not None}
            entities |= row.get("extra_entities") or {}
            found[row["sub"]][row["path"]] = _File(row["path"], entities)
    for subject in subjects:  # a name that is not BIDS is in no index, and must not be overlooked
        folder = root / f"sub-{subject}"
        for path in (*folder.glob("anat/*.nii*"), *folder.glob("ses-*/anat/*.nii*")):
            name = path.relative_to(root).as_posix()
            found[subject].setdefault(name, _File(name, {}))
    return {subject: [files[name] for name in sorted(files)] for subject, files in found.items()}


def _index_subject(
    root: Path,
    subject: str,
    files: Iterable[_File],
    *,
    sessions: Sequence[str],
    session_order: Sequence[str],
    filters: Filters,
) -> SubjectIndex:
    files = list(files)
    with_sessions = any("ses" in file.entities for file in files)
    candidates: dict[str, dict[Contrast, list[str]]] = {}
    ignored = []
    for file in files:
        reason = _unusable(root, file) or _excluded(
            file, with_sessions=with_sessions, sessions=sessions, filters=filters
        )
        if reason:
            ignored.append(IgnoredFile(path=file.path, reason=reason))
        elif file.contrast is not None:
            session = candidates.setdefault(file.entities.get("ses", NO_SESSION), {})
            session.setdefault(file.contrast, []).append(file.path)
    problems = [problem for session in candidates.values() for problem in _ambiguous(session)]
    order: list[str] = []
    source = ""
    try:
        order, source = order_sessions(root / f"sub-{subject}", subject, list(candidates), explicit=session_order)
    except UsageError as error:
        problems.append(f"{error.message} ({error.hint})")
    return SubjectIndex(
        subject=subject,
        sessions=tuple(SessionScans(visit=label, scans=_one_each(candidates[label])) for label in order),
        order_source=source,
        ignored=tuple(ignored),
        problems=tuple(problems),
    )


def _unusable(root: Path, file: _File) -> str:
    """Why a file cannot be a scan of this analysis; empty if it can. A FLAIR that is missing fails its visit later."""
    entities, contrast = file.entities, file.contrast
    if "suffix" not in entities:
        return "its name is not a BIDS name"
    if contrast is None:
        agent = " after contrast" if "ce" in entities else ""
        return f"{entities['suffix']}{agent} is not a contrast of this analysis"
    processed = [name for name in ("space", "desc", "res") if name in entities]
    if processed:
        return f"{processed[0]}-{entities[processed[0]]} is a processed image"
    if entities.get("part", "mag") != "mag":
        return f"part-{entities['part']} is not a magnitude image"
    if contrast is not Contrast.FLAIR and not (root / file.path).is_file():
        return "it is a link whose target is missing (datalad get?)"
    return ""


def _excluded(file: _File, *, with_sessions: bool, sessions: Sequence[str], filters: Filters) -> str:
    """Why a usable file is not among those asked for; empty if it is."""
    entities = file.entities
    if with_sessions and "ses" not in entities:
        return "it lies outside of the subject's sessions"
    if sessions and entities.get("ses", NO_SESSION) not in sessions:
        return "its session is not among those asked for"
    for name, values in filters.get(file.contrast or Contrast.FLAIR, {}).items():
        if (name in entities) != bool(values) or (values and entities[name] not in values):
            return "the filter file excludes it"
    return ""


def _ambiguous(candidates: Mapping[Contrast, Sequence[str]]) -> list[str]:
    return [
        f"expected one {contrast.value} per session, found {len(paths)}: {', '.join(paths)} "
        "(select one with --bids-filter-file)"
        for contrast, paths in candidates.items()
        if len(paths) > 1
    ]


def _one_each(candidates: Mapping[Contrast, Sequence[str]]) -> dict[Contrast, str]:
    return {contrast: candidates[contrast][0] for contrast in Contrast if len(candidates.get(contrast, ())) == 1}


def load_filters(path: Path) -> Filters:
    """Read a filter file: JSON, by contrast the entities that its file must have, as fMRIPrep reads it.

    Keys are ``flair``, ``t1w``, ``t1w_gd``, ``t2w`` and ``pdw``; entities have PyBIDS's names. ``null`` means that the
    entity must be absent, a list allows several values. Numbers may have leading zeros: ``"01"`` and 1 are one run.
    Keys of other BIDS Apps, such as ``bold``, are ignored and logged.

    Parameters
    ----------
    path : Path

    Returns
    -------
    mapping of Contrast to mapping of str to tuple of str
        See `Filters`.

    Raises
    ------
    SettingsError
        If the file is not such JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--bids-filter-file: expected a JSON file, found none in {path.name}") from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"--bids-filter-file: expected an object with a key for each contrast, found {_json_type(content)}"
        )
    for key, entities in content.items():
        if not isinstance(entities, dict):
            raise SettingsError(
                f"--bids-filter-file: expected an object of entities for {quoted(key)}, found {_json_type(entities)}"
            )
    filters: dict[Contrast, dict[str, tuple[str, ...]]] = {}
    for key, entities in content.items():
        if key.lower() in _OTHER_KEYS:
            _LOGGER.info("--bids-filter-file: %s is ignored: only anatomical scans are read", key.lower())
            continue
        if key.lower() not in _FILTER_KEYS:
            raise SettingsError(
                f"--bids-filter-file: expected {', '.join(_FILTER_KEYS)}, found {key!r}",
                hint="T1w after contrast is t1w_gd",
            )
        named = {_entity(name): value for name, value in entities.items()}
        filters[_FILTER_KEYS[key.lower()]] = {name: _values(name, value) for name, value in named.items()}
    return filters


def _json_type(value: object) -> str:
    types = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return types.get(type(value), "null")


def _entity(name: str) -> str:
    if name not in _ENTITIES and name not in _ENTITIES.values():
        raise SettingsError(f"--bids-filter-file: expected one of {', '.join(_ENTITIES)}, found {name!r}")
    return _ENTITIES.get(name, name)


def _values(entity: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(_value(entity, one) for one in (value if isinstance(value, list) else [value]))


def _value(entity: str, value: Any) -> str:
    """Value of an entity as text; a number without leading zeros."""
    text = str(value)
    return str(int(text)) if entity in _INDEXES and text.isdecimal() else text
