"""States and records of scans, reads and lesions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.visits import Contrast


class ScanStatus(StrEnum):
    """What became of a planned visit's scan."""

    ANALYSED = "analysed"
    MISSING = "missing"
    REFUSED = "refused"
    FAILED = "failed"


class ReadStatus(StrEnum):
    """How far the reading of a visit has come."""

    AUTOMATIC = "automatic"
    CONFIRMED = "confirmed"
    ADJUDICATED = "adjudicated"
    LOCKED = "locked"


class GelState(StrEnum):
    """A gadolinium-enhancing lesion against the previous analysed visit with contrast (Barkhof et al. 1997)."""

    NEW = "new"
    RE_ENHANCING = "re_enhancing"
    PERSISTENT = "persistent"
    UNDETERMINED = "undetermined"  # first visit with contrast: nothing to compare with


class T2State(StrEnum):
    """A T2 lesion against the reference visit."""

    BASELINE = "baseline"  # first analysed visit: nothing to compare with
    NEW = "new"
    ENLARGING = "enlarging"
    STABLE = "stable"
    SHRINKING = "shrinking"
    VANISHED = "vanished"  # was a lesion at the reference visit, is none now
    NONE = "none"  # enhances without a T2 lesion there


class BlackHoleState(StrEnum):
    """Whether a lesion holds a black hole."""

    NONE = "none"
    BLACK_HOLE = "black_hole"
    CHRONIC = "chronic"


@dataclass(frozen=True)
class LesionRecord:
    """One lesion at one visit; a row of ``lesions.csv``. Volumes in mm³, centroid in subject-space RAS mm."""

    visit: str
    lesion_id: int
    volume_mm3: float
    x_mm: float
    y_mm: float
    z_mm: float
    location: Location
    enhancing: bool | None
    gel_state: GelState | None
    t2_state: T2State
    black_hole: BlackHoleState | None


@dataclass(frozen=True)
class VisitCounts:
    """The measured columns of one row of ``lesion_timepoints.csv``; None is "not known", never zero."""

    visit: str
    reference_visit: str | None = None
    gel_count: int | None = None
    gel_new_count: int | None = None
    gel_re_enhancing_count: int | None = None
    gel_persistent_count: int | None = None
    gel_volume_ml: float | None = None
    t2_count: int | None = None
    t2_volume_ml: float | None = None
    new_t2_count: int | None = None
    enlarging_t2_count: int | None = None
    new_or_enlarging_t2_count: int | None = None
    bh_count: int | None = None
    bh_volume_ml: float | None = None
    bh_chronic_volume_ml: float | None = None
    new_t2_since_first_count: int | None = None
    bh_severe_volume_ml: float | None = None
    t1_hypointense_volume_ml: float | None = None
    combined_unique_active_count: int | None = None


@dataclass(frozen=True)
class RegistrationRecord:
    """How one scan was brought to another.

    Parameters
    ----------
    contrast : Contrast
        Of the scan that was moved.
    reference : str
        The visit whose FLAIR it was brought to: its own one, or for a FLAIR that of another visit; empty for the
        FLAIR to which the others were brought.
    quality : float or None
        See `mri_pipeline.images.register.Registration`; None where nothing was registered.
    method : str
        Which method found the transform; empty where nothing was registered.
    failed : bool
        Whether no match was found. The scan is left out then.
    """

    contrast: Contrast
    reference: str
    quality: float | None
    method: str
    failed: bool


@dataclass(frozen=True)
class VisitQuality:
    """What is known of the scans of one visit before its lesions are counted.

    Parameters
    ----------
    visit : str
    failure : str
        Why the visit could not be analysed; empty where it was.
    skull_stripped : bool or None
        Whether its FLAIR came without skull; None where no brain was found.
    brain_covered : float or None
        Share (0 to 1) of the subject's brain that its FLAIR has scanned; None where the visit failed.
    registrations : tuple of RegistrationRecord
        One for each scan, the FLAIR first where it was reached.
    note : str
        What a person has to look at in its lesions; empty where nothing is known.
    """

    visit: str
    failure: str
    skull_stripped: bool | None
    brain_covered: float | None
    registrations: tuple[RegistrationRecord, ...]
    note: str = ""


@dataclass(frozen=True)
class SubjectResult:
    """Everything the tables need of one subject: blinded code, counts by visit, lesions by visit.

    `rules_digest` is `provenance.settings_digest` of the lesion rules that counted. `quality` holds every visit that
    had a FLAIR, also those that could not be analysed, in the order of time.
    """

    subject: str
    visits: tuple[VisitCounts, ...] = ()
    lesions: tuple[LesionRecord, ...] = field(default=())
    rules_digest: str = ""
    quality: tuple[VisitQuality, ...] = ()
