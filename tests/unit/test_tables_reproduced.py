"""Every count of the other tables follows from lesions.csv alone; this program shares no code with the tables.

A visit without lesions has no row. Which visits were compared, and with which, is taken from lesion_timepoints.csv.
"""

import csv
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.lesions.tracking.track import count_subject
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import table_texts
from tests.unit.test_lesions_tracking import BRAIN, RULES, VISITS, WEEKS, blobs, visit

PLAN = planned_visits(parse_protocol(protocol_text()))
CHANGES = ("new", "enlarging")


def recounted(rows):
    """Counts of one visit from its rows of lesions.csv."""
    t2 = [row for row in rows if row["t2_lesion"] == "true"]
    states = Counter(row["t2_state"] for row in rows)
    gel = Counter(state for row in rows for state in row["gel_states"].split(";") if state)

    def combined(ignored):
        total = 0
        for row in rows:
            enhancing = [s for s in row["gel_states"].split(";") if s and s != ignored]
            total += max(len(enhancing), row["t2_state"] in CHANGES)
        return total

    return {
        "t2_count": len(t2),
        "new_t2_count": states["new"],
        "enlarging_t2_count": states["enlarging"],
        "new_or_enlarging_t2_count": states["new"] + states["enlarging"],
        "gel_count": sum(int(row["gel_count"]) for row in rows if row["gel_count"]),
        "gel_new_count": gel["new"],
        "gel_re_enhancing_count": gel["re_enhancing"],
        "gel_persistent_count": gel["persistent"],
        "bh_count": sum(int(row["bh_count"]) for row in rows if row["bh_count"]),
        "combined_unique_active_count": combined(None),
        "combined_with_persistent_gel_count": combined(None),
        "combined_without_persistent_gel_count": combined("persistent"),
        "new_t2_since_first_count": sum(r["new_since_first"] == "true" and r["part"] == "1" for r in t2),
        "t2_volume_ml": sum(float(row["volume_mm3"]) for row in t2) / 1000,
        "gel_volume_ml": sum(float(row["gel_volume_mm3"]) for row in rows if row["gel_volume_mm3"]) / 1000,
        "bh_volume_ml": sum(float(row["bh_volume_mm3"]) for row in rows if row["bh_volume_mm3"]) / 1000,
    }


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


masks_of_a_visit = st.none() | st.tuples(blobs(), st.none() | blobs(), st.none() | blobs())


@settings(max_examples=80, deadline=None)
@given(
    visits=st.lists(masks_of_a_visit, min_size=7, max_size=7).filter(any),
    first_locked=st.integers(0, 7),
    provisional=st.booleans(),
)
def test_every_count_follows_from_the_rows_of_lesions(visits, first_locked, provisional):
    present = {label: masks for label, masks in zip(VISITS, visits, strict=True) if masks is not None}
    counted = count_subject(
        "BCDF2345",
        [visit(label, t2, gel=gel, black_holes=holes) for label, (t2, gel, holes) in present.items()],
        BRAIN,
        RULES,
        WEEKS,
    )
    reads = {label: ReadStatus.LOCKED for i, label in enumerate(VISITS) if i >= first_locked and label in present}
    subject = SubjectInput(counted, dict.fromkeys(present, ScanStatus.ANALYSED), reads)
    texts = table_texts([subject], PLAN, study="mesems", provisional=provisional)
    lesions, timepoints = read(texts["lesions.csv"]), read(texts["lesion_timepoints.csv"])
    supplementary = read(texts["supplementary_timepoints.csv"])
    assert len({(row["visit"], row["lesion_id"], row["part"]) for row in lesions}) == len(lesions)
    by_visit = {}
    for row, more in zip(timepoints, supplementary, strict=True):
        here = recounted([lesion for lesion in lesions if lesion["visit"] == row["visit"]])
        by_visit[row["week"]] = here
        for name, value in here.items():
            given = (row | more)[name]
            if given:
                assert float(given) == pytest.approx(value, abs=1e-4), name
    nv = read(texts["nv.csv"])
    assert len({(row["VISIT"], row["NVTESTCD"], row["NVSPID"]) for row in nv}) == len(nv)
    for row in nv:
        part = {"T2VOL": "LSNVOL", "GELVOL": "LSNGEVOL", "BHVOL": "LSNBHVOL"}.get(row["NVTESTCD"])
        if part and row["NVSTRESN"]:
            own = [float(r["NVSTRESN"]) for r in nv if (r["VISIT"], r["NVTESTCD"]) == (row["VISIT"], part)]
            assert float(row["NVSTRESN"]) == pytest.approx(sum(own), abs=1e-4), part
    (endpoints,) = read(texts["endpoints.csv"])
    for start, weeks in ((0, (4, 12, 24)), (24, (28, 36, 48))):
        period = f"wk{weeks[0]:02d}_{weeks[1]:02d}_{weeks[2]:02d}"
        for name in ("gel_count", "new_or_enlarging_t2_count", "combined_unique_active_count", "new_t2_count"):
            rows = {int(row["week"]): row for row in timepoints}
            known = [week for week in weeks if rows[week][name]]
            covered = 0
            if name != "gel_count":
                reference = {week: int(rows[week]["reference_visit"].removeprefix("wk")) for week in known}
                known = [week for week in known if reference[week] >= start]
                covered = sum(week - reference[week] for week in known)
                assert endpoints[f"{name}_{period}_weeks"] == str(covered)
            total = str(sum(by_visit[str(week)][name] for week in known))
            assert endpoints[f"{name}_{period}_available"] == (total if known else "")
            assert endpoints[f"{name}_{period}_visits"] == str(len(known))
            whole = len(known) == 3 and (name == "gel_count" or covered == 24)
            assert endpoints[f"{name}_{period}_complete"] == (total if whole else "")
