"""Which software and settings made a result."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel

from mri_pipeline import __version__
from mri_pipeline.core.method import METHOD, Method
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.settings import DIGEST

_PACKAGES = ("mri_pipeline", "qc", "workflows", "reading_centre")
_LIBRARIES = ("numpy", "scipy", "nibabel", "SimpleITK", "scikit-image", "pydicom", "dcm2niix", "nipype")


@cache
def code_digest() -> str:
    """Digest of this project's installed source and data files, 12 hexadecimal digits.

    The version alone does not identify the code: a source tree changes between two versions. The digest is part of
    the path of Nipype's cache, of `software` and of `settings_digest`, so that results of other code are not reused.
    It is computed once per process.

    Returns
    -------
    str

    Examples
    --------
    >>> len(code_digest())
    12
    """
    return tree_digest({name: files(name) for name in _PACKAGES})


def tree_digest(folders: Mapping[str, Traversable]) -> str:
    """Digest of the names and the content of all files below folders, 12 hexadecimal digits; bytecode is left out.

    Parameters
    ----------
    folders : mapping of str to Traversable
        Folder by its name in the digest.

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    for name, file in sorted(_files(folders)):
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _files(folders: Mapping[str, Traversable]) -> Iterator[tuple[str, Traversable]]:
    for name, entry in folders.items():
        if entry.is_file():
            yield name, entry
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _files({f"{name}/{child.name}": child for child in entry.iterdir()})


def software() -> dict[str, str]:
    """Versions of this project, Python and the libraries that can change a number, and the `code_digest`.

    Returns
    -------
    dict of str to str
        Version by name.
    """
    return {"mri-pipeline": __version__, "mri-pipeline source": code_digest(), **_versions()}


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def t2_segmenter(rules: LesionRules) -> tuple[str, str]:
    """Name and version of the program that segments T2 lesions.

    Parameters
    ----------
    rules : LesionRules

    Returns
    -------
    tuple of str
        Name and version; those of this project if `rules` name no other segmenter.

    Examples
    --------
    >>> t2_segmenter(LesionRules())[0]
    'mri-pipeline'
    """
    return (rules.segmenter.name, rules.segmenter.version) if rules.segmenter else ("mri-pipeline", __version__)


def settings_digest(settings: BaseModel) -> str:
    """Digest of a protocol or a part of it, of `METHOD` and of the code, 12 hexadecimal digits.

    Equal settings under equal constants and equal code have equal digests. Results with different digests are not mixed
    in a table.

    Parameters
    ----------
    settings : BaseModel

    Returns
    -------
    str

    Examples
    --------
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> len(settings_digest(parse_protocol(protocol_text())))
    12
    """
    return _digest(settings, METHOD, code_digest())


@lru_cache(maxsize=32)  # a command asks for each subject
def _digest(settings: BaseModel, method: Method, code: str) -> str:
    text = json.dumps(settings.model_dump(mode="json", exclude_none=True, context=DIGEST), sort_keys=True)
    return hashlib.sha256(f"{code}\0{json.dumps(asdict(method), sort_keys=True)}\0{text}".encode()).hexdigest()[
        :12
    ]
