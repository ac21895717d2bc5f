"""Two readers and an adjudicator: both reads are kept, one rule decides which counts."""

import json
import shutil

import numpy as np
import pytest

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io import nifti
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.adjudication import blinded_order
from mri_pipeline.reading.record import Opinion, ReadPurpose
from mri_pipeline.reading.store import load_read
from mri_pipeline.reading.worklist import reading_code
from mri_pipeline.registry.audit import AuditAction
from mri_pipeline.registry.database import writing
from mri_pipeline.registry.scans import withdraw
from mri_pipeline.registry.schema import ReadRow, ScanRow
from mri_pipeline.registry.trail import append
from mri_pipeline.tables.io import read_table
from reading_centre import cli
from reading_centre.use_cases.reading.agreement import write_agreement
from reading_centre.use_cases.reading.comparison import reasons_of
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from tests.unit.reading_trial import (
    READERS,
    copy_of,
    decide,
    edit_protocol,
    lesions_but_no_holes,
    opened,
    rows_of,
    visits_of,
    write_rows,
    write_unread_trial,
)  # fmt: skip

CODE = "BENCH000"
WEEKS = ("wk00", "wk04", "wk12", "wk24", "wk28", "wk36", "wk48")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    trial = write_unread_trial(tmp_path_factory.mktemp("two") / "trial")
    edit_protocol(trial, "readers = 1", "readers = 2", READERS)
    export_reads(trial.root, trial.root.parent / "worklist")
    return trial


@pytest.fixture
def trial(original, tmp_path):
    return copy_of(original, tmp_path, "worklist")


def code_of(trial, visit, purpose=ReadPurpose.READ):
    return reading_code(Sealed.open(trial).secret("reading"), CODE, visit, purpose)


def read(trial, tmp_path, reader, word=lesions_but_no_holes, weeks=WEEKS):
    """Import of the worklist of all visits, as decided by a reader."""
    folder = tmp_path / f"worklist_{reader}_{len(list(tmp_path.iterdir()))}"
    shutil.copytree(tmp_path / "worklist", folder)
    decide(folder, word, {code_of(trial, week) for week in weeks})
    return import_reads(trial.root, folder, reader=reader)


def without_gel_at(trial, visit):
    code = code_of(trial, visit)
    return lambda c, row: "reject" if c == code and row["type"] == "GEL" else lesions_but_no_holes(c, row)


def with_gel(trial):
    """A visit with a GEL, not the first one."""
    for visit in WEEKS[1:]:
        if nifti.load_labels(trial.reads / CODE / visit / "proposed" / "gel.nii.gz").data.any():
            return visit
    raise AssertionError("expected a GEL")


def standings(trial):
    return {week: {r.reader: r.standing.value for r in v.reads} for week, v in visits_of(trial).items()}


def status_in_tables(trial):
    write_trial_tables(trial.root, provisional=True)
    return {row["visit"]: row["read_status"] for row in read_table(trial.tables / "lesion_timepoints.csv")}


@pytest.mark.requirement("READ-02")
def test_one_of_two_reads_counts_for_nothing_and_the_second_replaces_none(trial, tmp_path):
    read(trial, tmp_path, "r1")
    assert set(status_in_tables(trial).values()) == {"automatic"}
    with pytest.raises(UsageError, match="expected confirmed reads of this reader, found none"):
        lock_reads(trial.root, reader="R1")
    files = {path: path.read_bytes() for path in trial.reads.rglob("R1/*/*")}
    summary = read(trial, tmp_path, "R2", lambda code, row: "reject")
    assert summary["confirmed"] == 7
    assert {path: path.read_bytes() for path in trial.reads.rglob("R1/*/*")} == files
    assert {visit.readers for visit in visits_of(trial).values()} == {("R1", "R2")}


def test_unknown_readers_and_a_third_one_are_refused(trial, tmp_path):
    with pytest.raises(SettingsError, match=r"expected a reader of trial.toml \(R1, R2, R3, ADJ\), found 'R9'"):
        read(trial, tmp_path, "R9")
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2", lambda code, row: "reject")
    with pytest.raises(UsageError, match="expected the reads of R1 and R2, found one by another reader"):
        read(trial, tmp_path, "R3")


def test_reads_that_agree_go_on_with_that_of_the_first_listed_reader(trial, tmp_path):
    read(trial, tmp_path, "R2")  # whoever reads first
    assert read(trial, tmp_path, "R1")["to_adjudicate"] == 0
    assert set(map(str, standings(trial).values())) == {"{'R1': 'counts', 'R2': 'compared'}"}
    assert set(status_in_tables(trial).values()) == {"confirmed"}
    with pytest.raises(UsageError, match="expected confirmed reads of this reader, found none"):
        lock_reads(trial.root, reader="R2")
    assert lock_reads(trial.root, reader="R1") == {"locked": 7}
    assert set(status_in_tables(trial).values()) == {"locked"}


def test_compared_reads_change_no_more_and_the_same_read_again_is_no_change(trial, tmp_path):
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2")
    with pytest.raises(UsageError, match="expected reads that are not compared yet, found compared ones"):
        read(trial, tmp_path, "R2", without_gel_at(trial, with_gel(trial)))
    again = read(trial, tmp_path, "R2")
    assert (again["confirmed"], again["unchanged"]) == (0, 7)


@pytest.mark.requirement("READ-02")
def test_a_gel_seen_by_one_goes_to_the_adjudicator_and_the_next_visit_does_not(trial, tmp_path):
    visit = with_gel(trial)
    read(trial, tmp_path, "R1")
    assert read(trial, tmp_path, "R2", without_gel_at(trial, visit))["to_adjudicate"] == 1
    assert [week for week, state in visits_of(trial).items() if state.disputed] == [visit]
    with opened(trial) as registry:
        (entry,) = [e for e in registry.audit_entries("reads compared") if not e.details["counts"]]
    assert entry.target == f"{CODE} {visit}"
    assert {"gel_seen_by_one", "max_gel_count_difference"} == {d["limit"] for d in entry.details["disagreements"]}
    assert status_in_tables(trial)[visit] == "automatic"


@pytest.mark.parametrize(
    ("known", "volume", "new"),
    [(False, "T2 lesions", "T2 lesions"), (True, "T2 volume, by 200 %", "number of new T2 lesions, by 1")],
)
def test_the_adjudicator_is_told_in_what_the_reads_differ(trial, tmp_path, known, volume, new):
    if known:
        edit_protocol(trial, "order_of_visits_known = false", "order_of_visits_known = true")
    first = code_of(trial, "wk00")
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2", lambda c, row: "reject" if c == first else lesions_but_no_holes(c, row))
    export_reads(trial.root, tmp_path / "dispute", reader="ADJ")
    rows = {row["reading_code"]: row for row in rows_of(tmp_path / "dispute" / "worklist.csv")}
    of = {week: code_of(trial, week, ReadPurpose.ADJUDICATION) for week in ("wk00", "wk04")}
    assert rows.keys() == set(of.values())
    for code, row in rows.items():
        lesions = rows_of(tmp_path / "dispute" / "items" / code / "lesions.csv")
        assert int(row["to_decide"]) == len(lesions)
        assert "R1" not in row["differs_in"]
        assert "R2" not in row["differs_in"]
    assert rows[of["wk00"]]["differs_in"].split("; ")[-1] == volume
    # the outlines of week 4 are the same; what one reader had before differs
    assert (rows[of["wk04"]]["to_decide"], rows[of["wk04"]]["differs_in"]) == ("0", new)


@pytest.mark.parametrize("known", [False, True])
def test_what_the_reads_differ_in_tells_a_first_visit_from_a_later_one_only_if_the_order_is_known(trial, known):
    limits = ["max_gel_count_difference", "gel_seen_by_one", "max_t2_volume_difference_percent"]
    with opened(trial) as registry:
        for visit, own in (("wk00", limits), ("wk04", [*limits, "max_new_t2_count_difference"])):
            found = [{"limit": limit, "found": 2, "allowed": 0} for limit in own]
            with writing(registry._engine) as session:
                append(session, AuditAction.READS_COMPARED, f"{CODE} {visit}", {"disagreements": found})
        told = reasons_of(registry, order_known=known)
    first, later = (told[CODE, visit] for visit in ("wk00", "wk04"))
    assert (first == later) is not known
    assert len(set(later)) == len(later)


def test_a_visit_waits_for_the_reads_of_the_visit_before(trial, tmp_path):
    read(trial, tmp_path, "R1", weeks=["wk04"])
    read(trial, tmp_path, "R2", weeks=["wk04"])
    assert standings(trial)["wk04"] == {"R1": "open", "R2": "open"}
    read(trial, tmp_path, "R1", weeks=["wk00"])
    read(trial, tmp_path, "R2", weeks=["wk00"])
    assert standings(trial)["wk04"] == standings(trial)["wk00"] == {"R1": "counts", "R2": "compared"}


@pytest.fixture
def disputed(trial, tmp_path):
    """A visit whose GEL the second reader has rejected, and the adjudicator's worklist."""
    visit = with_gel(trial)
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2", without_gel_at(trial, visit))
    assert export_reads(trial.root, tmp_path / "dispute", reader="adj")["exported"] == 1
    return visit


def masks_of(trial, visit, reader):
    return load_read(trial.reads, CODE, visit, reader, 1).masks


def sides(trial, visit):
    """Reader A and reader B."""
    opinions = [Opinion(reader, 1, "") for reader in ("R1", "R2")]
    order = blinded_order(Sealed.open(trial).secret("reading"), CODE, visit, opinions)
    return [opinion.reader for opinion in order]


def test_the_adjudicator_sees_both_reads_and_no_reader(trial, tmp_path, disputed):
    folder = tmp_path / "dispute"
    (item,) = (folder / "items").iterdir()
    assert item.name == code_of(trial, disputed, ReadPurpose.ADJUDICATION) != code_of(trial, disputed)
    for name, reader in zip("AB", sides(trial, disputed), strict=True):
        shown = nifti.load_labels(item / f"{name}_gel.nii.gz")
        assert np.array_equal(shown.mask, masks_of(trial, disputed, reader).gel.mask)
    both = nifti.load_labels(item / "gel.nii.gz")
    assert np.array_equal(both.mask, masks_of(trial, disputed, "R1").gel.mask)
    rows = rows_of(item / "lesions.csv")
    assert {row["type"] for row in rows} == {"GEL"}  # all else is equal in both
    with_it = "AB"[sides(trial, disputed).index("R1")]
    assert {row["seen_by"] for row in rows} == {with_it}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and path.suffix != ".gz" else b""
        assert not {b"R1", b"R2", CODE.encode(), disputed.encode()} & set(content.split())
        assert b'"R1"' not in content


def test_the_order_of_a_and_b_is_fixed_and_differs_between_visits(trial):
    key = Sealed.open(trial).secret("reading")
    one, two = Opinion("R1", 1, "x"), Opinion("R2", 3, "y")
    orders = [blinded_order(key, CODE, f"wk{week:02d}", [one, two])[0].reader for week in range(64)]
    again = [blinded_order(key, CODE, f"wk{week:02d}", [two, one])[0].reader for week in range(64)]
    assert orders == again
    assert 16 < orders.count("R1") < 48


@pytest.mark.parametrize("decision", ["A", "b", "accept", "reject"])
@pytest.mark.requirement("READ-02")
def test_the_adjudicated_read_counts(trial, tmp_path, disputed, decision):
    decide(tmp_path / "dispute", lambda code, row: decision)
    summary = import_reads(trial.root, tmp_path / "dispute", reader="ADJ")
    assert (summary["confirmed"], summary["to_adjudicate"]) == (1, 0)
    state = visits_of(trial)[disputed]
    assert (state.read, state.counting.reader, state.readers) == (
        ReadStatus.ADJUDICATED,
        "ADJ",
        ("ADJ", "R1", "R2"),
    )
    assert status_in_tables(trial)[disputed] == "adjudicated"
    takes_r1 = decision == "accept" or (
        decision.upper() in "AB" and sides(trial, disputed)["AB".index(decision.upper())] == "R1"
    )
    expected = masks_of(trial, disputed, "R1" if takes_r1 else "R2")
    found = masks_of(trial, disputed, "ADJ")
    assert np.array_equal(found.gel.mask, expected.gel.mask)
    assert np.array_equal(found.t2_lesions.mask, expected.t2_lesions.mask)
    (row,) = [r for r in read_table(trial.tables / "lesion_timepoints.csv") if r["visit"] == disputed]
    assert (row["gel_count"] != "0") == takes_r1
    assert lock_reads(trial.root, reader="adj") == {"locked": 1}
    assert lock_reads(trial.root, reader="R1") == {"locked": 6}
    assert write_trial_tables(trial.root, provisional=False).refused == {}


def test_an_adjudication_of_earlier_reads_is_refused(trial, tmp_path, disputed):
    decide(tmp_path / "dispute", lambda code, row: "accept")
    path = trial.reads / CODE / disputed / "adjudication" / "proposal.json"
    content = json.loads(path.read_text())
    content["opinions"][0]["digest"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"item [A-Z0-9]{8}: a read was changed or withdrawn since this export"):
        import_reads(trial.root, tmp_path / "dispute", reader="ADJ")


def test_who_adjudicates_and_what(trial, tmp_path, disputed):
    decide(tmp_path / "dispute", lambda code, row: "accept")
    with pytest.raises(UsageError, match="expected reading codes of this trial, found unknown codes"):
        import_reads(trial.root, tmp_path / "dispute", reader="R3")
    rows = rows_of(next((tmp_path / "dispute" / "items").iterdir()) / "lesions.csv")
    write_rows(next((tmp_path / "dispute" / "items").iterdir()) / "lesions.csv", [{**rows[0], "decision": "C"}])
    with pytest.raises(UsageError, match="expected A or B or accept or reject for GEL lesion"):
        import_reads(trial.root, tmp_path / "dispute", reader="ADJ")
    with pytest.raises(UsageError, match="expected visits that await a read by this reader, found none"):
        export_reads(trial.root, tmp_path / "more", reader="R1")


def test_the_worklist_of_a_reader_has_what_awaits_this_reader(trial, tmp_path):
    read(trial, tmp_path, "R1", weeks=WEEKS[:3])
    assert export_reads(trial.root, tmp_path / "first", reader="R1")["exported"] == 4
    assert export_reads(trial.root, tmp_path / "second", reader="R2")["exported"] == 7
    read(trial, tmp_path, "R2", weeks=WEEKS[:2])
    assert export_reads(trial.root, tmp_path / "third", reader="R3")["exported"] == 5
    with pytest.raises(UsageError, match="expected two reads that disagree, found none"):
        export_reads(trial.root, tmp_path / "none", reader="ADJ")


# --- agreement of the readers -----------------------------------------------------------------------------------


def agreement_of(trial, readers="R1-R2", comparison="between readers"):
    page, table = write_agreement(trial.root)
    rows = [r for r in rows_of(table) if (r["comparison"], r["readers"]) == (comparison, readers)]
    return {(r["endpoint"], r["statistic"]): r for r in rows}, page.read_text()


def test_agreement_is_that_of_the_independent_reads(trial, tmp_path, disputed):
    found, page = agreement_of(trial)
    assert found["t2_count", "icc_2_1"]["visits"] == "7"
    assert float(found["t2_volume_ml", "icc_2_1"]["value"]) == 1
    assert float(found["t2_lesions", "dice_median"]["value"]) == 1
    missing = sum(masks_of(trial, week, "R1").gel.mask.any() for week in WEEKS)
    assert found["gel", "dice_median"]["visits"] == str(missing)
    gel = found["gel_count", "bland_altman_bias"]
    rows = {row["visit"]: row for row in rows_of_timepoints(trial)}
    removed = int(rows[disputed]["gel_count"])  # by the first reader's read of this visit
    assert float(gel["value"]) == pytest.approx(removed / 7, abs=1e-6)
    assert float(found["gel_count", "kappa_any"]["value"]) < 1
    for text in ("Between readers: R1-R2", "ICC(2,1)", "7 visits of 1 subject"):
        assert text in page
    decide(tmp_path / "dispute", lambda code, row: "accept")
    import_reads(trial.root, tmp_path / "dispute", reader="ADJ")
    assert agreement_of(trial)[0] == found  # not that with the adjudicator


def rows_of_timepoints(trial):
    """The numbers of the first reader's reads, as if every visit had one read."""
    edited = type(trial)(trial.root.parent / "one")
    shutil.copytree(trial.root, edited.root)
    edit_protocol(edited, "readers = 2", "readers = 1")
    with opened(edited) as registry, writing(registry._engine) as session:
        for row in session.query(ReadRow):
            row.standing = "counts" if row.reader == "R1" else "compared"
    write_trial_tables(edited.root, provisional=True)
    return read_table(edited.tables / "lesion_timepoints.csv")


def test_agreement_needs_two_reads(trial, tmp_path):
    with pytest.raises(UsageError, match="expected visits with two reads, found none"):
        write_agreement(trial.root)
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2")
    assert cli.invoke(["agreement", str(trial.root)]) == 0
    assert sorted(path.name for path in trial.reports.glob("agreement*")) == ["agreement.csv", "agreement.html"]


def test_a_replaced_scan_begins_anew(trial, tmp_path):
    read(trial, tmp_path, "R1")
    read(trial, tmp_path, "R2")
    with opened(trial) as registry, writing(registry._engine) as session:
        withdraw(session, session.get_one(ScanRow, (CODE, "wk04")), reason="wrong images")
    (trial.reads / CODE / "wk04").rename(tmp_path / "withdrawn")
    assert visits_of(trial)["wk04"].reads == ()
    found, _ = agreement_of(trial)
    assert found["t2_count", "icc_2_1"]["visits"] == "6"
