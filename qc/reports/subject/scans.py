"""Scans of a subject in the report: brain extraction and registration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mri_pipeline.core.records import RegistrationRecord, VisitQuality
from qc.registration import RegistrationVerdict, judge, qc_flags


def scan_rows(qualities: Sequence[VisitQuality]) -> list[dict[str, Any]]:
    """QC of brain extraction and registration: a row for each visit, a cell for each registration.

    Parameters
    ----------
    qualities : sequence of VisitQuality

    Returns
    -------
    list of dict
        Text of each cell.
    """
    return [
        {
            "visit": quality.visit,
            "brain": {None: "not found", True: "already skull-stripped", False: "found"}[quality.skull_stripped],
            "covered": "" if quality.brain_covered is None else f"{100 * quality.brain_covered:.0f} %",
            "cells": {record.contrast.value: _registration(record) for record in quality.registrations},
            "flagged": bool(qc_flags(quality)),
        }
        for quality in qualities
    ]


def _registration(record: RegistrationRecord) -> dict[str, str]:
    verdict = judge(record)
    message = {
        RegistrationVerdict.REFERENCE: "reference of the other scans",
        RegistrationVerdict.GOOD: f"to {record.reference}: ",
        RegistrationVerdict.DOUBTFUL: f"UNCERTAIN, to {record.reference}: ",
        RegistrationVerdict.FAILED: f"FAILED, to {record.reference}: ",
    }[verdict]
    number = "" if record.quality is None else f"{record.quality:.2f}"
    return {"verdict": verdict.value, "text": message + number, "method": record.method}
