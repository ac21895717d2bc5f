"""Rounds of registration: all visits of a subject to one of them, as often as needed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from mri_pipeline.analysis.subject_job import SubjectJob
from workflows.alignment.records import ScanRegistration, VisitAlignmentRecord, load_record_file
from workflows.engine import failure_reason, run_workflow
from workflows.plugin import Plugin
from workflows.visit import init_alignment_wf, match_record_file, visit_record_file


class RegistrationRounds:
    """Runs `init_alignment_wf` once for each reference. Nipype's cache holds what a round before has computed.

    Parameters
    ----------
    job : SubjectJob
    plugin : Plugin
    nprocs : int
        Number of processes for the visits.

    Attributes
    ----------
    folder : Path
        Folder of the records. Those of an earlier run are removed.
    alignment_records : dict of str to VisitAlignmentRecord
        By visit; without visits that could not be used.
    faults : dict of str to str
        By visit: why it could not be used.
    matches : dict of str to (str, ScanRegistration)
        By visit: the reference of the last round, and the registration to it.
    """

    folder: Path
    alignment_records: dict[str, VisitAlignmentRecord]
    faults: dict[str, str]
    matches: dict[str, tuple[str, ScanRegistration]]

    def __init__(self, job: SubjectJob, plugin: Plugin, nprocs: int) -> None:
        self._job, self._plugin, self._nprocs = job, plugin, nprocs
        self.folder = job.subject_work / "alignment_records"
        shutil.rmtree(self.folder, ignore_errors=True)  # records of an earlier run are not valid for this one
        self.alignment_records = {}
        self.faults = {}
        self.matches = {}

    def star(self, labels: Sequence[str], reference: str, *, free: set[str] | None = None) -> list[str]:
        """Register visits to a reference.

        Parameters
        ----------
        labels : sequence of str
            Visits, with the reference.
        reference : str
        free : set of str, optional
            Visits that are not registered, because their transform is known.

        Returns
        -------
        list of str
            The reference and the visits that match it, as far as their brains were found.
        """
        visits = [visit for visit in self._job.visits if visit.visit in labels]
        crashes, started = self._job.subject_work / "crashes", time.time()
        workflow = init_alignment_wf(
            visits=visits,
            reference=reference,
            registered=[label for label in labels if label not in {reference, *(free or ())}],
            folder=self.folder,
        )
        workflow.base_dir = str(self._job.subject_work)
        failed = run_workflow(workflow, plugin=self._plugin, nprocs=self._nprocs, crash_folder=crashes)
        for label in labels:
            file = visit_record_file(self.folder, label)
            if file.is_file():
                self.alignment_records[label] = load_record_file(VisitAlignmentRecord, file)
            else:
                node = next(
                    (node for node in failed if f".visit_{label}_wf." in node), failed[0] if failed else ""
                )
                self.faults[label] = failure_reason(crashes, node, since=started - 1.0)
        found = [reference] if reference in self.alignment_records else []
        for label in labels:
            file = match_record_file(self.folder, label, reference)
            if label != reference and file.is_file():
                match = load_record_file(ScanRegistration, file)
                self.matches[label] = reference, match
                # a FLAIR may match although its brain is not found
                if not match.failed and label in self.alignment_records:
                    found.append(label)
        return found
