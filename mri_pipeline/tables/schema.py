"""The columns of the tables of visits, lesions and questions."""

from __future__ import annotations

from enum import StrEnum

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.records import BlackHoleState, ComparedMasks, GelState, ReadStatus, ScanStatus, T2State
from mri_pipeline.tables.columns import (
    POSITION_MM_DECIMALS,
    VOLUME_MM3_DECIMALS,
    Column,
    ColumnType,
    Table,
    count,
    volume_ml,
)

NO_NUMBERS = (
    "the visit was not analysed (scan_status says why) or, in tables made without --provisional, its read is not "
    "locked"
)
NO_CONTRAST = f"{NO_NUMBERS}, or it has no post-contrast T1"
NO_EARLIER = (
    "it is the first analysed visit, or, in tables made without --provisional, an earlier read is not locked"
)
NO_T1 = f"{NO_NUMBERS}, or it has no T1 before contrast"


def _volume_mm3(name: str, rule: str, missing: str) -> Column:
    return Column(name, ColumnType.DECIMAL, rule, missing, unit="mm3", decimals=VOLUME_MM3_DECIMALS)


def _category(name: str, values: type[StrEnum], rule: str, missing: str = "never") -> Column:
    return Column(name, ColumnType.CATEGORY, rule, missing, values=tuple(value.value for value in values))


def _position(axis: str, direction: str) -> Column:
    rule = f"centre of the lesion in the subject's space, RAS+ millimetres: {direction}"
    return Column(f"{axis}_mm", ColumnType.DECIMAL, rule, "never", unit="mm", decimals=POSITION_MM_DECIMALS)


SUBJECT = Column("subject", ColumnType.TEXT, "blinded code of the subject")
VISIT = Column("visit", ColumnType.TEXT, "label of the planned visit")

TIMEPOINTS = Table(
    "lesion_timepoints.csv",
    "One row for every planned visit of every subject.",
    (
        SUBJECT,
        VISIT,
        count(
            "week",
            "planned week of the visit",
            "the label of the visit contains no week (data without a protocol)",
        ),
        _category(
            "scan_status",
            ScanStatus,
            "analysed: its numbers are known; missing: no scan was received; refused: a scan was received and "
            "refused; failed: a scan was accepted and has no numbers (yet)",
        ),
        _category(
            "read_status",
            ReadStatus,
            "automatic: no reader has read it, the numbers are provisional; confirmed: a reader accepted, "
            "rejected or corrected every lesion; adjudicated: two reads were adjudicated; locked: final",
            "the visit was not analysed",
        ),
        Column(
            "reference_visit",
            ColumnType.TEXT,
            "the previous analysed visit, to which new and enlarging T2 lesions refer",
            f"{NO_NUMBERS}, or it is the first analysed visit",
        ),
        count("gel_count", "gadolinium-enhancing lesions (GEL)", NO_CONTRAST),
        count(
            "gel_new_count",
            "GEL without enhancement and without T2 lesion at that place at the previous visit",
            f"{NO_CONTRAST}, or {NO_EARLIER}",
        ),
        count(
            "gel_re_enhancing_count",
            "GEL without enhancement at the previous visit, in a T2 lesion that existed then",
            f"{NO_CONTRAST}, or {NO_EARLIER}",
        ),
        count(
            "gel_persistent_count", "GEL that enhanced at the previous visit", f"{NO_CONTRAST}, or {NO_EARLIER}"
        ),
        volume_ml("gel_volume_ml", "volume of all GEL: voxels times voxel volume", NO_CONTRAST),
        count("t2_count", "T2 lesions", NO_NUMBERS),
        volume_ml("t2_volume_ml", "volume of all T2 lesions: voxels times voxel volume", NO_NUMBERS),
        count(
            "new_t2_count",
            "T2 lesions at a place without T2 lesion at the reference visit",
            f"{NO_NUMBERS}, or {NO_EARLIER}",
        ),
        count(
            "enlarging_t2_count",
            "T2 lesions of the reference visit that grew beyond the protocol's limits of area and volume",
            f"{NO_NUMBERS}, or {NO_EARLIER}",
        ),
        count(
            "new_or_enlarging_t2_count",
            "T2 lesions that are new or enlarging, each counted once",
            f"{NO_NUMBERS}, or {NO_EARLIER}",
        ),
        count("bh_count", "black holes (T1-hypointense, not enhancing, inside a T2 lesion)", NO_T1),
        volume_ml("bh_volume_ml", "volume of all black holes", NO_T1),
        volume_ml(
            "bh_chronic_volume_ml",
            "volume of black holes at positions with a lesion for at least the chronic weeks of the protocol",
            f"{NO_T1}, or the earlier visits do not cover that time, or, in tables made without --provisional, "
            "an earlier read is not locked",
        ),
        count(
            "combined_unique_active_count",
            "lesions that enhance or are new or enlarging on T2, each counted once, matched by spatial overlap; with "
            "or without persistent GEL by the setting combined_counts_persistent_gel "
            "(supplementary_timepoints.csv has both)",
            f"{NO_CONTRAST}, or {NO_EARLIER}",
        ),
    ),
)

SUPPLEMENTARY = Table(
    "supplementary_timepoints.csv",
    "One row for every row of lesion_timepoints.csv: measures in addition to those of the protocol.",
    (
        SUBJECT,
        VISIT,
        count(
            "new_t2_since_first_count",
            "T2 lesions at a place without T2 lesion at the first analysed visit that were new at that visit or since",
            f"{NO_NUMBERS}, or {NO_EARLIER}",
        ),
        volume_ml(
            "t1_hypointense_volume_ml",
            "volume of T1-hypointense lesions: parts of T2 lesions nearer to grey than to white matter on T1, not "
            "enhancing, not CSF, and the black holes",
            NO_T1,
        ),
        volume_ml(
            "bh_severe_volume_ml",
            "the part of the black holes (bh_volume_ml) that is nearer to CSF than to grey matter on T1",
            NO_T1,
        ),
        count(
            "combined_with_persistent_gel_count",
            "combined unique active lesions, with the GEL that persist from the previous visit",
            f"{NO_CONTRAST}, or {NO_EARLIER}",
        ),
        count(
            "combined_without_persistent_gel_count",
            "combined unique active lesions, without the GEL that persist from the previous visit",
            f"{NO_CONTRAST}, or {NO_EARLIER}, or no earlier visit has post-contrast T1",
        ),
        count(
            "read_version",
            "version of the read that gives the numbers: 1 for the first read of its reader, more after corrections; 0 "
            "for a read of mri-pipeline 0.2.0 or earlier",
            f"{NO_NUMBERS}, or no read counts",
        ),
    ),
)

LESIONS = Table(
    "lesions.csv",
    "One row for every lesion at every analysed visit. lesion_timepoints.csv has the read_status. All counts of a "
    "visit follow from its rows: t2_count is the number of rows with t2_lesion; the counts by t2_state are the numbers "
    "of such rows; gel_count and bh_count are sums; the combined count is the sum over the rows of gel_count, or of 1 "
    "if that is 0 and t2_state is new or enlarging.",
    (
        SUBJECT,
        VISIT,
        count(
            "lesion_id",
            "number of the lesion, the same at all visits of the subject; the parts of a lesion that has split have "
            "one number; a lesion that vanished and returns is new and has a new number",
            "never",
        ),
        _volume_mm3("volume_mm3", "volume: voxels times voxel volume", "never"),
        _position("x", "towards the right"),
        _position("y", "towards the front"),
        _position("z", "towards the top"),
        _category("location", Location, "region of the brain in which the lesion lies (McDonald 2017)"),
        Column(
            "enhancing", ColumnType.BOOLEAN, "whether the lesion enhances", "the visit has no post-contrast T1"
        ),
        _category(
            "gel_state",
            GelState,
            "relative to the previous analysed visit with contrast (Barkhof 1997); undetermined: there is none",
            "the lesion does not enhance, the visit has no post-contrast T1, or, in tables made without "
            "--provisional, an earlier read is not locked",
        ),
        _category(
            "t2_state",
            T2State,
            "relative to the reference visit; baseline: first analysed visit; vanished: a lesion there, no longer one; "
            "unchanged_image: no lesion there, but FLAIR shows no change (not if both reads are confirmed); none: "
            "enhancement without T2 lesion",
            "in tables made without --provisional, an earlier read is not locked",
        ),
        _category(
            "black_hole",
            BlackHoleState,
            "whether the lesion contains a black hole, and whether that is chronic",
            "the visit has no T1 before contrast, or, in tables made without --provisional, an earlier read is not "
            "locked",
        ),
        count(
            "part",
            "1; if the lesion has split: 1 for its largest part at this visit, 2 for the next one, and so on",
            "never",
        ),
        Column(
            "t2_lesion",
            ColumnType.BOOLEAN,
            "false for enhancement without T2 lesion and for a vanished lesion",
        ),
        count(
            "gel_count",
            "GEL that are counted at this lesion. Each GEL is counted at one lesion: at the new or enlarging T2 lesion "
            "with which it is paired for the combined count, else at the one with the largest overlap",
            "the visit has no post-contrast T1",
        ),
        Column(
            "gel_states",
            ColumnType.TEXT,
            "the gel_state of each of these GEL, separated by ;",
            "gel_count is 0 or empty, or, in tables made without --provisional, an earlier read is not locked",
        ),
        _volume_mm3("gel_volume_mm3", "volume of these GEL", "the visit has no post-contrast T1"),
        count("bh_count", "black holes in this lesion", "the visit has no T1 before contrast"),
        _volume_mm3("bh_volume_mm3", "volume of these black holes", "the visit has no T1 before contrast"),
        _category(
            "t2_comparison",
            ComparedMasks,
            "the two T2 masks that t2_state compares; confirmed: both by a reader, and the masks alone decide; mixed: "
            "one; automatic: none",
            "it is the first analysed visit, there is no T2 lesion, or, in tables made without --provisional, an "
            "earlier read is not locked",
        ),
        Column(
            "image_support",
            ColumnType.BOOLEAN,
            "whether FLAIR shows the change of the T2 lesion, too. False between confirmed masks is a question to the "
            "reader and changes no count",
            "the T2 lesion has not changed, there is nothing to compare, or, in tables made without --provisional, an "
            "earlier read is not locked",
        ),
        Column(
            "new_since_first",
            ColumnType.BOOLEAN,
            "whether the lesion is counted in new_t2_since_first_count (once, if it has split)",
            "it is the first analysed visit, there is no T2 lesion, or, in tables made without --provisional, an "
            "earlier read is not locked",
        ),
    ),
)

_SAME_AS_LESIONS = ("lesion_id", "part", "x_mm", "y_mm", "z_mm", "t2_state")
QUESTIONS = Table(
    "questions.csv",
    "One row for every change between two confirmed reads that FLAIR does not show: a question to the reader. It "
    "changes no count. It reveals the visit order. Give it only to unblinded readers.",
    (
        SUBJECT,
        VISIT,
        Column("reference_visit", ColumnType.TEXT, "the visit with which the T2 lesion is compared"),
        *(column for column in LESIONS.columns if column.name in _SAME_AS_LESIONS),
        Column("question", ColumnType.TEXT, "the change that requires a decision of the reader"),
    ),
)
