"""Variables and tests of nv.csv: CDISC SDTM domain NV (Nervous System Findings, SDTMIG 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from mri_pipeline.core.anatomy import Location
from mri_pipeline.tables.columns import Column, ColumnType, Table

NOT_DONE = "NOT DONE"
UNIT = "mL"
WHOLE_BRAIN = "BRAIN"
LESION_CATEGORY, VISIT_CATEGORY = "SINGLE MS LESION", "MS LESIONS"
READER, ADJUDICATOR = "INDEPENDENT ASSESSOR", "ADJUDICATOR"

SCAN_MISSING, SCAN_REFUSED, SCAN_FAILED = "SCAN MISSING", "SCAN REFUSED", "NO ANALYSIS OF THE SCAN"
NOT_LOCKED, EARLIER_NOT_LOCKED = "READ NOT LOCKED", "EARLIER READ NOT LOCKED"
NO_CONTRAST, NO_T1 = "NO POST-CONTRAST T1", "NO T1 BEFORE CONTRAST"
NO_EARLIER, NO_EARLIER_CONTRAST = "NO EARLIER VISIT", "NO EARLIER VISIT WITH CONTRAST"
TOO_SHORT = "EARLIER VISITS COVER TOO FEW WEEKS"
NOT_ASSESSABLE = "NOT ASSESSABLE"
REASONS = (
    SCAN_MISSING, SCAN_REFUSED, SCAN_FAILED, NOT_LOCKED, EARLIER_NOT_LOCKED, NO_CONTRAST, NO_T1, NO_EARLIER,
    NO_EARLIER_CONTRAST, TOO_SHORT, NOT_ASSESSABLE,
)  # fmt: skip


@dataclass(frozen=True)
class NvTest:
    """A measure of a visit or of a lesion.

    Parameters
    ----------
    column : str
        Column of lesion_timepoints.csv or lesions.csv.
    code : str
        NVTESTCD: at most 8 characters, upper case. Sponsor-defined.
    title : str
        NVTEST: at most 40 characters.
    """

    column: str
    code: str
    title: str


VISIT_TESTS = (
    NvTest("gel_count", "GELCNT", "Gadolinium-Enhancing Lesions"),
    NvTest("gel_new_count", "GELNCNT", "New Gadolinium-Enhancing Lesions"),
    NvTest("gel_re_enhancing_count", "GELRCNT", "Re-Enhancing Lesions"),
    NvTest("gel_persistent_count", "GELPCNT", "Persistent Enhancing Lesions"),
    NvTest("gel_volume_ml", "GELVOL", "Gadolinium-Enhancing Lesion Volume"),
    NvTest("t2_count", "T2CNT", "T2 Lesions"),
    NvTest("t2_volume_ml", "T2VOL", "T2 Lesion Volume"),
    NvTest("new_t2_count", "T2NCNT", "New T2 Lesions"),
    NvTest("enlarging_t2_count", "T2ECNT", "Enlarging T2 Lesions"),
    NvTest("new_or_enlarging_t2_count", "T2NECNT", "New or Enlarging T2 Lesions"),
    NvTest("bh_count", "BHCNT", "T1 Black Holes"),
    NvTest("bh_volume_ml", "BHVOL", "T1 Black Hole Volume"),
    NvTest("bh_chronic_volume_ml", "BHCVOL", "Chronic T1 Black Hole Volume"),
    NvTest("combined_unique_active_count", "CUACNT", "Combined Unique Active Lesions"),
)
"""Of each visit; columns of lesion_timepoints.csv."""

LESION_TESTS = (
    NvTest("volume_mm3", "LSNVOL", "Volume of the T2 Lesion"),
    NvTest("t2_state", "LSNCHG", "Change of the T2 Lesion"),
    NvTest("gel_volume_mm3", "LSNGEVOL", "Enhancing Volume of the Lesion"),
    NvTest("bh_volume_mm3", "LSNBHVOL", "Black Hole Volume of the Lesion"),
)
"""Of each lesion; columns of lesions.csv."""

LOCATIONS = {location.value: location.value.replace("_", " ").upper() for location in Location}
"""NVLOC of a lesion by its location."""


@dataclass(frozen=True)
class Variable:
    """A variable of the domain.

    Parameters
    ----------
    column : Column
        Name, type, rule and missing values, as in the data dictionary.
    label : str
        Of SDTMIG 3.4, at most 40 characters.
    role : str
    origin : str
        ``def:Origin`` of Define-XML 2.1: Assigned, Collected, Derived or Protocol.
    source : str
        Of the origin: Investigator, Sponsor or Vendor (the reading centre).
    codelist : str
        Code of the NCI codelist. Empty without controlled terminology.
    """

    column: Column
    label: str
    role: str
    origin: str
    source: str = "Vendor"
    codelist: str = ""


_NO_RESULT = "there is no result (NVSTAT is NOT DONE)"
_NO_UNIT = "the result is a count or a word, or there is none"
_BLINDED = "the tables are blinded, or the release has no schedule, or the schedule has no date of the visit"


def _text(name: str, rule: str, missing: str = "never", *, values: tuple[str, ...] = ()) -> Column:
    return Column(name, ColumnType.CATEGORY if values else ColumnType.TEXT, rule, missing, values=values)


def _number(name: str, rule: str, missing: str, *, kind: ColumnType = ColumnType.INTEGER) -> Column:
    return Column(name, kind, rule, missing)


_TESTS = (*VISIT_TESTS, *LESION_TESTS)
_CODES, _TITLES = tuple(test.code for test in _TESTS), tuple(test.title for test in _TESTS)

VARIABLES = (
    Variable(_text("STUDYID", "name of the trial"), "Study Identifier", "Identifier", "Protocol", "Sponsor"),
    Variable(_text("DOMAIN", "NV", values=("NV",)), "Domain Abbreviation", "Identifier", "Assigned"),
    Variable(
        _text("USUBJID", "blinded code of the subject"), "Unique Subject Identifier", "Identifier", "Assigned"
    ),
    Variable(
        _number("NVSEQ", "number of the row within the subject", "never"), "Sequence Number", "Identifier", "Derived"
    ),
    Variable(
        _text("NVSPID", "lesion_id and part of the lesion in lesions.csv", "the row is about the whole brain"),
        "Sponsor-Defined Identifier", "Identifier", "Assigned",
    ),
    Variable(
        _text(
            "NVLNKID",
            "lesion_id in lesions.csv: the same lesion at all visits of the subject",
            "the row is about the whole brain",
        ),
        "Link ID", "Identifier", "Assigned",
    ),
    Variable(
        _text("NVTESTCD", "short name of the measure", values=_CODES),
        "Short Name of Nervous System Test", "Topic", "Assigned", codelist="C116104",
    ),
    Variable(
        _text("NVTEST", "name of the measure", values=_TITLES),
        "Name of Nervous System Test", "Synonym Qualifier", "Assigned", codelist="C116103",
    ),
    Variable(
        _text("NVCAT", "whether the row is about all lesions or one", values=(VISIT_CATEGORY, LESION_CATEGORY)),
        "Category for Nervous System Test", "Grouping Qualifier", "Assigned",
    ),
    Variable(
        _text("NVORRES", "result, as in lesion_timepoints.csv or lesions.csv (volumes in mL)", _NO_RESULT),
        "Result or Finding in Original Units", "Result Qualifier", "Derived",
    ),
    Variable(
        _text("NVORRESU", "unit of the result", _NO_UNIT, values=(UNIT,)),
        "Original Units", "Variable Qualifier", "Assigned", codelist="C71620",
    ),
    Variable(
        _text("NVSTRESC", "result, standard format; equal to NVORRES", _NO_RESULT),
        "Character Result/Finding in Std Format", "Result Qualifier", "Derived",
    ),
    Variable(
        _number(
            "NVSTRESN",
            "numeric result in the standard unit; equal to NVSTRESC",
            f"{_NO_RESULT}, or the result is a word",
            kind=ColumnType.NUMBER,
        ),
        "Numeric Result/Finding in Standard Units", "Result Qualifier", "Derived",
    ),
    Variable(
        _text("NVSTRESU", "standard unit", _NO_UNIT, values=(UNIT,)),
        "Standard Units", "Variable Qualifier", "Assigned", codelist="C71620",
    ),
    Variable(
        _text("NVSTAT", "NOT DONE if there is no result", "there is a result", values=(NOT_DONE,)),
        "Completion Status", "Record Qualifier", "Assigned", codelist="C66789",
    ),
    Variable(
        _text("NVREASND", "why there is no result", "there is a result", values=REASONS),
        "Reason Not Done", "Record Qualifier", "Assigned",
    ),
    Variable(
        _text("NVLOC", "region in which the lesion lies, or BRAIN", values=(WHOLE_BRAIN, *LOCATIONS.values())),
        "Location Used for the Measurement", "Record Qualifier", "Assigned", codelist="C74456",
    ),
    Variable(
        _text("NVMETHOD", "MRI", values=("MRI",)),
        "Method of Test or Examination", "Record Qualifier", "Assigned", codelist="C85492",
    ),
    Variable(
        _text(
            "NVBLFL", "Y for a result at the first planned visit", "the visit is another one, or there is no result",
            values=("Y",),
        ),
        "Baseline Flag", "Record Qualifier", "Derived", codelist="C66742",
    ),
    Variable(
        _text(
            "NVEVAL",
            f"role of the person whose read gives the result: {READER} for a reader, {ADJUDICATOR} for an adjudicator",
            "no person has read the visit (results of the program alone), or there is no result",
            values=(READER, ADJUDICATOR),
        ),
        "Evaluator", "Record Qualifier", "Assigned", codelist="C78735",
    ),
    Variable(
        _text("NVEVALID", "code of that reader or adjudicator", "NVEVAL is empty"),
        "Evaluator Identifier", "Variable Qualifier", "Assigned", codelist="C96777",
    ),
    Variable(
        _number("VISITNUM", "number of the visit in the plan, from 1", "never"),
        "Visit Number", "Timing", "Protocol", "Sponsor",
    ),
    Variable(_text("VISIT", "label of the visit"), "Visit Name", "Timing", "Protocol", "Sponsor"),
    Variable(
        _text("NVDTC", "date of the scan (ISO 8601), from the schedule given to the release", _BLINDED),
        "Date/Time of Collection", "Timing", "Collected", "Investigator",
    ),
    Variable(
        _number(
            "NVDY",
            "study day of the scan relative to RFSTDTC in the schedule: that day is 1, the day before it -1",
            f"{_BLINDED}, or no RFSTDTC of the subject",
        ),
        "Study Day of Visit/Collection/Exam", "Timing", "Derived",
    ),
)  # fmt: skip

NV = Table(
    "nv.csv",
    "One row for every measure at every planned visit of every subject, and for every measure of every lesion: CDISC "
    "SDTM domain NV (SDTMIG 3.4). Measures that compare with an earlier visit have no row at the first planned visit. "
    "Blinded tables contain no dates, because dates would break the blinding.",
    tuple(variable.column for variable in VARIABLES),
)
