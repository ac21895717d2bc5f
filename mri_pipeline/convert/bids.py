"""Write accepted scans to the BIDS dataset of the trial, without names, dates and sites."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mri_pipeline import __version__
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.nifti import compress, save_scan
from mri_pipeline.core.layout import RawDataset
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast

BIDS_VERSION: Final = "1.10.0"

_README = """# {name}: blinded scans

Anatomical MRI of a clinical trial, written by mri-pipeline {version} from de-identified DICOM.
Subjects have blinded codes. Sessions are the planned visits. The dataset contains no dates, names, sites or treatment
arms.

The images are not defaced: treat them as personal data.
"""


def ensure_dataset(raw: RawDataset, *, name: str) -> None:
    """Write the dataset-level files of a BIDS dataset that do not exist yet.

    Parameters
    ----------
    raw : RawDataset
    name : str
        The trial's name.
    """
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "mri-pipeline", "Version": __version__}],
    }
    for file, text in (
        ("dataset_description.json", json.dumps(description, indent=2) + "\n"),
        ("README.md", _README.format(name=name, version=__version__)),
        ("participants.json", json.dumps({"participant_id": {"Description": "Blinded code"}}, indent=2) + "\n"),
    ):
        if not (raw.root / file).exists():
            write_atomic(raw.root / file, text)


def write_visit(
    raw: RawDataset,
    subject: str,
    visit: str,
    scans: Mapping[Contrast, tuple[Image | Path, Mapping[str, Any]]],
    *,
    unenhanced: tuple[Image | Path, Mapping[str, Any]] | None = None,
    replace: bool = False,
) -> dict[Contrast, Path]:
    """Write the scans of one visit with their sidecars, and enter the subject in ``participants.tsv``.

    Parameters
    ----------
    raw : RawDataset
        Initialised by `ensure_dataset`.
    subject, visit : str
        Blinded code and visit label.
    scans : mapping of Contrast to (Image or Path, sidecar)
        A path is that of a file of `mri_pipeline.core.io.nifti.save_scan`.
    unenhanced : (Image or Path, sidecar), optional
        A post-contrast T1 without enhancement (`RawDataset.unenhanced`).
    replace : bool, optional
        Replace an existing visit. Its earlier scans are removed.

    Returns
    -------
    dict of Contrast to Path
        The images written.

    Raises
    ------
    UsageError
        If the visit exists and `replace` is False.
    """
    if present := raw.scans(subject, visit):
        if not replace:
            raise UsageError(
                f"expected no scans of visit {visit}, found {', '.join(contrast.value for contrast in present)}",
                hint="to replace the visit: mri-pipeline ingest ... --replace REASON",
            )
        for old in raw.anat(subject, visit).iterdir():
            old.unlink()
    written = {}
    for contrast, (image, sidecar) in scans.items():
        agent = {"ContrastBolusIngredient": "GADOLINIUM"} if contrast is Contrast.T1W_GD else {}
        written[contrast] = _write(raw.image(subject, visit, contrast), image, {**sidecar, **agent})
    if unenhanced is not None:
        _write(raw.unenhanced(subject, visit), *unenhanced)
    list_participants(raw)
    return written


def list_participants(raw: RawDataset) -> None:
    """Write ``participants.tsv`` with all subjects on disk.

    Parameters
    ----------
    raw : RawDataset
    """
    write_atomic(raw.root / "participants.tsv", _participants(raw))


def _write(path: Path, image: Image | Path, sidecar: Mapping[str, Any]) -> Path:
    text = json.dumps(dict(sidecar), indent=2, sort_keys=True) + "\n"
    write_atomic(path.with_name(path.name.replace(".nii.gz", ".json")), text)
    return compress(image, path) if isinstance(image, Path) else save_scan(image, path)


def _participants(raw: RawDataset) -> str:
    codes = {f"sub-{code}" for code in raw.subjects()}
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["participant_id"])
    writer.writerows([code] for code in sorted(codes))
    return text.getvalue()
