"""define.xml of a release (CDISC Define-XML 2.1), made from the definitions that also make the data dictionary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mri_pipeline import __version__
from mri_pipeline.core.records import T2State
from mri_pipeline.tables.columns import ColumnType
from mri_pipeline.tables.schema import LESIONS, TIMEPOINTS
from mri_pipeline.tables.sdtm import LESION_TESTS, NOT_DONE, NV, READER, VARIABLES, VISIT_TESTS, NvTest, Variable
from mri_pipeline.tables.xpt import is_number

NV_LABEL = "Nervous System Findings"
TERMINOLOGY = "2023-12-15"
"""Version of the CDISC controlled terminology whose codelists the variables name."""

KEYS = ("STUDYID", "USUBJID", "NVTESTCD", "NVSPID", "VISITNUM")
"""Variables that identify a row."""

_REQUIRED = frozenset({"STUDYID", "DOMAIN", "USUBJID", "NVSEQ", "NVTESTCD", "NVTEST"})  # core Req of SDTMIG 3.4
_CONCEPTS = {"Y": "C49488", "mL": "C28254", "MRI": "C16809", "BRAIN": "C12439"}
"""NCI concepts of terms of the controlled terminology, each checked against a published list (docs/tables.md)."""
_OF_CODELIST = (NOT_DONE, READER)
"""Terms of the controlled terminology whose NCI concept was not checked. The remaining terms extend it."""

_CHANGES = tuple(
    state.value.replace("_", " ").upper() for state in T2State if state not in {T2State.BASELINE, T2State.NONE}
)


def define_xml(rows: Sequence[Mapping[str, str]], *, study: str, created: str, file: str, dates: str) -> str:
    """The text of define.xml.

    Parameters
    ----------
    rows : sequence of mapping of str to str
        The released rows of nv.csv as text. Their longest texts give the lengths of the variables.
    study : str
        Name of the trial.
    created : str
        Time of the release (ISO 8601).
    file : str
        Name of the data set's file beside define.xml.
    dates : str
        Where NVDTC and NVDY come from, or why they are empty.

    Returns
    -------
    str
        XML in UTF-8.
    """
    environment = Environment(
        loader=PackageLoader("mri_pipeline.tables", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    tests = [*_tests(VISIT_TESTS, rows), *_tests(LESION_TESTS, rows)]
    return environment.get_template("define.xml.j2").render(
        oid=re.sub(r"[^A-Za-z0-9]+", ".", study).strip(".") or "STUDY",
        study=study,
        created=created,
        version=__version__,
        terminology=TERMINOLOGY,
        structure="One record per measure per visit per subject, and per measure per lesion per visit per subject",
        label=NV_LABEL,
        file=file,
        about=f"{NV.about} Dates: {dates}.",
        items=[_item(variable, [row[variable.column.name] for row in rows]) for variable in VARIABLES],
        tests=tests,
        titles={test["code"]: test["title"] for test in tests},
        concepts=_CONCEPTS,
        of_codelist=_OF_CODELIST,
    )


def _item(variable: Variable, cells: Sequence[str]) -> dict[str, Any]:
    column = variable.column
    kind = "date" if column.name == "NVDTC" else _kind(variable, cells)
    return {
        "name": column.name,
        "label": variable.label,
        "role": variable.role,
        "origin": variable.origin,
        "source": variable.source,
        "codelist": variable.codelist,
        "terms": column.values,
        "rule": column.rule,
        "comment": f"{column.rule}. Empty if: {column.missing}",
        "mandatory": "Yes" if column.name in _REQUIRED else "No",
        "key": KEYS.index(column.name) + 1 if column.name in KEYS else 0,
        "empty": not any(cells),
        "kind": kind,
        "length": 0 if kind == "date" else _length(cells),
        "digits": _digits(cells) if kind == "float" else 0,
    }


def _kind(variable: Variable, cells: Iterable[str]) -> str:
    if not is_number(variable):
        return "text"
    return "float" if variable.column.type is ColumnType.NUMBER and _digits(cells) else "integer"


def _tests(tests: Iterable[NvTest], rows: Sequence[Mapping[str, str]]) -> Iterable[dict[str, Any]]:
    rules = {column.name: column for column in (*TIMEPOINTS.columns, *LESIONS.columns)}
    lesions = {column.name: column for column in LESIONS.columns}
    for test in tests:
        column = lesions[test.column] if test in LESION_TESTS else rules[test.column]
        cells = [row["NVORRES"] for row in rows if row["NVTESTCD"] == test.code]
        words = _CHANGES if test.column == "t2_state" else ()
        decimals = column.type is ColumnType.DECIMAL
        yield {
            "code": test.code,
            "title": test.title,
            "rule": f"{column.rule}. No result if: {column.missing}",
            "kind": "text" if words else "float" if decimals else "integer",
            "length": _length(cells),
            "digits": max(_digits(cells), column.decimals) if decimals else 0,
            "words": words,
        }


def _length(cells: Iterable[str]) -> int:
    return max((len(cell) for cell in cells), default=0) or 1


def _digits(cells: Iterable[str]) -> int:
    """Most decimal places of a cell."""
    return max((len(cell.partition(".")[2]) for cell in cells), default=0)
