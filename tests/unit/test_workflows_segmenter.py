"""External segmenters: command, execution, checks of the output and description in the results."""

import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.analysis import steps
from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.analysis.segmenter import LOG, run_segmenter
from mri_pipeline.core.errors import AnalysisError, SettingsError
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.protocol import LesionRules, parse_protocol, protocol_text
from mri_pipeline.core.provenance import settings_digest, t2_segmenter
from mri_pipeline.core.records import VisitQuality
from mri_pipeline.core.segmenters import Segmenter, load_segmenter
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.lesions.components import label_lesions
from mri_pipeline.lesions.t2.external import lesions_of_map
from qc.registration import qc_flags
from tests.unit.lesion_phantom import Head
from tests.unit.stand_in import stand_in
from workflows.interfaces.lesions import SegmentT2
from workflows.interfaces.segmenter import RunSegmenter

RULES = LesionRules()


@pytest.fixture(scope="module")
def head():
    """A head with one lesion of 5 mm radius, and one of two voxels."""
    head = Head()
    head.paint(head.inside((18, 0, 8), 5), FLAIR=1.9)
    head.paint(head.inside((-18, 10, 8), 0.6), FLAIR=2.5)
    return head


@pytest.fixture(scope="module")
def images(head):
    return dict(head.visit(Contrast.FLAIR, Contrast.T1W).contrasts)


def brain_of(head):
    return head.labels(head.brain)


def run(head, images, folder, segmenter):
    return run_segmenter(segmenter, images, brain_of(head), folder / "work", visit="wk04")


def take(head, images, folder, how="masks", **settings):
    segmenter = stand_in(folder, how, **settings)
    found = run(head, images, folder, segmenter)
    return steps.take_t2(
        [found], [images], brains=[brain_of(head)], tissue=head.tissue(), segmenter=segmenter, rules=RULES
    )


def ended(child):
    """Wait for the end of the process whose number is in a file; it would run for longer than a test may."""
    stat = Path("/proc", child.read_text().strip(), "stat")
    while stat.exists() and stat.read_text().split()[2] != "Z":
        time.sleep(0.1)
    return True


def test_a_mask_is_counted_as_the_built_in_segmentation_counts(head, images, tmp_path):
    (found,), (note,) = take(head, images, tmp_path)
    brain = brain_of(head).mask
    scaled = images[Contrast.FLAIR].data * (1000 / np.median(images[Contrast.FLAIR].data[brain]))
    expected = label_lesions((scaled > 1300) & brain, head.grid, min_volume_mm3=14)
    assert np.array_equal(found.mask.data, expected.data)
    assert found.mask.data.max() == 1  # what is smaller than 14 mm3 is no lesion
    assert note == ""


def test_a_probability_is_cut_at_the_threshold(head, images, tmp_path):
    (half,), _ = take(head, images, tmp_path, "probability")
    (more,), _ = take(head, images, tmp_path, "probability", threshold=0.7)
    assert half.mask.mask.sum() > more.mask.mask.sum()
    assert (half.threshold, more.threshold) == (0.5, 0.7)
    assert np.array_equal(half.mask.mask, half.mask.mask & (half.probability.data >= 0.5))


def test_images_are_handed_over_on_one_scale_and_nothing_else(head, images, tmp_path):
    run(head, images, tmp_path, stand_in(tmp_path, more=("{t1}", "{folder}")))
    names = {path.name for path in (tmp_path / "work").iterdir()}
    assert names == {"flair.nii.gz", "t1.nii.gz", "brain.nii.gz", "mask.nii.gz", LOG}
    brain = nifti.load_labels(tmp_path / "work" / "brain.nii.gz").mask
    for name in ("flair", "t1"):
        image = nifti.load_image(tmp_path / "work" / f"{name}.nii.gz")
        assert image.grid.same_as(head.grid)
        assert np.median(image.data[brain]) == pytest.approx(1000, rel=1e-3)
        assert image.data.min() >= 0


def test_nothing_of_an_earlier_run_is_taken_for_this_one(head, images, tmp_path):
    run(head, images, tmp_path, stand_in(tmp_path))
    with pytest.raises(AnalysisError, match=r"found none named mask\.nii\.gz"):
        run(head, images, tmp_path, stand_in(tmp_path, "nothing"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fails", "expected exit code 0, found 3"),
        ("nothing", "expected its output mask.nii.gz, found: expected an image file, found none"),
        ("text", "expected its output mask.nii.gz, found: expected a NIfTI image"),
        ("moved", "expected its output on the grid of its FLAIR"),
        ("cropped", "expected its output on the grid of its FLAIR"),
        ("labels", "expected a mask or probability from 0 to 1, found values from 0 to 99"),
        ("everything", "expected lesions, found 100 % of the brain"),
        ("outside", "expected lesions in the brain, found [0-9]+ % of them outside"),
    ],
)
def test_what_cannot_be_used_is_told_without_what_the_program_said(head, images, tmp_path, how, message):
    with pytest.raises(AnalysisError, match=message) as caught:
        take(head, images, tmp_path, how)
    assert caught.value.message.startswith("segmenter stand-in 1.2")
    assert "JOHN" not in caught.value.message + caught.value.hint
    assert str(tmp_path) not in caught.value.message + caught.value.hint
    assert "JOHN" in (tmp_path / "work" / LOG).read_text()


def test_a_program_that_does_not_end_is_ended_with_its_children(head, images, tmp_path, monkeypatch):
    child, wait, limits = tmp_path / "work" / "child", subprocess.Popen.wait, []

    def wait_for_child(process, timeout=None):
        """The time is over when the child runs, however slow the machine is."""
        if timeout is None:
            return wait(process)
        limits.append(timeout)
        while not child.exists() or not child.read_text().endswith("\n"):
            time.sleep(0.1)
        return wait(process, timeout=0)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_for_child)
    script = tmp_path / "parent.sh"
    script.write_text("sleep 3600 & echo $! > child; wait")
    segmenter = Segmenter(
        name="slow", version="1", command=("sh", str(script), "{flair}", "{mask}"), timeout_minutes=0.5
    )
    with pytest.raises(AnalysisError, match=r"visit wk04: expected it to end within 0.5 minutes"):
        run(head, images, tmp_path, segmenter)
    assert limits == [30]
    assert ended(child)


def test_what_a_program_leaves_running_is_ended_too(head, images, tmp_path):
    script = tmp_path / "parent.sh"
    script.write_text("sleep 3600 & echo $! > child; exit 3")
    segmenter = Segmenter(name="left", version="1", command=("sh", str(script), "{flair}", "{mask}"))
    with pytest.raises(AnalysisError, match="found 3"):
        run(head, images, tmp_path, segmenter)
    assert ended(tmp_path / "work" / "child")


def test_a_map_that_is_refused_fails_its_own_step_with_the_name_of_its_visit(head, images, tmp_path):
    """What was refused is run again when the program was mended; what has ended well is not."""
    with pytest.raises(AnalysisError, match=r"^segmenter stand-in 1\.2, visit wk04: .* up to 5 mm elsewhere"):
        run(head, images, tmp_path, stand_in(tmp_path, "moved"))


def test_a_program_that_is_not_there(head, images, tmp_path):
    segmenter = Segmenter(name="lst-ai", version="1", command=("no-such-lst", "{flair}", "{mask}"))
    with pytest.raises(
        AnalysisError, match="expected a program that can be run as no-such-lst, found No such file"
    ):
        run(head, images, tmp_path, segmenter)


def test_a_visit_without_an_image_that_the_command_names(head, images, tmp_path):
    with pytest.raises(AnalysisError, match="visit wk04: expected T2w, which its command names, found none"):
        run(head, images, tmp_path, stand_in(tmp_path, more=("{t2}",)))


def test_an_empty_mask_is_an_answer_that_requires_visual_qc(head, images, tmp_path):
    (found,), (note,) = take(head, images, tmp_path, "empty")
    assert not found.mask.mask.any()
    assert note.startswith("T2 lesions: stand-in 1.2 found none, the built-in segmentation ")
    quality = VisitQuality("wk04", "", False, 1.0, (), note)
    assert qc_flags(quality) == [note]


def test_an_empty_mask_where_nobody_finds_anything_is_no_matter(tmp_path):
    head = Head()
    images = dict(head.visit(Contrast.FLAIR, Contrast.T1W).contrasts)
    (found,), (note,) = take(head, images, tmp_path, "empty")
    assert not found.mask.mask.any()
    assert note == ""


def test_what_lies_outside_the_brain_is_left_away(head):
    data = np.zeros(head.grid.shape, dtype=np.float32)
    data[head.inside((18, 0, 8), 5)] = 1
    data[:3, :3, :3] = 1
    segmenter = Segmenter(name="x", version="1", command=("x", "{flair}", "{mask}"))
    found = lesions_of_map(Image(data, head.grid), brain_of(head), segmenter, RULES)
    assert found.mask.data.max() == 1
    assert found.probability.data[:3, :3, :3].max() == 0


def test_the_interface_runs_in_its_own_folder(head, images, tmp_path):
    segmenter = stand_in(tmp_path, timeout_minutes=5)
    node = RunSegmenter(
        flair=str(nifti.save(images[Contrast.FLAIR], tmp_path / "f.nii")),
        brain=str(nifti.save(brain_of(head), tmp_path / "b.nii")),
        segmenter=segmenter.model_dump_json(exclude={"timeout_minutes"}),
        timeout_minutes=segmenter.timeout_minutes,
        visit="wk04",
    )
    before = node.inputs.get_hashval()[1]
    result = node.run(cwd=str(tmp_path))
    assert nifti.load_map(result.outputs.found).data.max() == 1
    assert (tmp_path / "segmenter" / LOG).is_file()
    node.inputs.timeout_minutes = 7.0
    assert node.inputs.get_hashval()[1] == before


def test_every_visit_gets_its_own_map_and_its_own_note(head, images, tmp_path):
    tissue = head.tissue()
    flair = str(nifti.save(images[Contrast.FLAIR], tmp_path / "flair.nii"))
    brain = str(nifti.save(brain_of(head), tmp_path / "brain.nii"))
    places = [head.inside((18, 0, 8), 5), np.zeros(head.grid.shape, dtype=bool), head.inside((-18, 0, 8), 5)]
    node = SegmentT2(
        visits=["wk00", "wk04", "wk12"],
        flairs=[flair] * 3,
        brains=[brain] * 3,
        external=[str(nifti.save(head.labels(at), tmp_path / f"{i}.nii")) for i, at in enumerate(places)],
        rules=LesionRules(segmenter=stand_in(tmp_path)).model_dump_json(),
        location=str(nifti.save(head.labels(tissue.location.data.astype(np.uint8)), tmp_path / "location.nii")),
        template_to_subject=str(itk.save_transform(tissue.template_to_subject, tmp_path / "t.txt")),
        **{
            name: str(nifti.save(getattr(tissue, name), tmp_path / f"{name}.nii"))
            for name in ("white_matter", "grey_matter", "csf", "lesion_prior")
        },
    )
    outputs = node.run(cwd=str(tmp_path)).outputs
    masks = [nifti.load_labels(file).mask for file in outputs.t2_lesions]
    assert np.array_equal(masks[0], places[0])
    assert np.array_equal(masks[2], places[2])
    assert not masks[1].any()
    assert [bool(note) for note in outputs.qc_flags] == [False, True, False]


def trial(lesions):
    return protocol_text().split("[lesions]")[0] + lesions


def test_builtin_is_the_default_and_can_be_named():
    assert parse_protocol(protocol_text()).lesions.segmenter is None
    assert parse_protocol(trial('[lesions]\nsegmenter = "builtin"')).lesions == LesionRules()
    assert t2_segmenter(LesionRules())[0] == "mri-pipeline"


GOOD = 'name = "lst-ai"\nversion = "1.2"\ncommand = ["lst", "--flair", "{flair}", "--output", "{folder}"]\n'


def test_a_table_names_another(tmp_path):
    named = parse_protocol(trial("[lesions.segmenter]\n" + GOOD)).lesions.segmenter
    file = tmp_path / "lst.toml"
    file.write_text(GOOD)
    assert load_segmenter(file) == named
    assert t2_segmenter(LesionRules(segmenter=named)) == ("lst-ai", "1.2")
    again = LesionRules.model_validate_json(LesionRules(segmenter=named).model_dump_json())
    assert again.segmenter == named


@pytest.mark.parametrize(
    ("lesions", "message"),
    [
        ('[lesions]\nsegmenter = "samseg"', 'lesions.segmenter: .*expected "builtin" or a table'),
        ('[lesions.segmenter]\nname = "x"', "lesions.segmenter.version: Field required"),
        ("[lesions.segmenter]\n" + GOOD.replace("lst-ai", "builtin"), "another program cannot be called builtin"),
        ("[lesions.segmenter]\n" + GOOD.replace("{flair}", "{Flair}"), "{Flair} is none of brain, flair, folder"),
        ("[lesions.segmenter]\n" + GOOD.replace("{folder}", "x"), "must name {flair}, and {mask} or {folder}"),
        ("[lesions.segmenter]\n" + GOOD + 'output = "../mask.nii.gz"', "lesions.segmenter.output"),
        ("[lesions.segmenter]\n" + GOOD + 'output = "a/../../mask.nii"', "must lie in the command's folder"),
        ("[lesions.segmenter]\n" + GOOD + "threshold = 0.0", "lesions.segmenter.threshold"),
        ("[lesions.segmenter]\n" + GOOD + "shell = true", "lesions.segmenter.shell: Extra inputs"),
    ],
)
def test_wrong_settings_are_named(lesions, message):
    with pytest.raises(SettingsError, match=message):
        parse_protocol(trial(lesions))


def test_the_examples_of_the_documentation_can_be_used(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "segmenters.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.toml"
        file.write_text(example.removeprefix("[lesions.segmenter]\n"))
        assert Contrast.FLAIR in load_segmenter(file).contrasts


def test_a_segmenter_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="expected a file with a segmenter's settings, found none"):
        load_segmenter(tmp_path / "none.toml")


def test_results_of_different_segmenters_have_different_digests_but_patience_is_no_rule(tmp_path):
    one = stand_in(tmp_path)
    others = [
        one.model_copy(update=change)
        for change in ({"version": "1.3"}, {"name": "y"}, {"threshold": 0.4}, {"command": (*one.command, "-x")})
    ]
    digests = {settings_digest(LesionRules(segmenter=s)) for s in (None, one, *others)}
    assert len(digests) == 6
    patient = one.model_copy(update={"timeout_minutes": 1000.0})
    assert settings_digest(LesionRules(segmenter=patient)) == settings_digest(LesionRules(segmenter=one))


def test_the_dataset_says_what_found_the_t2_lesions(tmp_path):
    rules = LesionRules(segmenter=stand_in(tmp_path))
    write_dataset_description(tmp_path, settings_digest="x", rules=rules)
    generated = json.loads((tmp_path / "dataset_description.json").read_text())["GeneratedBy"]
    assert generated[1] == {"Name": "stand-in", "Version": "1.2", "Description": "T2 lesions"}
    write_dataset_description(tmp_path, settings_digest="x", rules=RULES)
    assert len(json.loads((tmp_path / "dataset_description.json").read_text())["GeneratedBy"]) == 1
