"""Description of the derivative dataset: ``dataset_description.json``, ``.bidsignore`` and README."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mri_pipeline.core import provenance
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.protocol import LesionRules

_BIDS_VERSION = "1.10.0"
# BIDS has no name for transforms yet
_IGNORED = (
    "work",  # without a final slash: the validator would not match the files below
    "tables",
    "reports",
    ".locks",
    ".sub-*",  # results of an analysis in progress
    "*_result.json",
    "*_index.json",
    "*_space.json",
    "*_xfm.txt",
    "*_xfm.json",
)


def write_dataset_description(
    derivatives: Path, *, settings_digest: str, rules: LesionRules, raw: Path | None = None
) -> None:
    """Write the dataset description with software, settings and segmenter, ``.bidsignore`` and a README.

    Parameters
    ----------
    derivatives : Path
        Root of the derivative dataset.
    settings_digest : str
    rules : LesionRules
    raw : Path, optional
        Dataset of the scans. Sidecars name their sources in it as ``bids:raw:<path>``.
    """
    versions = provenance.software()
    generated = [
        {
            "Name": "mri-pipeline",
            "Version": versions["mri-pipeline"],
            "Description": f"protocol settings {settings_digest}; "
            + ", ".join(f"{name} {version}" for name, version in versions.items() if name != "mri-pipeline"),
        }
    ]
    description: dict[str, Any] = {
        "Name": "Lesions of multiple sclerosis over time",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": generated,
    }
    if raw is not None:
        link = Path(os.path.relpath(raw, derivatives)).as_posix()
        description |= {"SourceDatasets": [{"URL": link}], "DatasetLinks": {"raw": link}}
    if rules.segmenter is not None:
        name, version = provenance.t2_segmenter(rules)
        generated.append({"Name": name, "Version": version, "Description": "T2 lesions"})
    write_atomic(
        derivatives / "dataset_description.json", json.dumps(description, indent=2, sort_keys=True) + "\n"
    )
    write_atomic(derivatives / ".bidsignore", "\n".join(_IGNORED) + "\n")
    write_atomic(
        derivatives / "README.md",
        "Scans in the midpoint space of the subject, lesion masks, and the transforms to this space.\n"
        "Volumes are voxel count times voxel volume in this space. A lesion has the same number at all visits.\n",
    )
