"""Uploads that try to leave their folder, fill the disk, or are no upload at all."""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from mri_pipeline.core.errors import UnreadableUploadError, UnsafeUploadError, UsageError
from mri_pipeline.intake.unpack import UnpackLimits, unpack

LIMITS = UnpackLimits(max_bytes=5_000_000)


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_zip_tar_and_folder_give_the_same_numbered_files(tmp_path):
    members = {"Mustermann/1.dcm": b"one", "Mustermann/sub/2.dcm": b"two"}
    folder = tmp_path / "folder"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    uploads = [folder, make_zip(tmp_path / "a.zip", members)]
    for ending in ("", "gz", "bz2", "xz"):
        infos = [(tarfile.TarInfo(name), content) for name, content in members.items()]
        uploads.append(make_tar(tmp_path / f"a.tar.{ending}", infos, f"w:{ending}"))
    for number, upload in enumerate(uploads):
        out = tmp_path / f"out{number}"
        result = unpack(upload, out, LIMITS)
        assert sorted(p.read_bytes() for p in result.files) == [b"one", b"two"]
        assert {p.parent for p in result.files} == {out}
        assert not any("Mustermann" in str(p.relative_to(out)) for p in out.rglob("*"))


@pytest.mark.parametrize("ending", ["", "gz"])
@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (4, "found a tar that is cut"),  # after the second member
        (2, "found a tar that is cut"),  # after the first member
        (2.5, "found a (tar that is cut|damaged one)"),  # in the header of the second member
        (3.5, "found a damaged one"),  # in the second member
    ],
)
def test_a_cut_tar_is_refused(tmp_path, blocks, message, ending):
    members = [(tarfile.TarInfo(name), os.urandom(500)) for name in ("1.dcm", "2.dcm")]
    whole = make_tar(tmp_path / "a.tar", members).read_bytes()
    cut = whole[: int(blocks * tarfile.BLOCKSIZE)]
    path = tmp_path / "cut.tar"
    path.write_bytes(gzip.compress(cut) if ending else cut)
    with pytest.raises(UnreadableUploadError, match=f"expected a complete archive, {message}"):
        unpack(path, tmp_path / "out", LIMITS)


def test_a_tar_with_one_block_of_zeros_is_whole(tmp_path):
    whole = make_tar(tmp_path / "a.tar", [(tarfile.TarInfo("1.dcm"), b"one")]).read_bytes()
    (tmp_path / "short.tar").write_bytes(whole[: 3 * tarfile.BLOCKSIZE])
    assert len(unpack(tmp_path / "short.tar", tmp_path / "out", LIMITS).files) == 1


def test_a_damaged_header_and_joined_tars_lose_no_file_in_silence(tmp_path):
    members = [(tarfile.TarInfo(name), os.urandom(500)) for name in ("1.dcm", "2.dcm", "3.dcm")]
    whole = make_tar(tmp_path / "a.tar", members).read_bytes()
    damaged = bytearray(whole)
    damaged[2 * tarfile.BLOCKSIZE + 150] ^= 1  # in the checksum of the second header
    for name, content in (("damaged", bytes(damaged)), ("joined", whole + whole)):
        (tmp_path / f"{name}.tar").write_bytes(content)
        with pytest.raises(UnreadableUploadError, match="found a tar that is cut, damaged or joined"):
            unpack(tmp_path / f"{name}.tar", tmp_path / name, LIMITS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../evil", "a path with .."), ("a/../../evil", "a path with .."), ("/etc/evil", "an absolute path"),
        ("C:\\evil", "an absolute path"), ("..\\evil", "a path with .."), ("\\\\host\\evil", "an absolute path"),
        ("C:evil", "a path with a drive"),
    ],
)  # fmt: skip
@pytest.mark.requirement("INTAKE-05")
def test_names_that_lead_outside_are_refused(tmp_path, name, found):
    with pytest.raises(UnsafeUploadError, match=f"names inside of the archive, found {re.escape(found)}$"):
        unpack(make_zip(tmp_path / "a.zip", {name: b"x"}), tmp_path / "zip", LIMITS)
    with pytest.raises(UnsafeUploadError, match=f"names inside of the archive, found {re.escape(found)}$"):
        unpack(make_tar(tmp_path / "a.tar", [(tarfile.TarInfo(name), b"x")]), tmp_path / "tar", LIMITS)
    assert not (tmp_path / "evil").exists()


@pytest.mark.requirement("INTAKE-05")
def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    info = tarfile.TarInfo("file")
    info.pax_headers = {"path": "file\0.exe"}
    with pytest.raises(UnsafeUploadError, match=r"names inside of the archive, found a name with a zero byte$"):
        unpack(make_tar(tmp_path / "a.tar", [(info, b"x")]), tmp_path / "out", LIMITS)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.requirement("INTAKE-05")
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("file")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(UnsafeUploadError, match="plain files"):
        unpack(make_tar(tmp_path / "a.tar", [(info, b"")]), tmp_path / "out", LIMITS)


def test_links_in_a_zip_or_folder_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeUploadError, match="found a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)
    for number, target in enumerate(("/etc/passwd", "/etc")):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "link").symlink_to(target)
        with pytest.raises(UnsafeUploadError, match="found a link"):
            unpack(folder, tmp_path / f"out{number}", LIMITS)
    with pytest.raises(UnsafeUploadError, match="found a link"):
        unpack(folder / "link", tmp_path / "out9", LIMITS)


def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe")
    with pytest.raises(UnsafeUploadError, match="device or pipe"):
        unpack(tmp_path / "folder", tmp_path / "out", LIMITS)


def test_archives_inside_the_upload_are_refused(tmp_path):
    inner = make_zip(tmp_path / "inner.zip", {"a": b"x"}).read_bytes()
    with pytest.raises(UnsafeUploadError, match="archive inside"):
        unpack(make_zip(tmp_path / "outer.zip", {"inner.dcm": inner}), tmp_path / "out", LIMITS)


def test_a_dicom_file_whose_preamble_looks_like_a_zip_is_no_archive(tmp_path):
    content = b"PK\x03\x04".ljust(128, b"\0") + b"DICM rest"
    assert len(unpack(make_zip(tmp_path / "a.zip", {"a": content}), tmp_path / "out", LIMITS).files) == 1


@pytest.mark.requirement("INTAKE-05")
def test_bombs_are_refused_before_they_fill_the_disk(tmp_path):
    bomb = make_zip(tmp_path / "a.zip", {"a": bytes(4_000_000)})
    limits = UnpackLimits(max_bytes=10_000_000, ratio_free_bytes=1_000_000)
    with pytest.raises(UnsafeUploadError, match="archive bomb"):
        unpack(bomb, tmp_path / "ratio", limits)
    with pytest.raises(UnsafeUploadError, match="at most 1 MB"):
        unpack(bomb, tmp_path / "size", UnpackLimits(max_bytes=1_000_000))
    many = make_zip(tmp_path / "b.zip", {str(n): b"x" for n in range(30)})
    with pytest.raises(UnsafeUploadError, match="at most 20 files"):
        unpack(many, tmp_path / "count", UnpackLimits(max_bytes=10**6, max_files=20))


def test_a_zip_that_lies_about_its_size_is_stopped_at_the_limit(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": os.urandom(3_000_000)})
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises((UnsafeUploadError, UnreadableUploadError)):
        unpack(path, tmp_path / "out", UnpackLimits(max_bytes=1_000_000))
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= 1_000_000


def test_a_tar_header_of_many_megabytes_is_refused(tmp_path):
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * 20_000_000}
    path = make_tar(tmp_path / "a.tar.gz", [(info, b"x")], "w:gz")
    with pytest.raises(UnsafeUploadError, match="archive bomb"):
        unpack(path, tmp_path / "out", UnpackLimits(max_bytes=10**9))


@pytest.mark.parametrize("content", [b"PK\x05\x06" + bytes(18), b""])
def test_empty_uploads_say_so(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UnreadableUploadError, match="empty upload"):
        unpack(path, tmp_path / "out", LIMITS)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnreadableUploadError, match="empty upload"):
        unpack(tmp_path / "folder", tmp_path / "out2", LIMITS)


def test_files_that_are_no_archive_broken_archives_and_nothing(tmp_path):
    text = tmp_path / "letter.txt"
    damaged = bytearray(make_tar(tmp_path / "a.tar", [(tarfile.TarInfo("a"), b"x")]).read_bytes())
    damaged[150] ^= 1  # in the checksum of the first header
    for content, found in (
        (b"Dear reading centre, " * 50, "a file of an unknown kind (1050 bytes)"),
        (b"\0" * 128 + b"DICM" + b"\0" * 900, "a single DICOM file"),
        (b"7z\xbc\xaf\x27\x1c" + b"x" * 900, "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00" + b"x" * 900, "a RAR archive"),
        (b"PK\x03\x04" + b"x" * 900, "a damaged zip"),
        (gzip.compress(b"Dear reading centre, " * 50), "a gzip file without a tar in it"),
        (bz2.compress(b"Dear reading centre, " * 50), "a bzip2 file without a tar in it"),
        (lzma.compress(b"Dear reading centre, " * 50), "an xz file without a tar in it"),
        (bytes(damaged), "a damaged tar"),
        (gzip.compress(damaged), "a damaged tar"),
    ):
        text.write_bytes(content)
        with pytest.raises(
            UnsafeUploadError, match=f"expected a zip, a tar or a folder, found {re.escape(found)}$"
        ):
            unpack(text, tmp_path / "out1", LIMITS)
    whole = make_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("a"), os.urandom(5000))], "w:gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableUploadError, match="found a damaged one"):
        unpack(tmp_path / "half.tar.gz", tmp_path / "out2", LIMITS)
    with pytest.raises(UsageError, match="found nothing"):
        unpack(tmp_path / "absent", tmp_path / "out3", LIMITS)


def test_a_zip_with_a_password_says_so(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableUploadError, match="password"):
        unpack(path, tmp_path / "out", LIMITS)
