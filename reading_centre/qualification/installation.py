"""Installation qualification (IQ) of the software."""

from __future__ import annotations

import base64
import hashlib
import json
import locale
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import dcm2niix
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mri_pipeline.core import provenance
from mri_pipeline.core.errors import listed
from reading_centre.qualification.checks import Check, Result, check

PROJECT: Final = "mri-pipeline"
PACKAGES: Final = ("mri_pipeline", "qc", "workflows", "reading_centre")
_TEXT: Final = "µ é ż 中"
"""Letters of Latin-1, of central Europe and of Asia."""
_PATIENCE_S: Final = 60.0
_INSTALL: Final = "install the wheel (pip wheel --no-deps . && pip install mri_pipeline-*.whl)"
_NOT_INSTALLED: Final = f"a source tree that is not installed; {_INSTALL}"


@dataclass(frozen=True)
class Installation:
    """The installed software.

    Parameters
    ----------
    project : Distribution or None
        This project; None if it is not installed.
    folder : Path
        An existing folder of the trial's file system, for small files that are removed at once.
    """

    folder: Path
    project: Distribution | None = field(default_factory=lambda: next(iter(distributions(name=PROJECT)), None))


@check("IQ-01", "Python and every dependency, direct or not, in a declared version")
def dependencies(installation: Installation) -> Result:
    """Compare the installed versions with the declared ones.

    Parameters
    ----------
    installation : Installation

    Returns
    -------
    Result
    """
    if installation.project is None:
        return False, _NOT_INSTALLED
    faults, seen = list(_wrong_python(installation.project)), set[str]()
    waiting = [(installation.project, "")]
    while waiting:
        project, extra = waiting.pop()
        for text in project.requires or ():
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            try:
                found = distribution(needed.name)
            except PackageNotFoundError:
                faults.append(f"{needed} is missing")
                continue
            if not needed.specifier.contains(found.version, prereleases=True):
                faults.append(f"{needed}, found {found.version}")
            for chosen in ("", *sorted(needed.extras)):
                key = f"{canonicalize_name(needed.name)}[{chosen}]"
                if key not in seen:
                    seen.add(key)
                    waiting.append((found, chosen))
    count = len({key.partition("[")[0] for key in seen})
    python = platform.python_version()
    return not faults, listed(sorted(set(faults))) or f"Python {python} and {count} packages as declared"


def _wrong_python(project: Distribution) -> Iterator[str]:
    declared = str(project.metadata["Requires-Python"] or "")
    if declared and not Requirement(f"python{declared}").specifier.contains(
        Version(platform.python_version()), prereleases=True
    ):
        yield f"Python {declared}, found {platform.python_version()}"


@check("IQ-02", "every file of the program as in the RECORD of its wheel, and no other one")
def installed_files(installation: Installation) -> Result:
    """Compare every installed file with its digest.

    Parameters
    ----------
    installation : Installation

    Returns
    -------
    Result
    """
    project = installation.project
    if project is None:
        return False, _NOT_INSTALLED
    if _is_editable(project):
        return False, f"an editable installation, whose files can change at any time; {_INSTALL}"
    root = Path(str(project.locate_file("")))
    elsewhere = [name for name in PACKAGES if not _runs_from(name, root)]
    if elsewhere:
        return False, f"another copy is running: {listed(elsewhere)}"
    recorded = {str(path): path.hash for path in project.files or () if path.parts[0] in PACKAGES}
    if not recorded:
        return False, f"no list of files; {_INSTALL}"
    faults = [
        name
        for name, digest in recorded.items()
        if not name.endswith(".pyc") and (digest is None or not _has_hash(root / name, digest.mode, digest.value))
    ]
    faults += sorted(set(_present(root)) - set(recorded))
    count = sum(not name.endswith(".pyc") for name in recorded)
    return (
        not faults,
        f"{len(faults)} of {count} differ: {listed(faults)}" if faults else f"{count} files as recorded",
    )


def _is_editable(project: Distribution) -> bool:
    stated = json.loads(project.read_text("direct_url.json") or "{}")
    return bool(stated.get("dir_info", {}).get("editable"))


def _runs_from(package: str, root: Path) -> bool:
    spec = find_spec(package)
    return bool(spec and spec.origin and Path(spec.origin).resolve().is_relative_to(root.resolve()))


def _has_hash(path: Path, mode: str, value: str) -> bool:
    """Compare with a hash of RECORD: URL-safe base64 without padding."""
    if not path.is_file():
        return False
    found = hashlib.new(mode, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value


def _present(root: Path) -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix()


@check("IQ-03", "dcm2niix starts and is the version of its package")
def converter(_installation: Installation) -> Result:
    """Start dcm2niix and compare the version that it states.

    Parameters
    ----------
    _installation : Installation

    Returns
    -------
    Result
    """
    done = subprocess.run(
        [dcm2niix.bin, "--version"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )  # its exit code is 3
    stated = (done.stdout.split() or ["no version"])[-1]
    return stated.removeprefix("v") == version("dcm2niix"), f"{stated}, package {version('dcm2niix')}"


@check("IQ-04", "UTF-8 for texts and file names")
def unicode_texts(installation: Installation) -> Result:
    """Write and read a text and a file name with letters outside of ASCII, in another process, too.

    Parameters
    ----------
    installation : Installation

    Returns
    -------
    Result
    """
    command = [
        sys.executable,
        "-c",
        "import locale, sys; print(locale.getpreferredencoding(), sys.getfilesystemencoding())",
    ]
    encodings = subprocess.run(
        command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
    ).stdout.split()
    with tempfile.TemporaryDirectory(dir=installation.folder) as folder:
        (Path(folder) / _TEXT).write_text(_TEXT)  # in the encoding of the locale, which is what is checked
        kept = [path.name for path in Path(folder).iterdir()] == [_TEXT]
        kept = kept and (Path(folder) / _TEXT).read_bytes() == _TEXT.encode()
    utf8 = all(name.lower().replace("-", "") == "utf8" for name in encodings)
    found = f"encoding of texts {encodings[0]}, of file names {encodings[1]}"
    return kept and utf8, found + ("" if kept else "; a text or file name was not kept")


IQ_SOFTWARE: tuple[Check[Installation], ...] = (dependencies, installed_files, converter, unicode_texts)


def environment() -> dict[str, str]:
    """What this machine is, and which software runs, for the report.

    Returns
    -------
    dict of str to str
    """
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    return {
        **provenance.software(),
        "operating system": platform.platform(),
        "processors": str(os.cpu_count()),
        "locale": ".".join(part or "none" for part in locale.getlocale()),
        "threads of a process": ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in threads),
    }
