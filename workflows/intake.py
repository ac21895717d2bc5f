"""Workflow of the intake of an upload: unpack, read, choose, de-identify, convert, verify, measure.

It decides and stores nothing. Its folder holds identified data: it lies in a private folder and is removed with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import load_resultfile

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.core.protocol import Protocol
from mri_pipeline.core.visits import Contrast
from qc.compliance import UploadPurpose
from qc.decision import ConvertedUpload
from qc.gate import CheckedUpload
from qc.protocol_change import PreviousScan
from workflows.engine import run_workflow
from workflows.interfaces.intake import (
    Choose,
    Convert,
    Deidentify,
    Measure,
    ReadHeaders,
    Unpack,
    Verify,
    original_faults,
)
from workflows.plugin import Plugin


@dataclass(frozen=True)
class IntakeJob:
    """An upload and what is known of it.

    Parameters
    ----------
    upload : Path
        Folder, zip or tar of DICOM.
    trial : Path
        Folder of the trial. Its secrets are read from ``sealed/``.
    protocol : Protocol
    purpose : UploadPurpose
    code : str
        Replaces name and number of the patient.
    site : str
        Code of the site whose scans are compared with this one; empty if none are.
    cleared : frozenset of str
        `mri_pipeline.intake.deidentify.Blinding.cleared`.
    previous : PreviousScan or None
        Another visit of the patient.
    overruled : bool
        True if the reading centre accepts violated limits.
    stated : mapping of Contrast to int
        Series numbers by the site's statement (`mri_pipeline.intake.stated`).
    """

    upload: Path
    trial: Path
    protocol: Protocol
    purpose: UploadPurpose
    code: str
    site: str = ""
    cleared: frozenset[str] = frozenset()
    previous: PreviousScan | None = None
    overruled: bool = False
    stated: Mapping[Contrast, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class IntakeResult:
    """An upload after the workflow.

    Parameters
    ----------
    checked : CheckedUpload
    converted : ConvertedUpload or None
        None if it was refused after its headers were judged.
    refusal : UploadRefusedError or None
    """

    checked: CheckedUpload
    converted: ConvertedUpload | None
    refusal: UploadRefusedError | None

    def require(self) -> ConvertedUpload:
        """The converted upload.

        Returns
        -------
        ConvertedUpload

        Raises
        ------
        UploadRefusedError
            `refusal`.
        """
        if self.converted is None:
            raise self.refusal or UploadRefusedError("expected a converted upload, found none")
        return self.converted


def init_intake_wf(*, job: IntakeJob, name: str = "intake_wf") -> pe.Workflow:
    """Take an upload to converted scans.

    Parameters
    ----------
    job : IntakeJob
    name : str
        Name of the workflow.

    Inputs
    ------
    none; the upload is that of `job`

    Outputs
    -------
    checked
        The series and the judgement of their headers.
    files
        A volume and its metadata for each chosen series.
    decision
        Which T1 is before and which after contrast, by the images.
    measures
        Image quality of each scan.
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["checked", "files", "decision", "measures"]), name="outputnode"
    )
    trial = str(job.trial)
    unpack = pe.Node(Unpack(upload=str(job.upload), max_upload_mb=job.protocol.max_upload_mb), name="unpack")
    read = pe.Node(ReadHeaders(trial=trial, site=job.site), name="read")
    choose = pe.Node(
        Choose(
            protocol=job.protocol,
            purpose=job.purpose,
            previous=job.previous,
            overruled=job.overruled,
            stated=job.stated,
        ),
        name="choose",
    )
    deidentify = pe.Node(Deidentify(trial=trial, code=job.code, cleared=job.cleared), name="deidentify")
    convert = pe.Node(Convert(), name="convert")
    verify = pe.Node(Verify(), name="verify")
    measure = pe.Node(Measure(), name="measure")
    workflow.connect([
        (unpack, read, [("unpacked", "unpacked")]),
        (unpack, choose, [("unpacked", "unpacked")]),
        (read, choose, [("reading", "reading")]),
        (choose, deidentify, [("checked", "checked")]),
        (choose, convert, [("checked", "checked")]),
        (deidentify, convert, [("clean", "clean")]),
        (choose, verify, [("checked", "checked")]),
        (convert, verify, [("files", "files")]),
        (convert, measure, [("files", "files")]),
        (verify, measure, [("decision", "decision")]),
        (choose, outputnode, [("checked", "checked")]),
        (convert, outputnode, [("files", "files")]),
        (verify, outputnode, [("decision", "decision")]),
        (measure, outputnode, [("measures", "measures")]),
    ])  # fmt: skip
    return workflow


def run_intake(job: IntakeJob, work: Path) -> IntakeResult:
    """Run the workflow in this process.

    Parameters
    ----------
    job : IntakeJob
    work : Path
        New folder in a private folder, for the files of all nodes and for Nipype's crash files. They hold identified
        data; the caller removes the folder.

    Returns
    -------
    IntakeResult

    Raises
    ------
    UploadRefusedError
        If the upload is refused before its headers are judged.
    Exception
        The original error of the step, if it is no refusal. Errors of disks are among them.
    """
    workflow = init_intake_wf(job=job)
    workflow.base_dir = str(work)
    with original_faults() as faults:
        try:
            failed = run_workflow(workflow, plugin=Plugin.LINEAR, nprocs=1, crash_folder=work / "crashes")
        except OSError:  # of Nipype itself, for example on a full disk
            if not faults:
                raise
    checked = _output(workflow, "choose", "checked")
    if faults:
        if checked is None or not isinstance(faults[0], UploadRefusedError):
            raise faults[0]
        return IntakeResult(checked, None, faults[0])
    if failed:
        raise RuntimeError(f"unexpected failure of {failed[0]}")
    files, decision, measures = (
        _output(workflow, *field)
        for field in (("convert", "files"), ("verify", "decision"), ("measure", "measures"))
    )
    return IntakeResult(checked, ConvertedUpload(checked, decision, files, measures), None)


def _output(workflow: pe.Workflow, node: str, field: str) -> Any:
    """An output of a node; None if the node failed or did not run."""
    file = Path(workflow.base_dir) / workflow.name / node / f"result_{node}.pklz"
    outputs = load_resultfile(file).outputs if file.exists() else None
    return None if outputs is None else getattr(outputs, field)
