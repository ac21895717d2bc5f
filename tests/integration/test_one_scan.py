"""One scan gives one answer, by every command and with any order of axes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.visits import Contrast
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from reading_centre.use_cases.analysis.one_scan import segment_images

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "test_images"
NAMES = {
    Contrast.FLAIR: "FLAIR",
    Contrast.T1W: "T1w",
    Contrast.T1W_GD: "ce-gadolinium_T1w",
    Contrast.T2W: "T2w",
}


def path_of(contrast):
    return IMAGES / f"sub-phantom_ses-wk04_{NAMES[contrast]}.nii.gz"


@pytest.fixture(scope="module")
def segmented():
    """The visit of the test images, segmented as stored."""
    images = {contrast: nifti.load_scan(path_of(contrast)) for contrast in NAMES}
    return images, segment_images(images, rules=LesionRules())


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
def test_turned_axes_change_no_voxel(segmented, axes):
    images, expected = segmented
    turned = {contrast: image.reoriented(axes) for contrast, image in images.items()}
    found = segment_images(turned, rules=LesionRules())
    for got, wanted in (
        (found.t2.mask, expected.t2.mask),
        (found.found.gel.mask, expected.found.gel.mask),
        (found.found.dark.black_holes, expected.found.dark.black_holes),
        (found.lesions, expected.lesions),
    ):
        assert got.grid.orientation == axes
        assert wanted.mask.any()
        assert np.array_equal(got.reoriented(wanted.grid.orientation).data, wanted.data)


def test_segment_and_bids_agree_and_a_copy_as_a_second_session_is_noticed(segmented, tmp_path, capsys):
    _, expected = segmented
    bids = tmp_path / "bids"
    for subject, sessions in (("one", ("1",)), ("two", ("1", "2"))):
        for session in sessions:
            for contrast, name in NAMES.items():
                file = (
                    bids
                    / f"sub-{subject}"
                    / f"ses-{session}"
                    / "anat"
                    / f"sub-{subject}_ses-{session}_{name}.nii.gz"
                )
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path_of(contrast), file)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    out = tmp_path / "out"
    assert cli.invoke(["bids", str(bids), str(out), "participant", "--nprocs", "2"]) == 0
    said = capsys.readouterr().out
    assert "visual QC required: 2: FLAIR: the same voxels as at 1; was the right scan uploaded?" in said
    assert "sub-two: sessions in the order 1, 2 (numbers in the session labels)" in said
    rows = read_table(out / "tables" / "lesion_timepoints.csv")
    assert len(rows) == 3
    for row in rows:
        assert int(row["t2_count"]) == int(expected.t2.mask.data.max())
        assert float(row["t2_volume_ml"]) == pytest.approx(expected.t2.mask.volume_mm3 / 1000, abs=1e-4)
        assert float(row["gel_volume_ml"]) == pytest.approx(expected.found.gel.mask.volume_mm3 / 1000, abs=1e-4)
        assert float(row["bh_volume_ml"]) == pytest.approx(
            expected.found.dark.black_holes.volume_mm3 / 1000, abs=1e-4
        )
    assert (rows[2]["new_t2_count"], rows[2]["enlarging_t2_count"]) == ("0", "0")
    order = json.loads((out / "tables" / "data_dictionary.json").read_text())["session_order"]
    assert order["two"] == {"order": ["1", "2"], "source": "numbers in the session labels"}
    assert "from <b>numbers in the session labels</b>" in (out / "reports" / "sub-two.html").read_text()


def test_a_post_contrast_t1_given_as_t1_leaves_black_holes_empty(tmp_path, capsys):
    """Session 2 has the post-contrast T1 under the name of the T1; session 1 is as it should be."""
    bids = tmp_path / "bids"
    for session, t1 in (("1", Contrast.T1W), ("2", Contrast.T1W_GD)):
        anat = bids / "sub-one" / f"ses-{session}" / "anat"
        anat.mkdir(parents=True)
        for name, contrast in (("FLAIR", Contrast.FLAIR), ("T1w", t1)):
            shutil.copy(path_of(contrast), anat / f"sub-one_ses-{session}_{name}.nii.gz")
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    out = tmp_path / "out"
    assert cli.invoke(["bids", str(bids), str(out), "participant"]) == 0
    said = capsys.readouterr().out
    message = "T1w: choroid plexus and vessels are bright as after contrast; black holes are not counted"
    assert f"2: {message}" in said.replace("FLAIR: the same voxels as at 1; was the right scan uploaded?; ", "")
    assert f"1: {message}" not in said
    first, second = read_table(out / "tables" / "lesion_timepoints.csv")
    assert int(first["bh_count"]) > 0
    assert (second["bh_count"], second["bh_volume_ml"]) == ("", "")
    anat = out / "sub-one" / "ses-2" / "anat"
    assert not list(anat.glob("*label-BH_mask*"))
    assert list(anat.glob("*label-T2lesion_mask*"))
