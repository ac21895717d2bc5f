"""Files in and out: what is read is what was written, and bad files have one clear line."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mri_pipeline.core.errors import ImageError
from mri_pipeline.core.io import itk, nifti
from mri_pipeline.core.spatial import Affine, Grid, Image, LabelImage


def grid():
    affine = np.array([[-0.9, 0, 0, 80], [0, -0.85, 0.5, 100], [0, 0.15, 2.9, -60], [0, 0, 0, 1]])
    return Grid((20, 24, 12), affine)


def image():
    return Image(np.random.default_rng(1).random(grid().shape, dtype=np.float32) + 1, grid())


def overwritten(compressed):
    return compressed[:400] + b"\xff" * 200 + compressed[600:]


def of_another_type(image):
    """A file whose data type no program knows."""
    data = bytearray(nib.Nifti1Image(image.data, image.grid.affine).to_bytes())
    data[70:72] = (4242).to_bytes(2, "little")
    return gzip.compress(bytes(data))


def test_an_image_comes_back_as_it_went_and_the_bytes_depend_on_nothing_else(tmp_path):
    nifti.save(image(), tmp_path / "a.nii.gz")
    nifti.save(image(), tmp_path / "later" / "a.nii.gz")
    back = nifti.load_image(tmp_path / "a.nii.gz")
    assert back.grid.same_as(grid())
    assert np.array_equal(back.data, image().data)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "later" / "a.nii.gz").read_bytes()


def test_labels_come_back_and_probabilities_are_refused(tmp_path):
    labels = LabelImage((image().data > 1.9).astype(np.int32) * 300, grid())
    assert np.array_equal(nifti.load_labels(nifti.save(labels, tmp_path / "l.nii.gz")).data, labels.data)
    nifti.save(Image(image().data - 1, grid()), tmp_path / "p.nii.gz")
    with pytest.raises(ImageError, match="expected whole labels of 0 or more"):
        nifti.load_labels(tmp_path / "p.nii.gz")


def test_a_mask_saved_with_a_scaling_is_a_mask_and_what_is_not_finite_is_none(tmp_path):
    mask = image().data > 1.9
    scaled = nib.Nifti1Image(mask.astype(np.float32), grid().affine)
    scaled.header.set_data_dtype(np.int16)  # as a float mask with the header of its image is saved
    nib.save(scaled, tmp_path / "m.nii")
    assert np.asarray(nib.load(tmp_path / "m.nii").dataobj).max() != 1
    assert np.array_equal(nifti.load_labels(tmp_path / "m.nii").mask, mask)
    for value in (np.nan, np.inf):
        data = mask.astype(np.float32)
        data[0, 0, 0] = value
        nib.save(nib.Nifti1Image(data, grid().affine), tmp_path / "n.nii")
        with pytest.raises(ImageError, match=f"expected whole labels of 0 or more, found {value}"):
            nifti.load_labels(tmp_path / "n.nii")


@pytest.mark.parametrize("kind", [np.uint32, np.float32])
def test_labels_that_no_label_can_hold_are_refused(tmp_path, kind):
    path = tmp_path / "large.nii.gz"
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 3e9, kind), np.eye(4)), path)
    with pytest.raises(ImageError, match="expected whole labels of 0 or more"):
        nifti.load_labels(path)


def test_an_image_without_orientation_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), None), tmp_path / "none.nii.gz")
    with pytest.raises(ImageError, match="expected a qform or sform, found neither"):
        nifti.load_image(tmp_path / "none.nii.gz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "found none named"),
        (lambda p: p.write_bytes(b"not an image"), "cannot be read"),
        (lambda p: p.write_bytes(gzip.compress(b"")), "cannot be read"),
        (lambda p: nifti.save(image(), p) and p.write_bytes(p.read_bytes()[:900]), "cannot be read"),
        (lambda p: nifti.save(image(), p) and p.write_bytes(overwritten(p.read_bytes())), "cannot be read"),
        (
            lambda p: nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 2), np.float32), np.eye(4)), p),
            "found 4 dimensions",
        ),
        (lambda p: nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), p), "found only zeros"),
        (lambda p: nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.complex64), np.eye(4)), p), "found complex64"),
        (lambda p: p.write_bytes(of_another_type(image())), "cannot be read"),
    ],
)
def test_a_file_that_is_no_image_has_one_clear_line(tmp_path, make, message):
    path = tmp_path / "x.nii.gz"
    make(path)
    with pytest.raises(ImageError, match=message) as caught:
        nifti.load_image(path)
    assert "\n" not in caught.value.message


def members(content, ends):
    """A gzip file with one member for each part of the content, as pigz and bgzip write it."""
    return b"".join(gzip.compress(content[a:b]) for a, b in zip((0, *ends), (*ends, len(content)), strict=True))


@pytest.mark.parametrize(
    "packed",
    [
        lambda content: members(content, [len(content) // 2]),  # two of equal size: the last one states half
        lambda content: members(content, [100, 100, len(content)]),  # empty ones
        lambda content: gzip.compress(content) + bytes(16),  # padded, for example by a tape
        lambda content: gzip.compress(content, 9),
    ],
    ids=["two members", "empty members", "padded", "one member"],
)
def test_compressed_files_of_every_kind_are_read_whole(tmp_path, packed):
    content = nib.Nifti1Image(image().data, image().grid.affine).to_bytes()
    assert len(content) % 2 == 0
    path = tmp_path / "a.nii.gz"
    path.write_bytes(packed(content))
    assert np.array_equal(nifti.load_image(path).data, image().data)


@pytest.mark.parametrize(
    "packed", [b"", gzip.compress(bytes(900), mtime=0)[:-4]], ids=["nothing else", "a member"]
)
def test_a_compressed_file_with_a_wrong_size_is_refused(tmp_path, packed):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(packed + b"\x01\0\0\0")
    with pytest.raises(ImageError, match="cannot be read"):
        nifti.load_image(path)


def test_itk_transforms_pull_images_as_itk_reads_them(tmp_path):
    """The witness is ITK itself: the file resamples the source onto the target grid."""
    blob = np.zeros(grid().shape, np.float32)
    blob[9:12, 10:14, 5:7] = 1
    source = Image(blob, grid())
    matrix = np.eye(4)
    matrix[:3, 3] = [4.0, -3.0, 5.5]
    path = itk.save_transform(Affine(matrix), tmp_path / "from-a_to-b_mode-image_xfm.txt")
    moved = sitk.Resample(itk.to_sitk(source), itk.to_sitk(source), sitk.ReadTransform(str(path)))
    back = itk.from_sitk(moved, grid())

    def centre(data):
        return np.average(grid().world(np.argwhere(data > 0)), axis=0, weights=data[data > 0])

    assert centre(back.data) - centre(blob) == pytest.approx([4.0, -3.0, 5.5], abs=0.3)
    assert np.allclose(itk.load_transform(path).matrix, matrix, atol=1e-6)


@pytest.mark.real_data
def test_the_authors_transforms_are_read(real_data):
    path = next((real_data / "ljubljana" / "longitudinal" / "patient01").glob("*FLAIR_to_common_space.txt"))
    matrix = itk.load_transform(path).matrix
    assert abs(np.linalg.det(matrix[:3, :3])) == pytest.approx(1.0, abs=0.1)


def test_a_text_that_is_no_transform_is_refused(tmp_path):
    (tmp_path / "t.txt").write_text("hello")
    with pytest.raises(ImageError, match="expected an ITK transform file"):
        itk.load_transform(tmp_path / "t.txt")
