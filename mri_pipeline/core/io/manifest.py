"""SHA-256 of every file of a folder, in one file that ``sha256sum --check`` reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest

MANIFEST: Final = "SHA256SUMS"
_DIGITS: Final = 64
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


def write_manifest(folder: Path) -> int:
    """Write the digests of all files of a folder into its `MANIFEST`. Links are left out.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    lines = [_line(name, digest) for name, digest in sorted(_digests(folder).items())]
    write_atomic(folder / MANIFEST, b"".join(lines))
    return len(lines)


def require_manifest(folder: Path, *, private: str = "") -> int:
    """Require that a folder has the files of its `MANIFEST` with their digests, and no others.

    Parameters
    ----------
    folder : Path
    private : str
        Folder in it whose file names may contain patient data. Messages name only its entries, never files below them.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    UsageError
        If there is no manifest, or a file is missing, changed or additional. It names the first three.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UsageError(f"expected a folder with {MANIFEST}, found none", hint="give the folder of a backup")
    expected, found = _read(manifest), _digests(folder)
    if wrong := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
        named = "; ".join(f"{_shown(name, private)} {_deviation(name, expected, found)}" for name in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(
            f"expected the files of {MANIFEST}, found {named}{more}",
            hint="use another backup; this one was changed or damaged",
        )
    return len(found)


def _deviation(name: str, expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    if name not in found:
        return "missing"
    return "changed" if name in expected else "in addition"


def _shown(name: str, private: str) -> str:
    if not private or not name.startswith(f"{private}/"):
        return name
    return f"{private}/{name.removeprefix(f'{private}/').partition('/')[0]}"


def _digests(folder: Path) -> dict[str, str]:
    """Digest of each file but the manifest, by its path relative to the folder. Links are left out."""
    files = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in files
        if path != folder / MANIFEST and not path.is_symlink()
    }


def _line(name: str, digest: str) -> bytes:
    """A line of sha256sum: a name with a line end or backslash is escaped, and the line begins with a backslash."""
    raw = os.fsencode(name)
    escaped = b"".join(_ESCAPES.get(bytes([byte]), bytes([byte])) for byte in raw)
    return (b"\\" if escaped != raw else b"") + digest.encode() + b"  " + escaped + b"\n"


def _read(manifest: Path) -> dict[str, str]:
    digests = {}
    for line in manifest.read_bytes().split(b"\n")[:-1]:
        escaped = line.startswith(b"\\")
        digest, name = line[escaped:][:_DIGITS], line[escaped:][_DIGITS + 2 :]
        digests[os.fsdecode(_unescaped(name) if escaped else name)] = digest.decode("ascii", "replace")
    return digests


def _unescaped(name: bytes) -> bytes:
    letters = {b"n": b"\n", b"r": b"\r"}
    first, *parts = name.replace(b"\\\\", b"\\/").split(b"\\")  # no name contains "/" after a backslash otherwise
    return first + b"".join(b"\\" + p[1:] if p[:1] == b"/" else letters.get(p[:1], b"") + p[1:] for p in parts)
