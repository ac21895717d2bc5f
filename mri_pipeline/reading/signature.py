"""The signature of a reader at the lock of a read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mri_pipeline.reading.record import ReadRecord

MEANING = "I have read these images and confirm the marks"
"""What a reader states by signing."""


def signed_digest(record: ReadRecord, inputs: Mapping[str, Any]) -> str:
    """Digest of what a reader signs: the read with its masks, the images that the counts use, and the lesion rules.

    Parameters
    ----------
    record : ReadRecord
    inputs : mapping
        As stored with the lock (`mri_pipeline.registry.audit_queries.AuditQueries.locked_inputs`).

    Returns
    -------
    str
        SHA-256 of the JSON of subject, visit, reader, version, digest of the record, and inputs.
    """
    content = {
        "meaning": MEANING,
        "subject": record.subject,
        "visit": record.visit,
        "reader": record.reader,
        "version": record.version,
        "read": record.digest,
        "inputs": dict(inputs),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def signature(record: ReadRecord, inputs: Mapping[str, Any], *, account: str, at: str) -> dict[str, str]:
    """The signature of one read, for the audit trail.

    Parameters
    ----------
    record : ReadRecord
    inputs : mapping
        As in `signed_digest`.
    account : str
        Fingerprint of the account that signed (`mri_pipeline.reading.accounts`).
    at : str
        UTC (ISO 8601).

    Returns
    -------
    dict of str to str
        ``meaning``, ``at``, ``signed`` (`signed_digest`) and ``account``.
    """
    return {"meaning": MEANING, "at": at, "signed": signed_digest(record, inputs), "account": account}
