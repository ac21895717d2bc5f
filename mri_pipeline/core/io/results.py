"""A subject's numbers as a file: written by the analysis, read by tables and reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.records import SubjectResult, VisitQuality

FORMAT = 4
"""Version of the file; another version is refused."""

_RESULT = TypeAdapter(SubjectResult)
_QUALITY = TypeAdapter(tuple[VisitQuality, ...])


def result_text(result: SubjectResult) -> str:
    """The result as JSON text: every field named, None as null, floats in full; equal results, equal bytes.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    content = {"format": FORMAT, "result": _RESULT.dump_python(result, mode="python")}
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def parse_result(text: str | bytes, *, source: str = "result") -> SubjectResult:
    """Read the JSON text of `result_text`, strictly: a missing, unknown or ill-typed field is refused.

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
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UsageError(f"{source}: expected a result of format {FORMAT}, found another", hint=hint)
        result = _RESULT.validate_json(json.dumps(content.get("result"), allow_nan=False), strict=True)
    except (ValueError, ValidationError) as error:
        raise UsageError(f"{source}: expected a subject's result, found something else", hint=hint) from error
    # pydantic fills defaults in and drops what it does not know; a complete file says the same when written again
    if json.loads(result_text(result)) != content:
        raise UsageError(f"{source}: expected every field of a result once, found others", hint=hint)
    return result


def save_result(result: SubjectResult, path: Path | str) -> Path:
    """Write a subject's result, whole or not at all; returns the file.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    return write_atomic(Path(path), result_text(result))


def load_result(path: Path | str) -> SubjectResult:
    """Read a subject's result.

    Raises
    ------
    UsageError
        If the file is missing or is not a complete result.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("expected a subject's result, found none", hint="run the analysis of this subject first")
    return parse_result(path.read_bytes(), source=path.name)


def quality_text(quality: Sequence[VisitQuality]) -> str:
    """What is known of scans as JSON text, on its way to a result."""
    return _QUALITY.dump_json(tuple(quality)).decode()


def parse_quality(text: str) -> tuple[VisitQuality, ...]:
    """Read the JSON text of `quality_text`.

    Examples
    --------
    >>> parse_quality(quality_text([VisitQuality("wk00", "", False, 1.0, ())]))[0].visit
    'wk00'
    """
    return _QUALITY.validate_json(text)
