"""Decisions of the reading centre on a refused upload: limits overruled, header elements cleared, or discarded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mri_pipeline.registry.acceptances import GateEntries, RefusedUpload, accepted_as
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.requirements import require_texts
from mri_pipeline.registry.schema import AuditRow, ReleaseRow
from mri_pipeline.registry.trail import append, entries


@dataclass(frozen=True)
class Release:
    """What the reading centre has decided on an upload.

    Parameters
    ----------
    protocol : bool
        True if limits of the protocol are overruled.
    cleared : frozenset of str
        Header elements by series, such as ``4/SoftwareVersions``, whose values are no identities.
    reason : str
        Reasons of all decisions on the upload, oldest first.
    protocol_at : str
        When limits were overruled last (UTC, ISO 8601); empty if they were not.
    """

    protocol: bool = False
    cleared: frozenset[str] = frozenset()
    reason: str = ""
    protocol_at: str = ""


class Releases:
    """The released uploads of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, upload_digest: str) -> Release:
        """The decisions on an upload since it was discarded last, if it ever was.

        Parameters
        ----------
        upload_digest : str
            SHA-256 of the upload.

        Returns
        -------
        Release
            Empty if there is no decision.
        """
        with reading(self._engine) as session:
            rows = session.scalars(
                select(ReleaseRow).filter_by(upload_digest=upload_digest).order_by(ReleaseRow.id)
            ).all()
            rows = rows[_withdrawn(session, upload_digest) :] if rows else rows
        return Release(
            any(row.protocol for row in rows),
            frozenset(element for row in rows for element in row.cleared),
            "; ".join(row.reason for row in rows),
            max((row.at for row in rows if row.protocol), default=""),
        )

    def enter(
        self, upload_digest: str, *, site: str, reason: str, by: str, protocol: bool, cleared: Collection[str] = ()
    ) -> None:
        """Enter a decision. It is audited.

        Parameters
        ----------
        upload_digest : str
            SHA-256 of the upload.
        site : str
            Code of the site.
        reason, by : str
            Why and who, without patient data.
        protocol : bool
            True if limits of the protocol are overruled.
        cleared : collection of str
            Header elements by series, as in `Release`.

        Raises
        ------
        UsageError
            If `reason` or `by` is empty, or `by` is too long.
        """
        require_texts(reason=reason, by=by)
        with writing(self._engine) as session:
            row = ReleaseRow(
                upload_digest=upload_digest, site=site, reason=reason, by=by, at=utc_now(), protocol=protocol,
                cleared=sorted(cleared),
            )  # fmt: skip
            session.add(row)
            details = {
                "upload": upload_digest, "reason": reason, "by": by, "protocol": protocol, "cleared": sorted(cleared),
                "at": row.at,
            }  # fmt: skip
            append(session, AuditAction.UPLOAD_RELEASED, site, details, reader=by)

    def discard(self, entry: str, upload: RefusedUpload, *, site: str, reason: str, by: str) -> bool:
        """Audit the decision to discard an entry of the quarantine. Earlier releases of the upload no longer apply.

        Parameters
        ----------
        entry : str
            Name of the entry.
        upload : RefusedUpload
        site : str
            Code of the site.
        reason, by : str
            Why and who, without patient data.

        Returns
        -------
        bool
            False if the upload was accepted since its refusal. Nothing is entered then.

        Raises
        ------
        UsageError
            If `reason` or `by` is empty, or `by` is too long.
        """
        require_texts(reason=reason, by=by)
        details = {"upload": upload.digest, "entry": entry, "reason": reason, "by": by}
        with writing(self._engine) as session:
            if accepted_as(session, upload) is not None:
                return False
            append(session, AuditAction.REFUSED_UPLOAD_DISCARDED, site, details, reader=by)
            return True

    def discarded(self) -> set[str]:
        """Names of the entries of the quarantine that were discarded.

        Returns
        -------
        set of str
        """
        rows = select(AuditRow.details).filter_by(action=AuditAction.REFUSED_UPLOAD_DISCARDED.value)
        with reading(self._engine) as session:
            return {details["entry"] for details in session.scalars(rows)}

    def accepted_as(self, uploads: Sequence[RefusedUpload]) -> list[str | None]:
        """The visits, or dummy runs, as which refused uploads were accepted later.

        Parameters
        ----------
        uploads : sequence of RefusedUpload

        Returns
        -------
        list of (str or None)
            One for each upload.
        """
        with reading(self._engine) as session:
            gates = GateEntries(session)
            return [accepted_as(session, upload, gates) for upload in uploads]


def _withdrawn(session: Session, upload_digest: str) -> int:
    """How many releases of an upload are older than its last discard."""
    released = withdrawn = 0
    for entry in entries(session, (AuditAction.UPLOAD_RELEASED, AuditAction.REFUSED_UPLOAD_DISCARDED)):
        if entry.details.get("upload") == upload_digest:
            if entry.action == AuditAction.UPLOAD_RELEASED:
                released += 1
            else:
                withdrawn = released
    return withdrawn
