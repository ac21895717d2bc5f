"""The list of digests of a folder: any change is found, and sha256sum reads it."""

import os
import shutil
import subprocess

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.manifest import MANIFEST, require_manifest, write_manifest

NAMES = ("a", "sub/b c", "line\nend", "back\\slash", "\\n", "back\\", "\\\\n\n\r", "ü", os.fsdecode(b"\xff"))


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(NAMES):
        path = tmp_path / "files" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(bytes([number]))
    write_manifest(tmp_path / "files")
    return tmp_path / "files"


def test_an_unchanged_folder_has_all_its_files(folder):
    assert require_manifest(folder) == len(NAMES)
    write_manifest(folder)  # the manifest does not list itself
    assert require_manifest(folder) == len(NAMES)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is a program of GNU")
def test_sha256sum_reads_the_list(folder):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", MANIFEST], cwd=folder, check=True)
    (folder / "a").write_text("other")
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", MANIFEST], cwd=folder, capture_output=True, check=False
    )
    assert checked.returncode != 0
    assert checked.stdout.startswith(b"a: ")


@pytest.mark.parametrize("name", NAMES)
def test_every_change_is_found_by_name(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    with pytest.raises(UsageError, match="changed") as error:
        require_manifest(folder)
    assert name in error.value.message
    path.unlink()
    with pytest.raises(UsageError, match="missing"):
        require_manifest(folder)
    path.write_bytes(content)
    path.with_name("more").write_text("")
    with pytest.raises(UsageError, match="more in addition"):
        require_manifest(folder)


def test_many_deviations_are_counted(folder):
    for name in NAMES:
        (folder / name).unlink()
    with pytest.raises(UsageError, match="and 6 more"):
        require_manifest(folder)


@pytest.mark.parametrize("line", ["", "x", "zz" * 32 + "  a", "\\", "a" * 64])
def test_a_damaged_list_is_refused(folder, line):
    (folder / MANIFEST).write_text(f"{line}\n")
    with pytest.raises(UsageError):
        require_manifest(folder)


def test_a_folder_without_a_list_is_refused(tmp_path):
    with pytest.raises(UsageError, match=MANIFEST):
        require_manifest(tmp_path)
