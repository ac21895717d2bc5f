"""Headers and intensities of scans: what is refused, what triggers a QC flag, what is kept in the outputs."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri_pipeline.analysis import preparation
from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import VisitQuality
from mri_pipeline.core.spatial import Grid, Image, LabelImage
from mri_pipeline.core.visits import Contrast
from mri_pipeline.images.duplicates import same_scan, scan_digest
from mri_pipeline.images.register import RegistrationMethod
from qc.registration import duplicate_qc_flag, forms_qc_flag, qc_flags
from reading_centre.use_cases.analysis.one_scan import segment_images
from workflows.alignment.records import (
    ScanRegistration,
    VisitAlignmentRecord,
    load_record_file,
    save_record_file,
    without_copies,
)
from workflows.interfaces.registration import RecordVisit, Register

AFFINE = np.array([[-6.0, 0, 0, 90], [0, 5, 0, -120], [0, 0, 3, -60], [0, 0, 0, 1]])


def scan(path, *, q=None, s=None, data=None, q_code=1, s_code=1):
    rng = np.random.default_rng(1)
    voxels = (rng.gamma(4.0, 50.0, (12, 14, 8)) if data is None else data).astype(np.float32)
    image = nib.Nifti1Image(voxels, None)
    image.set_sform(AFFINE if s is None else s, code=s_code)
    image.set_qform(AFFINE if q is None else q, code=q_code)
    nib.save(image, path)
    return path


def moved(**changes):
    other = AFFINE.copy()
    for name, value in changes.items():
        other["xyz".index(name), 3] += value
    return other


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1, 1, 1]), np.diag([1.0, -1, 1, 1]), np.eye(4)[[1, 0, 2, 3]]])
def test_forms_that_differ_by_a_flip_or_swapped_axes_are_refused(tmp_path, matrix):
    path = scan(tmp_path / "f.nii.gz", q=matrix @ AFFINE)
    with pytest.raises(
        ImageError, match=r"f.nii.gz: expected a qform and an sform with the same axes, found \w+ and LAS"
    ):
        nifti.load_scan(path)


def test_a_broken_quaternion_beside_a_valid_sform_has_a_clear_error(tmp_path):
    path = tmp_path / "f.nii"
    image = nib.load(scan(tmp_path / "g.nii.gz"))
    image.header["quatern_b"] = image.header["quatern_c"] = 0.9
    with path.open("wb") as stream:
        image.header["magic"], image.header["vox_offset"] = b"n+1", 352
        stream.write(image.header.binaryblock + bytes(4) + image.get_fdata().astype("<f4").tobytes(order="F"))
    with pytest.raises(ImageError, match=r"f.nii: expected a qform with a valid quaternion, found a broken one"):
        nifti.load_scan(path)


def test_one_form_alone_is_enough(tmp_path):
    flipped = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    assert nifti.load_scan(scan(tmp_path / "q.nii.gz", s=flipped, s_code=0)).grid.orientation == "LAS"
    assert nifti.load_scan(scan(tmp_path / "s.nii.gz", q=flipped, q_code=0)).grid.orientation == "LAS"


def test_forms_that_differ_by_a_shift_trigger_a_flag_and_the_sform_is_used(tmp_path):
    path = scan(tmp_path / "f.nii.gz", q=moved(x=3.0, z=4.0))
    assert nifti.form_difference_mm(path) == pytest.approx(5.0, abs=1e-4)
    assert np.allclose(nifti.load_scan(path).grid.affine, AFFINE)
    message = "FLAIR: qform and sform differ by up to 5.0 mm; the sform is used"
    assert forms_qc_flag(Contrast.FLAIR, nifti.form_difference_mm(path)) == message
    assert (
        forms_qc_flag(Contrast.FLAIR, nifti.form_difference_mm(scan(tmp_path / "g.nii.gz", q=moved(x=0.1)))) == ""
    )
    assert nifti.form_difference_mm(scan(tmp_path / "h.nii.gz", q=moved(x=9.0), q_code=0)) == 0.0


def test_both_forms_and_their_codes_survive_into_an_output(tmp_path):
    path = scan(tmp_path / "f.nii.gz", q=moved(x=2.0), q_code=1, s_code=4)
    mask = LabelImage(nifti.load_scan(path).data > 300, nifti.load_scan(path).grid)
    header = nib.load(nifti.save(mask, tmp_path / "m.nii.gz", forms_of=path)).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
    assert np.allclose(header.get_qform(), moved(x=2.0), atol=1e-5)
    assert np.allclose(header.get_sform(), AFFINE)
    assert header["descrip"].tobytes().strip(b"\0") == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x - x.mean()) / x.std(), "expected intensities of 0 or more, found .* below 0"),
        (lambda x: -x, "found 100 % of the voxels below 0"),
        (np.zeros_like, "found only zeros"),
        (lambda x: np.full_like(x, 7.0), "found one value everywhere"),
        (lambda x: np.full_like(x, np.nan), "found only values that are not finite"),
    ],
)
def test_intensities_that_are_no_magnitude_image_have_a_clear_error(tmp_path, change, message):
    data = np.random.default_rng(1).gamma(4.0, 50.0, (12, 14, 8))
    path = scan(tmp_path / "f.nii.gz", data=change(data))
    with pytest.raises(ImageError, match=f"f.nii.gz: .*{message}"):
        nifti.load_scan(path)


def test_overshoot_of_an_interpolation_is_no_negative_image(tmp_path):
    data = np.random.default_rng(1).gamma(4.0, 50.0, (12, 14, 8))
    data[:2] = -1.0
    assert nifti.load_scan(scan(tmp_path / "f.nii.gz", data=data)).data.min() == -1.0


def head(seed=0, scale=1.0):
    data = np.random.default_rng(seed).gamma(4.0, 50.0, (10, 12, 6)).astype(np.float32)
    return Image(scale * data, Grid((10, 12, 6), np.diag([2.0, 2.0, 4.0, 1.0])))


def test_a_copy_has_the_digest_of_its_scan_however_it_was_saved():
    copies = [
        head(),
        head(scale=3.0),
        head().reoriented("PSL"),
        Image(head().data.astype(np.float16), head().grid),
    ]
    assert len({scan_digest(copy) for copy in copies[:3]}) == 1
    assert scan_digest(head(1)) != scan_digest(head())
    other_place = Image(head().data, Grid((10, 12, 6), np.diag([1.0, 1.0, 1.0, 1.0])))
    assert scan_digest(other_place) == scan_digest(head())
    one_voxel, cut = head(), Image(head().data[1:], Grid((9, 12, 6), head().grid.affine))
    one_voxel.data[0, 0, 0] += 20.0  # outside the plane that is compared first
    for other in (*copies, other_place, head(1), one_voxel, cut):
        assert same_scan(head(), other) == (scan_digest(head()) == scan_digest(other))


def test_a_copy_as_another_visit_keeps_its_place_and_as_another_contrast_has_failed():
    copy = head(scale=2.0).reoriented("LPS")
    visit = preparation.register(head(), copy, fixed_brain=None, intra_modal=True)
    assert (visit.method, visit.failed) == (RegistrationMethod.SAME_SCAN, False)
    assert np.allclose(visit.moving_to_fixed.matrix, np.eye(4))
    contrast = preparation.register(head(), copy, fixed_brain=None, intra_modal=False)
    assert contrast.failed


@pytest.mark.parametrize(("first", "second"), [(Contrast.T1W, Contrast.T1W_GD), (Contrast.T1W, Contrast.FLAIR)])
def test_one_scan_as_two_contrasts_is_refused_by_segment_and_left_out_by_the_workflow(first, second):
    scans = {contrast: head(seed) for seed, contrast in enumerate(Contrast)}
    preparation.require_different(scans)
    scans[second] = Image(2 * scans[first].data + 3, scans[first].grid).reoriented("LPS")
    with pytest.raises(
        ImageError, match=f"{first.value} and {second.value}: expected different scans, found the same voxels"
    ):
        segment_images(scans, rules=LesionRules())
    matches = {
        contrast: ScanRegistration(
            moving_to_fixed="x.txt",
            scan_digest=scan_digest(scan),
            quality=0.9,
            method="gauss-newton",
            failed=False,
        )
        for contrast, scan in scans.items()
        if contrast is not Contrast.FLAIR
    }
    kept = without_copies(matches, scan_digest(scans[Contrast.FLAIR]))
    assert {c for c, match in kept.items() if match.failed} == {first, second} - {Contrast.FLAIR}
    record = kept[first].record(first, "wk00")
    assert qc_flags(VisitQuality("wk00", "", False, 1.0, (record,))) == [
        f"{first.value} excluded: it has the same voxels as another contrast of the visit"
    ]


def test_copies_name_the_visits_they_repeat():
    assert duplicate_qc_flag([]) == ""
    assert duplicate_qc_flag(["wk00", "wk04"]).startswith("FLAIR: the same voxels as at wk00, wk04;")


def test_the_interfaces_record_the_digest_of_a_scan_and_leave_its_copies_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flair = scan(tmp_path / "f.nii.gz")
    found = Register(fixed=str(flair), moving=str(flair), intra_modal=False).run().outputs.match
    match = load_record_file(ScanRegistration, Path(found))
    assert match.scan_digest == scan_digest(nifti.load_scan(flair))
    usable = save_record_file(match.model_copy(update={"failed": False}), tmp_path / "t1w.json")
    record = RecordVisit(
        file=str(tmp_path / "wk00.json"), brain=str(flair), template_to_flair=str(flair), skull_stripped=False,
        brain_quality=0.9, scan_digest="another", t1w_match=str(usable), t1w_gd_match=str(usable),
    )  # fmt: skip
    written = load_record_file(VisitAlignmentRecord, Path(record.run().outputs.record))
    assert [written.scans[c].failed for c in (Contrast.T1W, Contrast.T1W_GD)] == [True, True]
