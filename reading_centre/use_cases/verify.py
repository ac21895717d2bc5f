"""Comparison of results with their provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mri_pipeline.analysis.publication import Provenance, output_digests
from mri_pipeline.core import provenance
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.layout import TRIAL_FILE, Trial, what_is_at


@dataclass(frozen=True)
class VerifiedResults:
    """Result of a verification.

    Parameters
    ----------
    subjects, inputs, outputs : int
        Number of subjects with a provenance, and of their scans and results that were compared.
    absent : tuple of str
        Scans that are not at hand, and could not be compared.
    other_software : dict of str to str
        Software of the analyses that differs from the present one, as ``analysed by, present``, by name.
    deviations : tuple of str
        One sentence each.
    """

    subjects: int
    inputs: int
    outputs: int
    absent: tuple[str, ...]
    other_software: dict[str, str]
    deviations: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def verify_results(folder: Path) -> VerifiedResults:
    """Compute the digests of all results and of their scans again, and compare them with the provenance.

    Parameters
    ----------
    folder : Path
        Output of ``bids``, or a trial.

    Returns
    -------
    VerifiedResults

    Raises
    ------
    UsageError
        If the folder holds no results.
    """
    is_trial = (folder / TRIAL_FILE).is_file()
    derivatives = Trial.existing(folder).derivatives if is_trial else DerivativeDataset(folder.resolve())
    subjects = derivatives.subjects()
    if not subjects:
        raise UsageError(
            f"expected the output of 'bids' or an analysed trial, found {what_is_at(folder)}"
            if not folder.is_dir()
            else "expected results of subjects, found none",
            hint="give OUT_DIR of 'mri-pipeline bids', or the folder of a trial",
        )
    raw = _raw(derivatives)
    present, verified, inputs, outputs = provenance.software(), 0, 0, 0
    absent: list[str] = []
    others: dict[str, str] = {}
    deviations: list[str] = []
    for subject in subjects:
        try:
            stated = Provenance.model_validate_json(derivatives.provenance(subject).read_bytes())
        except (OSError, ValidationError):
            if derivatives.result(subject).is_file():
                deviations.append(f"sub-{subject}: expected the provenance of its results, found none")
            continue
        verified += 1
        outputs += len(stated.outputs)
        deviations += _differing(f"sub-{subject}", stated.outputs, output_digests(derivatives, subject))
        scans = {name: file_digest(raw / name) for name in stated.inputs if raw and (raw / name).is_file()}
        inputs += len(scans)
        absent += [name for name in stated.inputs if name not in scans]
        deviations += [
            f"{name}: expected the scan that was analysed, found another one"
            for name, digest in scans.items()
            if digest != stated.inputs[name]
        ]
        others |= {
            name: f"analysed by {version}, present {present.get(name, 'none')}"
            for name, version in stated.software.items()
            if version != present.get(name)
        }
    return VerifiedResults(verified, inputs, outputs, tuple(absent), others, tuple(deviations))


def _raw(derivatives: DerivativeDataset) -> Path | None:
    """Folder of the dataset of the scans; None if the description of the results does not name it."""
    try:
        description = json.loads((derivatives.root / "dataset_description.json").read_bytes())
        return (derivatives.root / str(description["DatasetLinks"]["raw"])).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differing(where: str, stated: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*stated, *found}):
        if name not in found:
            yield f"{where}/{name}: expected a result of the analysis, found none"
        elif name not in stated:
            yield f"{where}/{name}: expected no such file, found one"
        elif stated[name] != found[name]:
            yield f"{where}/{name}: expected the result of the analysis, found another file"
