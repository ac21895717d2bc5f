"""Comparison of results with their provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mri_pipeline.analysis.publication import Provenance, output_digests
from mri_pipeline.core import provenance
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import read_whole
from mri_pipeline.core.layout import TRIAL_FILE, Trial, what_is_at
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry, ScanState, Use
from reading_centre.use_cases.analysis.overview import last_failure


@dataclass(frozen=True)
class VerifiedResults:
    """Result of a verification.

    Parameters
    ----------
    subjects, inputs, outputs : int
        Number of subjects with a provenance, and of their scans and results that were compared.
    failed : tuple of str
        Subjects whose last analysis failed, and that have no results.
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
    failed: tuple[str, ...]
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

    In a trial, every subject with an analysed scan must have results. Reports are not compared: later commands renew
    them.

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
    expected = _analysed(Trial.existing(folder)) if is_trial else set()
    subjects = sorted({*derivatives.subjects(), *expected})
    if not subjects:
        raise UsageError(
            f"expected the output of 'bids' or an analysed trial, found {what_is_at(folder)}"
            if not folder.is_dir()
            else "expected results of subjects, found none",
            hint="give OUT_DIR of 'mri-pipeline bids', or the folder of a trial",
        )
    total = _Comparison(_raw(derivatives))
    for subject in subjects:
        place = derivatives.folder(subject)
        one = read_whole(place, lambda: _compared(derivatives, subject, total.raw))  # noqa: B023 - called at once
        total.add(one)
    return VerifiedResults(
        total.subjects, total.inputs, total.outputs, tuple(total.failed), tuple(total.absent),
        total.other_software, tuple(total.deviations),
    )  # fmt: skip


@dataclass
class _Comparison:
    """Sums over subjects, as in `VerifiedResults`; `raw` is the folder of the dataset of the scans."""

    raw: Path | None
    subjects: int = 0
    inputs: int = 0
    outputs: int = 0
    failed: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    other_software: dict[str, str] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)

    def add(self, other: _Comparison) -> None:
        self.subjects += other.subjects
        self.inputs += other.inputs
        self.outputs += other.outputs
        self.failed += other.failed
        self.absent += other.absent
        self.other_software |= other.other_software
        self.deviations += other.deviations


def _compared(derivatives: DerivativeDataset, subject: str, raw: Path | None) -> _Comparison:
    """Comparison of one subject."""
    found, outputs = _Comparison(raw), output_digests(derivatives, subject)
    try:
        stated = Provenance.model_validate_json(derivatives.provenance(subject).read_bytes())
    except (OSError, ValidationError):
        if last_failure(derivatives, subject) and not derivatives.provenance(subject).exists():
            found.failed.append(subject)
        else:
            found.deviations.append(
                f"sub-{subject}: expected the provenance of its results, found none that is valid"
            )
        return found
    found.subjects, found.outputs = 1, len(stated.outputs)
    found.deviations += _differing(f"sub-{subject}", stated.outputs, outputs)
    for name, scan in stated.inputs.items():
        path = raw / scan.path if raw and scan.path else None
        if path is None or not path.is_file():
            found.absent.append(f"sub-{subject} {name}")
            continue
        found.inputs += 1
        if (digest := file_digest(path)) != scan.sha256:
            found.deviations.append(
                f"sub-{subject} {name}: expected the scan that was analysed (SHA-256 {scan.sha256[:12]}), found "
                f"SHA-256 {digest[:12]}"
            )
    present = provenance.software()
    found.other_software |= {
        name: f"analysed by {version}, present {present.get(name, 'none')}"
        for name, version in stated.software.items()
        if version != present.get(name)
    }
    return found


def _analysed(trial: Trial) -> set[str]:
    """Subjects of a trial with an analysed scan."""
    with Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW) as registry:
        subjects = registry.state().subjects
    return {one.code for one in subjects if any(visit.scan is ScanState.ANALYSED for visit in one.visits)}


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
            yield f"{where}/{name}: the analysis did not write this file"
        elif stated[name] != found[name]:
            yield (
                f"{where}/{name}: expected the result of the analysis (SHA-256 {stated[name][:12]}), found SHA-256 "
                f"{found[name][:12]}"
            )
