"""Steps within one transaction: withdraw a scan, and store and compare whose images a scan has."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.registry.audit import utc_now
from mri_pipeline.registry.records import KnownScan, ScanIdentity
from mri_pipeline.registry.schema import ImageRow, ReadRow, ScanRow, ScanState, WithdrawnRow
from mri_pipeline.registry.steps import append, require_not_locked

_ANSWERS = {None: None, True: "yes", False: "no"}


def withdraw(session: Session, row: ScanRow, *, reason: str, replaced_by: str = "") -> None:
    """Withdraw the accepted scan of a visit and its reads. Both are kept as a `WithdrawnRow`.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    row : ScanRow
        Of an accepted scan; afterwards that of a missing one.
    reason : str
        Without patient data.
    replaced_by : str
        Receipt of the scan that replaces it; empty if none does.

    Raises
    ------
    UsageError
        If the read of the visit is locked.
    """
    require_not_locked(session, row.subject, row.visit)
    reads = list(session.scalars(select(ReadRow).filter_by(subject=row.subject, visit=row.visit)))
    images = list(session.scalars(select(ImageRow).filter_by(subject=row.subject, visit=row.visit)))
    scan = _columns(row) | {"images": {image.contrast: image.pixels_key for image in images}}
    session.add(
        WithdrawnRow(
            subject=row.subject,
            visit=row.visit,
            at=utc_now(),
            reason=reason,
            replaced_by=replaced_by or None,
            scan=scan,
            reads=[_columns(read) for read in reads],
        )
    )
    for old in (*reads, *images):
        session.delete(old)
    details = {"reason": reason, "upload": row.upload_digest, "reads": [read.digest for read in reads]}
    row.status, row.upload_digest, row.scanner, row.findings = ScanState.MISSING.value, None, None, []
    row.profile, row.receipt = {}, None
    row.patient_key = row.study_key = row.shifted_day = row.before_infusion = None
    append(session, "scan withdrawn", f"{row.subject} {row.visit}", details)


def _columns(row: ScanRow | ReadRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def set_identity(session: Session, row: ScanRow, identity: ScanIdentity) -> None:
    """Store whose images an accepted scan has, and of when.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    row : ScanRow
        Already added to the session.
    identity : ScanIdentity

    Raises
    ------
    UploadRefusedError
        If another visit has one of its images. This also holds for visits that were accepted since they were compared.
    """
    same = select(ImageRow).where(ImageRow.pixels_key.in_(identity.images.values()))
    if any((image.subject, image.visit) != (row.subject, row.visit) for image in session.scalars(same)):
        raise UploadRefusedError(
            "expected images of this visit alone, found those of another visit or subject",
            hint="check subject, visit and upload",
        )
    row.patient_key, row.study_key = identity.patient_key or None, identity.study_key or None
    row.shifted_day, row.before_infusion = identity.shifted_day, _ANSWERS[identity.before_infusion]
    session.flush()
    for contrast, key in identity.images.items():
        session.add(ImageRow(subject=row.subject, visit=row.visit, contrast=contrast, pixels_key=key))


def relatives(session: Session, subject: str, identity: ScanIdentity) -> list[KnownScan]:
    """The accepted scans of a subject, and those of other subjects with its patient, study or images.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject : str
        Blinded code.
    identity : ScanIdentity
        Empty keys are not compared.

    Returns
    -------
    list of KnownScan
        In the order of subject and visit.
    """
    same_images = select(ImageRow.subject, ImageRow.visit).where(ImageRow.pixels_key.in_(identity.images.values()))
    rows = session.scalars(
        select(ScanRow)
        .where(ScanRow.status.not_in([ScanState.MISSING.value, ScanState.REFUSED.value]))
        .where(
            or_(
                ScanRow.subject == subject,
                *(ScanRow.patient_key == key for key in (identity.patient_key,) if key),
                *(ScanRow.study_key == key for key in (identity.study_key,) if key),
                tuple_(ScanRow.subject, ScanRow.visit).in_(same_images),
            )
        )
        .order_by(ScanRow.subject, ScanRow.visit)
    )
    return [KnownScan(row.subject, row.visit, _identity(session, row)) for row in rows]


def _identity(session: Session, row: ScanRow) -> ScanIdentity:
    images = session.scalars(select(ImageRow).filter_by(subject=row.subject, visit=row.visit))
    return ScanIdentity(
        patient_key=row.patient_key or "",
        study_key=row.study_key or "",
        shifted_day=row.shifted_day,
        before_infusion={answer: stated for stated, answer in _ANSWERS.items()}[row.before_infusion],
        images={image.contrast: image.pixels_key for image in images},
    )
