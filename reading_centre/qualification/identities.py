"""Operational qualification (OQ): no identity of a patient of the reference trial leaves the gate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nibabel as nib

from mri_pipeline.core.errors import listed
from mri_pipeline.phantom.trial import ReferenceTrial, made_up_patient, visit_study
from reading_centre.qualification.checks import Result, check
from reading_centre.qualification.reference import Reference

_PRIVATE: Final = frozenset({"sealed", "quarantine"})
_PICTURE: Final = re.compile(rb"base64,[A-Za-z0-9+/=]+")


def known_identities(source: ReferenceTrial) -> set[str]:
    """All that identifies a patient in the uploads: names, hospital and trial numbers, birth and scan dates.

    Parameters
    ----------
    source : ReferenceTrial

    Returns
    -------
    set of str
    """
    found: set[str] = set()
    for upload in source.uploads:
        if upload.subject:
            patient, study = (
                made_up_patient(upload.subject, source.seed),
                visit_study(upload.subject, upload.visit, source.seed),
            )
            found |= {*patient.name.split("^"), patient.patient_id, upload.subject}
            found |= {
                f"{day:{form}}" for day in (patient.birth_date, study.started) for form in ("%Y%m%d", "%Y-%m-%d")
            }
    return found


def pattern_of(source: ReferenceTrial) -> re.Pattern[bytes]:
    """Pattern of the identities, in any case of letters.

    Parameters
    ----------
    source : ReferenceTrial

    Returns
    -------
    re.Pattern
    """
    return re.compile("|".join(map(re.escape, sorted(known_identities(source)))).encode(), re.IGNORECASE)


@check("INTAKE-04", "no identity in names and contents of files, except in sealed/ and quarantine/")
def no_identity(reference: Reference) -> Result:
    """Search every file of the trial for the identities that were sent.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    pattern, root = pattern_of(reference.run.source), reference.trial.root
    found, searched = [], 0
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        searched += 1
        if pattern.search(name.encode()) or pattern.search(_text(path)):
            found.append(name.split("/")[0])  # the name itself may identify
    return (
        not found and searched > 0,
        f"{searched} files searched, identities in {len(found)} {listed(set(found))}".strip(),
    )


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.relative_to(root).parts[0] not in _PRIVATE:
            yield path


def _text(path: Path) -> bytes:
    """Content without voxels and pictures, which are numbers that may hold any text by chance."""
    if path.name.endswith((".nii.gz", ".nii")):
        return bytes(nib.load(path).header.binaryblock)
    return _PICTURE.sub(b"", path.read_bytes())
