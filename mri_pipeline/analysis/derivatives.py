"""Writing and reading the derivative dataset. No other module opens its images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.core.anatomy import LOCATION_LABELS, TissueMaps
from mri_pipeline.core.derivative_layout import DerivativeDataset, SpaceFiles
from mri_pipeline.core.io import nifti
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.records import LesionRecord, RegistrationRecord, VisitQuality
from mri_pipeline.core.spatial import Image, LabelImage
from mri_pipeline.core.visits import Contrast, VisitMasks
from mri_pipeline.lesions.black_holes import T1Hypointensity
from mri_pipeline.tables.columns import Row
from mri_pipeline.tables.io import csv_text
from mri_pipeline.tables.rows import lesion_row
from mri_pipeline.tables.schema import LESIONS


def _write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_visit(
    derivatives: DerivativeDataset,
    subject: str,
    visit: str,
    *,
    images: Mapping[Contrast, Image],
    brain: LabelImage,
    probabilities: Mapping[MaskLabel, Image],
    masks: Mapping[MaskLabel, LabelImage],
    t1_hypointensity: LabelImage | None,
    lesions: LabelImage,
    records: Sequence[LesionRecord],
    transforms: Mapping[Contrast, Path],
    quality: VisitQuality,
    verdicts: Mapping[Contrast, str],
    sources: Mapping[Contrast, str],
    t2_segmenter: tuple[str, str],
) -> Path:
    """Write the derivatives of one visit. An earlier version of the visit is removed.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject, visit : str
    images : mapping of Contrast to Image
        Normalised images, which are stored as 16-bit integers (`nifti.save_rounded`). All images and masks are on the
        subject grid.
    brain : LabelImage
    probabilities : mapping of MaskLabel to Image
    masks : mapping of MaskLabel to LabelImage
    t1_hypointensity : LabelImage or None
        Grades of T1 hypointensity (`T1Hypointensity`); None without T1 before contrast.
    lesions : LabelImage
        Numbered lesions.
    records : sequence of LesionRecord
        One for each number of `lesions`.
    transforms : mapping of Contrast to Path
        Transform files from the scans to the subject space.
    quality : VisitQuality
        Skull-stripping and registrations, for the sidecars.
    verdicts : mapping of Contrast to str
        QC verdict on each registration, for the sidecars.
    sources : mapping of Contrast to str
        Paths of the scans relative to the dataset of the scans, if known.
    t2_segmenter : (str, str)
        Name and version of the T2 segmenter.

    Returns
    -------
    Path
        File of the numbered lesions, which is written last.
    """
    if derivatives.anat(subject, visit).is_dir():  # remove files of an earlier run
        shutil.rmtree(derivatives.anat(subject, visit))
    brain_mask = derivatives.brain_mask(subject, visit)
    space = {"SpatialReference": {"VolumeReference": _uri(derivatives, brain_mask)}}
    _save(brain, brain_mask, {"Type": "Brain", **space})
    registered = {
        record.contrast: {"Registration": _registration(record) | {"Verdict": verdicts[record.contrast]}}
        for record in quality.registrations
    }
    for contrast, image in images.items():
        content = _described(contrast, sources.get(contrast), skull_stripped=bool(quality.skull_stripped))
        path = nifti.save_rounded(image, derivatives.image(subject, visit, contrast))
        _write_sidecar(path, {**content, **registered[contrast], **space})
    _write_transforms(derivatives, subject, visit, transforms, registered)
    preprocessed = [_uri(derivatives, derivatives.image(subject, visit, contrast)) for contrast in images]
    derived = {"Sources": preprocessed, **space}
    _write_masks(derivatives, subject, visit, masks, probabilities, derived=derived, t2_segmenter=t2_segmenter)
    if t1_hypointensity is not None:
        content = {"Description": "Grades of T1 hypointensity within T2 lesions", **derived}
        path = _save(t1_hypointensity, derivatives.t1_hypointensity(subject, visit), content)
        _write_labels(path, {grade.value: grade.name.lower() for grade in T1Hypointensity if grade})
    path = derivatives.lesions(subject, visit)
    _write_lesion_table(path.with_name(path.name.replace(".nii.gz", ".tsv")), subject, records)
    return _save(lesions, path, {"Type": "Lesion", "Description": _NUMBERED, **derived})


def _write_transforms(
    derivatives: DerivativeDataset,
    subject: str,
    visit: str,
    transforms: Mapping[Contrast, Path],
    registered: Mapping[Contrast, Mapping[str, Any]],
) -> None:
    """Copy the transform files, with their sidecars."""
    for contrast, source in transforms.items():
        target = derivatives.transform(subject, visit, contrast)
        target.write_bytes(source.read_bytes())
        _write_json(target.with_suffix(".json"), registered[contrast])


def _write_masks(
    derivatives: DerivativeDataset,
    subject: str,
    visit: str,
    masks: Mapping[MaskLabel, LabelImage],
    probabilities: Mapping[MaskLabel, Image],
    *,
    derived: Mapping[str, Any],
    t2_segmenter: tuple[str, str],
) -> None:
    """Write binary masks and probability maps."""
    generated = {MaskLabel.T2_LESION: {"GeneratedBy": [dict(zip(("Name", "Version"), t2_segmenter, strict=True))]}}
    for label, mask in masks.items():
        content = {"Type": "Lesion", "Description": _MASKS[label], **derived, **generated.get(label, {})}
        _save(LabelImage(mask.mask, mask.grid), derivatives.mask(subject, visit, label), content)
    for label, probability in probabilities.items():
        content = {"Type": "Lesion", "Description": f"Probability: {_MASKS[label]}", **derived}
        _save(probability, derivatives.probability(subject, visit, label), content | generated.get(label, {}))


def _save(image: Image | LabelImage, path: Path, content: Mapping[str, Any]) -> Path:
    """Save an image, then its sidecar."""
    nifti.save(image, path)
    _write_sidecar(path, content)
    return path


def _write_sidecar(image: Path, content: Mapping[str, Any]) -> None:
    _write_json(image.with_name(image.name.replace(".nii.gz", ".json")), content)


def _described(contrast: Contrast, source: str | None, *, skull_stripped: bool) -> dict[str, Any]:
    """Entries of the sidecar of a preprocessed scan; `source` is the path of the scan, if known."""
    return {
        "Description": f"{contrast.value} in the subject's space, bias-corrected, on the scale of white matter",
        **({"Sources": [f"bids:raw:{source}"]} if source is not None else {}),
        "SkullStripped": skull_stripped,
        "Units": "median of normal-appearing white matter = 1",
    }


_WHOLE_BRAIN = "Brain with the regions that some visit has not scanned"
_NUMBERED = "Lesions; a lesion has the same number at all visits of the subject"
_MASKS: Mapping[MaskLabel, str] = {
    MaskLabel.T2_LESION: "T2 lesions",
    MaskLabel.GEL: "Gadolinium-enhancing lesions",
    MaskLabel.BLACK_HOLE: "Black holes",
    MaskLabel.NEW_T2: "New T2 lesions since the reference visit",
    MaskLabel.ENLARGING_T2: "T2 lesions that have enlarged since the reference visit",
    MaskLabel.T2_INCREASE: "Voxels that have become T2 lesion since the reference visit",
    MaskLabel.T2_DECREASE: "Voxels that have ceased to be T2 lesion since the reference visit",
}


def _uri(derivatives: DerivativeDataset, path: Path) -> str:
    """BIDS URI of a file of the dataset."""
    return f"bids::{path.relative_to(derivatives.root).as_posix()}"


def _registration(record: RegistrationRecord) -> dict[str, Any]:
    """Entries of a sidecar for a registration."""
    return {
        "Reference": f"FLAIR of {record.reference}" if record.reference else "none; reference of the other visits",
        "Quality": record.quality,
        "Method": record.method or None,
    }


def write_space(
    space: SpaceFiles,
    *,
    brain: LabelImage,
    whole_brain: LabelImage,
    tissue: TissueMaps,
    template_to_subject: Path,
    flairs_to_subject: Mapping[str, Path],
    record: str,
) -> None:
    """Write the files of a subject space. The record is written last.

    Transform files are copied byte by byte, so that later analyses use exactly the same transforms.

    Parameters
    ----------
    space : SpaceFiles
    brain, whole_brain : LabelImage
        Brain masks on the subject grid: within the common field of view of the visits, and not limited to it.
    tissue : TissueMaps
    template_to_subject : Path
        Transform file.
    flairs_to_subject : mapping of str to Path
        Transform file by visit.
    record : str
        `mri_pipeline.analysis.space.SpaceRecord` as JSON.
    """
    shutil.rmtree(space.folder, ignore_errors=True)
    grid = {"SpatialReference": {"VolumeReference": "the space of the subject's visits"}}
    _save(brain, space.brain, {"Type": "Brain", **grid})
    _save(whole_brain, space.whole_brain, {"Type": "Brain", "Description": _WHOLE_BRAIN, **grid})
    for name, path in space.maps.items():
        _save(getattr(tissue, name), path, grid)
    _save(tissue.location, space.location, grid)
    _write_labels(space.location, {index: place.value for index, place in LOCATION_LABELS.items()})
    space.template_to_subject.write_bytes(template_to_subject.read_bytes())
    for visit, source in flairs_to_subject.items():
        space.flair_to_subject(visit).write_bytes(source.read_bytes())
    write_atomic(space.record, record + "\n")


def _write_labels(image: Path, names: Mapping[int, str]) -> None:
    """Write the label table of a label image, in the same folder."""
    rows = "".join(f"{index}\t{name}\n" for index, name in names.items())
    write_atomic(image.with_name(image.name.replace(".nii.gz", ".tsv")), f"index\tname\n{rows}")


def _write_lesion_table(path: Path, subject: str, records: Sequence[LesionRecord]) -> None:
    """Write the lesions of one visit as a BIDS label table, with the values of lesions.csv.

    A lesion that has split has one row, that of its largest part.
    """
    names = ["index", "name", *(n for n in LESIONS.names if n not in {"subject", "visit", "lesion_id"})]
    rows: list[Row] = [
        {"index": record.lesion_id, "name": f"lesion {record.lesion_id}", **lesion_row(subject, record)}
        for record in records
        if record.part == 1
    ]
    write_atomic(path, csv_text(names, rows, delimiter="\t", missing="n/a"))


@dataclass(frozen=True)
class VisitDerivatives:
    """Derivatives of one visit, all on the subject grid.

    Parameters
    ----------
    images : mapping of Contrast to Image
        Normalised: median of white matter 1.
    brain : LabelImage
    masks : VisitMasks
    changes : mapping of MaskLabel to LabelImage
        New and enlarging T2 lesions, T2 increase and decrease. Empty at the first visit.
    lesions : LabelImage
        Numbered lesions.
    """

    images: Mapping[Contrast, Image]
    brain: LabelImage
    masks: VisitMasks
    changes: Mapping[MaskLabel, LabelImage]
    lesions: LabelImage


def read_visit(derivatives: DerivativeDataset, subject: str, visit: str) -> VisitDerivatives:
    """Read the derivatives of one visit.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    VisitDerivatives
        A mask without a file is None or absent.

    Raises
    ------
    ImageError
        If the brain mask, the FLAIR, the T2 lesions or the numbered lesions are missing, or a file is damaged.
    """
    masks = read_masks(derivatives, subject, visit)
    files = {c: derivatives.image(subject, visit, c) for c in Contrast if c is not Contrast.FLAIR}
    images: dict[Contrast, Image] = {c: nifti.load_image(path) for c, path in files.items() if path.is_file()}
    if masks.flair is not None:
        images[Contrast.FLAIR] = masks.flair
    changes = {
        label: _mask(derivatives, subject, visit, label)
        for label in MaskLabel
        if label not in {MaskLabel.T2_LESION, MaskLabel.GEL, MaskLabel.BLACK_HOLE}
    }
    return VisitDerivatives(
        images=images,
        brain=nifti.load_labels(derivatives.brain_mask(subject, visit)),
        masks=masks,
        changes={label: mask for label, mask in changes.items() if mask is not None},
        lesions=nifti.load_labels(derivatives.lesions(subject, visit)),
    )


def read_masks(derivatives: DerivativeDataset, subject: str, visit: str) -> VisitMasks:
    """Read the masks of one visit for the tracking.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    VisitMasks
        A mask without a file is None.

    Raises
    ------
    ImageError
        If the FLAIR or the T2 lesions are missing, or a file is damaged.
    """
    return VisitMasks(
        visit=visit,
        t2_lesions=nifti.load_labels(derivatives.mask(subject, visit, MaskLabel.T2_LESION)),
        gel=_mask(derivatives, subject, visit, MaskLabel.GEL),
        black_holes=_mask(derivatives, subject, visit, MaskLabel.BLACK_HOLE),
        flair=nifti.load_image(derivatives.image(subject, visit, Contrast.FLAIR)),
        t1_hypointensity=read_labels(derivatives.t1_hypointensity(subject, visit)),
    )


FLAIR_FILE, T1_HYPOINTENSITY_FILE, LOCATION_FILE = "FLAIR.nii.gz", "t1_hypointensity.nii.gz", "location.nii.gz"
"""Names of the images that the counts of a confirmed visit read beside its masks."""


def files_of_counts(derivatives: DerivativeDataset, subject: str, visit: str) -> dict[str, Path]:
    """The images that the counts of a confirmed visit read beside its masks.

    Parameters
    ----------
    derivatives : DerivativeDataset
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    dict of str to Path
        By name; `T1_HYPOINTENSITY_FILE` is absent without T1 before contrast.
    """
    files = {
        FLAIR_FILE: derivatives.image(subject, visit, Contrast.FLAIR),
        T1_HYPOINTENSITY_FILE: derivatives.t1_hypointensity(subject, visit),
        LOCATION_FILE: derivatives.space(subject).location,
    }
    return {name: path for name, path in files.items() if name != T1_HYPOINTENSITY_FILE or path.is_file()}


def _mask(derivatives: DerivativeDataset, subject: str, visit: str, label: MaskLabel) -> LabelImage | None:
    return read_labels(derivatives.mask(subject, visit, label))


def read_labels(path: Path) -> LabelImage | None:
    """Read the labels of a derivative.

    Parameters
    ----------
    path : Path

    Returns
    -------
    LabelImage or None
        None if the file is missing.

    Raises
    ------
    ImageError
        If the file is damaged.
    """
    return nifti.load_labels(path) if path.is_file() else None
