"""Workflow of one subject: its visits meet in the midway space, are segmented, tracked and written."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.model import Contrast
from workflows.interfaces.base import FIELD, TISSUE_FIELDS
from workflows.interfaces.images import MapTissue, Midway, Prepare, Register
from workflows.interfaces.lesions import Segment, Track
from workflows.interfaces.output import WriteReport, WriteSubject, WriteVisit
from workflows.request import SubjectRequest, VisitScans
from workflows.visit import init_visit_wf


def init_subject_wf(*, request: SubjectRequest, name: str = "subject_wf") -> pe.Workflow:
    """Analyse one subject.

    Inputs
    ------
    none; the scans are those of the request

    Outputs
    -------
    result
        Counts and lesions of all visits, as JSON in the derivative dataset.
    report
        The subject's HTML report.
    """
    workflow = pe.Workflow(name=name, base_dir=str(request.subject_work))
    outputnode = pe.Node(niu.IdentityInterface(fields=["result", "report"]), name="outputnode")
    space_wf = init_space_wf(visits=request.visits)
    lesions_wf = init_lesions_wf(request=request)
    write_subject = pe.Node(
        WriteSubject(subject=request.subject, derivatives=str(request.derivatives)), name="write_subject"
    )
    write_report = pe.Node(WriteReport(request=request.model_dump_json()), name="write_report", mem_gb=1.0)
    workflow.connect([
        (space_wf, lesions_wf, [(f"outputnode.{f}", f"inputnode.{f}") for f in _handed_over(request.visits)]),
        (lesions_wf, write_subject, [("outputnode.result", "result"), ("outputnode.written", "visits_written")]),
        (space_wf, write_subject, [("outputnode.location", "location")]),
        (write_subject, write_report, [("result", "result")]),
        (write_subject, outputnode, [("result", "result")]),
        (write_report, outputnode, [("report", "report")]),
    ])  # fmt: skip
    return workflow


def _handed_over(visits: tuple[VisitScans, ...]) -> list[str]:
    """What the space workflow gives to the lesions workflow: maps of the subject, images of every visit."""
    images = [f"{v.visit}_{FIELD[c]}" for v in visits for c in v.scans]
    return ["brain", *TISSUE_FIELDS, *images, *(f"{v.visit}_transforms" for v in visits)]


def init_space_wf(*, visits: tuple[VisitScans, ...], name: str = "space_wf") -> pe.Workflow:
    """Bring all visits into the subject's midway space and map its tissue.

    Inputs
    ------
    none; the scans are those of `visits`

    Outputs
    -------
    brain, white_matter, grey_matter, csf, location, lesion_prior, template_to_subject
        Maps of the subject.
    <visit>_<contrast>
        Every scan on the subject's grid, bias-corrected.
    <visit>_transforms
        The transforms that brought them there.
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(niu.IdentityInterface(fields=_handed_over(visits)), name="outputnode")
    midway = pe.Node(Midway(), name="midway", mem_gb=0.8)
    tissue = pe.Node(MapTissue(), name="tissue", mem_gb=1.2)
    flairs, brains, templates = (
        pe.Node(niu.Merge(len(visits)), name=name, run_without_submitting=True)
        for name in ("flairs", "brains", "templates")
    )
    prepared = pe.Node(niu.Merge(len(visits)), name="prepared_flairs", run_without_submitting=True)
    with_t1w = [v for v in visits if Contrast.T1W in v.scans]
    first = visits[0]
    workflow.connect([
        (flairs, midway, [("out", "flairs")]),
        (brains, midway, [("out", "brains")]),
        (templates, midway, [("out", "templates_to_flair")]),
        (midway, tissue, [("brain", "brain"), ("template_to_subject", "template_to_subject")]),
        (prepared, tissue, [("out", "flairs")]),
        (midway, outputnode, [("brain", "brain")]),
        (tissue, outputnode, [(field, field) for field in TISSUE_FIELDS]),
    ])  # fmt: skip
    if with_t1w:
        prepared_t1ws = pe.Node(niu.Merge(len(with_t1w)), name="prepared_t1ws", run_without_submitting=True)
        workflow.connect([(prepared_t1ws, tissue, [("out", "t1ws")])])
    if len(visits) > 1:
        to_first = pe.Node(niu.Merge(len(visits) - 1), name="to_first", run_without_submitting=True)
        workflow.connect([(to_first, midway, [("out", "to_first")])])

    visit_wfs = {v.visit: init_visit_wf(visit=v.visit, scans=v.scans, name=f"visit_{v.visit}_wf") for v in visits}
    for number, visit in enumerate(visits):
        visit_wf = visit_wfs[visit.visit]
        others = [c for c in visit.scans if c is not Contrast.FLAIR]
        prepare = pe.Node(Prepare(), name=f"prepare_{visit.visit}", mem_gb=1.0)
        workflow.connect([
            (visit_wf, flairs, [("inputnode.flair", f"in{number + 1}")]),
            (visit_wf, brains, [("outputnode.brain", f"in{number + 1}")]),
            (visit_wf, templates, [("outputnode.template_to_flair", f"in{number + 1}")]),
            (visit_wf, prepare, [(f"inputnode.{FIELD[c]}", FIELD[c]) for c in visit.scans]),
            (visit_wf, prepare, [(f"outputnode.{FIELD[c]}_to_flair", f"{FIELD[c]}_to_flair") for c in others]),
            (midway, prepare, [("brain", "brain"), (("flairs_to_subject", _pick, number), "flair_to_subject")]),
            (prepare, prepared, [("flair", f"in{number + 1}")]),
            (prepare, outputnode, [(FIELD[c], f"{visit.visit}_{FIELD[c]}") for c in visit.scans]),
            (prepare, outputnode, [("transforms", f"{visit.visit}_transforms")]),
        ])  # fmt: skip
        if visit in with_t1w:
            workflow.connect([(prepare, prepared_t1ws, [("t1w", f"in{with_t1w.index(visit) + 1}")])])
        if number:
            register = pe.Node(
                Register(same_contrast=True, what=f"FLAIR of {visit.visit} to {first.visit}"),
                name=f"register_{visit.visit}_to_first",
                mem_gb=0.8,
            )
            workflow.connect([
                (visit_wfs[first.visit], register, [
                    ("inputnode.flair", "fixed"),
                    ("outputnode.brain", "fixed_brain"),
                ]),
                (visit_wf, register, [("inputnode.flair", "moving")]),
                (register, to_first, [("moving_to_fixed", f"in{number}")]),
            ])  # fmt: skip
    return workflow


def init_lesions_wf(*, request: SubjectRequest, name: str = "lesions_wf") -> pe.Workflow:
    """Find the lesions of every visit, follow them over the visits, and write the derivatives.

    Inputs
    ------
    brain, white_matter, grey_matter, csf, location, lesion_prior, template_to_subject
        Maps of the subject.
    <visit>_<contrast>, <visit>_transforms
        Every scan on the subject's grid, and its transform.

    Outputs
    -------
    result
        Counts and lesions, as JSON in the cache.
    written
        A file for each visit whose derivatives are written.
    """
    visits, rules = request.visits, request.rules.model_dump_json()
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=_handed_over(visits)), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(fields=["result", "written"]), name="outputnode")
    with_gel = [v for v in visits if Contrast.T1W_GD in v.scans]
    with_t1w = [v for v in visits if Contrast.T1W in v.scans]
    track = pe.Node(
        Track(
            subject=request.subject,
            visits=[v.visit for v in visits],
            weeks={v.visit: v.week for v in visits},
            gel_visits=[v.visit for v in with_gel],
            black_hole_visits=[v.visit for v in with_t1w],
            rules=rules,
        ),
        name="track",
        mem_gb=1.5,
    )
    lists = {
        field: pe.Node(niu.Merge(len(having)), name=f"all_{field}", run_without_submitting=True)
        for field, having in (
            ("flairs", visits), ("t2_lesions", visits), ("written", visits),
            ("gels", with_gel), ("black_holes", with_t1w),
        )
        if having
    }  # fmt: skip
    workflow.connect([
        (inputnode, track, [("location", "location")]),
        *((lists[field], track, [("out", field)]) for field in lists if field != "written"),
        (track, outputnode, [("result", "result")]),
        (lists["written"], outputnode, [("out", "written")]),
    ])  # fmt: skip
    for number, visit in enumerate(visits):
        contrasts = [FIELD[c] for c in visit.scans]
        found = ["t2_probability", "t2_lesions"]
        segment = pe.Node(Segment(rules=rules), name=f"segment_{visit.visit}", mem_gb=1.5)
        write = pe.Node(
            WriteVisit(subject=request.subject, visit=visit.visit, derivatives=str(request.derivatives)),
            name=f"write_{visit.visit}",
        )
        workflow.connect([
            (inputnode, segment, [(f"{visit.visit}_{field}", field) for field in contrasts]),
            (inputnode, segment, [(field, field) for field in ("brain", *TISSUE_FIELDS)]),
            (segment, lists["flairs"], [("flair", f"in{number + 1}")]),
            (segment, lists["t2_lesions"], [("t2_lesions", f"in{number + 1}")]),
            (track, write, [
                (("lesions", _pick, number), "lesions"),
                (("changes", _pick, number), "changes"),
                ("result", "result"),
            ]),
            (inputnode, write, [("brain", "brain"), (f"{visit.visit}_transforms", "transforms")]),
            (write, lists["written"], [("written", f"in{number + 1}")]),
        ])  # fmt: skip
        for field, having in (("gel", with_gel), ("black_holes", with_t1w)):
            if visit in having:
                found.append(field)
                target = lists["gels" if field == "gel" else field]
                workflow.connect([(segment, target, [(field, f"in{having.index(visit) + 1}")])])
        workflow.connect([(segment, write, [(field, field) for field in (*contrasts, *found)])])
    return workflow


# without annotations: nipype sends the source of this function to the node, where no name is imported
def _pick(values, position):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """One of a list; runs inside a connection."""
    return values[position]
