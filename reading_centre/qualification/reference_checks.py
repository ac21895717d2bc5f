"""Operational qualification (OQ): the digital reference trial against its truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from mri_pipeline.core.errors import GateClosedError, UsageError, listed
from mri_pipeline.core.io.itk import load_transform
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ScanStatus
from mri_pipeline.core.visits import Contrast
from mri_pipeline.phantom.trial import Upload, UploadKind
from mri_pipeline.registry import Gate, Registry, Use
from reading_centre.qualification.checks import Check, Result, check
from reading_centre.qualification.contents import contents
from reading_centre.qualification.limits import Limit, load_limits
from reading_centre.qualification.reference import Reference
from reading_centre.use_cases.analysis.run import run_trial
from reading_centre.use_cases.analysis.verify import verify_results
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.uploads.ingest.visit import receive_visit
from workflows.executors import Execution

REGISTRATION_MM: Final = 1.0
"""Largest error of a registration within the brain. docs/accuracy.md has 0.58 mm at worst."""
_RADIUS_MM: Final = 60.0
"""The error of a registration is measured at points of a sphere of this radius, which a brain contains."""


def limit_checks() -> tuple[Check[Reference], ...]:
    """A check for each limit.

    Returns
    -------
    tuple of Check
    """
    return tuple(Check(limit.requirement, limit.expected, partial(_within, limit)) for limit in load_limits())


def _within(limit: Limit, reference: Reference) -> Result:
    """Compare a column with the truth, row by row."""
    truth = {(row["subject"], row["visit"]): row for row in reference.run.true_timepoints()}
    rows = reference.timepoints()
    if {(row["subject"], row["visit"]) for row in rows} != set(truth):
        return False, "other rows than those of the truth"
    errors = {}
    for row in rows:
        true = truth[row["subject"], row["visit"]]
        errors[row["subject"], row["visit"]] = limit.error(row[limit.column], true[limit.column])
    allowed = limit.max_difference if limit.max_error_percent is None else limit.max_error_percent
    visits = [row for row in rows if row[limit.column]]
    if not visits or allowed is None:
        return False, "no value"
    worst = max(errors.values())
    unit = " %" if limit.max_error_percent is not None else ""
    equal = sum(errors[row["subject"], row["visit"]] == 0 for row in visits)
    found = f"largest difference {worst:.3g}{unit}, {equal} of {len(visits)} values equal"
    return worst <= allowed, found


@check("INTAKE-01", "the dummy run at 1.0 T is refused for its field strength")
def field_strength(reference: Reference) -> Result:
    """Look for the gate of the site with the weak scanner, and the reason.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    with _registry(reference.trial) as registry:
        gates = {site.code: site.gate for site in registry.state().sites}
    weak = [upload for upload in reference.run.source.uploads if not upload.accepted]
    reasons = [record["reason"] for record in _quarantined(reference.trial)]
    refused = bool(weak) and all(gates[upload.site] is Gate.REFUSED for upload in weak)
    named = [reason for reason in reasons if "field strength of at least 1.5 T" in reason]
    return refused and len(named) == len(weak), listed(named or reasons) or "no refusal"


@check("INTAKE-02", "a visit of the site without an accepted dummy run is refused")
def gate(reference: Reference) -> Result:
    """Send a visit of the other site under the site whose dummy run was refused.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    weak = next(upload for upload in reference.run.source.uploads if not upload.accepted)
    visit = _visits(reference)[0]
    with reference.copy("derivatives", "reports", "tables") as trial:
        try:
            receive_visit(
                trial.root, reference.run.source.path(visit), site=weak.site, subject=f"{weak.site}-001",
                visit=visit.visit, before_infusion=True,
            )  # fmt: skip
        except GateClosedError as error:
            with _registry(trial) as registry:
                entered = len(registry.subjects())
            return entered == len(reference.run.codes), error.message
    return False, "accepted"


@check("INTAKE-03", "the refused upload, file by file, with the reason")
def quarantine(reference: Reference) -> Result:
    """Compare the files in quarantine with those that were sent.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    weak = [upload for upload in reference.run.source.uploads if not upload.accepted]
    sent = sorted(_digests(reference.run.source.path(upload) for upload in weak))
    kept = sorted(_digests(folder / "upload" for folder in reference.trial.quarantine.iterdir()))
    reasons = [record["reason"] for record in _quarantined(reference.trial)]
    found = f"{len(kept)} files of {len(sent)}, {len(reasons)} reasons"
    return bool(sent) and kept == sent and all(reasons) and len(reasons) == len(weak), found


@check("IMAGE-01", f"every scan registered, with an error of at most {REGISTRATION_MM:g} mm")
def registrations(reference: Reference) -> Result:
    """Compare the transforms with the true positions of all series.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    number_of = {code: number for number, code in reference.run.codes.items()}
    errors, missing = [], []
    for subject, number in number_of.items():
        moved = []
        for upload in (one for one in _visits(reference) if one.subject == number):
            for contrast in reference.trial.rawdata.scans(subject, upload.visit):
                path = reference.trial.derivatives.transform(subject, upload.visit, contrast)
                if path.is_file():
                    name = "T1wGd" if contrast is Contrast.T1W_GD else contrast.value
                    pose = load_transform(
                        reference.run.source.truth / number / f"{upload.visit}_from-subject_to-{name}.txt"
                    )
                    moved.append((load_transform(path) @ pose).points(_sphere()))
                else:
                    missing.append(f"{upload.visit} {contrast.value}")
        errors += [float(np.linalg.norm(one - moved[0], axis=1).max()) for one in moved]
    if missing or not errors:
        return False, f"not registered: {listed(missing)}"
    return max(errors) <= REGISTRATION_MM, f"{len(errors)} scans, largest error {max(errors):.2f} mm"


def _sphere() -> np.ndarray:
    corners = np.array(np.meshgrid(*[(-1.0, 0.0, 1.0)] * 3)).reshape(3, -1).T
    length = np.linalg.norm(corners, axis=1, keepdims=True)
    return np.asarray(_RADIUS_MM * corners / np.maximum(length, 1))


@check("TABLE-01", "a row for every planned visit; that of the missing visit has no values")
def missing_visit(reference: Reference) -> Result:
    """Look at the rows of the visits that were not sent.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    protocol = load_protocol(reference.trial.protocol_file)
    planned = {(code, visit.label) for code in reference.run.codes.values() for visit in protocol.visits}
    sent = {(reference.run.codes[upload.subject], upload.visit) for upload in _visits(reference)}
    rows = {(row["subject"], row["visit"]): row for row in reference.timepoints()}
    never = [rows.get(key, {}) for key in sorted(planned - sent)]
    identity = {"subject", "visit", "week", "scan_status"}
    empty = all(
        row.get("scan_status") == ScanStatus.MISSING.value
        and not any(value for name, value in row.items() if name not in identity)
        for row in never
    )
    found = f"{len(rows)} rows for {len(planned)} planned visits, {len(never)} missing, "
    return bool(never) and set(rows) == planned and empty, found + ("empty" if empty else "not empty")


@check("TABLE-02", "counts and volumes at the first visit, comparisons at the later ones only")
def first_visit(reference: Reference) -> Result:
    """Look at the columns that compare, and at those that do not.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    comparing = ("gel_new_count", "new_t2_count", "enlarging_t2_count", "combined_unique_active_count")
    single = ("gel_count", "t2_count", "t2_volume_ml")
    wrong, first = [], 0
    for row in reference.timepoints():
        if row["scan_status"] != ScanStatus.ANALYSED.value:
            continue
        first += not row["reference_visit"]
        compared = [bool(row[name]) for name in comparing]
        if not all(row[name] for name in single) or set(compared) != {bool(row["reference_visit"])}:
            wrong.append(f"{row['subject']} {row['visit']}")
    found = listed(wrong) or f"as expected, {first} first visits"
    return not wrong and first == len(reference.run.codes), found


@check("TABLE-05", "without a locked read no final tables")
def no_final_tables(reference: Reference) -> Result:
    """Ask for final tables before anybody has read.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    with reference.copy() as trial:
        try:
            write_trial_tables(trial.root, provisional=False)
        except UsageError as error:
            return "locked reads" in error.message, error.message
    return False, "tables"


@check("RUN-02", "no subject analysed again, no changed byte")
def second_run(reference: Reference) -> Result:
    """Run the analysis and write the tables again.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    kept = (reference.trial.derivatives.root, reference.trial.tables)
    before = contents(*kept)
    outcome = run_trial(reference.trial.root, execution=Execution(nprocs=reference.nprocs))
    write_trial_tables(reference.trial.root, provisional=True)
    again = [one.subject for one in outcome.outcomes if not one.unchanged]
    after = contents(*kept)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    found = f"{len(before)} files, changed: {listed(changed) or 'none'}; analysed again: {listed(again) or 'none'}"
    return not again and not changed and bool(before), found


@check("RUN-03", "every scan and result as in its provenance")
def provenance(reference: Reference) -> Result:
    """Compute all digests again, as ``verify`` does.

    Parameters
    ----------
    reference : Reference

    Returns
    -------
    Result
    """
    found = verify_results(reference.trial.root)
    faults = (*found.deviations, *found.absent, *found.failed, *found.other_software)
    whole = found.subjects == len(reference.run.codes)
    return not faults and whole, listed(
        faults
    ) or f"{found.inputs} scans and {found.outputs} results of {found.subjects} subjects"


def _visits(reference: Reference) -> Sequence[Upload]:
    return [upload for upload in reference.run.source.uploads if upload.kind is UploadKind.VISIT]


def _registry(trial: Trial) -> Registry:
    return Registry.open(trial, load_protocol(trial.protocol_file), Use.SHOW)


def _quarantined(trial: Trial) -> list[Mapping[str, str]]:
    return [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(trial.quarantine.glob("*/reason.json"))
    ]


def _digests(folders: Iterator[Path]) -> Iterator[str]:
    for folder in folders:
        yield from contents(folder).values()


OQ_TRUTH: tuple[Check[Reference], ...] = (
    field_strength, gate, quarantine, registrations, *limit_checks(), missing_visit, first_visit, no_final_tables,
    second_run, provenance,
)  # fmt: skip
