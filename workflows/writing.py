"""Workflow that writes the derivatives of a subject's visits."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.io.results import quality_text
from workflows.alignment.selection import Alignment
from workflows.fields import merge_node, pick, segmented_fields, written_inputs
from workflows.interfaces.output import WriteVisit


def init_write_wf(*, job: SubjectJob, alignment: Alignment, name: str = "write_wf") -> pe.Workflow:
    """Write the derivatives of every visit.

    Parameters
    ----------
    job : SubjectJob
        Rules and folders.
    alignment : Alignment
        Usable visits and scans, and their quality.
    name : str
        Name of the workflow.

    Inputs
    ------
    lesions, changes
        Results of tracking, one entry for each visit.
    result
        Counts and lesions of the subject.
    <visit>_<contrast>, <visit>_transforms, <visit>_brain
        Normalised scans and results of the visit, its transforms, and the brain mask within its field of view.

    Outputs
    -------
    written
        A file for each visit whose derivatives are written.
    """
    visits = alignment.scans
    quality = {aligned.visit: quality_text([aligned.quality]) for aligned in alignment.visits}
    of_all = ("lesions", "changes")
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                *of_all,
                "result",
                *(f"{v.visit}_{field}" for v in visits for field in segmented_fields(v)),
                *written_inputs(visits),
            ]
        ),
        name="inputnode",
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=["written"]), name="outputnode")
    all_written = merge_node("all_written", len(visits))
    workflow.connect([(all_written, outputnode, [("out", "written")])])
    for number, visit in enumerate(visits):
        write = pe.Node(
            WriteVisit(
                subject=job.subject,
                visit=visit.visit,
                derivatives=str(job.derivatives),
                quality=quality[visit.visit],
                sources={contrast.value: path for contrast, path in job.sources(visit).items()},
                rules=job.rules.model_dump_json(),
            ),
            name=f"write_{visit.visit}",
        )
        own = (*segmented_fields(visit), "brain", "transforms")
        workflow.connect([
            (inputnode, write, [((field, pick, number), field) for field in of_all]),
            (inputnode, write, [("result", "result")]),
            (inputnode, write, [(f"{visit.visit}_{field}", field) for field in own]),
            (write, all_written, [("written", f"in{number + 1}")]),
        ])  # fmt: skip
    return workflow
