"""Unpack an upload (zip, tar or folder) to plain files with neutral names.

The upload has no influence on output paths. Files are numbered, because names given by a site may contain a patient's
name or point outside of the folder.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Protocol, cast

from mri_pipeline.core.errors import UnreadableUploadError, UnsafeUploadError, UsageError

_CHUNK = 1 << 20
_MAX_HEADER_BYTES = 1 << 24
"""Larger single reads by the archive reader (names, pax headers) are an attack on memory."""

_ARCHIVE_MAGIC = {
    b"PK\x03\x04": "a damaged zip",
    b"PK\x05\x06": "a damaged zip",
    b"\x1f\x8b": "a gzip file without a tar in it",
    b"BZh": "a bzip2 file without a tar in it",
    b"\xfd7zXZ\x00": "an xz file without a tar in it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
}
"""First bytes of archives, and what they are if they can be read neither as zip nor as tar."""
_DICOM_MAGIC, _DICOM_PREAMBLE = b"DICM", 128


_PROGRAMS_AND_DOCUMENTS = {
    ".jar",
    ".war",
    ".xpi",
    ".apk",
    ".msix",
    ".docx",
    ".xlsx",
    ".pptx",
    ".odt",
    ".ods",
    ".odp",
}
"""Endings of zip files that are no archives of DICOM files. They are left out; a nested archive is refused."""


@dataclass(frozen=True)
class UnpackLimits:
    """Limits of an upload.

    Parameters
    ----------
    max_bytes, max_files : int
        Of the unpacked upload.
    max_ratio : float
        Highest compression ratio of the whole archive above `ratio_free_bytes`. MR images compress 2 to 5 times, a
        black slice up to 1000 times.
    ratio_free_bytes : int
        Unpacked size up to which the ratio is not limited.
    """

    max_bytes: int
    max_files: int = 50_000
    max_ratio: float = 200.0
    ratio_free_bytes: int = 50_000_000


@dataclass(frozen=True)
class Unpacked:
    """The files of an upload.

    Parameters
    ----------
    files : tuple of Path
        Numbered in the order of the archive.
    total_bytes : int
    left_out : mapping of str to int
        Number of files that were not kept, by reason: ``archive`` for archives of programs and documents.
    """

    files: tuple[Path, ...]
    total_bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Sink:
    """Writes numbered files within the limits of bytes and files."""

    def __init__(self, folder: Path, limits: UnpackLimits, archive_bytes: int | None) -> None:
        self.folder, self.limits, self.archive_bytes = folder, limits, archive_bytes
        self.files: list[Path] = []
        self.left_out: Counter[str] = Counter()
        self.total_bytes = 0

    def announce(self, size: int) -> None:
        """Refuse a file by its stated size before it is written."""
        self._check(self.total_bytes + size)
        if len(self.files) + self.left_out.total() >= self.limits.max_files:
            raise UnsafeUploadError(
                f"expected at most {self.limits.max_files} files in an upload, found more",
                hint="upload one visit of one patient at a time",
            )

    def _check(self, total: int) -> None:
        if total > self.limits.max_bytes:
            raise UnsafeUploadError(
                f"expected an upload of at most {self.limits.max_bytes / 1e6:.0f} MB unpacked, found more",
                hint="upload one visit of one patient at a time, or raise max_upload_mb in trial.toml",
            )
        if self.archive_bytes is not None and total > self.limits.ratio_free_bytes:
            ratio = total / max(self.archive_bytes, 1)
            if ratio > self.limits.max_ratio:
                raise UnsafeUploadError(
                    f"expected an archive that unpacks to at most {self.limits.max_ratio:.0f} times its size, "
                    f"found {ratio:.0f} times (an archive bomb)",
                    hint="upload the DICOM files as they come from the scanner or PACS",
                )

    def write(self, source: _Readable, name: str) -> None:
        """Write the next file. `name` is its name in the upload, of which only the ending is used."""
        path = self.folder / f"{len(self.files):06d}"
        with path.open("xb") as target:
            while chunk := source.read(_CHUNK):
                self.total_bytes += len(chunk)
                self._check(self.total_bytes)
                target.write(chunk)
        if _is_program_or_document(path, name):
            path.unlink()
            self.left_out["archive"] += 1
            return
        self.files.append(path)
        if _is_archive(path):
            raise UnsafeUploadError(
                "expected DICOM files, found a compressed file or an archive inside the upload",
                hint="upload the DICOM files as they come from the scanner or PACS, in one zip or folder",
            )


def unpack(upload: Path, destination: Path, limits: UnpackLimits) -> Unpacked:
    """Copy or unpack an upload into `destination`.

    Parameters
    ----------
    upload : Path
        A folder, a zip, or a tar (plain, gzip, bzip2 or xz).
    destination : Path
        A new or empty folder.
    limits : UnpackLimits

    Returns
    -------
    Unpacked

    Raises
    ------
    UsageError
        If there is nothing at `upload`, or `destination` holds files.
    UnsafeUploadError
        For names that point outside, links, devices, nested archives, archive bombs, too much data, and files that are
        not an archive.
    UnreadableUploadError
        If the upload is empty, encrypted or damaged.
    """
    if not (upload.exists() or upload.is_symlink()):
        raise UsageError(
            "expected an upload (zip, tar or folder), found nothing at that path", hint="check the path"
        )
    if upload.is_symlink():
        raise UnsafeUploadError("expected a zip, tar or folder, found a link", hint="give the path of its target")
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise UsageError("expected an empty folder to unpack into, found files", hint="use a new work folder")
    if upload.is_dir():
        sink = _Sink(destination, limits, None)
        _copy_folder(upload, sink)
    elif upload.is_file():
        size = upload.stat().st_size
        if size == 0:
            raise UnreadableUploadError(
                "expected DICOM files, found an empty upload", hint="upload the visit again"
            )
        sink = _Sink(destination, limits, size)
        _unpack_file(upload, sink)
    else:
        raise UnsafeUploadError("expected a zip, tar or folder, found a device or pipe", hint="upload a zip file")
    if not sink.files or sink.total_bytes == 0:
        raise UnreadableUploadError("expected DICOM files, found an empty upload", hint="upload the visit again")
    return Unpacked(tuple(sink.files), sink.total_bytes, dict(sink.left_out))


def _copy_folder(folder: Path, sink: _Sink) -> None:
    for root, names, files in os.walk(folder, followlinks=False):
        names.sort()
        for name in [*names, *sorted(files)]:
            path = Path(root) / name
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise _not_a_file("link" if stat.S_ISLNK(mode) else "device or pipe")
            sink.announce(path.stat().st_size)
            with path.open("rb") as source:
                sink.write(source, name)


def _kind(upload: Path, stream: BinaryIO) -> str:
    """What a file is that can be read neither as zip nor as tar; `stream` is its content, decompressed."""
    with upload.open("rb") as file:
        head = file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))
    if head[_DICOM_PREAMBLE:] == _DICOM_MAGIC:
        return "a single DICOM file"
    stream.seek(0)
    if _is_tar(stream.read(tarfile.BLOCKSIZE)):
        return "a damaged tar"
    known = (kind for magic, kind in _ARCHIVE_MAGIC.items() if head.startswith(magic))
    return next(known, f"a file of an unknown kind ({upload.stat().st_size} bytes)")


def _unpack_file(upload: Path, sink: _Sink) -> None:
    if zipfile.is_zipfile(upload):
        with _broken_is_unreadable():
            _unpack_zip(upload, sink)
        return
    with _opened_tar_stream(upload) as stream:
        bounded = cast("BinaryIO", _BoundedReads(stream))
        with _broken_is_unreadable():
            try:
                archive = tarfile.open(fileobj=bounded, mode="r:")  # noqa: SIM115
            except tarfile.ReadError as error:
                raise UnsafeUploadError(
                    f"expected a zip, a tar or a folder, found {_kind(upload, stream)}",
                    hint="put the DICOM files of the visit into one zip file",
                ) from error
            with archive:
                _unpack_tar(archive, sink)
                _require_tar_end(bounded, archive.offset, sink.limits)


def _unpack_zip(upload: Path, sink: _Sink) -> None:
    with zipfile.ZipFile(upload) as archive:
        for member in archive.infolist():
            _check_name(member.filename)
            mode = member.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
                raise _not_a_file("link" if stat.S_ISLNK(mode) else "device or pipe")
            if member.is_dir():
                continue
            if member.flag_bits & 0x1:
                raise UnreadableUploadError(
                    "expected an archive without password, found an encrypted one",
                    hint="upload it without a password",
                )
            sink.announce(member.file_size)
            with archive.open(member) as source:
                sink.write(source, member.filename)


def _unpack_tar(archive: tarfile.TarFile, sink: _Sink) -> None:
    for member in archive:
        _check_name(member.name)
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise _not_a_file("link" if member.issym() or member.islnk() else "device, pipe or sparse file")
        sink.announce(member.size)
        source = archive.extractfile(member)
        if source is not None:
            sink.write(source, member.name)
        archive.members = []  # type: ignore[attr-defined]  # keeps the list of members from growing


def _require_tar_end(stream: BinaryIO, offset: int, limits: UnpackLimits) -> None:
    """Refuse a tar without its closing block of zeros, or with data after it.

    `tarfile` ends in silence at the end of a cut file, at a damaged header and at the end of the first of two joined
    archives.
    """
    stream.seek(offset)
    whole = stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    padding = 0
    while whole and (chunk := stream.read(_CHUNK)):
        padding += len(chunk)
        whole = chunk.count(0) == len(chunk) and padding <= limits.max_bytes
    if not whole:
        raise UnreadableUploadError(
            "expected a complete archive, found a tar that is cut, damaged or joined to another one",
            hint="create the archive again and upload it",
        )


def _check_name(name: str) -> None:
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    faults = {
        "an absolute path": bool(posix.is_absolute() or windows.root),
        "a path with a drive": bool(windows.drive),
        "a path with ..": ".." in windows.parts,
        "a name with a zero byte": "\0" in name,
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise UnsafeUploadError(
            f"expected names inside of the archive, found {found[0]}",
            hint="create the archive again from the folder of the visit",
        )


def _not_a_file(what: str) -> UnsafeUploadError:
    return UnsafeUploadError(
        f"expected plain files and folders in the upload, found a {what}", hint="upload the DICOM files themselves"
    )


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512)
    if head[128:132] == b"DICM":
        return False
    return head.startswith(tuple(_ARCHIVE_MAGIC)) or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _is_program_or_document(path: Path, name: str) -> bool:
    """True for a zip with the ending of a program or a document, such as the viewer of a CD or a Word file."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and PurePosixPath(name).suffix.lower() in _PROGRAMS_AND_DOCUMENTS


class _BoundedReads:
    """A stream that refuses single reads of more than `_MAX_HEADER_BYTES`. Pax headers are read in one piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_HEADER_BYTES:
            raise UnsafeUploadError(
                "expected an archive with short headers, found a header of more than "
                f"{_MAX_HEADER_BYTES >> 20} MiB (an archive bomb)",
                hint="upload the DICOM files as they come from the scanner or PACS",
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _opened_tar_stream(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        stream = cast("BinaryIO", gzip.open(path))  # noqa: SIM115 - closed below
    elif head.startswith(b"BZh"):
        stream = cast("BinaryIO", bz2.open(path))  # noqa: SIM115
    elif head.startswith(b"\xfd7zXZ"):
        stream = cast("BinaryIO", lzma.open(path))  # noqa: SIM115
    else:
        stream = path.open("rb")
    with stream:
        yield stream


@contextmanager
def _broken_is_unreadable() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
            NotImplementedError, RuntimeError, UnicodeError) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of a disk, not of the archive
        raise UnreadableUploadError(
            f"expected a complete archive, found a damaged one ({type(error).__name__})",
            hint="create the archive again and upload it",
        ) from error
