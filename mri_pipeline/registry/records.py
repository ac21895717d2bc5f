"""Values that the registry stores and returns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from mri_pipeline.core.person_keys import comparable
from mri_pipeline.core.records import ReadStanding, ReadStatus
from mri_pipeline.registry.schema import Gate, ScanState


@dataclass(frozen=True)
class ScannerFacts:
    """The scanner of a scan, from its headers.

    Parameters
    ----------
    manufacturer, model, software : str
        Empty if the headers do not contain them.
    field_strength_t : float
        In tesla; 0 if it is not known.
    serial_digest : str
        Keyed digest of the serial number, never itself. Without a serial number, and for scanners of earlier versions:
        of manufacturer, model, serial number and station name.
    identified : bool
        False if the headers state neither serial number nor station name. It is no part of the identity of a scanner.
    """

    manufacturer: str = ""
    model: str = ""
    software: str = ""
    field_strength_t: float = 0.0
    serial_digest: str = ""
    identified: bool = field(default=True, compare=False)

    @property
    def key(self) -> dict[str, str | float]:
        """The facts that identify a scanner of a site."""
        return {name: value for name, value in asdict(self).items() if name != "identified"}


def maker(manufacturer: str) -> str:
    """The first word of a manufacturer. Headers of one scanner may state "SIEMENS" and "Siemens Healthineers".

    Parameters
    ----------
    manufacturer : str

    Returns
    -------
    str
        Without case; empty for an empty one.
    """
    return next(iter(re.findall(r"[^\W_]+", manufacturer.casefold())), "")


@dataclass(frozen=True)
class ScanIdentity:
    """Patient, study and images of a scan, and its day. No part of it reveals the patient or the date.

    Parameters
    ----------
    person : tuple of 3 str
        Keyed digests of patient number, name and birth date (`mri_pipeline.intake.facts.InstanceFacts.person_keys`);
        each empty if it is not known.
    studies : frozenset of str
        Keyed digests of the studies of the upload.
    shifted_day : int or None
        Day of the scan moved by the subject's date shift, as proleptic ordinal. None if the headers have none.
    before_infusion : bool or None
        Statement of the site whether the scan came before the infusion of that visit. None if there is none.
    images : mapping of str to str
        Keyed digest of the voxels by contrast (`mri_pipeline.convert.pixels.pixels_key`).
    pseudonyms : tuple of 3 str
        Keyed digests of the pseudonyms that the site's browser would have sent for `person`
        (`InstanceFacts.pseudonym_keys`). Each empty if `person` has it, and for scans of earlier versions.
    """

    person: tuple[str, str, str] = ("", "", "")
    studies: frozenset[str] = frozenset()
    shifted_day: int | None = None
    before_infusion: bool | None = None
    images: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pseudonyms: tuple[str, str, str] = ("", "", "")

    def shares(self, other: ScanIdentity) -> bool:
        """True if both scans have the same patient, study or image.

        Parameters
        ----------
        other : ScanIdentity

        Returns
        -------
        bool
            Empty keys are not compared.
        """
        return (
            self.same_person(other)
            or not self.studies.isdisjoint(other.studies)
            or not set(self.images.values()).isdisjoint(other.images.values())
        )

    def agreement(self, other: ScanIdentity) -> list[bool | None]:
        """Whether patient number, name and birth date agree.

        Parameters
        ----------
        other : ScanIdentity

        Returns
        -------
        list of 3 bool or None
            None for a part that the scans do not state in one form, as the patient's data or as a pseudonym.

        Examples
        --------
        >>> sent, removed = ScanIdentity(("1", "a", ""), pseudonyms=("p2", "pb", "")), ScanIdentity(("p2", "pc", "pz"))
        >>> sent.agreement(removed)
        [True, False, None]
        """
        return [_agree(one, two) for one, two in zip(self._forms, other._forms, strict=True)]

    @property
    def _forms(self) -> tuple[tuple[str, str], ...]:
        """Each part as stated and as a pseudonym."""
        return tuple(zip(self.person, self.pseudonyms, strict=True))

    def same_person(self, other: ScanIdentity) -> bool:
        """True if the patient data agree: the number, or name and birth date, and nothing that contradicts them.

        Number and name together outweigh another birth date, which may be mistyped. Name and birth date together
        outweigh another number: hospital and trial have numbers of their own.

        Parameters
        ----------
        other : ScanIdentity

        Returns
        -------
        bool
            Parts that are not known in one form are not compared (`agreement`).

        Examples
        --------
        >>> one, typing_error = ScanIdentity(("1", "a", "x")), ScanIdentity(("1", "a", "y"))
        >>> one.same_person(typing_error), one.same_person(ScanIdentity(("1", "b", "x")))
        (True, False)
        """
        number, name, birth = self.agreement(other)
        if number:
            return name or (name is None and birth is not False)
        return bool(name and birth)


def _agree(one: Iterable[str], other: Sequence[str]) -> bool | None:
    pairs = [(a, b) for a in one for b in other if comparable(a, b)]
    return any(a == b for a, b in pairs) if pairs else None


@dataclass(frozen=True)
class KnownScan:
    """An accepted scan that another scan is compared with.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label.
    identity : ScanIdentity
    """

    subject: str
    visit: str
    identity: ScanIdentity


@dataclass(frozen=True)
class WithdrawnImages:
    """Images of a scan that was withdrawn.

    Parameters
    ----------
    subject, visit : str
        Blinded code and visit label of the withdrawn scan.
    contrasts : tuple of str
        The images, by the contrast that they have now.
    reason, at : str
        Of the withdrawal: why, and when (UTC, ISO 8601).
    replaced : bool
        True if another scan replaced it.
    """

    subject: str
    visit: str
    contrasts: tuple[str, ...]
    reason: str
    at: str
    replaced: bool


@dataclass(frozen=True)
class SiteState:
    """A site and its gate.

    Parameters
    ----------
    code : str
        Code of the site.
    gate : Gate
        Verdict on its latest dummy run.
    """

    code: str
    gate: Gate


@dataclass(frozen=True)
class ReadState:
    """The latest version of one reader's read of a visit.

    Parameters
    ----------
    reader : str
        Code of the reader.
    status : ReadStatus
    standing : ReadStanding
    version : int
        As in `ReadCounts`.
    digest : str
        Digest of the stored record.
    """

    reader: str
    status: ReadStatus
    standing: ReadStanding = ReadStanding.COUNTS
    version: int = 0
    digest: str = ""


@dataclass(frozen=True)
class VisitState:
    """One planned visit of a subject.

    Parameters
    ----------
    visit : str
        Label of the visit.
    scan : ScanState
    reads : tuple of ReadState
        In the order of the readers' codes.
    findings : tuple of str
        Of the quality control of the scan, or the reason of its refusal.
    scan_key : str
        Digest of the upload and the ingest of the scan (`schema.ScanRow.scan_key`); empty without a scan.
    """

    visit: str
    scan: ScanState
    reads: tuple[ReadState, ...] = ()
    findings: tuple[str, ...] = ()
    scan_key: str = ""

    @property
    def counting(self) -> ReadState | None:
        """The read that counts. None if there is none, or it waits for a comparison, adjudication or correction."""
        return next((read for read in self.reads if read.standing is ReadStanding.COUNTS), None)

    @property
    def read(self) -> ReadStatus | None:
        """Status of the read that counts; None without one."""
        return self.counting.status if self.counting else None

    @property
    def readers(self) -> tuple[str, ...]:
        """Codes of all readers of the visit, sorted."""
        return tuple(read.reader for read in self.reads)

    def by(self, reader: str) -> ReadState | None:
        """The read of a reader.

        Parameters
        ----------
        reader : str
            Code of the reader.

        Returns
        -------
        ReadState or None
        """
        return next((read for read in self.reads if read.reader == reader), None)

    @property
    def disputed(self) -> bool:
        """True if the reads disagree and none has been adjudicated."""
        compared = [read for read in self.reads if read.standing is ReadStanding.COMPARED]
        return len(compared) == len(self.reads) == 2


@dataclass(frozen=True)
class SubjectState:
    """One subject.

    Parameters
    ----------
    code : str
        Blinded code.
    site : str
        Code of the site.
    visits : tuple of VisitState
        Planned visits in the order of the protocol.
    """

    code: str
    site: str
    visits: tuple[VisitState, ...] = ()


@dataclass(frozen=True)
class ReadCounts:
    """Summary of a reader's decisions at one visit.

    Parameters
    ----------
    accepted, rejected : int
        Number of proposed lesions, all kinds together.
    voxels_added, voxels_erased : int
        Number of voxels.
    digest : str
        Digest of the stored record.
    version : int
        1 for the first read of the visit by this reader; 0 for a read of version 0.2.0 or earlier.
    """

    accepted: int = 0
    rejected: int = 0
    voxels_added: int = 0
    voxels_erased: int = 0
    digest: str = ""
    version: int = 0


@dataclass(frozen=True)
class TrialState:
    """All sites and subjects of a trial.

    Parameters
    ----------
    sites : tuple of SiteState
    subjects : tuple of SubjectState
    """

    sites: tuple[SiteState, ...]
    subjects: tuple[SubjectState, ...]
