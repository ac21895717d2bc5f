"""Pairs of predicted and reference masks, from two folders or a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mri_pipeline.core.errors import UsageError, listed
from mri_pipeline.core.io.sheets import read_sheet
from mri_pipeline.core.mask_label import MaskLabel

_ENDINGS = (".nii.gz", ".nii")
SEGMENTED = {MaskLabel.T2_LESION: "t2_lesions", MaskLabel.GEL: "gel", MaskLabel.BLACK_HOLE: "black_holes"}
"""Names of the masks that ``segment`` writes, without ending."""
_NEEDED = ("case", "predicted", "reference")
_TUNED = {"yes": True, "no": False, "": None}
_CSV = "check --pairs: a CSV file with the columns case, predicted, reference and, optionally, tuned_on"


@dataclass(frozen=True)
class Pair:
    """Two mask files of one case.

    Parameters
    ----------
    case : str
        Label of the case.
    predicted, reference : Path
    tuned_on : bool or None
        True if the segmentation was tuned on the case; None if not stated.
    """

    case: str
    predicted: Path
    reference: Path
    tuned_on: bool | None = None


def pairs_of_folders(predicted: Path, reference: Path, *, label: MaskLabel = MaskLabel.T2_LESION) -> list[Pair]:
    """Masks of two folders with the same file name, or of BIDS trees with the same subject and session, by name.

    A folder with ``sub-<label>`` folders, such as the output of ``bids`` and ``run``, is a BIDS tree: its masks are the
    files ``*_label-<label>_mask.nii.gz``. Files of a plain folder that is paired with a tree need ``sub-<label>`` and
    ``ses-<label>`` in their names. A folder whose subfolders are outputs of ``segment`` has a case for each subfolder,
    with its name.

    Parameters
    ----------
    predicted, reference : Path
        Folders of NIfTI masks.
    label : MaskLabel
        Masks to take from a BIDS tree or from outputs of ``segment``.

    Returns
    -------
    list of Pair
        Sorted by case.

    Raises
    ------
    UsageError
        If a folder holds no mask, or if a case has a mask in one folder only. A case that a segmentation failed on
        must not be left out of its scores.
    """
    folders = {"predicted": predicted, "reference": reference}
    trees = {name: any(folder.glob("sub-*/")) for name, folder in folders.items()}
    found = {
        name: _tree(folder, name, label) if trees[name] else _segmented(folder, label) or _masks(folder, name)
        for name, folder in folders.items()
    }
    if any(trees.values()):
        found = {name: _by_session(masks, name) for name, masks in found.items()}
    for one, other in (("predicted", "reference"), ("reference", "predicted")):
        alone = sorted(set(found[one]) - set(found[other]))
        if alone:
            raise UsageError(
                f"expected a {other} mask for every {one} one, found none for {len(alone)} of {len(found[one])}: "
                f"{listed(alone)}",
                hint="name the files alike, or name the pairs in a CSV file (--pairs)",
            )
    return [Pair(case, path, found["reference"][case]) for case, path in sorted(found["predicted"].items())]


def _tree(folder: Path, name: str, label: MaskLabel) -> dict[str, Path]:
    masks = {p.name.partition(".")[0]: p for p in folder.glob(f"sub-*/**/*_label-{label.value}_mask.nii*")}
    if not masks:
        raise UsageError(
            f"expected files *_label-{label.value}_mask.nii.gz in the BIDS tree of {name} masks, found none",
            hint="check --label",
        )
    return masks


def _segmented(folder: Path, label: MaskLabel) -> dict[str, Path]:
    """Masks of the outputs of `segment` in subfolders; empty if there is none."""
    outputs = [path.parent for path in sorted(folder.glob(f"*/{SEGMENTED[MaskLabel.T2_LESION]}{_ENDINGS[0]}"))]
    if outputs and label not in SEGMENTED:
        raise UsageError(
            f"--label: expected {', '.join(SEGMENTED)} for outputs of segment, found {label}",
            hint="segment has one visit, and no changes",
        )
    masks = {output.name: output / f"{SEGMENTED[label]}{_ENDINGS[0]}" for output in outputs}
    return {case: mask for case, mask in masks.items() if mask.is_file()}


def _by_session(masks: Mapping[str, Path], name: str) -> dict[str, Path]:
    """Masks by subject and session; other names are unchanged."""
    found: dict[str, Path] = {}
    for case, path in masks.items():
        key = "_".join(part for part in case.split("_") if part.startswith(("sub-", "ses-"))) or case
        if key in found:
            raise UsageError(f"expected one {name} mask for {key}, found {found[key].name} and {path.name}")
        found[key] = path
    return found


def _masks(folder: Path, name: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"expected a folder of {name} masks, found none", hint=f"check --{name}")
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
        if ending is None:
            continue
        case = path.name.removesuffix(ending)
        if case in masks:
            raise UsageError(f"expected one {name} mask for {case}, found it with two endings")
        masks[case] = path
    if not masks:
        raise UsageError(f"expected NIfTI files in the folder of {name} masks, found none")
    return masks


def pairs_of_csv(file: Path) -> list[Pair]:
    """Pairs of a CSV file.

    The columns are ``case``, ``predicted``, ``reference`` and, optionally, ``tuned_on`` (yes or no). Paths are
    relative to the file. Other columns are ignored.

    Parameters
    ----------
    file : Path
        As a spreadsheet program saves it (`read_sheet`).

    Returns
    -------
    list of Pair
        In the order of the rows. Whether the masks exist is not checked.

    Raises
    ------
    UsageError
        If the file is missing, has no row, lacks a column or a value, or names a case twice. The message names file and
        line.
    """
    pairs: dict[str, Pair] = {}
    for row in read_sheet(file, _NEEDED, hint=_CSV):
        case, predicted, reference = (row[name] for name in _NEEDED)
        tuned = row.get("tuned_on", "").lower()
        missing = [name for name in _NEEDED if not row[name]]
        if missing or tuned not in _TUNED:
            found = f"no {' and no '.join(missing)}" if missing else f"{tuned!r} in tuned_on"
            raise UsageError(
                f"{row.place()}: expected a case, two paths and yes, no or nothing in tuned_on, found {found}"
            )
        if case in pairs:
            raise UsageError(f"{row.place('case')}: expected every case once, found {case} again")
        pairs[case] = Pair(case, file.parent / predicted, file.parent / reference, _TUNED[tuned])
    if not pairs:
        raise UsageError(f"{file.name}: expected rows below the header, found no row", hint=_CSV)
    return list(pairs.values())
