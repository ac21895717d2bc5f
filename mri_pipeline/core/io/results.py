"""The result of a subject as a JSON file: written by the analysis, read by tables and reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.records import SubjectResult, VisitQuality

FORMAT = 6
"""Version of the file format. Other versions are refused."""


@dataclass(frozen=True)
class _File:
    format: int
    result: SubjectResult


@dataclass(frozen=True)
class _QualityOfResult:
    quality: tuple[VisitQuality, ...]


@dataclass(frozen=True)
class _QualityOfFile:
    format: int
    result: _QualityOfResult


_RESULT = TypeAdapter(SubjectResult)
_PART = TypeAdapter(_QualityOfFile)
_FILE = TypeAdapter(_File)
_QUALITY = TypeAdapter(tuple[VisitQuality, ...])


def result_text(result: SubjectResult) -> str:
    """The result as JSON text. All fields are written, None as null, floats in full. Equal results give equal text.

    Parameters
    ----------
    result : SubjectResult

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    content = {"format": FORMAT, "result": _RESULT.dump_python(result, mode="python")}
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def parse_result(text: str | bytes, *, source: str = "result") -> SubjectResult:
    """Read the JSON text of `result_text`. A missing, unknown or ill-typed field is refused.

    Parameters
    ----------
    text : str or bytes
    source : str
        Name of the file in messages.

    Returns
    -------
    SubjectResult

    Raises
    ------
    UsageError
        If the text is not such a result.

    Examples
    --------
    >>> parse_result(result_text(SubjectResult("AB12"))).subject
    'AB12'
    """
    hint = "run the analysis of this subject again"
    try:
        content = from_json(text)
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise UsageError(f"{source}: expected a result of format {FORMAT}, found format {found}", hint=hint)
        file = _FILE.validate_json(text, strict=True)
    except (ValueError, ValidationError) as error:
        raise UsageError(
            f"{source}: expected the result of a subject, found invalid or incomplete JSON", hint=hint
        ) from error
    # pydantic fills in defaults and drops unknown fields; a complete file is the same when written again
    # (a number that is not finite is written as null)
    if from_json(_FILE.dump_json(file)) != content:
        raise UsageError(
            f"{source}: expected exactly the fields of a result, found missing or unknown ones", hint=hint
        )
    return file.result


def save_result(result: SubjectResult, path: Path | str) -> Path:
    """Write a subject's result atomically.

    Parameters
    ----------
    result : SubjectResult
    path : Path or str

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    return write_atomic(Path(path), result_text(result))


def load_result(path: Path | str) -> SubjectResult:
    """Read a subject's result.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    SubjectResult

    Raises
    ------
    UsageError
        If the file is missing or is not a complete result.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"expected {path.name}, found no such file", hint="run the analysis of this subject first"
        )
    return parse_result(path.read_bytes(), source=path.name)


def load_quality(path: Path | str) -> tuple[VisitQuality, ...]:
    """Read the quality of the scans from a subject's result. The rest of the file is not checked.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    tuple of VisitQuality
        As in `SubjectResult`. Empty if the file is missing or was written by another version.
    """
    try:
        found = _PART.validate_json(Path(path).read_bytes(), strict=True)
    except (OSError, ValidationError):
        return ()
    return found.result.quality if found.format == FORMAT else ()


def quality_text(quality: Sequence[VisitQuality]) -> str:
    """Quality of scans as JSON text.

    Parameters
    ----------
    quality : sequence of VisitQuality

    Returns
    -------
    str
    """
    return _QUALITY.dump_json(tuple(quality)).decode()


def parse_quality(text: str) -> tuple[VisitQuality, ...]:
    """Read the JSON text of `quality_text`, which only this program writes.

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of VisitQuality

    Raises
    ------
    ValueError
        If it is another text.

    Examples
    --------
    >>> parse_quality(quality_text([VisitQuality("wk00", "", False, 1.0, ())]))[0].visit
    'wk00'
    """
    return _QUALITY.validate_json(text)
