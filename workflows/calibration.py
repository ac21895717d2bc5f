"""Workflow of the self-calibration of a subject's scans."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import VisitScans
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from workflows.fields import contrast_fields, merge_node, subject_fields
from workflows.interfaces.base import TISSUE_FIELDS
from workflows.interfaces.calibration import Calibrate


def own_lesions(visits: Sequence[VisitScans]) -> list[str]:
    """Fields of the lesions that the analysis found at every visit.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    list of str
        Such as ``wk04_t2_lesions``.
    """
    return [f"{v.visit}_{field}" for v in visits for field in _own_lesions(v)]


def _own_lesions(visit: VisitScans) -> list[str]:
    return ["t2_lesions", *(["gel"] if Contrast.T1W_GD in visit.scans else [])]


def init_calibration_wf(
    *, visits: Sequence[VisitScans], rules: LesionRules, name: str = "calibration_wf"
) -> pe.Workflow:
    """Measure the detection rates of simulated lesions in the scans of every visit.

    Parameters
    ----------
    visits : sequence of VisitScans
        Scans that are used, in the order of time.
    rules : LesionRules
    name : str
        Name of the workflow.

    Inputs
    ------
    white_matter, grey_matter, csf, location, lesion_prior, template_to_subject
        Maps of the subject.
    <visit>_<contrast>, <visit>_transforms, <visit>_brain
        Every scan on the subject's grid, its transform, and the brain mask within the field of view of the visit.
    <visit>_t2_lesions, <visit>_gel
        Lesions that the analysis found.

    Outputs
    -------
    rates
        Table of the detection rates of each visit.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        niu.IdentityInterface(fields=[*subject_fields(visits), *own_lesions(visits)]), name="inputnode"
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=["rates"]), name="outputnode")
    all_rates = merge_node("all_rates", len(visits))
    workflow.connect([(all_rates, outputnode, [("out", "rates")])])
    for entry, visit in enumerate(visits, start=1):
        calibrate = pe.Node(
            Calibrate(
                visit=visit.visit,
                scans={contrast.value: str(path) for contrast, path in visit.scans.items()},
                rules=rules.model_dump_json(),
            ),
            name=f"calibrate_{visit.visit}",
            mem_gb=1.5,
        )
        own = (*contrast_fields(visit), "brain", "transforms", *_own_lesions(visit))
        workflow.connect([
            (inputnode, calibrate, [(field, field) for field in TISSUE_FIELDS]),
            (inputnode, calibrate, [(f"{visit.visit}_{field}", field) for field in own]),
            (calibrate, all_rates, [("rates", f"in{entry}")]),
        ])  # fmt: skip
    return workflow
