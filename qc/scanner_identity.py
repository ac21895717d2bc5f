"""The scanner of a series by its headers, and what tells two scanners apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mri_pipeline.registry.records import ScannerFacts, maker

SAME_FIELD_T: Final = 0.05
"""Series of one scanner may state 2.89 and 2.8936 T."""


@dataclass(frozen=True)
class Scanner:
    """The scanner of one series.

    Parameters
    ----------
    manufacturer, model, software : str
        Empty if the headers do not contain them.
    field_strength_t : float or None
        In tesla.
    scanner_key : str
        Keyed digest of manufacturer, model, serial number and station name. Placeholders are not stated.
    coil : str
        Receive coil; empty if the headers do not state it, and in records of earlier versions.
    serial_key, station_key : str
        Keyed digests of serial number and station name, each empty if the headers do not state it, and in records of
        earlier versions.
    derived : bool
        True if the series was computed from others. Its software may be that of a workstation.
    earlier_scanner_key : str
        `scanner_key` as versions up to 0.3.0 computed it, with placeholders; empty if it is the same.
    """

    manufacturer: str
    model: str
    software: str
    field_strength_t: float | None
    scanner_key: str
    coil: str = ""
    serial_key: str = ""
    station_key: str = ""
    derived: bool = False
    earlier_scanner_key: str = ""

    @property
    def scanner_keys(self) -> tuple[str, ...]:
        """`scanner_key` as earlier versions computed it, and as it is; those that are not empty."""
        return tuple(filter(None, (self.earlier_scanner_key, self.scanner_key)))

    @property
    def identified(self) -> bool:
        """False if the headers state neither serial number nor station name."""
        return bool(self.serial_key or self.station_key)


def differences(one: Scanner, other: Scanner) -> tuple[str, ...]:
    """What tells the scanners of two series apart. What either header does not state is not compared.

    Machines are told apart by the serial number and the first word of the manufacturer, which an upgrade keeps. If the
    serial number is not stated in both headers, by manufacturer and model, and by the station name if neither states a
    serial number. The software of a derived series is not compared.

    Parameters
    ----------
    one, other : Scanner

    Returns
    -------
    tuple of str
        Words for messages; empty if they may be the same.
    """
    if one.serial_key and other.serial_key:
        makers = (maker(one.manufacturer), maker(other.manufacturer))
        machine = [(one.serial_key, other.serial_key), makers]
    else:
        machine = [
            (one.manufacturer.upper(), other.manufacturer.upper()),
            (one.model.upper(), other.model.upper()),
        ]
        if not one.serial_key and not other.serial_key:
            machine.append((one.station_key, other.station_key))
    strengths = (one.field_strength_t, other.field_strength_t)
    found = []
    if any(_differ(a, b) for a, b in machine):
        found.append("scanner")
    if not one.derived and not other.derived and _differ(one.software, other.software):
        found.append("software version")
    if _differ(one.coil, other.coil):
        found.append("receive coil")
    if None not in strengths and abs((strengths[0] or 0) - (strengths[1] or 0)) > SAME_FIELD_T:
        found.append("field strength")
    return tuple(found)


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def another_machine(one: Scanner, other: Scanner) -> str:
    """What tells the machines of two visits apart, whatever their software version and receive coil.

    A serial number that both headers state decides, with the first word of the manufacturer. A station may be renamed.
    Without it, manufacturer, model, serial number and station name have to be the same.

    Parameters
    ----------
    one, other : Scanner

    Returns
    -------
    str
        For messages, such as "another serial number"; empty for the same machine.
    """
    another_model = "another manufacturer or model"
    if one.serial_key and other.serial_key:
        if _differ(maker(one.manufacturer), maker(other.manufacturer)):
            return another_model
        return "another serial number" if one.serial_key != other.serial_key else ""
    if not set(one.scanner_keys).isdisjoint(other.scanner_keys):
        return ""
    if len({(s.manufacturer.upper(), s.model.upper()) for s in (one, other)}) == 2:
        return another_model
    if one.station_key == other.station_key and (one.serial_key or other.serial_key):
        return "a serial number at one of the visits only"
    return "another serial number or station name"


def is_another_scanner(one: Scanner, other: Scanner) -> bool:
    """Whether the series of one visit are surely from two scanners or software versions, each with a gate of its own.

    Parameters
    ----------
    one, other : Scanner

    Returns
    -------
    bool
        False if only the receive coil differs, or only coil and software and the headers of either state neither serial
        number nor station name.
    """
    found = set(differences(one, other)) - {"receive coil"}
    return bool(found) and (found != {"software version"} or (one.identified and other.identified))


def is_entry_of(entry: ScannerFacts, facts: ScannerFacts) -> bool:
    """Whether the scanner of a series is an entry of the registry whose header fields are spelt in another way.

    Parameters
    ----------
    entry, facts : ScannerFacts

    Returns
    -------
    bool
        True for identified scanners with the same digest, model, software version and first word of the manufacturer,
        and field strengths within `SAME_FIELD_T`.
    """
    strengths = (entry.field_strength_t, facts.field_strength_t)
    return (
        facts.identified
        and entry.identified
        and (entry.serial_digest, entry.model, entry.software)
        == (facts.serial_digest, facts.model, facts.software)
        and maker(entry.manufacturer) == maker(facts.manufacturer)
        and all(strengths)
        and abs(strengths[0] - strengths[1]) <= SAME_FIELD_T
    )
