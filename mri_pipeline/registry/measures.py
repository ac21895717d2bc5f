"""Measures of the uploads of one trial. Every change is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.quality_rows import WAS_ACCEPTED, MeasuresRow, ScannerGateRow, measures_facts
from mri_pipeline.registry.records import ScannerFacts
from mri_pipeline.registry.requirements import is_accepted
from mri_pipeline.registry.schema import ScannerRow, ScanRow
from mri_pipeline.registry.steps import scanner_id
from mri_pipeline.registry.trail import append, values_of

Values = Mapping[str, Mapping[str, float]]
"""Measures by contrast and name."""


@dataclass(frozen=True)
class StoredMeasures:
    """Image quality of one upload.

    Parameters
    ----------
    site : str
        Code of the site.
    scanner : int or None
        Number of the scanner; None if the headers state none.
    subject, visit : str
        Blinded code and visit label; empty for a dummy run.
    upload_digest : str
        SHA-256 of the upload.
    accepted : bool
        False if the upload was refused.
    at : str
        When it was measured (UTC, ISO 8601).
    values : mapping of str to mapping of str to float
        By contrast and name of the measure.
    """

    site: str
    scanner: int | None
    subject: str
    visit: str
    upload_digest: str
    accepted: bool
    at: str
    values: Values


def enter_measures(
    session: Session,
    values: Values,
    *,
    site: str,
    scanner: int | None,
    upload_digest: str,
    accepted: bool,
    subject: str = "",
    visit: str = "",
    elsewhere: Mapping[ScannerFacts, Values] | None = None,
) -> None:
    """Store the measures of an upload, those of each scanner as an entry. The audit trail has their digests.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
        Of the transaction that records the verdict on the upload.
    values : mapping of str to mapping of str to float
        Of the scans of `scanner`, by contrast and name of the measure. No entry is made if it is empty.
    site : str
        Code of the site.
    scanner : int or None
        Id of the scanner of the FLAIR.
    upload_digest : str
        SHA-256 of the upload.
    accepted : bool
    subject, visit : str, optional
        Empty for a dummy run.
    elsewhere : mapping of ScannerFacts to mapping, optional
        As `values`, of the scans of other scanners. A new scanner is entered.
    """
    numbered = [(scanner, values)]
    numbered += [(scanner_id(session, site, facts), found) for facts, found in (elsewhere or {}).items()]
    now = utc_now()
    for number, found in numbered:
        if not found:
            continue
        row = MeasuresRow(
            site=site, scanner=number, subject=subject, visit=visit, upload_digest=upload_digest, accepted=accepted,
            at=now, values={contrast: dict(of_scan) for contrast, of_scan in found.items()},
        )  # fmt: skip
        session.add(row)
        target = f"{subject} {visit}".strip() or site
        append(session, AuditAction.MEASURES_STORED, target, measures_facts(values_of(row)))


class Measures:
    """The measures of the uploads of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[StoredMeasures]:
        """The measures of all uploads.

        Returns
        -------
        list of StoredMeasures
            In the order in which they were measured.
        """
        with reading(self._engine) as session:
            return [_stored(row) for row in session.scalars(select(MeasuresRow).order_by(MeasuresRow.id))]

    def of_dummy_run(self, site: str, facts: ScannerFacts, coil: str = "") -> StoredMeasures | None:
        """The measures of the dummy run that opened the gate of a scanner.

        Parameters
        ----------
        site : str
            Code of the site.
        facts : ScannerFacts
            With its software version.
        coil : str, optional
            Receive coil. A coil that either side does not state is not compared.

        Returns
        -------
        StoredMeasures or None
            None if there is none.
        """
        with reading(self._engine) as session:
            row = session.scalar(
                select(MeasuresRow)
                .join(ScannerRow, ScannerRow.id == MeasuresRow.scanner)
                .join(ScannerGateRow, ScannerGateRow.scanner == ScannerRow.id)
                .filter_by(dummy_run_digest=MeasuresRow.upload_digest)
                .where(ScannerGateRow.state.in_(WAS_ACCEPTED), MeasuresRow.visit == "")
                .where(ScannerRow.site == site, *(getattr(ScannerRow, k) == v for k, v in facts.key.items()))
                .where(*([ScannerGateRow.coil.in_(["", coil])] if coil else []))
                .order_by(MeasuresRow.id.desc())
                .limit(1)
            )
            return None if row is None else _stored(row)

    def of_subject(self, subject: str) -> dict[str, list[StoredMeasures]]:
        """The measures of the present scans of a subject.

        Parameters
        ----------
        subject : str
            Blinded code.

        Returns
        -------
        dict of str to list of StoredMeasures
            By visit, one for each scanner. Of scans that were measured again, the latest.
        """
        with reading(self._engine) as session:
            scans = session.scalars(select(ScanRow).where(ScanRow.subject == subject))
            present = {row.visit: row.upload_digest for row in scans if is_accepted(row)}
            rows = session.scalars(
                select(MeasuresRow)
                .where(MeasuresRow.subject == subject, MeasuresRow.accepted.is_(True))
                .order_by(MeasuresRow.id)
            )
            found: dict[str, list[StoredMeasures]] = {}
            for row in rows:
                if present.get(row.visit) == row.upload_digest:
                    found.setdefault(row.visit, []).append(_stored(row))
            return {visit: _latest(stored) for visit, stored in found.items()}

    def enter_refused(
        self,
        values: Values,
        *,
        site: str,
        scanner: ScannerFacts | None,
        upload_digest: str,
        subject: str,
        visit: str,
        elsewhere: Mapping[ScannerFacts, Values] | None = None,
    ) -> None:
        """Store the measures of a visit that is refused.

        Parameters
        ----------
        values : mapping of str to mapping of str to float
            Of the scans of `scanner`, by contrast and name of the measure.
        site : str
            Code of the site.
        scanner : ScannerFacts or None
            Entered as a scanner of the site if it is new.
        upload_digest : str
            SHA-256 of the upload.
        subject, visit : str
            Blinded code and visit label.
        elsewhere : mapping of ScannerFacts to mapping, optional
            As in `enter_measures`.
        """
        if not values and not elsewhere:
            return
        with writing(self._engine) as session:
            number = scanner_id(session, site, scanner) if scanner else None
            enter_measures(
                session, values, site=site, scanner=number, upload_digest=upload_digest, accepted=False,
                subject=subject, visit=visit, elsewhere=elsewhere,
            )  # fmt: skip


def _latest(stored: Sequence[StoredMeasures]) -> list[StoredMeasures]:
    """The entries of the latest measurement, one for each scanner."""
    return list({one.scanner: one for one in stored if one.at == stored[-1].at}.values())


def _stored(row: MeasuresRow) -> StoredMeasures:
    return StoredMeasures(
        row.site, row.scanner, row.subject, row.visit, row.upload_digest, row.accepted, row.at, row.values
    )
