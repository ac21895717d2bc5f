"""Workflows of a subject's lesions: T2 lesions of all visits, GEL and black holes of each, tracking, derivatives."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import SubjectJob, VisitScans
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast
from workflows.alignment.selection import Alignment
from workflows.calibration import init_calibration_wf, own_lesions
from workflows.fields import (
    contrast_fields,
    external_fields,
    external_inputs,
    gathered_fields,
    gathered_lists,
    list_entries,
    merge_node,
    pick,
    result_lists,
    scanned_fields,
    segmented_fields,
    subject_fields,
    t1_field,
    visits_with,
    written_inputs,
)
from workflows.interfaces.base import TISSUE_FIELDS
from workflows.interfaces.lesions import Segment, SegmentT2, Track
from workflows.interfaces.segmenter import RunSegmenter
from workflows.writing import init_write_wf


def init_lesions_wf(*, job: SubjectJob, alignment: Alignment, name: str = "lesions_wf") -> pe.Workflow:
    """Segment the lesions of every visit, track them over the visits and write the derivatives.

    Parameters
    ----------
    job : SubjectJob
        Rules, visits in weeks and folders.
    alignment : Alignment
        Usable visits and scans.
    name : str
        Name of the workflow.

    Inputs
    ------
    white_matter, grey_matter, csf, location, lesion_prior, template_to_subject
        Maps of the subject.
    <visit>_<contrast>, <visit>_transforms, <visit>_brain
        Every scan on the subject's grid, its transform, and the brain mask within the field of view of the visit.

    Outputs
    -------
    result
        Counts and lesions, as JSON in the cache.
    t2_qc_flags, gel_qc_flags
        QC flags of every visit for its T2 lesions and its contrast.
    written
        A file for each visit whose derivatives are written.
    rates
        Detection rates of simulated lesions of every visit, if the job asks for them.
    """
    visits, rules = alignment.scans, job.rules
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=subject_fields(visits)), name="inputnode")
    calibrated = ["rates"] if job.calibrate else []
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["result", "t2_qc_flags", "gel_qc_flags", "written", *calibrated]),
        name="outputnode",
    )
    gather_wf = init_gather_wf(visits=visits)
    segment_t2 = _segment_t2(visits, rules)
    visits_wf = init_visits_wf(visits=visits, rules=rules)
    track = _track(job, visits)
    write_wf = init_write_wf(job=job, alignment=alignment)
    segmented = [f"{v.visit}_{field}" for v in visits for field in segmented_fields(v)]
    workflow.connect([
        (inputnode, gather_wf, [(field, f"inputnode.{field}") for field in gathered_fields(visits)]),
        (inputnode, segment_t2, [(field, field) for field in TISSUE_FIELDS]),
        (gather_wf, segment_t2, [(f"outputnode.{field}", field) for field in gathered_lists(visits)]),
        (inputnode, visits_wf, [(f, f"inputnode.{f}") for f in (*TISSUE_FIELDS, *scanned_fields(visits))]),
        (segment_t2, visits_wf, [(field, f"inputnode.{field}") for field in ("t2_lesions", "probabilities")]),
        (inputnode, track, [("location", "location")]),
        (gather_wf, track, [("outputnode.flairs", "flairs")]),
        (visits_wf, track, [(f"outputnode.{field}", _TRACKED.get(field, field)) for field in result_lists(visits)]),
        (inputnode, write_wf, [(field, f"inputnode.{field}") for field in written_inputs(visits)]),
        (visits_wf, write_wf, [(f"outputnode.{field}", f"inputnode.{field}") for field in segmented]),
        (track, write_wf, [(field, f"inputnode.{field}") for field in ("lesions", "changes", "result")]),
        (segment_t2, outputnode, [("qc_flags", "t2_qc_flags")]),
        (visits_wf, outputnode, [("outputnode.gel_qc_flags", "gel_qc_flags")]),
        (track, outputnode, [("result", "result")]),
        (write_wf, outputnode, [("outputnode.written", "written")]),
    ])  # fmt: skip
    if rules.segmenter is not None:
        _connect_external(workflow, visits, rules.segmenter)
    if job.calibrate:
        _connect_calibration(workflow, visits, rules)
    return workflow


def _connect_external(workflow: pe.Workflow, visits: Sequence[VisitScans], segmenter: Segmenter) -> None:
    """Take the T2 lesions from an external segmenter."""
    external_wf = init_external_wf(visits=visits, segmenter=segmenter)
    fields = external_inputs(visits, segmenter)
    workflow.connect([
        (workflow.get_node("inputnode"), external_wf, [(field, f"inputnode.{field}") for field in fields]),
        (external_wf, workflow.get_node("segment_t2"), [("outputnode.external", "external")]),
    ])  # fmt: skip


def _connect_calibration(workflow: pe.Workflow, visits: Sequence[VisitScans], rules: LesionRules) -> None:
    """Measure the detection rates of simulated lesions."""
    calibration_wf = init_calibration_wf(visits=visits, rules=rules)
    inputnode, visits_wf, outputnode = map(workflow.get_node, ("inputnode", "visits_wf", "outputnode"))
    workflow.connect([
        (inputnode, calibration_wf, [(field, f"inputnode.{field}") for field in subject_fields(visits)]),
        (visits_wf, calibration_wf, [(f"outputnode.{f}", f"inputnode.{f}") for f in own_lesions(visits)]),
        (calibration_wf, outputnode, [("outputnode.rates", "rates")]),
    ])  # fmt: skip


def init_gather_wf(*, visits: Sequence[VisitScans], name: str = "gather_wf") -> pe.Workflow:
    """Collect images of all visits into lists, in the order of the visits.

    Parameters
    ----------
    visits : sequence of VisitScans
        Scans that are used, in the order of time.
    name : str
        Name of the workflow.

    Inputs
    ------
    <visit>_<contrast>, <visit>_brain
        FLAIR, T1, T2w and brain of every visit.

    Outputs
    -------
    flairs, brains
        One entry for each visit.
    t1s
        One entry for each visit with a T1: before contrast if there is one, else after it.
    t2ws
        One entry for each visit with a T2w.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=gathered_fields(visits)), name="inputnode")
    lists = gathered_lists(visits)
    outputnode = pe.Node(niu.IdentityInterface(fields=list(lists)), name="outputnode")
    for listed, fields in lists.items():
        merge = merge_node(f"all_{listed}", len(fields))
        workflow.connect([
            (inputnode, merge, list_entries(fields)),
            (merge, outputnode, [("out", listed)]),
        ])  # fmt: skip
    return workflow


def init_external_wf(
    *, visits: Sequence[VisitScans], segmenter: Segmenter, name: str = "external_wf"
) -> pe.Workflow:
    """Run an external T2 segmenter on every visit.

    Parameters
    ----------
    visits : sequence of VisitScans
        Scans that are used, in the order of time.
    segmenter : Segmenter
        Command, contrasts and time limit.
    name : str
        Name of the workflow.

    Inputs
    ------
    <visit>_<contrast>, <visit>_brain
        Images used by the command of the segmenter.

    Outputs
    -------
    external
        Map of the segmenter for each visit.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=external_inputs(visits, segmenter)), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(fields=["external"]), name="outputnode")
    all_external = merge_node("all_external", len(visits))
    workflow.connect([(all_external, outputnode, [("out", "external")])])
    for entry, visit in enumerate(visits, start=1):
        run = RunSegmenter(
            segmenter=segmenter.model_dump_json(exclude={"timeout_minutes"}),
            timeout_minutes=segmenter.timeout_minutes,
            visit=visit.visit,
        )
        external = pe.Node(run, name=f"external_{visit.visit}", mem_gb=4.0)
        fields = external_fields(visit, segmenter)
        workflow.connect([
            (inputnode, external, [(f"{visit.visit}_{field}", field) for field in fields]),
            (external, all_external, [("found", f"in{entry}")]),
        ])  # fmt: skip
    return workflow


def init_visits_wf(*, visits: Sequence[VisitScans], rules: LesionRules, name: str = "visits_wf") -> pe.Workflow:
    """Normalise the scans of every visit and find its enhancing lesions and black holes.

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
    t2_lesions, probabilities
        T2 lesions and their probability map, one entry for each visit.
    <visit>_<contrast>, <visit>_brain
        Every scan on the subject's grid, and the brain mask within the field of view of the visit.

    Outputs
    -------
    gel, black_holes, t1_hypointensity
        One entry for each visit with the required contrast. A visit whose T1 looks post-contrast has no black holes.
    black_hole_visits
        Labels of the visits with black holes, if any visit has a T1.
    t2_lesions, gel_qc_flags
        One entry for each visit.
    <visit>_<contrast>
        Normalised scans, and the results of the visit.
    """
    lists = {**result_lists(visits), "gel_qc_flags": visits}
    segmented = [f"{v.visit}_{field}" for v in visits for field in segmented_fields(v)]
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        niu.IdentityInterface(fields=[*TISSUE_FIELDS, "t2_lesions", "probabilities", *scanned_fields(visits)]),
        name="inputnode",
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=[*lists, *segmented]), name="outputnode")
    segment = {v.visit: _segment(v, rules) for v in visits}
    for number, visit in enumerate(visits):
        node = segment[visit.visit]
        workflow.connect([
            (inputnode, node, [(field, field) for field in TISSUE_FIELDS]),
            (inputnode, node, [(f"{visit.visit}_{field}", field) for field in (*contrast_fields(visit), "brain")]),
            (inputnode, node, [(("t2_lesions", pick, number), "t2_lesions")]),
            (inputnode, node, [(("probabilities", pick, number), "t2_probability")]),
            (node, outputnode, [(field, f"{visit.visit}_{field}") for field in segmented_fields(visit)]),
        ])  # fmt: skip
    for field, having in lists.items():
        merge = merge_node(f"all_{_TRACKED.get(field, field)}", len(having))
        one = _ONE.get(field, field)
        workflow.connect([
            *((segment[v.visit], merge, [(one, f"in{entry}")]) for entry, v in enumerate(having, start=1)),
            (merge, outputnode, [("out", field)]),
        ])  # fmt: skip
    return workflow


_TRACKED = {"gel": "gels"}
"""Inputs of tracking whose names differ from those of a visit's results."""

_ONE = {"gel_qc_flags": "qc_flags", "black_hole_visits": "black_hole_visit"}
"""Outputs of `Segment` whose names differ from those of the lists over visits."""


def _segment_t2(visits: Sequence[VisitScans], rules: LesionRules) -> pe.Node:
    segment_t2 = SegmentT2(
        visits=[v.visit for v in visits],
        with_t1=[n for n, v in enumerate(visits) if t1_field(v)],
        with_t2w=[n for n, v in enumerate(visits) if Contrast.T2W in v.scans],
        rules=rules.model_dump_json(),
    )
    return pe.Node(segment_t2, name="segment_t2", mem_gb=0.6 + 0.25 * len(visits))


def _segment(visit: VisitScans, rules: LesionRules) -> pe.Node:
    segment = Segment(visit=visit.visit, rules=rules.model_dump_json())
    return pe.Node(segment, name=f"segment_{visit.visit}", mem_gb=1.5)


def _track(job: SubjectJob, visits: Sequence[VisitScans]) -> pe.Node:
    track = Track(
        subject=job.subject,
        visits=[v.visit for v in visits],
        weeks={v.visit: v.week for v in visits},
        gel_visits=[v.visit for v in visits_with(visits, Contrast.T1W_GD)],
        rules=job.rules.model_dump_json(),
    )
    return pe.Node(track, name="track", mem_gb=0.4 + 0.14 * len(visits))
