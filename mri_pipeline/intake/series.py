"""Group the images of an upload into series with one geometry each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from mri_pipeline.core.errors import UploadRefusedError
from mri_pipeline.intake.facts import SAME_DIRECTION, SAME_ECHO_MS, InstanceFacts, ObjectKind
from mri_pipeline.intake.geometry import Geometry, slice_geometry

_COMPONENTS = {"M", "P", "R", "I", "PHASE", "REAL", "IMAGINARY", "MAGNITUDE", "WATER", "FAT", "W", "F", "IP", "OP",
               "IN_PHASE", "OPP_PHASE", "OUT_PHASE"}  # fmt: skip

_MIDNIGHT_DAYS = 1
"""Days of one study differ by at most this number: a scan may begin before midnight and end after it."""

_RESTART_S = 3 * 3600.0
"""Longest time between the images before and after a restart of the console, in seconds."""

_DAY_S = 86_400.0
_FIRST_DAY = 366
"""`InstanceFacts.acquired_s` of a header without a date is below this day, and above it with one."""


@dataclass(frozen=True)
class Series:
    """Images of one series that form one volume.

    Parameters
    ----------
    first : InstanceFacts
        Represents the common facts.
    files : tuple of Path
        In the order of the instance numbers.
    geometry : Geometry or None
        None if the headers have none, as for a screenshot.
    acquired_s : float or None
        Start of the earliest image in seconds, on the axis of `InstanceFacts`.
    times_sent : int
        How many times the upload contains the images of the series, under different UIDs.
    equal_echoes : bool
        True if it is one of several echoes whose headers state the same echo time.
    lossy, inverted : bool
        True if an image is.
    copies_differ : bool
        True if an image was sent several times with different pixels. The first one is used.
    """

    first: InstanceFacts
    files: tuple[Path, ...]
    geometry: Geometry | None
    acquired_s: float | None = field(default=None, repr=False)
    times_sent: int = 1
    equal_echoes: bool = False
    lossy: bool = False
    inverted: bool = False
    copies_differ: bool = False

    @property
    def label(self) -> str:
        """Name of the series in messages: its number, never its description."""
        return f"series {self.first.series_number}" if self.first.series_number is not None else "a series"

    @property
    def is_3d(self) -> bool:
        """True for a 3D acquisition."""
        return self.first.acquisition_type == "3D"


@dataclass(frozen=True)
class OneVisit:
    """The patient and the study of an upload.

    Parameters
    ----------
    person_keys : tuple of 3 str
        Digests of patient number, name and birth date (`InstanceFacts.person_keys`), each of any image that states it.
    pseudonym_keys : tuple of 3 str
        `InstanceFacts.pseudonym_keys` in the same way.
    study_keys : frozenset of str
        Of all studies of the upload.
    notes : tuple of str
        Differences between the images that a restart of the console explains.
    queries : tuple of str
        Differences that the site confirms.
    """

    person_keys: tuple[str, str, str]
    pseudonym_keys: tuple[str, str, str]
    study_keys: frozenset[str]
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()


def require_one_visit(instances: Sequence[InstanceFacts]) -> OneVisit:
    """Refuse an upload that mixes patients or days.

    One patient may have incomplete data in a part of the images, and two studies on one day: a restart of the console
    starts a new study. Numbers that differ in spaces or commas alone are one number, with a note; with a query unless
    name or birth date and the scanner confirm it. Images that state neither the patient number nor name and birth date
    are a query. Two studies are a query unless every image states the patient number together with the name or the
    birth date, and all are from the same scanner. A study that runs over midnight is a query. Two studies of
    consecutive days are one visit, with a query, if they are certainly of one patient and scanner and the second
    follows the first within `_RESTART_S`.

    Parameters
    ----------
    instances : sequence of InstanceFacts
        All images of the upload; at least one.

    Returns
    -------
    OneVisit

    Raises
    ------
    UploadRefusedError
        If patient number, name or birth date has two values; if there are two studies of an unknown day, of two days
        without a restart at midnight, or with images that state neither the patient number nor name and birth date; or
        if days differ by more than one.
        With the number of patients, studies or days, never their identities.
    """
    persons = {i.person_keys for i in instances}
    studies, days = frozenset(i.study_key for i in instances), {i.study_day for i in instances}
    patients = max(len({person[part] for person in persons} - {""}) for part in range(3))
    if patients > 1:
        raise UploadRefusedError(
            f"expected one patient in an upload, found {patients} patients", hint="upload each patient separately"
        )
    # the patient number, or name with birth date, must be stated in every image
    same_patient = all(number for number, _, _ in persons) or all(name and birth for _, name, birth in persons)
    certain = _is_one_scanner(instances) and all(number and (name or birth) for number, name, birth in persons)
    at_midnight = certain and _restarted(instances)
    if len(studies) > 1 and ((len(days) > 1 and not at_midnight) or None in days or not same_patient):
        raise UploadRefusedError(
            f"expected one study in an upload, found {len(studies)} studies", hint="upload each visit separately"
        )
    notes: list[str] = []
    queries: list[str] = []
    known = sorted(days - {None}, key=lambda day: day or 0)
    if known and (known[-1] or 0) - (known[0] or 0) > _MIDNIGHT_DAYS:
        raise UploadRefusedError(
            f"expected a study of one day, found {len(known)} days in one study",
            hint="upload each visit separately",
        )
    if len(known) > 1:
        queries.append("expected a study of one day, found two days; was it acquired at midnight?")
    if len(studies) > 1:
        when = "one day" if len(known) == 1 else "two days"
        message = f"expected one study in an upload, found {len(studies)} studies of one patient and {when}"
        (notes if certain else queries).append(message)
    if len(persons) > 1:
        message = "expected the same patient data in all series, found a series with incomplete patient data"
        stated = all(number or (name and birth) for number, name, birth in persons)
        (notes if stated else queries).append(message)
    if len({i.number_key for i in instances} - {""}) > 1:
        message = "expected one spelling of the patient number, found several that differ in spaces or commas"
        (notes if certain else queries).append(message)
    pseudonyms = {i.pseudonym_keys for i in instances}
    return OneVisit(_stated_by_any(persons), _stated_by_any(pseudonyms), studies, tuple(notes), tuple(queries))


def _stated_by_any(keys: Iterable[tuple[str, str, str]]) -> tuple[str, str, str]:
    number, name, birth = (max(parts) for parts in zip(*keys, strict=True))
    return number, name, birth


def _restarted(instances: Sequence[InstanceFacts]) -> bool:
    """True if each study begins after the one before has ended, at most `_RESTART_S` later, by dated headers."""
    of_study: dict[str, list[float]] = defaultdict(list)
    for instance in instances:
        if instance.acquired_s is None or instance.acquired_s < _DAY_S * _FIRST_DAY:
            return False
        of_study[instance.study_key].append(instance.acquired_s)
    spans = sorted((min(times), max(times)) for times in of_study.values())
    return all(0 <= later[0] - earlier[1] <= _RESTART_S for earlier, later in pairwise(spans))


def _is_one_scanner(instances: Sequence[InstanceFacts]) -> bool:
    """True if every MR image states its scanner, and all state the same one."""
    images = [i for i in instances if i.kind in (ObjectKind.MR, ObjectKind.ENHANCED_MR)]
    return all(i.scanner_identified for i in images) and len({i.serial_key or i.station_key for i in images}) == 1


def require_one_day(series: Iterable[Series]) -> None:
    """Refuse series of one study that were acquired on different days.

    Parameters
    ----------
    series : iterable of Series
        The chosen ones. Other series may be reformatted images of a later day.

    Raises
    ------
    UploadRefusedError
        If two of them began more than 24 hours apart by their headers. Series without a date are not compared.
    """
    began = [s.acquired_s for s in series if s.acquired_s is not None and s.acquired_s > _DAY_S * _FIRST_DAY]
    if began and max(began) - min(began) > _DAY_S:
        raise UploadRefusedError(
            "expected series of one day, found series that were acquired more than 24 hours apart",
            hint="upload each visit separately",
        )


def group_series(instances: Iterable[InstanceFacts]) -> tuple[Series, ...]:
    """Group images into series, in the order of acquisition.

    A DICOM series is split by orientation, echo, matrix and image component (magnitude, phase, water, fat). A localizer
    with three planes thus gives three series, and a dual echo gives a PD and a T2 series. Differences below
    `SAME_ECHO_MS` and `SAME_DIRECTION` do not split a series. A run that was aborted and repeated under one series UID
    gives two series. Objects that were sent twice, also under new UIDs, are used once.

    Parameters
    ----------
    instances : iterable of InstanceFacts

    Returns
    -------
    tuple of Series
        Series without a time come last.
    """
    instances = tuple(instances)
    by_uid: dict[str, dict[str, InstanceFacts]] = defaultdict(dict)
    for instance in instances:
        by_uid[instance.series_key].setdefault(instance.instance_key, instance)
    found: dict[tuple[object, ...], Series] = {}
    for same_uid in by_uid.values():
        for content, one in _series_of_uid(list(same_uid.values())):
            copy = found.get(content)
            # the first that was sent is used; the others are counted
            found[content] = one if copy is None else replace(copy, times_sent=copy.times_sent + one.times_sent)
    unlike = _with_unlike_copies(instances)
    found = {
        content: replace(series, copies_differ=not unlike.isdisjoint(series.files))
        for content, series in found.items()
    }
    return tuple(
        sorted(
            found.values(), key=lambda s: (s.acquired_s is None, s.acquired_s or 0.0, s.first.series_number or 0)
        )
    )


def _with_unlike_copies(instances: Iterable[InstanceFacts]) -> set[Path]:
    """Images that were sent several times, under one UID or under others, with different pixels."""
    copies: dict[object, list[InstanceFacts]] = defaultdict(list)
    for instance in instances:
        if not instance.pixels_key:
            continue
        copies[instance.instance_key].append(instance)
        if _is_stated(instance):
            copies[_image(instance), _physics(instance)].append(instance)
    return {image.path for same in copies.values() if len({i.pixels_key for i in same}) > 1 for image in same}


def _series_of_uid(instances: Sequence[InstanceFacts]) -> list[tuple[tuple[object, ...], Series]]:
    """The series of one series UID, each with its content without UIDs."""
    echoes = _clusters(
        [(i.echo_time_ms,) if i.echo_time_ms is not None else None for i in instances], SAME_ECHO_MS
    )
    directions = _clusters([i.orientation for i in instances], SAME_DIRECTION)
    groups: dict[tuple[object, ...], list[InstanceFacts]] = defaultdict(list)
    for instance, echo, direction in zip(instances, echoes, directions, strict=True):
        components = tuple(part for part in instance.image_type[2:] if part in _COMPONENTS)
        key = (
            instance.kind, direction, instance.rows, instance.columns, instance.image_type[:2], components, echo,
        )  # fmt: skip
        groups[key].append(instance)
    found = []
    for group in groups.values():
        unique, times_sent = _sent_once(group)
        parts = _equal_echoes(unique) or _runs(unique)
        for part in parts:
            series = replace(
                _series(part, alone=len(groups) == 1 and len(parts) == 1),
                times_sent=times_sent,
                equal_echoes=len({i.echo_number for i in part}) < len({i.echo_number for i in unique}),
            )
            found.append((_content(part), series))
    return found


def _equal_echoes(group: Sequence[InstanceFacts]) -> list[list[InstanceFacts]]:
    """The echoes of a series that differ in echo number, not in echo time; empty if there is only one echo."""
    echoes: dict[int | None, list[InstanceFacts]] = defaultdict(list)
    for instance in group:
        echoes[instance.echo_number].append(instance)
    positions = [{i.positions for i in echo} for echo in echoes.values()]
    repeated = len(positions) > 1 and bool(set.intersection(*positions))
    return list(echoes.values()) if repeated else []


def _clusters(values: Sequence[tuple[float, ...] | None], tolerance: float) -> list[int | None]:
    """Number of the first value within a tolerance of each value; None for None."""
    seen: list[tuple[float, ...]] = []
    numbers: list[int | None] = []
    for value in values:
        if value is None:
            numbers.append(None)
            continue
        near = [
            n for n, v in enumerate(seen) if max(abs(a - b) for a, b in zip(v, value, strict=True)) <= tolerance
        ]
        if not near:
            seen.append(value)
        numbers.append(near[0] if near else len(seen) - 1)
    return numbers


def _content(run: Sequence[InstanceFacts]) -> tuple[object, ...]:
    """What two copies of a series have in common. Without a time, a series has no copy."""
    first = run[0]
    if any(i.acquired_s is None for i in run):
        return (first.instance_key,)
    images = tuple(sorted((i.instance_number or 0, i.acquired_s or 0.0, i.positions) for i in run))
    return images, _physics(first)


def _physics(image: InstanceFacts) -> tuple[object, ...]:
    return (
        image.repetition_time_ms, image.echo_time_ms, image.inversion_time_ms, image.flip_angle_deg, image.image_type,
        image.orientation, image.rows, image.columns, image.echo_number, image.scanner_key, image.description,
    )  # fmt: skip


def _image(image: InstanceFacts) -> tuple[object, ...]:
    """What copies of an image in a series have in common, if it is stated."""
    return image.instance_number, image.acquired_s, image.positions, image.echo_number


def _is_stated(image: InstanceFacts) -> bool:
    return image.instance_number is not None and image.acquired_s is not None


def _sent_once(group: Sequence[InstanceFacts]) -> tuple[list[InstanceFacts], int]:
    """Images without those sent again under new UIDs, and how many times they were sent.

    Images of one instance number, position, time and echo are copies of each other.
    """
    unique: dict[tuple[object, ...], InstanceFacts] = {}
    for instance in group:
        unique.setdefault(_image(instance) if _is_stated(instance) else (instance.instance_key,), instance)
    return list(unique.values()), round(len(group) / len(unique))


def _runs(group: list[InstanceFacts]) -> list[list[InstanceFacts]]:
    """The two runs of a series that was aborted and repeated under the same UID; else the whole series.

    One has every position once and the other only a part of them. They are separated by the longer pause where two cuts
    are possible.
    """
    counts = Counter(i.positions for i in group)
    if set(counts.values()) != {1, 2} or any(i.acquired_s is None for i in group):
        return [group]
    order = sorted(group, key=lambda i: (i.acquired_s or 0.0, i.instance_number or 0))
    times = [i.acquired_s or 0.0 for i in order]
    cuts = (len(group) - len(counts), len(counts))  # the part first, or the whole run first
    pause, cut = max((times[cut] - times[cut - 1], cut) for cut in cuts)
    runs = [order[:cut], order[cut:]]
    single = all(len({i.positions for i in run}) == len(run) for run in runs)
    return runs if single and pause > 0 else [group]


def _series(group: list[InstanceFacts], *, alone: bool) -> Series:
    times = [i.acquired_s for i in group if i.acquired_s is not None]
    group = sorted(group, key=lambda i: (i.instance_number or 0, i.path))
    return Series(
        first=group[0],
        files=tuple(i.path for i in group),
        geometry=slice_geometry(group, alone=alone),
        acquired_s=min(times) if times else None,
        lossy=any(i.lossy for i in group),
        inverted=any(i.inverted for i in group),
    )
