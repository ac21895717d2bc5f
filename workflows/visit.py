"""Workflows of alignment: brain mask, registration of contrasts to the FLAIR and of visits to one visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import VisitScans
from mri_pipeline.core.visits import Contrast
from workflows.interfaces.base import FIELD
from workflows.interfaces.registration import ExtractBrain, RecordMatch, RecordVisit, Register

_OF_THE_FLAIR = ("brain", "template_to_flair", "skull_stripped", "brain_quality", "scan_digest")


def init_visit_wf(*, scans: Mapping[Contrast, Path], name: str = "visit_wf") -> pe.Workflow:
    """Extract the brain of one visit and register its contrasts to its FLAIR.

    Parameters
    ----------
    scans : mapping of Contrast to Path
        Available scans; FLAIR is required.
    name : str
        Name of the workflow.

    Inputs
    ------
    flair, t1w, t1w_gd, t2w, pdw
        The scans as acquired; only those of `scans` are declared.

    Outputs
    -------
    brain
        Brain mask on the FLAIR's grid.
    template_to_flair
        Affine from the template's world.
    skull_stripped, brain_quality, scan_digest
        True if the FLAIR is already skull-stripped; quality of its match to the template; digest of its voxels.
    t1w_match, t1w_gd_match, t2w_match, pdw_match
        Registrations of the available contrasts. A failed registration is marked as failed.
    """
    workflow = pe.Workflow(name=name)
    others = [contrast for contrast in scans if contrast is not Contrast.FLAIR]
    found = list(_OF_THE_FLAIR)
    inputnode = pe.Node(niu.IdentityInterface(fields=[FIELD[c] for c in scans]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(fields=[*found, *(f"{FIELD[c]}_match" for c in others)]), name="outputnode"
    )
    inputnode.inputs.trait_set(**{FIELD[contrast]: str(path) for contrast, path in scans.items()})

    brain = pe.Node(ExtractBrain(), name="brain", mem_gb=0.8)
    workflow.connect([
        (inputnode, brain, [("flair", "flair")]),
        (brain, outputnode, [(field, field) for field in found]),
    ])  # fmt: skip
    for contrast in others:
        field = FIELD[contrast]
        register = pe.Node(Register(intra_modal=False), name=f"register_{field}", mem_gb=0.8)
        workflow.connect([
            (inputnode, register, [("flair", "fixed"), (field, "moving")]),
            (brain, register, [("brain", "fixed_brain")]),
            (register, outputnode, [("match", f"{field}_match")]),
        ])  # fmt: skip
    return workflow


def visit_record_file(folder: Path, visit: str) -> Path:
    """Path of a visit's record of `init_alignment_wf`.

    Parameters
    ----------
    folder : Path
        Folder of the records.
    visit : str
        Label of the visit.

    Returns
    -------
    Path
    """
    return folder / f"{visit}.json"


def match_record_file(folder: Path, visit: str, reference: str) -> Path:
    """Path of the record of a visit's registration to the reference.

    Parameters
    ----------
    folder : Path
        Folder of the records.
    visit, reference : str
        Labels of the visits.

    Returns
    -------
    Path
    """
    return folder / f"{visit}-to-{reference}.json"


def init_alignment_wf(
    *,
    visits: Sequence[VisitScans],
    reference: str,
    registered: Sequence[str],
    folder: Path,
    name: str = "alignment_wf",
) -> pe.Workflow:
    """Extract the brains of all visits, register their contrasts to their FLAIR and their FLAIRs to one visit.

    Parameters
    ----------
    visits : sequence of VisitScans
        In the order of time.
    reference : str
        Visit to which the other visits are registered.
    registered : sequence of str
        Visits to register.
    folder : Path
        Folder of the records. A visit that could not be used has no record.
    name : str
        Name of the workflow.

    Inputs
    ------
    none; the scans are those of `visits`

    Outputs
    -------
    records
        Record files, if every visit could be used.
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(niu.IdentityInterface(fields=["records"]), name="outputnode")
    records = pe.Node(niu.Merge(len(visits) + len(registered)), name="records", run_without_submitting=True)
    workflow.connect([(records, outputnode, [("out", "records")])])
    visit_wfs = {v.visit: init_visit_wf(scans=v.scans, name=f"visit_{v.visit}_wf") for v in visits}
    for number, visit in enumerate(visits, start=1):
        others = [FIELD[c] for c in visit.scans if c is not Contrast.FLAIR]
        found = [*_OF_THE_FLAIR, *(f"{field}_match" for field in others)]
        record_visit = pe.Node(
            RecordVisit(file=str(visit_record_file(folder, visit.visit))), name=f"record_{visit.visit}",
            run_without_submitting=True,
        )  # fmt: skip
        workflow.connect([
            (visit_wfs[visit.visit], record_visit, [(f"outputnode.{field}", field) for field in found]),
            (record_visit, records, [("record", f"in{number}")]),
        ])  # fmt: skip
    for number, label in enumerate(registered, start=len(visits) + 1):
        way = f"{label}_to_{reference}"
        register = pe.Node(Register(intra_modal=True), name=f"register_{way}", mem_gb=0.8)
        record_match = pe.Node(
            RecordMatch(file=str(match_record_file(folder, label, reference))), name=f"record_{way}",
            run_without_submitting=True,
        )  # fmt: skip
        workflow.connect([
            (visit_wfs[reference], register, [("inputnode.flair", "fixed"), ("outputnode.brain", "fixed_brain")]),
            (visit_wfs[label], register, [("inputnode.flair", "moving"), ("outputnode.brain", "moving_brain")]),
            (register, record_match, [("match", "match")]),
            (record_match, records, [("record", f"in{number}")]),
        ])  # fmt: skip
    return workflow
