"""Declared = documented = connected: Nipype drops the data of misspelt identity fields without an error."""

import re
from pathlib import Path

import pytest
from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import generate_expanded_graph, topological_sort

from mri_pipeline.analysis.space import SpaceRecord
from mri_pipeline.core.derivative_layout import SpaceFiles
from mri_pipeline.core.protocol import LesionRules, parse_protocol, protocol_text
from mri_pipeline.core.records import RegistrationRecord, VisitQuality
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast
from qc.compliance import UploadPurpose
from tests.unit.subject_jobs import subject_job
from workflows.alignment.selection import AlignedVisit, Alignment
from workflows.calibration import init_calibration_wf
from workflows.engine import _configure
from workflows.intake import IntakeJob, init_intake_wf
from workflows.interfaces.images import Midway, Prepare
from workflows.interfaces.registration import ExtractBrain, Register
from workflows.lesions import init_external_wf, init_gather_wf, init_lesions_wf, init_visits_wf
from workflows.subject import init_space_wf, init_subject_wf
from workflows.visit import init_alignment_wf, init_visit_wf
from workflows.writing import init_write_wf

ALL = tuple(Contrast)


def make_job(tmp_path, **contrasts_of_visit):
    scan = tmp_path / "scan.nii.gz"
    scan.touch()
    scans = {visit: dict.fromkeys(contrasts, scan) for visit, contrasts in contrasts_of_visit.items()}
    return subject_job(tmp_path, scans)


def make_alignment(tmp_path, job, *, kept=False):
    """All visits of a job belong together; in a kept space or in a new one."""
    file = tmp_path / "file.txt"
    file.touch()
    space = None
    if kept:
        files = SpaceFiles(tmp_path / "space", job.subject)
        files.folder.mkdir()
        for path in files.of_all_visits():
            path.touch()
        space = files, SpaceRecord(made_from=("wk00",), visits=(), software={})
    visits = tuple(
        AlignedVisit(
            scans=scans,
            brain=file,
            template_to_flair=file,
            to_flair={c: file for c in scans.scans if c is not Contrast.FLAIR},
            flair_to_reference=file if number and not kept else None,
            flair_to_subject=file if kept else None,
            quality=VisitQuality(
                scans.visit,
                "",
                skull_stripped=False,
                brain_covered=None,
                registrations=(RegistrationRecord(Contrast.FLAIR, "", None, "", failed=False),),
            ),
        )
        for number, scans in enumerate(job.visits)
    )
    return Alignment(visits, (), space)


OTHER = Segmenter(name="other", version="1", command=("other", "{flair}", "{t1}", "{mask}"))


@pytest.fixture(params=["one visit", "full", "partial", "other segmenter", "calibrated"])
def job(request, tmp_path):
    visits = {
        "one visit": {"wk00": (Contrast.FLAIR,)},
        "full": {"wk00": ALL, "wk04": ALL, "wk12": ALL},
        "partial": {
            "wk00": (Contrast.FLAIR, Contrast.T2W),
            "wk04": (Contrast.FLAIR, Contrast.T1W_GD),
            "wk12": (Contrast.FLAIR, Contrast.T1W),
        },
    }
    visits |= {"other segmenter": visits["full"], "calibrated": visits["partial"]}
    made = make_job(tmp_path, **visits[request.param])
    if request.param == "calibrated":
        return made.model_copy(update={"calibrate": True})
    if request.param == "other segmenter":
        return made.model_copy(update={"rules": LesionRules(segmenter=OTHER)})
    return made


def source_field(source):
    return source[0] if isinstance(source, tuple) else source


def fields_of(node, side):
    if isinstance(node.interface, IdentityInterface):
        return set(node.interface._fields)
    spec = node.inputs if side == "in" else node.interface._outputs()
    return set(spec.copyable_trait_names())


def resolve(node, field):
    """The node and field an outer connection such as 'outputnode.t2' means."""
    while isinstance(node, pe.Workflow):
        name, _, field = field.partition(".")
        inner = node.get_node(name)
        assert inner is not None, f"{node.name} has no node {name}"
        node = inner
    return node, field


def connections(workflow):
    for source, target, data in workflow._graph.edges(data=True):
        for out, into in data["connect"]:
            yield source, source_field(out), target, into


def all_workflows(workflow):
    yield workflow
    for node in workflow._graph.nodes():
        if isinstance(node, pe.Workflow):
            yield from all_workflows(node)


def faults(workflow):
    """Every field that is connected but not declared, or declared but not connected."""
    found, fed, used = [], set(), set()
    for inner in all_workflows(workflow):
        for source, out, target, into in connections(inner):
            for node, field, side, seen in ((source, out, "out", used), (target, into, "in", fed)):
                real, name = resolve(node, field)
                if name not in fields_of(real, side):
                    found.append(f"{real.fullname}.{name}: connected, not declared")
                seen.add((real.fullname, name))
    for inner in all_workflows(workflow):
        for node in inner._graph.nodes():
            if isinstance(node, pe.Workflow):
                continue
            if node.name in {"inputnode", "outputnode"} and isinstance(node.interface, IdentityInterface):
                outer = inner is workflow
                for name in node.interface._fields:
                    key = (node.fullname, name)
                    preset = bool(getattr(node.inputs, name))
                    if key not in fed and not preset and not (outer and node.name == "inputnode"):
                        found.append(f"{node.fullname}.{name}: declared, never fed")
                    if key not in used and not (outer and node.name == "outputnode"):
                        found.append(f"{node.fullname}.{name}: declared, never used")
            if isinstance(node.interface, Merge):
                found += [
                    f"{node.fullname}.in{i}: never fed"
                    for i in range(1, node.interface._numinputs + 1)
                    if (node.fullname, f"in{i}") not in fed
                ]
    return found


@pytest.fixture(params=[False, True], ids=["new space", "kept space"])
def subject_wf(request, job, tmp_path):
    return init_subject_wf(job=job, alignment=make_alignment(tmp_path, job, kept=request.param))


@pytest.fixture
def alignment_wf(job, tmp_path):
    first, *others = (visit.visit for visit in job.visits)
    return init_alignment_wf(visits=job.visits, reference=first, registered=others, folder=tmp_path)


@pytest.fixture
def intake_wf(tmp_path):
    protocol = parse_protocol(protocol_text())
    return init_intake_wf(job=IntakeJob(tmp_path / "up", tmp_path, protocol, UploadPurpose.VISIT, code="AB12"))


def test_every_connected_field_is_declared_and_every_declared_field_connected(subject_wf, alignment_wf):
    assert faults(subject_wf) == []
    assert faults(alignment_wf) == []


def test_intake_is_wired(intake_wf):
    assert faults(intake_wf) == []
    assert unfed(intake_wf) == {}
    inputs, outputs = documented(init_intake_wf)
    assert "none" in inputs
    assert set(intake_wf.get_node("outputnode").interface._fields) <= set(re.findall(r"\w+", outputs))
    order = ["unpack", "read", "choose", "deidentify", "convert", "verify", "measure"]
    assert [node.name for node in topological_sort(intake_wf._create_flat_graph())[0]][:7] == order


@pytest.mark.parametrize(
    ("contrasts", "field"),
    [
        ((Contrast.T1W, Contrast.T1W_GD), "t1w"),
        ((Contrast.T1W_GD,), "t1w_gd"),
    ],
)
def test_tissue_is_told_by_t1_before_contrast_else_after_it(tmp_path, contrasts, field):
    job = make_job(tmp_path, wk00=(Contrast.FLAIR, *contrasts), wk04=(Contrast.FLAIR, Contrast.T1W_GD))
    workflow = init_subject_wf(job=job, alignment=make_alignment(tmp_path, job))
    space = next(w for w in all_workflows(workflow) if w.name == "space_wf")
    fed = {
        source_field(source)
        for _, target, data in space._graph.edges(data=True)
        if target.name == "prepared_t1ws"
        for source, _ in data["connect"]
    }
    assert fed == {field}


@pytest.mark.parametrize("has_whole_brain", [True, False])
def test_in_a_kept_space_the_coverage_refers_to_its_whole_brain(tmp_path, has_whole_brain):
    """The kept brain mask is what all visits have scanned: the share of it that a visit covers is always 1."""
    alignment = make_alignment(tmp_path, make_job(tmp_path, wk00=ALL), kept=True)
    files, _ = alignment.space
    if has_whole_brain:
        files.whole_brain.touch()
    workflow = init_space_wf(alignment=alignment)
    inputs = workflow.get_node("midway").inputs
    assert inputs.whole_brain == str(files.whole_brain if has_whole_brain else files.brain)
    of_prepare = workflow._graph.get_edge_data(workflow.get_node("midway"), workflow.get_node("prepare_wk00"))
    assert ("whole_brain", "whole_brain") in of_prepare["connect"]


def test_the_contract_test_sees_a_misspelt_field(tmp_path):
    workflow = init_space_wf(alignment=make_alignment(tmp_path, make_job(tmp_path, a=ALL, b=ALL)))
    node = workflow.get_node("midway")
    workflow.connect([(node, workflow.get_node("outputnode"), [("brain", "brian")])])
    assert any("brian: connected, not declared" in fault for fault in faults(workflow))


def test_every_quality_reaches_the_result_and_the_sidecars(tmp_path):
    """What registration and brain extraction find out is used: nothing of it ends in its own node."""
    job = make_job(tmp_path, wk00=ALL, wk04=ALL)
    workflow = init_alignment_wf(visits=job.visits, reference="wk00", registered=["wk04"], folder=tmp_path)
    flat = workflow._create_flat_graph()
    for node in flat.nodes():
        if not isinstance(node.interface, (IdentityInterface, Merge)):
            used = {out for _, _, data in flat.out_edges(node, data=True) for out, _ in data["connect"]}
            assert used == fields_of(node, "out"), node.fullname


def test_steps_that_read_scans_hash_them_by_content(alignment_wf, subject_wf, tmp_path):
    scan, reading = str(tmp_path / "scan.nii.gz"), set()
    for workflow in (alignment_wf, subject_wf):
        _configure(workflow, tmp_path)
        # the inputs of identity nodes are passed on
        for node in generate_expanded_graph(workflow._create_flat_graph()).nodes():
            given = [value for value in node.inputs.trait_get().values() if isdefined(value)]
            if any(scan in (value if isinstance(value, list) else [value]) for value in given):
                reading.add(type(node.interface))
                assert node.config["execution"]["hash_method"] == "content", node.fullname
    assert {ExtractBrain, Prepare} <= reading <= {ExtractBrain, Register, Prepare, Midway}


def unfed(workflow):
    """Mandatory inputs that nothing feeds, by node."""
    found, flat = {}, workflow._create_flat_graph()
    for node in flat.nodes():
        fed = {into for _, _, data in flat.in_edges(node, data=True) for _, into in data["connect"]}
        mandatory = node.inputs.traits(mandatory=True)
        unset = {name for name in mandatory if not isdefined(getattr(node.inputs, name))}
        if unset - fed:
            found[node.fullname] = unset - fed
    return found


def test_mandatory_inputs_are_fed(subject_wf, alignment_wf):
    assert unfed(subject_wf) == {}
    assert unfed(alignment_wf) == {}


def documented(factory):
    text = factory.__doc__
    inputs = re.search(r"Inputs\n\s*-+\n(.*?)Outputs", text, re.DOTALL)
    outputs = re.search(r"Outputs\n\s*-+\n(.*)", text, re.DOTALL)
    return inputs.group(1), outputs.group(1)


@pytest.mark.parametrize(
    ("factory", "make"),
    [
        (init_visit_wf, lambda r, a: init_visit_wf(scans=r.visits[0].scans)),
        (
            init_alignment_wf,
            lambda r, a: init_alignment_wf(visits=r.visits, reference="wk00", registered=["wk04"], folder=r.work),
        ),
        (init_space_wf, lambda r, a: init_space_wf(alignment=a)),
        (init_lesions_wf, lambda r, a: init_lesions_wf(job=r, alignment=a)),
        (init_gather_wf, lambda r, a: init_gather_wf(visits=a.scans)),
        (init_external_wf, lambda r, a: init_external_wf(visits=a.scans, segmenter=OTHER)),
        (init_visits_wf, lambda r, a: init_visits_wf(visits=a.scans, rules=r.rules)),
        (init_calibration_wf, lambda r, a: init_calibration_wf(visits=a.scans, rules=r.rules)),
        (init_write_wf, lambda r, a: init_write_wf(job=r, alignment=a)),
        (init_subject_wf, lambda r, a: init_subject_wf(job=r, alignment=a)),
    ],
)
def test_declared_fields_are_documented(tmp_path, factory, make):
    job = make_job(tmp_path, wk00=ALL, wk04=ALL)
    workflow = make(job, make_alignment(tmp_path, job))
    inputs, outputs = documented(factory)
    names = {Path(v.visit).name for v in job.visits}
    for node_name, text in (("inputnode", inputs), ("outputnode", outputs)):
        node = workflow.get_node(node_name)
        for field in node.interface._fields if node is not None else ():
            visit, _, rest = field.partition("_")
            if visit in names:
                assert "<visit>_<contrast>" in text
                assert rest not in {"transforms", "brain"} or f"<visit>_{rest}" in text
            else:
                assert re.search(rf"\b{field}\b", text), f"{factory.__name__}: {field} is not documented"
