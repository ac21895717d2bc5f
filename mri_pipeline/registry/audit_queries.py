"""Queries of the audit trail of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from mri_pipeline.core.protocol import Protocol
from mri_pipeline.registry.audit import AuditAction, AuditEntry, verify_chain
from mri_pipeline.registry.database import reading
from mri_pipeline.registry.differences import differences
from mri_pipeline.registry.schema import AuditRow
from mri_pipeline.registry.settings import changed_settings, recorded_settings, settings_of
from mri_pipeline.registry.trail import entries
from mri_pipeline.registry.verified import verify_trail


class AuditQueries:
    """Queries of the audit trail. Each is one read-only transaction, which never waits for a writer.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    protocol : Protocol
    verified : Path, optional
        File with what was verified of the audit trail (`mri_pipeline.registry.verified`).
    """

    def __init__(self, engine: Engine, protocol: Protocol, verified: Path | None = None) -> None:
        self._engine = engine
        self._protocol = protocol
        self._verified = verified

    def audit_trail(self, *actions: str) -> list[AuditEntry]:
        """The entries of the audit trail.

        Parameters
        ----------
        *actions : str
            Only entries of these actions; all entries without any.

        Returns
        -------
        list of AuditEntry
            Oldest first.
        """
        with reading(self._engine) as session:
            return list(entries(session, actions))

    def locked_inputs(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What the counts of each locked visit depend on beside its masks, as recorded by its latest lock.

        Returns
        -------
        dict of (subject, visit) to dict
            Without visits that were unlocked. ``files``: SHA-256 by file name. ``rules``: the lesion rules. A lock of
            version 0.2.0 or earlier has no entry.
        """
        found = {}
        for entry in self.audit_trail(AuditAction.READ_LOCKED, AuditAction.READ_UNLOCKED):
            subject, _, visit = entry.target.partition(" ")
            found[subject, visit] = dict(entry.details.get("inputs", {}))
        return {key: inputs for key, inputs in found.items() if inputs}

    def audit_entries(self, action: str) -> list[AuditEntry]:
        """The entries of one action in the audit trail.

        Parameters
        ----------
        action : str

        Returns
        -------
        list of AuditEntry
            Oldest first.
        """
        return self.audit_trail(action)

    def entries_on_scans(self, action: str) -> list[AuditEntry]:
        """The entries of one action on visits whose scan was not withdrawn since.

        Parameters
        ----------
        action : str
            An action whose target is ``<subject> <visit>``.

        Returns
        -------
        list of AuditEntry
            Oldest first.
        """
        found: list[AuditEntry] = []
        for entry in self.audit_trail(AuditAction.SCAN_WITHDRAWN, action):
            if entry.action == AuditAction.SCAN_WITHDRAWN:
                found = [earlier for earlier in found if earlier.target != entry.target]
            elif entry.action == action:
                found.append(entry)
        return found

    def remark(self, subject: str, visit: str, name: str) -> str:
        """A remark on the latest accepted scan of a visit (`Registry.record_scan`).

        Parameters
        ----------
        subject, visit : str
            Blinded code and visit label.
        name : str

        Returns
        -------
        str
            Empty if there is none.
        """
        received = select(AuditRow.details).filter_by(
            action=AuditAction.SCAN_RECEIVED.value, target=f"{subject} {visit}"
        )
        with reading(self._engine) as session:
            details = session.scalar(received.order_by(AuditRow.seq.desc()).limit(1))
        return str((details or {}).get(name, ""))

    def verify_audit(self, *, quick: bool = False) -> tuple[int, str]:
        """Check the whole audit trail.

        Parameters
        ----------
        quick : bool
            True: the first entries of a long trail are compared with a digest of what was verified before, which has no
            key. It is for displays; numbers, releases and anchors depend on every hash.

        Returns
        -------
        count : int
            Number of entries.
        last : str
            Hash of the last entry.

        Raises
        ------
        UsageError
            If an entry was changed, removed or inserted.
        """
        with reading(self._engine) as session:
            if quick and self._verified is not None:
                return verify_trail(session, self._verified)
            return verify_chain(entries(session))

    def unrecorded_settings(self) -> list[str]:
        """Names of the settings of ``trial.toml`` that have changed since a command entered them in the audit trail.

        Returns
        -------
        list of str
            Empty for a trail of an earlier version, which has no settings.
        """
        with reading(self._engine) as session:
            recorded = recorded_settings(session)
        return changed_settings(recorded, settings_of(self._protocol)) if recorded else []

    def differences_from_audit(self) -> list[str]:
        """Compare the registry with the audit trail.

        Returns
        -------
        list of str
            As `mri_pipeline.registry.differences.differences`.
        """
        with reading(self._engine) as session:
            return differences(session, entries(session))
