"""Odd headers and images: each is read or has an error that names the file, what was expected and what was found."""

import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from mri_pipeline.core.errors import ImageError, ReadingCentreError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.spatial import LabelImage
from reading_centre import cli
from reading_centre.use_cases.analysis import segment as use_case

SHAPE = (12, 14, 8)
AFFINE = np.array([[-6.0, 0, 0, 30], [0, 5, 0, -35], [0, 0, 3, -12], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(3).gamma(4.0, 50.0, SHAPE)


def content(data=VOXELS, kind=np.int16, *, affine=AFFINE, codes=(1, 1), order="<", two=False, **fields):
    """A NIfTI file with fields of its header overwritten and not repaired by nibabel."""
    image = (nib.Nifti2Image if two else nib.Nifti1Image)(np.asarray(data).astype(kind), affine, dtype=kind)
    image.set_qform(affine, code=codes[0], strip_shears=True)
    image.set_sform(affine, code=codes[1])
    header = image.header.as_byteswapped(order)
    header["magic"] = b"n+2\0\r\n\x1a\n" if two else b"n+1"
    header["vox_offset"] = 544 if two else 352
    for name, value in fields.items():
        header[name] = value
    voxels = np.asarray(image.dataobj).astype(np.dtype(kind).newbyteorder(order)).tobytes(order="F")
    return header.binaryblock + bytes(4) + voxels


def changed(place, value, data=VOXELS, kind=np.float32):
    data = data.astype(kind)
    data[place] = value
    return content(data, kind)


def stretched(factors, shape=SHAPE):
    return content(np.resize(VOXELS, shape), affine=AFFINE @ np.diag([*factors, 1.0]))


def sheared(cosine):
    affine = AFFINE.copy()
    affine[1, 0] = 6.0 * cosine / np.sqrt(1 - cosine**2)
    return affine


def oblique(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
AS_SFORM = {"codes": (0, 1)}
AS_QFORM = {"codes": (1, 0)}
DIM_4D = [4, 12, 14, 4, 2, 1, 1, 1]
HUGE = [3, 32000, 32000, 32000, 1, 1, 1, 1]

READ = {
    "int8": content(VOXELS / 8, np.int8),
    "uint8": content(VOXELS / 4, np.uint8),
    "uint64": content(kind=np.uint64),
    "float64": content(kind=np.float64),
    "big-endian": content(order=">"),
    "big-endian-float64": content(kind=np.float64, order=">"),
    "nifti-2": content(two=True),
    "nifti-2-big-endian": content(two=True, order=">"),
    "trailing-axes-of-1": content(dim=[5, *SHAPE, 1, 1, 1, 1]),
    "seven-dimensions": content(dim=[7, *SHAPE, 1, 1, 1, 1]),
    "slope-0": content(scl_slope=0, scl_inter=5),
    "slope-nan": content(scl_slope=np.nan, scl_inter=np.nan),
    "slope-inf": content(scl_slope=np.inf),
    "some-nan": changed(np.s_[:3], np.nan),
    "some-inf": changed(np.s_[2:3, 3, 4], np.inf),
    "units-unknown": content(xyzt_units=0),
    "units-invalid": content(xyzt_units=7),
    "negative-pixdim": content(pixdim=[-1, -6, 5, 3, 0, 0, 0, 0]),
    "zero-pixdim-sform-only": content(pixdim=[1, 0, 0, 0, 0, 0, 0, 0], **AS_SFORM),
    "qform-only": content(**AS_QFORM),
    "qform-only-nan-sform": content(srow_x=[np.nan] * 4, **AS_QFORM),
    "sform-only": content(**AS_SFORM),
    "sform-only-broken-quaternion": content(quatern_b=0.9, quatern_c=0.9, **AS_SFORM),
    "left-handed": content(affine=np.diag([-1.0, 1, 1, 1]) @ AFFINE),
    "oblique": content(affine=oblique(30)),
    "slight-shear": content(affine=sheared(0.02), **AS_SFORM),
    "wrong-size-of-header": content(sizeof_hdr=347),
    "data-after-the-voxels": content() + b"more",
    "two-slices": content(VOXELS[..., :2]),
}  # fmt: skip

REFUSED = {
    "empty": (b"", "cannot be read"),
    "text": (b"case,predicted,reference\n" * 40, "cannot be read"),
    "header-alone": (content()[:352], "expected 3040 bytes for 12 x 14 x 8 voxels, found 352"),
    "half-a-header": (content()[:200], "cannot be read"),
    "truncated": (content()[:-5], "expected 3040 bytes for 12 x 14 x 8 voxels, found 3035"),
    "wrong-magic": (content(magic=b"xyz"), "cannot be read .*no NIfTI header"),
    "magic-of-a-pair": (content(magic=b"ni1", vox_offset=0)[:900], "found 900: the file is incomplete"),
    "unknown-type": (content(datatype=4242), "cannot be read .*4242"),
    "one-bit": (content(datatype=1, bitpix=1), "cannot be read"),
    "rgb": (content(np.zeros(SHAPE, RGB), RGB), "expected one real number per voxel, found colours"),
    "complex": (content(kind=np.complex64), "expected one real number per voxel, found complex64"),
    "2D": (content(VOXELS[..., 0]), "expected a 3D image, found 2 dimensions"),
    "4D": (content(dim=DIM_4D), "expected a 3D image, found 4 dimensions"),
    "one-slice": (content(VOXELS[..., :1]), "expected a volume of several slices, found 12 x 14 x 1 voxels"),
    "zero-dim": (content(dim=[3, 12, 0, 8, 1, 1, 1, 1]), "found a header with 12 x 0 x 8 voxels"),
    "negative-dim": (content(dim=[3, 12, -14, 8, 1, 1, 1, 1]), "found a header with 12 x -14 x 8 voxels"),
    "nine-dimensions": (content(dim=[9, *SHAPE, 1, 1, 1, 1]), "cannot be read"),
    "huge-dims": (content(dim=HUGE), "expected 65536000000352 bytes for 32000 x 32000 x 32000 voxels"),
    "zero-pixdim": (content(pixdim=[1, 6, 0, 3, 0, 0, 0, 0], **AS_QFORM), "above 0, found 6 x 0 x 3 mm"),
    "nan-pixdim": (content(pixdim=[1, 6, np.nan, 3, 0, 0, 0, 0]), "expected voxel sizes above 0, found 6 x nan x 3 mm"),
    "intercept-nan": (content(scl_slope=2, scl_inter=np.nan), "cannot be read .*intercept"),
    "all-nan": (content(VOXELS * np.nan, np.float32), "found only values that are not finite"),
    "all-zero": (content(VOXELS * 0), "found only zeros"),
    "constant": (content(VOXELS * 0 + 7), "found one value everywhere"),
    "mask": (content(VOXELS > 200, np.uint8), "expected an image, found a mask of two values"),
    "negative": (content(-VOXELS), "expected intensities of 0 or more"),
    "too-large-for-single": (changed(np.s_[2, 2, 2], 1e300, kind=np.float64), "expected values of single precision"),
    "metres": (content(xyzt_units=1), "expected lengths in mm, found metres"),
    "micrometres": (content(xyzt_units=3 + 8), "expected lengths in mm, found micrometres"),
    "no-form": (content(codes=(0, 0)), "expected a qform or sform, found neither"),
    "unknown-codes": (content(qform_code=77, sform_code=-3), "expected a qform or sform, found neither"),
    "nan-sform": (content(srow_y=[np.nan] * 4), "expected finite numbers in the sform and an affine with an inverse"),
    "infinite-sform": (content(srow_y=[0, np.inf, 0, 0]), "expected finite numbers in the sform"),
    "singular-sform": (content(srow_z=[0, 0, 0, 1]), "expected finite numbers in the sform"),
    "nan-quaternion": (content(quatern_b=np.nan), "expected (finite numbers in the qform|a qform with a valid)"),
    "nan-offset": (content(qoffset_x=np.nan, **AS_QFORM), "expected finite numbers in the qform"),
    "broken-quaternion": (content(quatern_b=0.9, quatern_c=0.9, **AS_QFORM), "a qform with a valid quaternion"),
    "shear": (content(affine=sheared(0.3), **AS_SFORM), "expected perpendicular axes, found two at 73 degrees"),
    "voxels-of-0.1-mm": (stretched([0.1 / 6, 0.1 / 5, 0.1 / 3]), "expected a field of view of 50 to 1000 mm"),
    "voxels-of-20-mm": (stretched([20 / 6, 4.0, 20 / 3]), "expected voxels of at most 10 mm, found 12 x 14 x 8"),
    "view-of-20-mm": (stretched([0.3, 0.3, 0.8]), "expected a field of view .* found 22 x 21 x 19 mm"),
    "view-of-3-m": (stretched([1.6, 1, 1], (320, 14, 8)), "expected a field of view .* found 3072 x 70 x 24 mm"),
}  # fmt: skip


def write(folder, data, name="scan.nii.gz"):
    path = folder / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    return path


def segmented(path, out, *more):
    return cli.invoke(["segment", "--flair", str(path), "--out", str(out), *more])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("data", READ.values(), ids=READ.keys())
def test_an_odd_file_that_is_fine_is_read(tmp_path, data, ending):
    path = write(tmp_path, data, f"Köpfe 1 {ending}")
    scan = nifti.load_scan(path)
    assert np.isfinite(scan.data).all()
    assert scan.grid.shape[:2] == SHAPE[:2]
    assert np.allclose(np.sort(scan.grid.spacing_mm), [3, 5, 6], atol=0.01)
    assert nifti.form_difference_mm(path) < 1e-2
    mask = nifti.save(LabelImage(scan.data > 200, scan.grid), tmp_path / "mask.nii.gz", forms_of=path)
    assert nifti.load_labels(mask).grid.same_as(scan.grid)


@pytest.mark.parametrize("name", ["big-endian", "nifti-2", "nifti-2-big-endian", "trailing-axes-of-1", "slope-0"])
def test_an_odd_file_holds_the_voxels_that_were_written(tmp_path, name):
    scan = nifti.load_scan(write(tmp_path, READ[name]))
    assert np.array_equal(scan.data, VOXELS.astype(np.int16))
    assert np.allclose(scan.grid.affine, AFFINE)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_odd_file_that_cannot_be_used_is_refused_before_the_work(
    tmp_path, capsys, monkeypatch, data, message, name
):
    monkeypatch.setattr(use_case, "segment_images", lambda *_, **__: pytest.fail("the work was started"))
    path = write(tmp_path, data, name)
    with pytest.raises(ImageError, match=f"{name}.*{message}") as caught:
        nifti.load_scan(path)
    assert caught.value.hint
    assert str(tmp_path) not in caught.value.message
    assert segmented(path, tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to(path.parent / "elsewhere")


def analyze_pair(path):
    nib.save(nib.AnalyzeImage(VOXELS.astype(np.int16), AFFINE), path)


def mgz(path):
    nib.save(nib.MGHImage(VOXELS.astype(np.float32), AFFINE), path)


def unreadable(path):
    path.write_bytes(gzip.compress(content()))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.nii.gz", folder, "found a folder named x.nii.gz"),
        ("x.nii.gz", dangling, "found x.nii.gz, a link without its target"),
        ("x.nii.gz", lambda p: None, "found none named x.nii.gz"),
        ("x.nii.gz", unreadable, r"x.nii.gz that cannot be read \(PermissionError\)"),
        ("x.nii.gz", lambda p: p.write_bytes(content()), r"x.nii.gz that cannot be read \(BadGzipFile\)"),
        ("x.nii.gz", lambda p: p.write_bytes(gzip.compress(content())[:-20]), "x.nii.gz that cannot be read"),
        ("x.nii.gz", lambda p: p.write_bytes(gzip.compress(content()) + b"more"), "x.nii.gz that cannot be read"),
        ("x.nii", lambda p: p.write_bytes(gzip.compress(content())), "x.nii that cannot be read"),
        ("x.img", analyze_pair, "x.img that cannot be read"),
        ("x.hdr", analyze_pair, "x.hdr that cannot be read"),
        ("x.mgz", mgz, "x.mgz that cannot be read"),
        ("x.png", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900)), "x.png that cannot be read"),
        (f"{'x' * 300}.nii", lambda p: None, "that cannot be read|found none"),
    ],
)  # fmt: skip
def test_a_path_without_a_nifti_file_has_a_clear_error(tmp_path, capsys, name, make, message):
    make(tmp_path / name)
    with pytest.raises(ImageError, match=message) as caught:
        nifti.load_scan(tmp_path / name)
    assert caught.value.hint
    assert segmented(tmp_path / name, tmp_path / "out") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_capitals_in_the_ending_are_no_matter(tmp_path):
    for name in ("A.NII.GZ", "B.NII"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content()) if name.endswith("GZ") else content())
        assert nifti.load_scan(path).grid.shape == SHAPE


def test_an_odd_file_fails_as_another_contrast_as_a_brain_mask_and_in_evaluate(tmp_path, capsys):
    good, bad = write(tmp_path, content(), "good.nii.gz"), write(tmp_path, content(dim=HUGE), "bad.nii.gz")
    for option in ("--t1", "--t1-gd", "--t2", "--brain-mask"):
        assert segmented(good, tmp_path / "out", option, str(bad)) == 2
        assert "error: bad.nii.gz: expected 65536000000352 bytes" in capsys.readouterr().err
    for side, data in (("p", content(srow_x=[np.nan] * 4)), ("r", content(VOXELS > 200, np.uint8))):
        (tmp_path / side).mkdir()
        write(tmp_path / side, data, "a.nii.gz")
    folders = [
        "--predicted",
        str(tmp_path / "p"),
        "--reference",
        str(tmp_path / "r"),
        "--out",
        str(tmp_path / "e"),
    ]
    assert cli.invoke(["evaluate", *folders]) == 2
    assert "error: case a: a.nii.gz: expected finite numbers in the sform" in capsys.readouterr().err


BASES = (
    content(),
    content(two=True),
    content(kind=np.float32, order=">"),
    content(**AS_QFORM),
    content(**AS_SFORM),
)


def mutated(rng):
    """A file with one to four bytes of its header overwritten."""
    data = bytearray(BASES[rng.integers(len(BASES))])
    for place in rng.integers(0, 352, rng.integers(1, 5)):
        data[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    return bytes(data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_in_the_header_give_an_image_or_an_error_with_the_name(tmp_path, seed):
    rng, read, refused = np.random.default_rng(seed), 0, []
    for number in range(60):
        path = write(tmp_path, mutated(rng), f"m{number}.nii")
        try:
            scan = nifti.load_scan(path)
            nifti.save(LabelImage(scan.data > 200, scan.grid), tmp_path / "mask.nii.gz", forms_of=path)
            assert nifti.form_difference_mm(path) >= 0
            read += 1
        except ReadingCentreError as error:
            refused.append((path.name in error.message, bool(error.hint), error.exit_code))
    assert set(refused) == {(True, True, 2)}
    assert 10 < read < 55
