"""The displayed images of the visits to be read, made after a run, so that no reader waits for them."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.records import ReadStatus
from mri_pipeline.registry import Registry, ScanState, Use, VisitState
from mri_pipeline.registry.assignment_records import AssignmentState
from reading_centre.use_cases.reading.images import CACHE

_LOG = logging.getLogger(__name__)


def prepare_images(folder: Path) -> int:
    """Make the displayed images of all analysed visits without a locked read, and remove those that nobody reads.

    A trial whose web application was never started has no reader there, and no image is made. Faults are left to the
    opening of the case: the run has ended before.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    int
        Visits whose images are there.
    """
    try:
        trial = Trial.existing(folder)
        return _prepared(trial) if (trial.work / CACHE).is_dir() else 0
    except Exception as error:  # noqa: BLE001 - see above
        _LOG.warning("the displayed images could not be prepared (%s)", type(error).__name__)
        return 0


def _prepared(trial: Trial) -> int:
    from reading_centre.use_cases.reading.opening import Opener  # noqa: PLC0415 - not for a trial without readers

    protocol, prepared, used = load_protocol(trial.protocol_file), 0, set[Path]()
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        opener = Opener(trial, protocol, registry)
        before = set((trial.work / CACHE).iterdir())
        for subject in registry.state().subjects:
            for visit in filter(_awaits_readers, subject.visits):
                try:
                    images = opener.images_of(subject.code, visit.visit)
                    used |= images.files()
                    prepared += bool(images.panes)
                except (ReadingCentreError, OSError) as error:
                    _LOG.warning("the images of a visit could not be prepared (%s)", type(error).__name__)
        for reader in protocol.readers:
            for one in registry.assignments.of_reader(reader.code):
                if one.opened_at and one.state is AssignmentState.OPEN:
                    with suppress(ReadingCentreError, OSError):
                        used |= opener.files_of(one)
    for path in before - used:  # they are made again if somebody opens the case
        path.unlink(missing_ok=True)
    return prepared


def _awaits_readers(visit: VisitState) -> bool:
    return visit.scan is ScanState.ANALYSED and all(read.status is not ReadStatus.LOCKED for read in visit.reads)
