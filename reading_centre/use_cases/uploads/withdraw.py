"""Withdrawal of an accepted scan without a replacement: wrong patient, withdrawn consent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_pipeline.blinding.key import Sealed
from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from qc.identity import WINDOW
from reading_centre.use_cases.trial.staging import (
    WITHDRAWAL,
    make_durable,
    only_writer,
    settle_subject,
    staged_visit,
)
from reading_centre.use_cases.trial.storage import storage_faults


@dataclass(frozen=True)
class WithdrawnScan:
    """A withdrawn scan.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    kept : str
        Folder of its files and reads, relative to the trial.
    reads : int
        Number of reads that were withdrawn with it.
    remaining : int
        Number of accepted scans of the subject at other visits.
    """

    subject: str
    visit: str
    kept: str
    reads: int
    remaining: int

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values for ``--json``.

        Returns
        -------
        dict
        """
        return asdict(self)


def withdraw_scan(folder: Path, *, site: str, subject: str, visit: str, reason: str, by: str) -> WithdrawnScan:
    """Withdraw the accepted scan of a visit and its reads. Nothing is deleted: both are kept in ``withdrawn/``.

    Files and registry change together or not at all. The visit is missing then, and a scan may be ingested for it. The
    results of the subject are made again by the next ``run``.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    site, subject, visit : str
        Code of the site, the site's trial number of the subject, and the visit's label.
    reason, by : str
        Why and by whom, without patient data; for the audit trail.

    Returns
    -------
    WithdrawnScan

    Raises
    ------
    UsageError, SettingsError
        If site, subject or visit is unknown, the visit has no accepted scan or a locked read, a text is empty, another
        upload of the subject is in progress, or a disk is full.
    """
    trial = Trial.existing(folder)
    protocol = load_protocol(trial.protocol_file)
    protocol.site(site)
    protocol.visit(visit)
    code = Sealed.open(trial).preview(site, subject)
    with storage_faults(trial.protocol_file), Registry.open(trial, protocol) as registry, only_writer(trial, code):
        settle_subject(trial, protocol, registry, code)
        if code not in registry.subjects():
            raise UsageError(
                f"site {site}: no accepted scan of this subject",
                hint="check --site and --subject",
            )
        others = [
            v.visit for v in registry.subject(code).visits if v.visit != visit and registry.upload(code, v.visit)
        ]
        with staged_visit(trial, protocol, registry, subject=code, visit=visit) as staged:
            (staged.folder / WITHDRAWAL).touch()
            make_durable(staged)
            # windows are counted from the first visit
            compared = others if visit == protocol.visits[0].label else []
            registry.record_withdrawal(
                code, visit, reason=reason, by=by, kept_in=staged.receipt, others=compared, others_rule=WINDOW
            )
        kept = trial.withdrawn / code / visit / staged.receipt
        mine = [row for row in registry.withdrawn() if (row["subject"], row["visit"]) == (code, visit)]
        return WithdrawnScan(
            code, visit, kept.relative_to(trial.root).as_posix(), len(mine[-1]["reads"]), len(others)
        )
