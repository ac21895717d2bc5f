"""States and records of scans, reads and lesions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mri_pipeline.core.anatomy import Location
from mri_pipeline.core.visits import Contrast


class ScanStatus(StrEnum):
    """State of the scan of a planned visit, as tables show it."""

    ANALYSED = "analysed"
    MISSING = "missing"
    REFUSED = "refused"
    FAILED = "failed"


class ReadStatus(StrEnum):
    """Read status of a visit."""

    AUTOMATIC = "automatic"
    CONFIRMED = "confirmed"
    ADJUDICATED = "adjudicated"
    LOCKED = "locked"


class GelState(StrEnum):
    """State of an enhancing lesion relative to the previous analysed visit with contrast (Barkhof et al. 1997)."""

    NEW = "new"
    RE_ENHANCING = "re_enhancing"
    PERSISTENT = "persistent"
    UNDETERMINED = "undetermined"  # first visit with contrast


class T2State(StrEnum):
    """State of a T2 lesion relative to the reference visit."""

    BASELINE = "baseline"  # first analysed visit
    NEW = "new"
    ENLARGING = "enlarging"
    STABLE = "stable"
    SHRINKING = "shrinking"
    VANISHED = "vanished"  # a lesion at the reference visit, no longer a lesion
    NONE = "none"  # enhancement without a T2 lesion at the same position


class BlackHoleState(StrEnum):
    """Whether a lesion contains a black hole."""

    NONE = "none"
    BLACK_HOLE = "black_hole"
    CHRONIC = "chronic"


@dataclass(frozen=True)
class LesionRecord:
    """One lesion at one visit: a row of ``lesions.csv``. Volume in mm³, centroid in RAS mm of the subject's space."""

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
    """The measured columns of one row of ``lesion_timepoints.csv``. None means unknown, never zero."""

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
    """Registration of one scan to another.

    Parameters
    ----------
    contrast : Contrast
        Contrast of the moving scan.
    reference : str
        Visit whose FLAIR is the fixed image: the same visit, or for a FLAIR another one. Empty for the FLAIR to which
        the other visits are registered.
    quality : float or None
        See `mri_pipeline.images.register.Registration`. None if nothing was registered.
    method : str
        Method that found the transform. Empty if nothing was registered.
    failed : bool
        True if no match was found. The scan is then excluded.
    """

    contrast: Contrast
    reference: str
    quality: float | None
    method: str
    failed: bool


@dataclass(frozen=True)
class VisitQuality:
    """Quality of the scans of one visit, known before its lesions are counted.

    Parameters
    ----------
    visit : str
    failure : str
        Why the visit could not be analysed. Empty if it was analysed.
    skull_stripped : bool or None
        True if the FLAIR was skull-stripped before upload. None if no brain was found.
    brain_covered : float or None
        Fraction (0 to 1) of the subject's brain within the field of view of the FLAIR. None if the visit failed.
    registrations : tuple of RegistrationRecord
        One for each scan, the FLAIR first if the analysis reached it.
    note : str
        Why its lesions require visual QC. Empty if there is no reason.
    """

    visit: str
    failure: str
    skull_stripped: bool | None
    brain_covered: float | None
    registrations: tuple[RegistrationRecord, ...]
    note: str = ""


@dataclass(frozen=True)
class SubjectResult:
    """The result of one subject: blinded code, counts and lesions of every analysed visit.

    `rules_digest` is the `provenance.settings_digest` of the lesion rules in use. `quality` contains every visit with a
    FLAIR in the order of time, including those that could not be analysed.
    """

    subject: str
    visits: tuple[VisitCounts, ...] = ()
    lesions: tuple[LesionRecord, ...] = field(default=())
    rules_digest: str = ""
    quality: tuple[VisitQuality, ...] = ()
