"""The displayed images of the visits to be read, made after a run, so that no reader waits for them."""

from __future__ import annotations

import logging
from pathlib import Path

from mri_pipeline.core.errors import ReadingCentreError
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry, ScanState, Use
from mri_pipeline.registry.assignment_records import AssignmentState
from reading_centre.use_cases.reading.awaiting import visits_to_show
from reading_centre.use_cases.reading.images import CACHE

_LOG = logging.getLogger(__name__)
_FAULTS = (ReadingCentreError, OSError)


def prepare_after_run(folder: Path) -> None:
    """`prepare_images` at the end of a run: a fault is a warning, for the run has ended before.

    Parameters
    ----------
    folder : Path
        Folder of the trial.
    """
    try:
        prepare_images(folder)
    except Exception as error:  # noqa: BLE001 - see above
        _LOG.warning("the displayed images could not be prepared (%s)", type(error).__name__)


def prepare_images(folder: Path) -> int:
    """Make the displayed images of all visits that somebody has still to read, and remove the other ones.

    A trial whose web application was never started has no reader there, and no image is made. An image that cannot be
    made is left to the opening of the case. If the files of a visit cannot be read just now, none is removed; a visit
    without its files needs none.

    Parameters
    ----------
    folder : Path
        Folder of the trial.

    Returns
    -------
    int
        Visits whose images are there.

    Raises
    ------
    ReadingCentreError, OSError
        If the trial or its registry cannot be read.
    """
    trial = Trial.existing(folder)
    if not (trial.work / CACHE).is_dir():
        return 0
    from reading_centre.use_cases.reading.opening import Opener  # noqa: PLC0415 - not for a trial without readers

    protocol, prepared, used, known = load_protocol(trial.protocol_file), 0, set[Path](), True
    with Registry.open(trial, protocol, Use.SHOW) as registry:
        opener, subjects = Opener(trial, protocol, registry), registry.state().subjects
        before, shape = set((trial.work / CACHE).iterdir()), opener.shape(subjects)
        for subject, visit in sorted(visits_to_show(trial, protocol, registry, subjects)):
            try:
                images = opener.images_of(subject, visit, shape)
                used |= images.files()
                prepared += bool(images.panes)
            except _FAULTS as error:
                known &= _warned(error)
        analysed = {
            (subject.code, visit.visit)
            for subject in subjects
            for visit in subject.visits
            if visit.scan is ScanState.ANALYSED
        }
        for reader in protocol.readers:
            for one in registry.assignments.of_reader(reader.code):
                is_open = one.opened_at and one.state is AssignmentState.OPEN
                if is_open and (one.subject, one.visit) in analysed:
                    try:
                        used |= opener.files_of(one)
                    except _FAULTS as error:
                        known &= _warned(error)
    for path in before - used if known else ():  # they are made again if somebody opens the case
        path.unlink(missing_ok=True)
    return prepared


def _warned(error: Exception) -> bool:
    """Log a fault. False if the files of the visit are unknown: they cannot be looked at just now.

    A visit whose files are missing or damaged cannot be opened, and needs no images.
    """
    _LOG.warning("the images of a visit could not be prepared (%s)", type(error).__name__)
    return not isinstance(error, OSError)
