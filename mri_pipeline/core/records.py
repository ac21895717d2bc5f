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


class ReadStanding(StrEnum):
    """Whether a read counts in the tables. Of the reads of a visit, at most one counts."""

    COUNTS = "counts"
    OPEN = "open"  # the visit lacks its second read, or the reads are not compared yet
    COMPARED = "compared"  # another read of the visit counts, or the adjudicator has to decide
    REOPENED = "reopened"  # its reader corrects it


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
    UNCHANGED_IMAGE = "unchanged_image"  # no lesion there at the reference visit, but FLAIR shows no change
    NONE = "none"  # enhancement without a T2 lesion at the same position


CHANGE_CODES = {T2State.NEW: 1, T2State.ENLARGING: 2, T2State.STABLE: 3}
"""Values of `core.visits.VisitMasks.t2_changes`: what a reader has decided on the change of a T2 lesion."""


class ComparedMasks(StrEnum):
    """Origin of the two T2 masks that a `T2State` compares."""

    AUTOMATIC = "automatic"
    MIXED = "mixed"  # one of them is confirmed by a reader
    CONFIRMED = "confirmed"  # both; the masks alone decide


class BlackHoleState(StrEnum):
    """Whether a lesion contains a black hole."""

    NONE = "none"
    BLACK_HOLE = "black_hole"
    CHRONIC = "chronic"


@dataclass(frozen=True)
class LesionRecord:
    """One lesion at one visit: a row of ``lesions.csv``.

    Parameters
    ----------
    visit : str
        Label of the visit.
    lesion_id : int
        Number of the lesion, equal at all visits of the subject.
    volume_mm3 : float
    x_mm, y_mm, z_mm : float
        Centroid in RAS+ mm of the subject's space.
    location : Location
    enhancing : bool or None
        None if the visit has no post-contrast T1.
    gel_state : GelState or None
        None if the lesion does not enhance or enhancement is unknown.
    t2_state : T2State
    black_hole : BlackHoleState or None
        None if the visit has no pre-contrast T1.
    part : int
        1, unless the lesion has split: then 1 for its largest part at this visit, 2 for the next one, and so on.
    t2_lesion : bool
        False for enhancement without a T2 lesion and for a vanished lesion.
    gel_count : int or None
        Enhancing lesions that are counted at this lesion; each is counted at one lesion.
    gel_states : tuple of GelState
        Their states.
    gel_volume_mm3 : float or None
        Their volume.
    bh_count : int or None
        Black holes in this lesion.
    bh_volume_mm3 : float or None
        Their volume.
    t2_comparison : ComparedMasks or None
        None if `t2_state` compares nothing.
    image_support : bool or None
        For a change of the T2 lesion: whether FLAIR changed there, too. None without change or without images.
    new_since_first : bool or None
        True if the lesion is new since the first analysed visit. None at the first visit and without T2 lesion.
    """

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
    part: int = 1
    t2_lesion: bool = True
    gel_count: int | None = None
    gel_states: tuple[GelState, ...] = ()
    gel_volume_mm3: float | None = None
    bh_count: int | None = None
    bh_volume_mm3: float | None = None
    t2_comparison: ComparedMasks | None = None
    image_support: bool | None = None
    new_since_first: bool | None = None


@dataclass(frozen=True)
class VisitCounts:
    """The measured columns of one row of ``lesion_timepoints.csv``. None means unknown, never zero.

    ``docs/definitions.md`` defines each of them. Volumes are in mL.

    Parameters
    ----------
    visit : str
        Label of the visit.
    reference_visit : str or None
        Visit to which T2 lesions are compared.
    gel_count, gel_new_count, gel_re_enhancing_count, gel_persistent_count : int or None
        Enhancing lesions, and those of each `GelState`.
    gel_volume_ml : float or None
    t2_count : int or None
    t2_volume_ml : float or None
    new_t2_count, enlarging_t2_count, new_or_enlarging_t2_count : int or None
        T2 lesions that are new or enlarging relative to `reference_visit`, and their sum.
    bh_count : int or None
        Black holes.
    bh_volume_ml, bh_chronic_volume_ml : float or None
        Volume of all black holes, and of the chronic ones.
    new_t2_since_first_count : int or None
        New T2 lesions since the first analysed visit.
    bh_severe_volume_ml : float or None
        Volume of severe hypointensity in black holes.
    t1_hypointense_volume_ml : float or None
        T1-hypointense volume of T2 lesions.
    combined_unique_active_count : int or None
        Combined unique active lesions, by the setting `combined_counts_persistent_gel`.
    combined_with_persistent_gel_count, combined_without_persistent_gel_count : int or None
        The same under either value of that setting.
    """

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
    combined_with_persistent_gel_count: int | None = None
    combined_without_persistent_gel_count: int | None = None


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
    """The result of one subject.

    Parameters
    ----------
    subject : str
        Blinded code or BIDS label.
    visits : tuple of VisitCounts
        Counts of every analysed visit, in the order of time.
    lesions : tuple of LesionRecord
        Lesions of every analysed visit.
    rules_digest : str
        `provenance.settings_digest` of the lesion rules in use.
    quality : tuple of VisitQuality
        Every visit with a FLAIR in the order of time, including those that could not be analysed.
    scan_keys : dict of str to str
        By visit, which scan was analysed (`registry.VisitState.scan_key`). Empty in a dataset without a registry.
    """

    subject: str
    visits: tuple[VisitCounts, ...] = ()
    lesions: tuple[LesionRecord, ...] = field(default=())
    rules_digest: str = ""
    quality: tuple[VisitQuality, ...] = ()
    scan_keys: dict[str, str] = field(default_factory=dict)
