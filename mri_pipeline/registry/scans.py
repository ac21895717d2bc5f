"""Steps within one transaction: withdraw a scan, and store and compare patient and image identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.registry.audit import AuditAction, utc_now
from mri_pipeline.registry.records import KnownScan, ScanIdentity, WithdrawnImages
from mri_pipeline.registry.requirements import require_not_locked
from mri_pipeline.registry.schema import ImageRow, KeyRow, ReadRow, ScanRow, ScanState, WithdrawnRow
from mri_pipeline.registry.trail import append, values_of

_ANSWERS = {None: None, True: "yes", False: "no"}
_PERSON = ("number", "name", "birth")
_STUDY = "study"


def withdraw(
    session: Session, row: ScanRow, *, reason: str, replaced_by: str = "", by: str = "", kept_in: str = ""
) -> None:
    """Withdraw the accepted scan of a visit and its reads. Both are kept as a `WithdrawnRow`.

    The results of the subject's other visits were made together with this scan: their scans count as not analysed.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    row : ScanRow
        Of an accepted scan; afterwards that of a missing one.
    reason : str
        Without patient data.
    replaced_by : str
        Receipt of the scan that replaces it; empty if none does.
    by : str
        Person who withdrew the scan; empty for a replacement.
    kept_in : str
        Name of the folder that keeps a scan without replacement.

    Raises
    ------
    UsageError
        If the read of the visit is locked.
    """
    require_not_locked(session, row.subject, row.visit)
    reads = list(session.scalars(select(ReadRow).filter_by(subject=row.subject, visit=row.visit)))
    images = list(session.scalars(select(ImageRow).filter_by(subject=row.subject, visit=row.visit)))
    keys = _stored_keys(session, row)
    scan = values_of(row) | {
        "images": {image.contrast: image.pixels_key for image in images},
        "keys": [[key.kind, key.key] for key in keys],
    }
    kept = WithdrawnRow(
        subject=row.subject,
        visit=row.visit,
        at=utc_now(),
        reason=reason,
        replaced_by=replaced_by or None,
        scan=scan,
        reads=[values_of(read) for read in reads],
    )
    session.add(kept)
    for old in (*reads, *images, *keys):
        session.delete(old)
    details = {
        "reason": reason,
        "upload": row.upload_digest,
        "reads": [read.digest for read in reads],
        "replaced_by": kept.replaced_by,
        "at": kept.at,
    }
    details |= {"by": by, "kept_in": kept_in} if by else {}
    if row.status == ScanState.ANALYSED.value:
        details["not_analysed"] = _set_not_analysed(session, row)
    row.status, row.upload_digest, row.scanner, row.findings = ScanState.MISSING.value, None, None, []
    row.profile, row.receipt = {}, None
    row.shifted_day = row.before_infusion = None
    append(session, AuditAction.SCAN_WITHDRAWN, f"{row.subject} {row.visit}", details, reader=by)


def _set_not_analysed(session: Session, withdrawn: ScanRow) -> list[str]:
    """Set the subject's other analysed scans to received. Return the labels of their visits."""
    analysed = select(ScanRow).filter_by(subject=withdrawn.subject, status=ScanState.ANALYSED.value)
    others = [row for row in session.scalars(analysed.order_by(ScanRow.visit)) if row.visit != withdrawn.visit]
    for row in others:
        row.status = ScanState.RECEIVED.value
    return [row.visit for row in others]


def stated_of_scan(session: Session, row: ScanRow) -> dict[str, Any]:
    """What the audit trail states of an accepted scan beside its upload and findings.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    row : ScanRow

    Returns
    -------
    dict of str to object
        ``scanner``, ``receipt`` and ``before_infusion`` as in `ScanRow`. ``identity`` and ``profile`` are digests: the
        trail has no keys of patients and no days.
    """
    session.flush()
    images = session.scalars(select(ImageRow).filter_by(subject=row.subject, visit=row.visit))
    keys = [(key.kind, key.key) for key in _stored_keys(session, row)]
    return stated_of_values(
        values_of(row) | {"images": {image.contrast: image.pixels_key for image in images}, "keys": keys}
    )


def stated_of_values(scan: Mapping[str, Any]) -> dict[str, Any]:
    """As `stated_of_scan`, for the scan of a `WithdrawnRow`.

    Parameters
    ----------
    scan : mapping of str to object
        `WithdrawnRow.scan`.

    Returns
    -------
    dict of str to object
    """
    identity = [sorted(scan["images"].items()), sorted(map(list, scan["keys"])), scan["shifted_day"]]
    digests = {"identity": digest_of(identity), "profile": digest_of(scan["profile"])}
    return {name: scan[name] for name in ("scanner", "receipt", "before_infusion")} | digests


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value.

    Parameters
    ----------
    value : object
        JSON.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def set_identity(session: Session, row: ScanRow, identity: ScanIdentity) -> None:
    """Store patient, study, day and images of an accepted scan.

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
    row.shifted_day, row.before_infusion = identity.shifted_day, _ANSWERS[identity.before_infusion]
    session.flush()
    for contrast, key in identity.images.items():
        session.add(ImageRow(subject=row.subject, visit=row.visit, contrast=contrast, pixels_key=key))
    for kind, key in _keys(identity):
        session.add(KeyRow(subject=row.subject, visit=row.visit, kind=kind, key=key))


def _stored_keys(session: Session, row: ScanRow) -> list[KeyRow]:
    of_scan = select(KeyRow).filter_by(subject=row.subject, visit=row.visit)
    return list(session.scalars(of_scan.order_by(KeyRow.kind, KeyRow.key)))


def _keys(identity: ScanIdentity) -> list[tuple[str, str]]:
    """Kind and value of the keys of an identity that are known."""
    both = (*zip(_PERSON, identity.person, strict=True), *zip(_PERSON, identity.pseudonyms, strict=True))
    person = [(kind, key) for kind, key in both if key]
    return [*person, *((_STUDY, key) for key in sorted(identity.studies))]


def relatives(session: Session, subject: str, identity: ScanIdentity) -> list[KnownScan]:
    """The accepted scans of a subject, and those of other subjects that share its patient, study or images.

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
    same_keys = select(KeyRow.subject, KeyRow.visit).where(tuple_(KeyRow.kind, KeyRow.key).in_(_keys(identity)))
    rows = session.scalars(
        select(ScanRow)
        .where(ScanRow.status.not_in([ScanState.MISSING.value, ScanState.REFUSED.value]))
        .where(
            or_(
                ScanRow.subject == subject,
                tuple_(ScanRow.subject, ScanRow.visit).in_(same_keys),
                tuple_(ScanRow.subject, ScanRow.visit).in_(same_images),
            )
        )
        .order_by(ScanRow.subject, ScanRow.visit)
    )
    known = [KnownScan(row.subject, row.visit, _identity(session, row)) for row in rows]
    return [scan for scan in known if scan.subject == subject or identity.shares(scan.identity)]


def withdrawn_images(session: Session, subject: str, visit: str, identity: ScanIdentity) -> list[WithdrawnImages]:
    """The images of a scan that were withdrawn before, from this visit or another one.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    subject, visit : str
        Blinded code and visit label of the scan. Images that its accepted scan has now are not compared.
    identity : ScanIdentity

    Returns
    -------
    list of WithdrawnImages
        For each image its latest withdrawal; one entry for each withdrawal, in their order.
    """
    present = session.scalars(select(ImageRow.pixels_key).filter_by(subject=subject, visit=visit))
    sent = {key: contrast for contrast, key in identity.images.items()}
    for key in present:
        sent.pop(key, None)
    columns = [getattr(WithdrawnRow, name) for name in ("subject", "visit", "reason", "at", "replaced_by", "scan")]
    rows = session.execute(select(*columns).order_by(WithdrawnRow.id)).all()
    latest = {key: number for number, row in enumerate(rows) for key in row.scan["images"].values() if key in sent}
    return [
        WithdrawnImages(
            row.subject, row.visit, contrasts, row.reason, row.at, replaced=row.replaced_by is not None
        )
        for number, row in enumerate(rows)
        if (contrasts := tuple(sent[k] for k in row.scan["images"].values() if latest.get(k) == number))
    ]


def _identity(session: Session, row: ScanRow) -> ScanIdentity:
    images = session.scalars(select(ImageRow).filter_by(subject=row.subject, visit=row.visit))
    keys = _stored_keys(session, row)
    # in order: the digest of a pseudonym comes after that of the patient's data
    number, name, birth = ((*(k.key for k in keys if k.kind == kind), "", "")[:2] for kind in _PERSON)
    return ScanIdentity(
        person=(number[0], name[0], birth[0]),
        pseudonyms=(number[1], name[1], birth[1]),
        studies=frozenset(k.key for k in keys if k.kind == _STUDY),
        shifted_day=row.shifted_day,
        before_infusion={answer: stated for stated, answer in _ANSWERS.items()}[row.before_infusion],
        images={image.contrast: image.pixels_key for image in images},
    )
