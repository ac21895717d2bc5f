"""Judgement of a dummy run: its headers and images, by the limits of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mri_pipeline.core.errors import (
    IdentityError,
)
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import Contrast
from qc.acceptance import JudgedDummyRun, judge_dummy_run
from qc.compliance import UploadPurpose
from qc.scan_profile import scan_profile
from workflows.intake import IntakeJob, run_intake


def accept_dummy_run(
    upload: Path,
    *,
    protocol: Protocol,
    site: str,
    trial: Path,
    work_dir: Path,
    cleared: frozenset[str] = frozenset(),
    stated: Mapping[Contrast, int] | None = None,
) -> tuple[JudgedDummyRun, IdentityError | None]:
    """Judge a site's dummy run, headers and images.

    Parameters
    ----------
    upload : Path
        Zip, tar or folder of DICOM.
    protocol : Protocol
    site : str
        A site of the protocol.
    trial : Path
        Folder of the trial, with its secrets.
    work_dir : Path
        New private folder; removed by the caller.
    cleared : frozenset of str
        Header elements by series whose values are no identities (`Blinding.cleared`).
    stated : mapping of Contrast to int, optional
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).

    Returns
    -------
    run : JudgedDummyRun
        With its verdict. A violation of the protocol does not raise an error, so that the site gets the whole list.
    alarm : IdentityError or None
        An identity that would remain after de-identification. It is one of the refusals of `run`.

    Raises
    ------
    SettingsError
        If the protocol has no such site.
    UploadRefusedError
        If the upload is unsafe or unreadable, or mixes patients or studies.
    """
    protocol.site(site)
    job = IntakeJob(
        upload, trial, protocol, UploadPurpose.DUMMY_RUN, code="DUMMYRUN", cleared=cleared, stated=stated or {}
    )
    result = run_intake(job, work_dir)
    checked, converted, refusal = result.checked, result.converted, result.refusal
    alarm = refusal if isinstance(refusal, IdentityError) else None
    if converted is None:
        compliance = checked.compliance
        profile = checked.profile if alarm is None else None  # model and software are shown in the report
    else:
        compliance, chosen = converted.decision.compliance, converted.decision.chosen
        profile = scan_profile(chosen) if chosen else None
    images = {} if converted is None else converted.images()
    run = judge_dummy_run(
        site,
        protocol=protocol,
        compliance=compliance,
        conversion_fault="" if refusal is None else refusal.message,
        recognised=checked.recognised,
        profile=profile,
        images=images,
        measures={} if converted is None else {c: converted.measures[c] for c in images},
    )
    return run, alarm
