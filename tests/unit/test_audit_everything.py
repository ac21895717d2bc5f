"""Everything that the audit trail has a value or a digest of: each single change is found, by name."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.records import ReadStatus, ScanStatus
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.store import load_read, stage_read, visit_folder
from mri_pipeline.registry import Question, ReadCounts, ScanIdentity, ScannerFacts
from mri_pipeline.registry.audit import verify_chain
from mri_pipeline.registry.differences import differences
from mri_pipeline.registry.schema import Base
from mri_pipeline.registry.trail import entries
from reading_centre.use_cases.analysis.run import run_trial
from reading_centre.use_cases.reading.agreement import write_agreement
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.reading.lock import lock_reads, unlock_read
from reading_centre.use_cases.tables.release import release_trial_tables
from reading_centre.use_cases.tables.trial_tables import write_trial_tables
from reading_centre.use_cases.trial.audit_verify import verify_trial
from tests.unit.locked_trial import CODE, SITE, behind_the_trail, flip, registry_of
from tests.unit.reading_trial import edit_protocol

OTHER = "BCDF2345"
SCANNER = ScannerFacts("Maker", "Model", "v1", 1.5, "ab" * 8)
THICK = Question("expected 3 mm, found 5 mm", "thickness", "T2w", 5.0, 3.0, "mm", "state why")
NAMES = {
    "sites": "gate of site", "scanners": "scanner of site", "subjects": "subject", "scans": "scan of subject",
    "images": "scan of subject", "keys": "scan of subject", "reads": "read of subject",
    "withdrawn": "withdrawn scan of subject", "queries": "query", "releases": "release",
    "measures": "measures of upload", "scanner_gates": "gate of scanner",
}  # fmt: skip
NOT_STATED = {
    ("withdrawn", "id"): "the order of the rows counts, not their number",
    ("releases", "id"): "the order of the rows counts, not their number",
    ("measures", "id"): "the order of the rows counts, not their number",
}


def enter_scan(registry, visit, number, **more):
    person = tuple(f"{part}{number}" for part in ("number", "name", "birth"))
    identity = ScanIdentity(person, frozenset({f"study{number}"}), 700_000, False, {"FLAIR": f"pixels{number}"})
    registry.record_scan(
        OTHER, visit, site=SITE, upload_digest=f"upload{number}", scanner=SCANNER, profile={"software": "v1"},
        identity=identity, receipt=f"receipt{number}", findings=[THICK, "another"], **more,
    )  # fmt: skip


def enter_read(trial: Trial, registry, visit) -> None:
    confirmed = load_read(trial.reads, CODE, "wk00", "R1", 1).masks
    masks = {
        LesionKind.T2: confirmed.t2_lesions, LesionKind.GEL: confirmed.gel,
        LesionKind.BLACK_HOLE: confirmed.black_holes,
    }  # fmt: skip
    record = ReadRecord(
        OTHER, visit, "code", "R1", "2020-01-01T00:00:00+00:00", ReadStatus.CONFIRMED, (), 0, 0, {}, {}, 1
    )
    record = stage_read(trial.reads, record, masks)
    counts = {(OTHER, visit): ReadCounts(2, 1, 30, 4, record.digest, 1)}
    registry.record_reads(counts, reader="R1", status=ReadStatus.CONFIRMED)


@pytest.fixture
def trial(locked_trial):
    """With every kind of row that a registry has, and a withdrawn scan whose read is kept."""
    trial = locked_trial
    with registry_of(trial) as registry:
        registry.record_dummy_run(
            SITE, accepted=True, upload_digest="dummy", scanner=SCANNER, coil="Head", findings=[THICK],
            rules=["gap"], measures={"FLAIR": {"snr": 30.5}, "T1w": {"snr": 40.0}},
        )  # fmt: skip
        registry.scanner_gates.decide(SITE, accept=False, reason="old coil", by="QC", persons=2, final=())
        enter_scan(registry, "wk00", 1)
        registry.record_analyses(OTHER, {"wk00": (ScanStatus.ANALYSED, "")})
        enter_read(trial, registry, "wk00")
        enter_scan(registry, "wk00", 2, replace_because="wrong scan", measures={"FLAIR": {"snr": 20.25}})
        kept = trial.withdrawn / OTHER / "wk00" / "receipt2"
        kept.mkdir(parents=True)
        visit_folder(trial.reads, OTHER, "wk00").rename(kept / "reads")
        registry.record_refusal(SITE, reason="blurred", upload_digest="upload3", subject=OTHER, visit="wk04")
        later = [Question("the site must say when", "infusion")]
        registry.record_statement(OTHER, "wk00", before_infusion=True, rule="infusion", questions=later)
        numbers = [query.number for query in registry.site_queries.all() if query.state.value == "open"]
        registry.site_queries.answer(numbers[0], text="coil", by="radiographer")
        registry.site_queries.close(numbers[1], reason="accepted", by="QC")
        registry.releases.enter("upload4", site=SITE, reason="agreed", by="QC", protocol=True, cleared=["4/Model"])
    return trial


def changed(value):
    """Other values of the same type: one for each leaf of a JSON value."""
    if isinstance(value, dict):
        return [value | {key: other} for key, part in value.items() for other in changed(part)] or [{"a": 1}]
    if isinstance(value, list):
        return [
            [*value[:i], other, *value[i + 1 :]] for i, part in enumerate(value) for other in changed(part)
        ] or [["a"]]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1000]
    return [f"{value or ''}x"]


def changes(session, table):
    """Every single change of a value of every row."""
    for row in session.execute(select(table)).mappings():
        own = [column == row[column.name] for column in table.primary_key]
        for column in table.columns:
            if (table.name, column.name) in NOT_STATED:
                continue
            number = column.type.python_type in (int, float) and not isinstance(row[column.name], bool)
            others = [1] if row[column.name] is None and number else changed(row[column.name])
            for other in others:
                yield row, column.name, update(table).where(*own).values({column.name: other})


def test_an_unchanged_trial_has_no_deviation(trial):
    assert verify_trial(trial.root).deviations == ()


@pytest.mark.parametrize("name", list(NAMES))
@pytest.mark.requirement("AUDIT-01")
def test_every_changed_value_of_every_row_is_found(trial, name):
    engine = create_engine(f"sqlite:///{trial.registry_file}")
    with Session(engine) as session:
        trail = list(entries(session))
        assert differences(session, trail) == []
        done = 0
        for row, column, change in list(changes(session, Base.metadata.tables[name])):
            session.execute(change)
            found = differences(session, trail)
            assert any(text.startswith(NAMES[name]) for text in found), (name, column, dict(row), found)
            session.rollback()
            done += 1
    engine.dispose()
    assert done > 1


@pytest.mark.parametrize("column", ["answer", "answered_by", "close_reason", "closed_by", "message", "to_do"])
@pytest.mark.parametrize("text", ["mustermann", "19700101", "open"])
def test_a_free_text_is_not_shown(trial, column, text):
    engine = create_engine(f"sqlite:///{trial.registry_file}")
    with Session(engine) as session:
        trail = list(entries(session))
        session.execute(update(Base.metadata.tables["queries"]).values({column: text}))
        found = differences(session, trail)
        session.rollback()
    engine.dispose()
    title = column.replace("_", " ")
    ending = f": expected {title} as in the audit trail, found a different value"
    assert found
    assert all(deviation.endswith(ending) for deviation in found)


@pytest.mark.requirement("AUDIT-02")
def test_every_changed_value_of_every_entry_is_found(trial):
    engine = create_engine(f"sqlite:///{trial.registry_file}")
    behind_the_trail(trial)
    with Session(engine) as session:
        for row, column, change in list(changes(session, Base.metadata.tables["audit"])):
            session.execute(change)
            number = len(list(entries(session))) if column == "seq" else row["seq"]
            with pytest.raises(UsageError, match=rf"found a change at entry ({row['seq']}|{number})$"):
                verify_chain(entries(session))
            session.rollback()
    engine.dispose()


def test_rows_and_entries_that_are_no_json_are_found(trial):
    behind_the_trail(trial, "UPDATE scans SET findings = '[' WHERE visit = 'wk04'")
    message = "scan of subject: expected rows of the registry, found a row that cannot be read (JSONDecodeError)"
    assert message in verify_trial(trial.root).deviations
    behind_the_trail(trial, "UPDATE audit SET details = '{' WHERE seq = 5")
    assert verify_trial(trial.root).deviations[0].endswith("found a change at entry 5")


def files_of(trial: Trial) -> list[Path]:
    """All files that a trial keeps, without locks of processes."""
    folders = (trial.reads, trial.sealed, trial.tables, trial.withdrawn)
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if path.suffix != ".lock"]


def name_of(trial: Trial, path: Path) -> str:
    """What a deviation names: the table; the sealed folder; else subject and visit."""
    parts = path.relative_to(trial.root).parts
    if parts[0] in {"tables", "sealed"}:
        return path.name if parts[0] == "tables" else "sealed/"
    return f"subject {parts[1]}, visit {parts[2]}"


@pytest.mark.requirement("AUDIT-03", "AUDIT-04")
def test_one_changed_byte_of_every_file_is_found_by_name(trial):
    files = files_of(trial)
    assert {path.relative_to(trial.root).parts[0] for path in files} == {"reads", "sealed", "tables", "withdrawn"}
    for path in files:
        content, mode = path.read_bytes(), path.stat().st_mode
        for at in {len(content) // 2, len(content) - 1} if "sealed" in path.parts else {len(content) // 2}:
            flip(path, at)
            found = verify_trial(trial.root).deviations
            assert any(name_of(trial, path) in text for text in found), (path, at, found)
            path.write_bytes(content)
        path.chmod(mode)
    assert verify_trial(trial.root).deviations == ()


NUMBERS = {
    "run": lambda trial, out: run_trial(trial.root),
    "read --export": lambda trial, out: export_reads(trial.root, out),
    "read --import": lambda trial, out: import_reads(trial.root, out, reader="R1"),
    "read --lock": lambda trial, out: lock_reads(trial.root, reader="R1"),
    "read --unlock": lambda trial, out: unlock_read(
        trial.root, subject=CODE, visit="wk00", reader="R1", reason="correction"
    ),
    "agreement": lambda trial, out: write_agreement(trial.root),
    "tables": lambda trial, out: write_trial_tables(trial.root, provisional=True),
    "tables --release": lambda trial, out: release_trial_tables(trial.root, reason="end", out=out),
}


@pytest.mark.parametrize("command", list(NUMBERS))
def test_commands_with_numbers_refuse_a_broken_trail_and_write_nothing(trial, tmp_path, command):
    behind_the_trail(trial, "UPDATE audit SET os_user = 'nobody' WHERE seq = 4")
    edit_protocol(trial, "deface = true", "deface = false")
    before = len(trail_of(trial))
    with pytest.raises(UsageError, match="expected an unbroken audit trail, found a change at entry 4"):
        NUMBERS[command](trial, tmp_path / "out")
    assert len(trail_of(trial)) == before
    assert not (tmp_path / "out").exists()


def trail_of(trial: Trial):
    engine = create_engine(f"sqlite:///{trial.registry_file}")
    with Session(engine) as session:
        found = list(entries(session))
    engine.dispose()
    return found
