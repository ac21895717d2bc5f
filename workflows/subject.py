"""Workflow of one subject: midpoint space of all visits, lesions, derivatives and report."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import SubjectJob
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.io.results import quality_text
from mri_pipeline.core.visits import Contrast
from workflows.alignment.selection import AlignedVisit, Alignment
from workflows.fields import merge_node, pick, subject_fields
from workflows.interfaces.base import FIELD, TISSUE_FIELDS
from workflows.interfaces.images import MapTissue, MatchFlairs, Midway, Prepare
from workflows.interfaces.output import WriteReport, WriteSubject
from workflows.lesions import init_lesions_wf


def init_subject_wf(*, job: SubjectJob, alignment: Alignment, name: str = "subject_wf") -> pe.Workflow:
    """Analyse one subject.

    Parameters
    ----------
    job : SubjectJob
    alignment : Alignment
        Usable visits and scans of the subject, and their alignment.
    name : str
        Name of the workflow.

    Inputs
    ------
    none; the scans are those of the alignment

    Outputs
    -------
    result
        Counts and lesions of all visits, as JSON in the derivative dataset.
    report
        The subject's HTML report.
    """
    workflow = pe.Workflow(name=name, base_dir=str(job.subject_work))
    outputnode = pe.Node(niu.IdentityInterface(fields=["result", "report"]), name="outputnode")
    space_wf = init_space_wf(alignment=alignment)
    lesions_wf = init_lesions_wf(job=job, alignment=alignment)
    write_subject = pe.Node(
        WriteSubject(
            subject=job.subject,
            derivatives=str(job.derivatives),
            visits=[visit.visit for visit in alignment.visits],
            quality=quality_text(alignment.quality_of(job.visits)),
            scan_keys={visit.visit: visit.scan_key for visit in alignment.scans if visit.scan_key},
            space_record=alignment.space_record().model_dump_json(indent=1),
        ),
        name="write_subject",
    )
    analysed = job.model_copy(update={"visits": alignment.scans})
    write_report = pe.Node(WriteReport(job=analysed.model_dump_json()), name="write_report", mem_gb=1.0)
    workflow.connect([
        (space_wf, lesions_wf, [(f"outputnode.{f}", f"inputnode.{f}") for f in subject_fields(alignment.scans)]),
        (space_wf, write_subject, [(f"outputnode.{f}", f) for f in (*TISSUE_FIELDS, *_OF_THE_SPACE)]),
        (lesions_wf, write_subject, [
            ("outputnode.result", "result"),
            ("outputnode.t2_qc_flags", "t2_qc_flags"),
            ("outputnode.gel_qc_flags", "gel_qc_flags"),
            ("outputnode.written", "visits_written"),
        ]),
        (write_subject, write_report, [("result", "result")]),
        (write_subject, outputnode, [("result", "result")]),
        (write_report, outputnode, [("report", "report")]),
    ])  # fmt: skip
    if job.calibrate:
        workflow.connect([(lesions_wf, write_report, [("outputnode.rates", "calibrations")])])
    return workflow


_OF_THE_SPACE = ("brain", "whole_brain", "flairs_to_subject", "brain_covered", "scans_qc_flags")


def _midway(alignment: Alignment) -> pe.Node:
    """Node of the subject space, either computed from all visits or kept."""
    visits = alignment.visits
    if alignment.space is not None:
        files = alignment.space[0]
        node = pe.Node(
            niu.IdentityInterface(fields=["brain", "whole_brain", "flairs_to_subject", "template_to_subject"]),
            name="midway",
        )
        node.inputs.trait_set(
            brain=str(files.brain),
            whole_brain=str(files.whole_brain if files.whole_brain.is_file() else files.brain),
            flairs_to_subject=[str(visit.flair_to_subject) for visit in visits],
            template_to_subject=str(files.template_to_subject),
        )
        return node
    midway = Midway(
        flairs=[str(visit.scans.scans[Contrast.FLAIR]) for visit in visits],
        brains=[str(visit.brain) for visit in visits],
        templates_to_flair=[str(visit.template_to_flair) for visit in visits],
    )
    if len(visits) > 1:
        midway.inputs.to_first = [str(visit.flair_to_reference) for visit in visits[1:]]
    return pe.Node(midway, name="midway", mem_gb=0.8)


def _kept_tissue(space: SpaceFiles) -> pe.Node:
    node = pe.Node(niu.IdentityInterface(fields=list(TISSUE_FIELDS)), name="tissue")
    node.inputs.trait_set(
        location=str(space.location),
        template_to_subject=str(space.template_to_subject),
        **{field: str(path) for field, path in space.maps.items()},
    )
    return node


def init_space_wf(*, alignment: Alignment, name: str = "space_wf") -> pe.Workflow:
    """Resample all visits into the subject's space and compute its tissue maps. A kept space and its maps are reused.

    Parameters
    ----------
    alignment : Alignment
        Usable visits and scans, their alignment, and the kept space if there is one.
    name : str
        Name of the workflow.

    Inputs
    ------
    none; the scans are those of `alignment`

    Outputs
    -------
    brain, whole_brain, white_matter, grey_matter, csf, location, lesion_prior, template_to_subject
        Maps of the subject.
    flairs_to_subject, brain_covered, scans_qc_flags
        For every visit: transform of its FLAIR, brain coverage, and QC flags of its other scans.
    <visit>_<contrast>
        Every scan on the subject's grid, bias-corrected; the FLAIRs on a common intensity scale.
    <visit>_transforms, <visit>_brain
        Transforms of its scans, and the brain mask within its field of view.
    """
    visits = alignment.visits
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(
        niu.IdentityInterface(fields=[*subject_fields(alignment.scans), *_OF_THE_SPACE]), name="outputnode"
    )
    midway = _midway(alignment)
    prepared = [_prepare(visit) for visit in visits]
    flairs, covered, qc_flags = (
        merge_node(name, len(visits)) for name in ("prepared_flairs", "brain_covered", "scans_qc_flags")
    )
    tissue = (
        _kept_tissue(alignment.space[0]) if alignment.space else pe.Node(MapTissue(), name="tissue", mem_gb=1.2)
    )
    match = pe.Node(MatchFlairs(), name="match", mem_gb=1.0)
    for number, (visit, prepare) in enumerate(zip(visits, prepared, strict=True)):
        outputs = [FIELD[c] for c in visit.scans.scans if c is not Contrast.FLAIR] + ["transforms", "brain"]
        workflow.connect([
            (midway, prepare, [
                ("brain", "brain"),
                ("whole_brain", "whole_brain"),
                (("flairs_to_subject", pick, number), "flair_to_subject"),
            ]),
            (prepare, flairs, [("flair", f"in{number + 1}")]),
            (prepare, covered, [("brain_covered", f"in{number + 1}")]),
            (prepare, qc_flags, [("qc_flags", f"in{number + 1}")]),
            (prepare, outputnode, [(field, f"{visit.visit}_{field}") for field in outputs]),
            (match, outputnode, [(("flairs", pick, number), f"{visit.visit}_flair")]),
        ])  # fmt: skip
    if alignment.space is None:
        workflow.connect([(midway, tissue, [("brain", "brain"), ("template_to_subject", "template_to_subject")])])
        workflow.connect([(flairs, tissue, [("out", "flairs")])])
        _connect_t1ws(workflow, visits, prepared, tissue)
    workflow.connect([
        (midway, match, [("brain", "brain")]),
        (flairs, match, [("out", "flairs")]),
        (tissue, match, [(field, field) for field in TISSUE_FIELDS]),
        (midway, outputnode, [(field, field) for field in ("brain", "whole_brain", "flairs_to_subject")]),
        (covered, outputnode, [("out", "brain_covered")]),
        (qc_flags, outputnode, [("out", "scans_qc_flags")]),
        (tissue, outputnode, [(field, field) for field in TISSUE_FIELDS]),
    ])  # fmt: skip
    return workflow


def _prepare(visit: AlignedVisit) -> pe.Node:
    """Node that resamples the scans of a visit into the subject's space."""
    prepare = Prepare(
        **{FIELD[contrast]: str(path) for contrast, path in visit.scans.scans.items()},
        **{f"{FIELD[contrast]}_to_flair": str(path) for contrast, path in visit.to_flair.items()},
    )
    return pe.Node(prepare, name=f"prepare_{visit.visit}", mem_gb=1.0)


def _connect_t1ws(
    workflow: pe.Workflow, visits: Sequence[AlignedVisit], prepared: Sequence[pe.Node], tissue: pe.Node
) -> None:
    """Pass the T1 before contrast to the tissue maps, or those after contrast if no visit has one before."""
    for contrast in (Contrast.T1W, Contrast.T1W_GD):
        having = [node for visit, node in zip(visits, prepared, strict=True) if contrast in visit.scans.scans]
        if having:
            t1ws = merge_node("prepared_t1ws", len(having))
            workflow.connect([
                *((node, t1ws, [(FIELD[contrast], f"in{i}")]) for i, node in enumerate(having, start=1)),
                (t1ws, tissue, [("out", "t1ws")]),
            ])  # fmt: skip
            return
