"""The displayed images of the visits to be read, made after a run, so that no reader waits for them."""

from __future__ import annotations

import logging
from pathlib import Path

from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry import Registry, ScanState, Use, VisitState
from reading_centre.use_cases.reading.images import CACHE
from reading_centre.use_cases.reading.opening import Opener

_LOG = logging.getLogger(__name__)


def prepare_images(folder: Path) -> int:
    """Make the displayed images of all analysed visits without a locked read.

    A trial whose web application was never started has no reader there, and no image is made. Faults are left to the
    opening of the case.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    int
        Visits whose images are there.
    """
    trial = Trial.existing(folder)
    if not (trial.work / CACHE).is_dir():
        return 0
    protocol, prepared = load_protocol(trial.protocol_file), 0
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        opener = Opener(trial, protocol, registry)
        for subject in registry.state().subjects:
            for visit in filter(_awaits_readers, subject.visits):
                try:
                    opener.prepare(subject.code, visit.visit)
                    prepared += 1
                except (ReadingCentreError, OSError) as error:
                    _LOG.warning("the images of a visit could not be prepared (%s)", type(error).__name__)
    return prepared


def _awaits_readers(visit: VisitState) -> bool:
    return visit.scan is ScanState.ANALYSED and all(read.status is not ReadStatus.LOCKED for read in visit.reads)
