"""nv.csv: the measures of each visit as the CDISC SDTM domain NV (Nervous System Findings, SDTMIG 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from mri_pipeline.core.records import ScanStatus
from mri_pipeline.tables.schema import Cell, Column, ColumnType, Row, Table, count

TESTS: tuple[tuple[str, str, str], ...] = (
    ("gel_count", "GELCNT", "Gadolinium-Enhancing Lesions"),
    ("gel_new_count", "GELNCNT", "New Gadolinium-Enhancing Lesions"),
    ("gel_re_enhancing_count", "GELRCNT", "Re-Enhancing Lesions"),
    ("gel_persistent_count", "GELPCNT", "Persistent Enhancing Lesions"),
    ("gel_volume_ml", "GELVOL", "Gadolinium-Enhancing Lesion Volume"),
    ("t2_count", "T2CNT", "T2 Lesions"),
    ("t2_volume_ml", "T2VOL", "T2 Lesion Volume"),
    ("new_t2_count", "T2NCNT", "New T2 Lesions"),
    ("enlarging_t2_count", "T2ECNT", "Enlarging T2 Lesions"),
    ("new_or_enlarging_t2_count", "T2NECNT", "New or Enlarging T2 Lesions"),
    ("bh_count", "BHCNT", "T1 Black Holes"),
    ("bh_volume_ml", "BHVOL", "T1 Black Hole Volume"),
    ("bh_chronic_volume_ml", "BHCVOL", "Chronic T1 Black Hole Volume"),
    ("combined_unique_active_count", "CUACNT", "Combined Unique Active Lesions"),
)
"""Column of lesion_timepoints.csv, NVTESTCD (at most 8 characters) and NVTEST (at most 40). Sponsor-defined terms."""

NOT_DONE = "NOT DONE"
_REASONS = {
    ScanStatus.MISSING.value: "SCAN MISSING",
    ScanStatus.REFUSED.value: "SCAN REFUSED",
    ScanStatus.FAILED.value: "NO ANALYSIS OF THE SCAN",
}


def _text(name: str, rule: str, missing: str = "never") -> Column:
    return Column(name, ColumnType.TEXT, rule, missing)


_NO_RESULT = "there is no result (NVSTAT is NOT DONE)"
_COUNT = "the result is a count, or there is none"

NV = Table(
    "nv.csv",
    "One row for every measure at every planned visit of every subject: CDISC SDTM domain NV. It contains no "
    "dates, because dates would break the blinding.",
    (
        _text("STUDYID", "name of the trial"),
        _text("DOMAIN", "NV"),
        _text("USUBJID", "blinded code of the subject"),
        count("NVSEQ", "number of the row within the subject", "never"),
        _text("NVTESTCD", "short name of the measure"),
        _text("NVTEST", "name of the measure"),
        _text("NVCAT", "category of the measure"),
        _text("NVORRES", "result, as in lesion_timepoints.csv", _NO_RESULT),
        _text("NVORRESU", "unit of the result", _COUNT),
        _text("NVSTRESC", "result, standard format", _NO_RESULT),
        _text("NVSTRESN", "numeric result in the standard unit", _NO_RESULT),
        _text("NVSTRESU", "standard unit", _COUNT),
        _text("NVSTAT", "NOT DONE if there is no result", "there is a result"),
        _text("NVREASND", "why there is no result", "there is a result"),
        _text("NVMETHOD", "MRI"),
        count("VISITNUM", "number of the visit in the plan, from 1", "never"),
        _text("VISIT", "label of the visit"),
    ),
)


def _reason(row: Row) -> str:
    status = row["scan_status"]
    if status != ScanStatus.ANALYSED.value:
        return _REASONS[str(status)]
    withheld = all(row[name] is None for name, _, _ in TESTS)
    return "READ NOT LOCKED" if withheld else "NOT ASSESSABLE"


def _result(value: Cell, row: Row) -> Row:
    if value is None:
        empty: Row = dict.fromkeys(("NVORRES", "NVORRESU", "NVSTRESC", "NVSTRESN", "NVSTRESU"))
        return empty | {"NVSTAT": NOT_DONE, "NVREASND": _reason(row)}
    text, unit = str(value), "mL" if isinstance(value, Decimal) else None
    return {
        "NVORRES": text,
        "NVORRESU": unit,
        "NVSTRESC": text,
        "NVSTRESN": text,
        "NVSTRESU": unit,
        "NVSTAT": None,
        "NVREASND": None,
    }


def nv_rows(timepoints: Iterable[Row], *, study: str) -> list[Row]:
    """The rows of nv.csv.

    Parameters
    ----------
    timepoints : rows of lesion_timepoints.csv
        All planned visits of each subject, in their order.
    study : str
        Name of the trial.

    Returns
    -------
    list of Row
        One for each of `TESTS` at each visit. Volumes are in mL.
    """
    rows: list[Row] = []
    subject, sequence, visit_number = None, 0, 0
    for timepoint in timepoints:
        if timepoint["subject"] != subject:
            subject, sequence, visit_number = timepoint["subject"], 0, 0
        visit_number += 1
        for name, code, title in TESTS:
            sequence += 1
            head: Row = {
                "STUDYID": study,
                "DOMAIN": "NV",
                "USUBJID": subject,
                "NVSEQ": sequence,
                "NVTESTCD": code,
                "NVTEST": title,
                "NVCAT": "MS LESIONS",
            }
            tail: Row = {"NVMETHOD": "MRI", "VISITNUM": visit_number, "VISIT": timepoint["visit"]}
            rows.append(head | _result(timepoint[name], timepoint) | tail)
    return rows
