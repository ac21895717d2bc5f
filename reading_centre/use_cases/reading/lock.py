"""Lock of the reads that count, signed by their reader, and unlock for a correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mri_pipeline.analysis.derivatives import files_of_counts
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.digests import file_digest
from mri_pipeline.core.io.exchange import identity
from mri_pipeline.core.io.results import load_result
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import Protocol, load_protocol
from mri_pipeline.core.reading_settings import Reader
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.reading.accounts import require_key, require_password
from mri_pipeline.reading.lock import keep_inputs, protect_read
from mri_pipeline.reading.record import ReadRecord
from mri_pipeline.reading.signature import MEANING, signature
from mri_pipeline.registry import ReadState, Registry, ScanState, Use
from mri_pipeline.registry.audit import AuditAction
from reading_centre.use_cases.reading.known_reads import Summary, reader_code, stored_read
from reading_centre.use_cases.tables.counting import require_present_scans
from reading_centre.use_cases.trial.people import is_replaced
from reading_centre.use_cases.trial.staging import only_writer


@dataclass(frozen=True)
class Proof:
    """How readers prove their identity: key file or password.

    Parameters
    ----------
    key_file : Path, optional
        The reader's key file.
    password : callable, optional
        Asks for the reader's password; it gets the statement that is signed. Not called with a key file, nor if no
        reader has an account.
    """

    key_file: Path | None = None
    password: Callable[[str], str] | None = None


def lock_reads(folder: Path, *, reader: str, proof: Proof | None = None) -> Summary:
    """Lock all reads of a reader that count. If readers have accounts, the reader signs.

    Either all reads are locked or none: the registry locks them when all files are in place. The images
    that the counts depend on are copied, so that a later analysis changes no locked number.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    reader : str
        Code of the reader.
    proof : Proof, optional
        Required if a reader of ``trial.toml`` has an account.

    Returns
    -------
    dict
        ``locked``: number of visits.

    Raises
    ------
    SettingsError
        If ``trial.toml`` lists readers and this is none of them.
    UsageError
        If the audit trail is broken, the reader has no read to lock, a read in the files differs from the registry, the
        proof is wrong, or a read or analysis has changed while the reader was asked for it.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry, ExitStack() as held:
        code = reader_code(protocol, registry, reader)
        reads = _to_lock(registry, code)
        if not reads:
            raise UsageError(
                "expected confirmed reads of this reader, found none",
                hint="import a worklist first: mri-pipeline read TRIAL --import DIR --reader R",
            )
        analyses = _analyses(trial, reads)
        account = _account(protocol, registry, code, proof, f"{len(reads)} visits: {MEANING}.")
        for subject in sorted({subject for subject, _ in reads}):  # only now: a person may take long to answer
            held.enter_context(only_writer(trial, subject))
        if _to_lock(registry, code) != reads or _analyses(trial, reads) != analyses:
            raise UsageError(
                "expected the reads and analyses of the statement, found that some have changed since",
                hint="look at them and lock again: mri-pipeline read TRIAL --lock --reader R",
            )
        lock_visits(trial, protocol, registry, code, reads, account=account)
    return {"locked": len(reads)}


def _analyses(trial: Trial, reads: Iterable[tuple[str, str]]) -> dict[str, tuple[int, int] | None]:
    """What another analysis of a subject changes."""
    return {subject: identity(trial.derivatives.folder(subject)) for subject, _ in reads}


def lock_visits(
    trial: Trial,
    protocol: Protocol,
    registry: Registry,
    reader: str,
    reads: Mapping[tuple[str, str], ReadState],
    *,
    account: str = "",
    statements: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
) -> None:
    """Lock and sign reads. The caller holds the locks of the subjects and has checked the reader's account.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    registry : Registry
    reader : str
        Code of the reader.
    reads : mapping of (subject, visit) to ReadState
        The reads that count.
    account : str
        Fingerprint of the account that signs now; empty without signature.
    statements : mapping of (subject, visit) to mapping, optional
        Signatures that the reader made before (`statement_of`).

    Raises
    ------
    UsageError
        If a read in the files differs from the registry, a visit is locked, or a scan of a subject was withdrawn or
        replaced since its analysis.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    for subject in sorted({subject for subject, _ in reads}):
        require_present_scans(load_result(trial.derivatives.result(subject)), registry.subject(subject))
    inputs: dict[tuple[str, str], dict[str, Any]] = {}
    signatures: dict[tuple[str, str], Mapping[str, str]] = dict(statements or {})
    for key, known in reads.items():
        record, inputs[key] = _files_of_lock(trial, protocol, *key, known)
        if account:
            signatures[key] = signature(record, inputs[key], account=account, at=at)
    registry.lock_reads(reads, reader=reader, inputs=inputs, signatures=signatures)


def statement_of(trial: Trial, protocol: Protocol, record: ReadRecord, *, account: str, at: str) -> dict[str, str]:
    """The signature of a read, before it is known whether the read counts.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    record : ReadRecord
    account : str
        Fingerprint of the account that signs.
    at : str
        UTC (ISO 8601).

    Returns
    -------
    dict of str to str
        As `mri_pipeline.reading.signature.signature`, over the present images and rules.
    """
    inputs = present_inputs(trial, protocol, record.subject, record.visit)
    return signature(record, inputs, account=account, at=at)


def present_inputs(trial: Trial, protocol: Protocol, subject: str, visit: str) -> dict[str, Any]:
    """What the counts of a visit depend on beside its masks, as it is now.

    Parameters
    ----------
    trial : Trial
    protocol : Protocol
    subject, visit : str
        Blinded code and visit label.

    Returns
    -------
    dict
        ``files``: SHA-256 by name. ``rules``: the lesion rules.
    """
    files = files_of_counts(trial.derivatives, subject, visit)
    return _inputs(protocol, {name: file_digest(path) for name, path in files.items()})


def _inputs(protocol: Protocol, digests: Mapping[str, str]) -> dict[str, Any]:
    return {"files": dict(digests), "rules": protocol.lesions.model_dump(mode="json")}


def _files_of_lock(
    trial: Trial, protocol: Protocol, subject: str, visit: str, known: ReadState
) -> tuple[ReadRecord, dict[str, Any]]:
    """Protect the files of a read and copy what its counts depend on."""
    record = stored_read(trial, subject, visit, known).record
    protect_read(trial.reads, record)
    kept = keep_inputs(trial.reads, subject, visit, files_of_counts(trial.derivatives, subject, visit))
    return record, _inputs(protocol, kept)


def _to_lock(registry: Registry, reader: str) -> dict[tuple[str, str], ReadState]:
    return {
        (subject.code, visit.visit): visit.counting
        for subject in registry.state().subjects
        for visit in subject.visits
        if visit.scan is ScanState.ANALYSED
        and visit.counting is not None
        and visit.counting.reader == reader
        and visit.counting.status is not ReadStatus.LOCKED
    }


def _account(protocol: Protocol, registry: Registry, reader: str, proof: Proof | None, statement: str) -> str:
    """Fingerprint of the reader's account, once the reader has proved to own it. Empty if no reader has one."""
    if not any(listed.has_account for listed in protocol.readers):
        return ""
    listed, proof = protocol.reader(reader), proof or Proof()
    try:
        if proof.key_file is not None:
            return require_key(listed, _key(proof.key_file))
        if listed.password_hash and proof.password is not None:
            account = require_password(listed, proof.password(statement))
            _require_present(registry, listed)
            return account
    except UsageError as error:
        registry.audit(AuditAction.SIGNATURE_REFUSED, reader=reader, details={"reason": error.message})
        raise
    if listed.key_sha256:
        raise UsageError(
            f"reader {reader}: expected the reader's key file, found none", hint="give --key-file FILE"
        )
    if listed.one_time_password_hash:
        raise UsageError(
            f"reader {reader}: expected a password of the reader's own, found a one-time password",
            hint="sign in to the reading room and set your own password first",
        )
    raise UsageError(
        f"reader {reader}: expected an account in trial.toml, found none",
        hint="make one: mri-pipeline read TRIAL --account --reader R",
    )


def _require_present(registry: Registry, reader: Reader) -> None:
    if is_replaced(registry, reader):  # an earlier trial.toml came back
        raise UsageError(
            f"trial.toml has a password of reader {reader.code} that was replaced since",
            hint="nothing was signed; ask the reading centre for a one-time password",
        )


def _key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError("expected a key file that can be read, found none", hint="check --key-file") from error


def unlock_read(
    folder: Path, *, subject: str, visit: str, reader: str, reason: str, proof: Proof | None = None
) -> Summary:
    """Unlock a read for a correction by its reader. The locked version is kept, and the next one is linked to it.

    With two reads of each visit, reads that were compared and are not locked can be reopened in the same way. They are
    compared again with the corrected read.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    subject, visit : str
        Blinded code and visit label.
    reader : str
        Code of the reader whose read counts.
    reason : str
        Without patient data.
    proof : Proof, optional
        As in `lock_reads`.

    Returns
    -------
    dict
        ``unlocked``: number of visits. ``version``: that of the unlocked read.

    Raises
    ------
    UsageError
        If the audit trail is broken, the reader's read of this visit does not count, the reason is empty, or the proof
        is wrong.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol, Use.NUMBERS) as registry:
        code = reader_code(protocol, registry, reader)
        protocol.visit(visit)
        registry.subject(subject)  # an unknown one is refused before the reader is asked
        _account(protocol, registry, code, proof, f"Unlock of {subject} {visit}.")
        with only_writer(trial, subject):
            registry.unlock_read(subject, visit, reader=code, reason=reason)
            states = {state.visit: state for state in registry.subject(subject).visits}
    known = states[visit].by(code)
    return {"unlocked": 1, "version": known.version if known else 0}
