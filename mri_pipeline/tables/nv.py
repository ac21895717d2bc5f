"""Rows of nv.csv: the measures of each visit and of each lesion as the CDISC SDTM domain NV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from mri_pipeline.core.records import ReadStatus, ScanStatus, T2State
from mri_pipeline.tables import sdtm
from mri_pipeline.tables.columns import Cell, Row
from mri_pipeline.tables.inputs import Evaluator
from mri_pipeline.tables.rows import COMPARISONS, decimal_text
from mri_pipeline.tables.sdtm import LESION_TESTS, LOCATIONS, NV, VISIT_TESTS, NvTest

_SCAN_REASONS = {
    ScanStatus.MISSING.value: sdtm.SCAN_MISSING,
    ScanStatus.REFUSED.value: sdtm.SCAN_REFUSED,
    ScanStatus.FAILED.value: sdtm.SCAN_FAILED,
}
_NEEDS_CONTRAST = frozenset(test.column for test in VISIT_TESTS if test.column.startswith(("gel_", "combined_")))
_NEEDS_T1 = frozenset(test.column for test in VISIT_TESTS if test.column.startswith("bh_"))
_WITHOUT_CHANGE = frozenset({T2State.BASELINE.value, T2State.NONE.value})


def nv_rows(
    timepoints: Sequence[Row],
    lesions: Iterable[Row],
    *,
    study: str,
    provisional: bool,
    evaluators: Mapping[str, Evaluator],
) -> list[Row]:
    """The rows of nv.csv of one subject.

    Parameters
    ----------
    timepoints : rows of lesion_timepoints.csv
        All planned visits, in their order. The first one is the baseline.
    lesions : rows of lesions.csv
    study : str
        Name of the trial.
    provisional : bool
        False if the tables have numbers of locked reads only.
    evaluators : mapping of visit label to Evaluator
        A visit without an entry is unread.

    Returns
    -------
    list of Row
        For each visit `VISIT_TESTS`, then `LESION_TESTS` of its lesions. Volumes are in mL. The first visit has no row
        of a measure that compares visits. A measure that a lesion does not have gives no row.
    """
    of_visit: dict[Cell, list[Row]] = {}
    for lesion in lesions:
        of_visit.setdefault(lesion["visit"], []).append(lesion)
    rows: list[Row] = []
    for i, timepoint in enumerate(timepoints):
        visit = str(timepoint["visit"])
        common: Row = dict.fromkeys(NV.names) | {
            "STUDYID": study,
            "DOMAIN": "NV",
            "USUBJID": timepoint["subject"],
            "NVMETHOD": "MRI",
            "VISITNUM": i + 1,
            "VISIT": visit,
        }
        made = [
            *_visit_rows(timepoint, timepoints[:i], provisional=provisional),
            *(row for lesion in of_visit.get(visit, []) for row in _lesion_rows(lesion, baseline=not i)),
        ]
        of_result = _of_result(evaluators.get(visit), baseline=not i)
        for number, row in enumerate(made, start=len(rows) + 1):
            rows.append(common | row | {"NVSEQ": number} | ({} if "NVSTAT" in row else of_result))
    return rows


def _of_result(evaluator: Evaluator | None, *, baseline: bool) -> Row:
    """The variables that only a result has."""
    flag: Row = {"NVBLFL": "Y" if baseline else None}
    if evaluator is None:
        return flag
    role = sdtm.ADJUDICATOR if evaluator.adjudicator else sdtm.READER
    return flag | {"NVEVAL": role, "NVEVALID": evaluator.code}


def _visit_rows(timepoint: Row, earlier: Sequence[Row], *, provisional: bool) -> Iterator[Row]:
    for test in VISIT_TESTS:
        if not earlier and test.column in COMPARISONS:
            continue
        value = timepoint[test.column]
        if value is None:
            found = _not_done(_reason(test.column, timepoint, earlier, provisional=provisional))
        else:
            found = _result(value)
        yield _named(test, sdtm.VISIT_CATEGORY) | {"NVLOC": sdtm.WHOLE_BRAIN} | found


def _lesion_rows(lesion: Row, *, baseline: bool) -> Iterator[Row]:
    has = {
        "volume_mm3": lesion["t2_lesion"],
        "t2_state": not baseline and lesion["t2_state"] not in {None, *_WITHOUT_CHANGE},
        "gel_volume_mm3": lesion["gel_count"],
        "bh_volume_mm3": lesion["bh_count"],
    }
    number = lesion["lesion_id"]
    place: Row = {
        "NVSPID": f"{number}.{lesion['part']}",
        "NVLNKID": str(number),
        "NVLOC": LOCATIONS[str(lesion["location"])],
    }
    for test in LESION_TESTS:
        if has[test.column]:
            value = lesion[test.column]
            in_ml = value.scaleb(-3) if isinstance(value, Decimal) else value
            yield _named(test, sdtm.LESION_CATEGORY) | place | _result(in_ml)


def _named(test: NvTest, category: str) -> Row:
    return {"NVTESTCD": test.code, "NVTEST": test.title, "NVCAT": category}


def _not_done(reason: str) -> Row:
    return {"NVSTAT": sdtm.NOT_DONE, "NVREASND": reason}


def _result(value: Cell) -> Row:
    """A count, a volume in mL, or a word."""
    if not isinstance(value, int | Decimal):
        word = str(value).replace("_", " ").upper()
        return {"NVORRES": word, "NVSTRESC": word}
    unit, number = sdtm.UNIT if isinstance(value, Decimal) else None, Decimal(value)
    text = decimal_text(number)
    return {"NVORRES": text, "NVORRESU": unit, "NVSTRESC": text, "NVSTRESN": number, "NVSTRESU": unit}


def _reason(column: str, row: Row, earlier: Sequence[Row], *, provisional: bool) -> str:
    """Why a measure of a visit has no result. The first reason that holds."""
    locked = ReadStatus.LOCKED.value
    analysed = [visit for visit in earlier if visit["scan_status"] == ScanStatus.ANALYSED.value]
    compares = column in COMPARISONS
    reasons = (
        (row["scan_status"] != ScanStatus.ANALYSED.value, _SCAN_REASONS.get(str(row["scan_status"]), "")),
        (not provisional and row["read_status"] != locked, sdtm.NOT_LOCKED),
        (column in _NEEDS_CONTRAST and row["gel_count"] is None, sdtm.NO_CONTRAST),
        (column in _NEEDS_T1 and row["bh_count"] is None, sdtm.NO_T1),
        (compares and not analysed, sdtm.NO_EARLIER),
        (
            compares and not provisional and any(visit["read_status"] != locked for visit in analysed),
            sdtm.EARLIER_NOT_LOCKED,
        ),
        (compares and column in _NEEDS_CONTRAST, sdtm.NO_EARLIER_CONTRAST),
        (compares and column in _NEEDS_T1, sdtm.TOO_SHORT),
    )
    return next((reason for holds, reason in reasons if holds), sdtm.NOT_ASSESSABLE)
