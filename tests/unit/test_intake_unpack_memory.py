"""A large file of an upload is copied in parts: the memory does not depend on its size."""

import tarfile
import tracemalloc
import zipfile

import pytest

from mri_pipeline.intake.unpack import UnpackLimits, unpack

SIZE, MOST_MEMORY = 40_000_000, 10_000_000


@pytest.fixture(params=["folder", "zip", "tar"])
def upload(request, tmp_path):
    folder = tmp_path / "upload"
    folder.mkdir()
    file = folder / "large.dcm"
    file.write_bytes(bytes(SIZE))
    if request.param == "folder":
        return folder
    path = tmp_path / f"upload.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(file, "large.dcm")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(file, "large.dcm")
    return path


def test_the_memory_of_unpacking_does_not_depend_on_the_size_of_a_file(upload, tmp_path):
    limits = UnpackLimits(max_bytes=10 * SIZE, max_ratio=1e9)
    tracemalloc.start()
    try:
        found = unpack(upload, tmp_path / "out", limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [path.stat().st_size for path in found.files] == [SIZE]
    assert peak < MOST_MEMORY
