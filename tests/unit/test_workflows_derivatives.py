"""What the derivative dataset says of its scans, and that its table of lesions reads as lesions.csv does."""

import json

import nibabel as nib
import numpy as np
import pytest

from mri_pipeline.analysis.derivatives import (
    read_masks,
    write_space,
    write_visit,
)
from mri_pipeline.analysis.description import write_dataset_description
from mri_pipeline.core.anatomy import Location, TissueMaps
from mri_pipeline.core.derivative_layout import DerivativeDataset
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.mask_label import MaskLabel
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import LesionRecord, RegistrationRecord, T2State, VisitQuality
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.tables.io import csv_text
from mri_pipeline.tables.rows import lesion_row
from mri_pipeline.tables.schema import LESIONS
from qc.registration import judge

GRID = Grid((4, 5, 3), np.diag([1.0, 1.0, 3.0, 1.0]))
ONES = LabelImage(np.ones(GRID.shape, np.uint8), GRID)
NUMBERED = LabelImage(np.arange(GRID.shape[0] * 15, dtype=np.int32).reshape(GRID.shape), GRID)
IMAGE = Image(np.random.default_rng(0).random(GRID.shape, dtype=np.float32), GRID)
LESION = LesionRecord(
    "wk04", 3, 14.123456789, -10.0, 2.005, 30.5, Location.JUXTACORTICAL, False, None, T2State.STABLE, None
)


@pytest.fixture
def written(tmp_path):
    def write(*, skull_stripped, visit="wk04"):
        derivatives = DerivativeDataset(tmp_path / "derivatives")
        transform = itk.save_transform(Affine.identity(), tmp_path / "t.txt")
        quality = VisitQuality(
            visit,
            "",
            skull_stripped=skull_stripped,
            brain_covered=None,
            registrations=(
                RegistrationRecord(Contrast.FLAIR, "wk00", 0.98, "gauss-newton", failed=False),
                RegistrationRecord(Contrast.T1W, visit, 0.55, "mutual-information", failed=False),
                RegistrationRecord(Contrast.T2W, visit, 0.01, "gauss-newton", failed=True),
            ),
        )
        images = {Contrast.FLAIR: IMAGE, Contrast.T1W: IMAGE}
        write_visit(
            derivatives,
            "AB12",
            visit,
            images=images,
            brain=ONES,
            probabilities={MaskLabel.T2_LESION: IMAGE, MaskLabel.GEL: IMAGE},
            masks={MaskLabel.T2_LESION: NUMBERED},
            t1_hypointensity=ONES,
            lesions=ONES,
            records=[LESION],
            transforms=dict.fromkeys(images, transform),
            quality=quality,
            sources={Contrast.FLAIR: "sub-AB12/ses-wk04/anat/sub-AB12_ses-wk04_FLAIR.nii.gz"},
            verdicts={record.contrast: judge(record).value for record in quality.registrations},
            t2_segmenter=("mri-pipeline", "1"),
        )
        return derivatives

    return write


def beside(path, ending=".json"):
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ending)


def test_registered_images_are_16_bit_and_probabilities_are_exact(written):
    derivatives = written(skull_stripped=False)
    stored = nib.load(derivatives.image("AB12", "wk04", Contrast.T1W))
    assert stored.get_data_dtype() == np.int16
    np.testing.assert_allclose(stored.get_fdata(), IMAGE.data, rtol=0, atol=2**-16)
    probability = nifti.load_map(derivatives.probability("AB12", "wk04", MaskLabel.T2_LESION))
    assert np.array_equal(probability.data, IMAGE.data)


@pytest.mark.parametrize("skull_stripped", [True, False])
def test_sidecars_say_how_a_scan_came_and_how_it_was_registered(written, skull_stripped):
    derivatives = written(skull_stripped=skull_stripped)
    expected = {
        Contrast.FLAIR: ("FLAIR of wk00", 0.98, "gauss-newton", "good"),
        Contrast.T1W: ("FLAIR of wk04", 0.55, "mutual-information", "doubtful"),
    }
    for contrast, values in expected.items():
        sidecar = json.loads(beside(derivatives.image("AB12", "wk04", contrast)).read_text())
        assert sidecar["SkullStripped"] is skull_stripped
        assert tuple(sidecar["Registration"][k] for k in ("Reference", "Quality", "Method", "Verdict")) == values
        transform = derivatives.transform("AB12", "wk04", contrast).with_suffix(".json")
        assert json.loads(transform.read_text())["Registration"] == sidecar["Registration"]


def test_the_table_beside_the_numbers_has_the_cells_of_lesions_csv(written):
    path = beside(written(skull_stripped=False).lesions("AB12", "wk04"), ".tsv")
    names, values = (line.split("\t") for line in path.read_text().splitlines())
    row = dict(zip(names, values, strict=True))
    as_csv = csv_text(LESIONS.names, [lesion_row("AB12", LESION)]).splitlines()[1].split(",")
    other = dict(zip(LESIONS.names, as_csv, strict=True))
    assert row["index"] == other["lesion_id"] == "3"
    for name in set(row) & set(other):
        assert row[name] == (other[name] or "n/a")
    assert (row["enhancing"], row["volume_mm3"], row["y_mm"]) == ("false", "14.12", other["y_mm"])


def test_probabilities_and_hypointensity_have_a_file_each(written):
    derivatives = written(skull_stripped=False)
    for label in (MaskLabel.T2_LESION, MaskLabel.GEL):
        path = derivatives.probability("AB12", "wk04", label)
        assert np.allclose(nifti.load_map(path).data, IMAGE.data, atol=1e-4)
        assert ("GeneratedBy" in json.loads(beside(path).read_text())) is (label is MaskLabel.T2_LESION)
    table = beside(derivatives.t1_hypointensity("AB12", "wk04"), ".tsv").read_text().splitlines()
    assert table == ["index\tname", "1\thypointense", "2\tas_grey_matter", "3\tsevere"]
    assert read_masks(derivatives, "AB12", "wk04").t1_hypointensity.mask.all()


def test_a_space_is_written_to_the_last_bit(tmp_path):
    """What a later analysis reads back are the numbers of the first one: maps, grid and transforms."""
    rng = np.random.default_rng(1)
    grid = Grid(
        GRID.shape, np.array([[0.937, 0.01, 0, -3.3], [-0.01, 0.937, 0, 7.1], [0, 0, 3.3, 1], [0, 0, 0, 1.0]])
    )
    first = nifti.load_map(nifti.save(Image(rng.random(grid.shape, dtype=np.float32), grid), tmp_path / "a.nii"))
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.01, (3, 4))
    way = itk.save_transform(Affine(matrix), tmp_path / "way.txt")
    tissue = TissueMaps(first, first, first, LabelImage(ONES.data, first.grid), first, itk.load_transform(way))
    space = DerivativeDataset(tmp_path / "derivatives").space("AB12")
    write_space(
        space,
        brain=LabelImage(ONES.data, first.grid),
        whole_brain=LabelImage(ONES.data, first.grid),
        tissue=tissue,
        template_to_subject=way,
        flairs_to_subject={"wk00": way},
        record="{}",
    )
    for path in space.maps.values():
        again = nifti.load_map(path)
        assert again.data.tobytes() == first.data.tobytes()
        assert again.grid.affine.tobytes() == first.grid.affine.tobytes()
    for path in (space.template_to_subject, space.flair_to_subject("wk00")):
        assert path.read_bytes() == way.read_bytes()


def test_masks_are_binary_and_sidecars_name_their_sources(written):
    derivatives = written(skull_stripped=False)
    mask = derivatives.mask("AB12", "wk04", MaskLabel.T2_LESION)
    assert set(np.unique(nifti.load_labels(mask).data)) <= {0, 1}
    sidecar = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Description"] == "T2 lesions"
    assert all((derivatives.root / uri.removeprefix("bids::")).is_file() for uri in sidecar["Sources"])
    image = derivatives.image("AB12", "wk04", Contrast.FLAIR)
    sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-AB12/ses-wk04/anat/sub-AB12_ses-wk04_FLAIR.nii.gz"]


def test_the_dataset_names_the_dataset_of_its_scans(tmp_path):
    write_dataset_description(tmp_path / "out", settings_digest="x", rules=LesionRules(), raw=tmp_path / "raw")
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["SourceDatasets"] == [{"URL": "../raw"}]
    assert description["DatasetLinks"] == {"raw": "../raw"}
