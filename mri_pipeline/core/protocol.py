"""The trial protocol: one validated file, ``trial.toml``.

Every threshold of an endpoint that a trial may change is a setting here, with its default and its source (the table of
concepts in ``docs/definitions.md``). The constants of the method are in `mri_pipeline.core.method`.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    SerializationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from mri_pipeline.core.accounts import Role, StaffAccount
from mri_pipeline.core.acquisition_limits import AcquisitionLimits
from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.errors import SettingsError, quoted
from mri_pipeline.core.gate_settings import ScannerGateSettings
from mri_pipeline.core.quality_limits import ImageLimits
from mri_pipeline.core.reading_settings import Reader, Reading
from mri_pipeline.core.segmenters import BUILTIN, Segmenter
from mri_pipeline.core.settings import DIGEST, Settings, parse_settings
from mri_pipeline.core.visits import Contrast, week_of


class Visit(Settings):
    """A planned visit.

    A scan outside of its window, and one that did not come before the infusion as planned, are queries
    (`qc.identity.check_identity`).

    Attributes
    ----------
    label : str
        Letters and digits, such as ``wk04``.
    week : int
        Planned week, from 0.
    window_days : int
        Allowed distance of the scan from its planned day, counted from the scan of the first visit.
    before_infusion : bool
        True if the scan must precede the infusion of that week.
    """

    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    week: Annotated[int, Field(ge=0)]
    window_days: Annotated[int, Field(ge=0)] = 7
    before_infusion: bool = False


class RequiredSequence(Settings):
    """A contrast of every visit.

    Attributes
    ----------
    contrast : Contrast
    required : bool
        False if a visit is accepted without it.
    """

    contrast: Contrast
    required: bool = True


class LesionRules(Settings):
    """Definitions of the counted lesions (sources: docs/definitions.md).

    Attributes
    ----------
    segmenter : Segmenter or None
        Segmentation of T2 lesions. None, in a file ``"builtin"``, is the built-in segmentation.
    connectivity : int
        1, 2 or 3 (`components.structure`).
    t2_min_volume_mm3, gel_min_volume_mm3, black_hole_min_volume_mm3 : float
        Minimum volume of a lesion.
    gel_min_voxels : int
        Minimum size of an enhancing lesion.
    gel_min_t2_overlap : float
        Minimum fraction of an enhancing lesion that has a T2 correlate.
    black_hole_chronic_weeks : int
        Minimum age of a chronic black hole.
    enlarging_area_threshold_cm2 : float
        Separates small and large lesions by their largest axial area.
    enlarging_small_growth, enlarging_large_growth : float
        Minimum relative growth of that area in an enlarging small or large lesion.
    enlarging_min_growth_mm3 : float
        Minimum growth of the volume of an enlarging lesion.
    combined_counts_persistent_gel : bool
        Whether an enhancing lesion that persists from the previous visit is a combined unique active lesion.
    """

    segmenter: Segmenter | None = None  # of T2 lesions; None, in a file "builtin", is lesions/t2
    connectivity: Annotated[int, Field(ge=1, le=3)] = 3  # 3 = 26-connected
    t2_min_volume_mm3: float = 14.0  # a 3 mm sphere (MAGNIMS / McDonald usage)
    gel_min_volume_mm3: float = 14.0  # at least 3 mm, never a one-voxel focus (Barkhof 1997)
    gel_min_voxels: int = 2
    gel_min_t2_overlap: float = 0.6  # share of what enhances there that has a T2 correlate
    black_hole_min_volume_mm3: float = 14.0
    black_hole_chronic_weeks: int = 24
    enlarging_area_threshold_cm2: float = 0.67  # Arch Neurol 1992;49:261
    enlarging_small_growth: float = 0.452  # largest axial area, lesions below the threshold
    enlarging_large_growth: float = 0.242  # lesions at or above it
    enlarging_min_growth_mm3: float = 12.0  # growth floor as in Anima's lesion evolution tool
    combined_counts_persistent_gel: bool = True  # as the words of the MESEMS protocol read

    @field_validator("segmenter", mode="before")
    @classmethod
    def _builtin(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != BUILTIN:
                raise ValueError(f'expected "{BUILTIN}" or a table with name, version and command')
            return None
        return value


_AE_TITLE = (
    r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"  # 1 to 16 characters without backslash (DICOM PS3.5, VR AE)
)


class Site(Settings):
    """A site of the trial; the number of scanners is not limited.

    Attributes
    ----------
    code : str
        Up to 16 letters, digits, ``_`` and ``-``.
    subjects : tuple of str
        Trial numbers of the site. Uploads of other numbers are refused. If empty, every number is accepted.
    ae_titles : tuple of str
        Calling AE titles from which ``mri-pipeline receive`` accepts studies of the site.
    """

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")]
    subjects: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")], ...] = ()
    ae_titles: tuple[Annotated[str, Field(pattern=_AE_TITLE)], ...] = ()

    @field_serializer("subjects", "ae_titles")
    def _no_rule(self, value: tuple[str, ...], info: SerializationInfo) -> tuple[str, ...] | None:
        return None if info.context == DIGEST else value  # a subject or sender that is added changes no number


class Protocol(Settings):
    """A whole ``trial.toml``.

    Attributes
    ----------
    name : str
    visits : tuple of Visit
        In the order of their weeks.
    sequences : tuple of RequiredSequence
        FLAIR is always required.
    sites : tuple of Site
    readers : tuple of Reader
        If two reads agree, the one of the reader who is listed first counts. Empty: every code is accepted.
    accounts : tuple of StaffAccount
        People of the sites, data managers and auditors.
    acquisition : AcquisitionLimits
    image_quality : ImageLimits
    image_change : ChangeLimits
    scanner_gate : ScannerGateSettings
    lesions : LesionRules
    reading : Reading
    database_url : str
        Empty for ``registry.sqlite`` in the trial folder.
    max_upload_mb : int
        Maximum size of an upload in MB.
    usubjid : str
        Pattern of USUBJID in released tables, with the fields ``{study}``, ``{site}`` and ``{subject}``.
    """

    name: str
    visits: Annotated[tuple[Visit, ...], Field(min_length=1)]
    sequences: tuple[RequiredSequence, ...]
    sites: tuple[Site, ...] = ()
    readers: tuple[Reader, ...] = ()
    accounts: tuple[StaffAccount, ...] = ()
    acquisition: AcquisitionLimits = Field(default_factory=AcquisitionLimits)
    image_quality: ImageLimits = Field(default_factory=ImageLimits)
    image_change: ChangeLimits = Field(default_factory=ChangeLimits)
    scanner_gate: ScannerGateSettings = Field(default_factory=ScannerGateSettings)
    lesions: LesionRules = Field(default_factory=LesionRules)
    reading: Reading = Field(default_factory=Reading)
    database_url: str = ""  # empty: registry.sqlite in the trial folder
    max_upload_mb: Annotated[int, Field(gt=0)] = 4096
    usubjid: str = "{study}-{site}-{subject}"

    @field_validator("usubjid")
    @classmethod
    def _pattern(cls, value: str) -> str:
        bare = value
        for name in ("study", "site", "subject"):
            bare = bare.replace(f"{{{name}}}", "")
        if "{subject}" not in value or not re.fullmatch(r"[A-Za-z0-9._-]*", bare):
            raise ValueError(
                "expected {subject}, if needed {site} and {study}, and letters, digits, '.', '_' or '-'"
            )
        return value

    @field_serializer("usubjid", "accounts")
    def _no_rule(self, value: object, info: SerializationInfo) -> object:
        return None if info.context == DIGEST else value  # the name of a subject or a person changes no number

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        labels = [visit.label for visit in self.visits]
        if len(set(labels)) != len(labels):
            raise ValueError("visit labels must differ")
        weeks = [visit.week for visit in self.visits]
        if weeks != sorted(weeks):
            raise ValueError("visits must be in the order of their weeks")
        for visit in self.visits:
            if week_of(visit.label) not in (None, visit.week):
                raise ValueError(f"visit {visit.label} is not week {visit.week}")
        if len({site.code for site in self.sites}) != len(self.sites):
            raise ValueError("site codes must differ")
        titles = [title for site in self.sites for title in site.ae_titles]
        if len(set(titles)) != len(titles):
            raise ValueError("AE titles of sites must differ")
        if Contrast.FLAIR not in {s.contrast for s in self.sequences if s.required}:
            raise ValueError("FLAIR must be a required sequence")
        if len({reader.code.upper() for reader in self.readers}) != len(self.readers):
            raise ValueError("reader codes must differ")
        roles = [reader.role for reader in self.readers]
        if self.reading.readers == 2 and (roles.count(Role.READER) < 2 or Role.ADJUDICATOR not in roles):
            raise ValueError(
                "two reads of each visit require at least 2 readers and 1 adjudicator under [[readers]]"
            )
        return self

    @model_validator(mode="after")
    def _known_people(self) -> Protocol:
        codes = [person.code.upper() for person in (*self.readers, *self.accounts)]
        if len(set(codes)) != len(codes):
            raise ValueError("codes of readers and accounts must differ")
        if {person.site for person in self.accounts} - {site.code for site in self.sites} - {""}:
            raise ValueError("accounts must name a site of the trial")
        return self

    @property
    def required_contrasts(self) -> frozenset[Contrast]:
        """Contrasts of the required sequences."""
        return frozenset(sequence.contrast for sequence in self.sequences if sequence.required)

    def visit(self, label: str) -> Visit:
        """The planned visit with a label.

        Parameters
        ----------
        label : str

        Returns
        -------
        Visit

        Raises
        ------
        SettingsError
            If the protocol plans no such visit.
        """
        for visit in self.visits:
            if visit.label == label:
                return visit
        planned = ", ".join(v.label for v in self.visits)
        raise SettingsError(f"expected a visit of the protocol ({planned}), found {quoted(label)}")

    def site(self, code: str) -> Site:
        """The site with a code.

        Parameters
        ----------
        code : str

        Returns
        -------
        Site

        Raises
        ------
        SettingsError
            If the trial has no such site.
        """
        for site in self.sites:
            if site.code == code:
                return site
        raise SettingsError(
            f"expected a site of trial.toml ({', '.join(s.code for s in self.sites) or 'none named yet'}), "
            f"found {quoted(code)}",
            hint="add the site under [[sites]] in trial.toml",
        )

    def reader(self, code: str, role: Role | None = None) -> Reader:
        """The reader with a code, in upper or lower case.

        Parameters
        ----------
        code : str
        role : Role, optional
            The role in which the reader acts. None: any role.

        Returns
        -------
        Reader
            With the code as listed. Without a list, every code is a reader.

        Raises
        ------
        SettingsError
            If the trial has no such reader, or the reader has another role.
        """
        if not self.readers:
            return Reader.model_construct(code=code)
        for reader in self.readers:
            if reader.code.upper() == code.upper():
                if role not in (None, reader.role):
                    raise SettingsError(
                        f"reader {reader.code}: expected the role {role}, found {reader.role.value}",
                        hint="an adjudicator decides between reads and makes none; see docs/protocol.md",
                    )
                return reader
        known = ", ".join(reader.code for reader in self.readers if role in (None, reader.role))
        raise SettingsError(
            f"expected a {role or 'reader'} of trial.toml ({known or 'none named yet'}), found {quoted(code)}",
            hint="check --reader, or add the reader under [[readers]] in trial.toml",
        )


def parse_protocol(text: str, *, source: str = "trial.toml") -> Protocol:
    """Validate the text of a ``trial.toml``.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        Name of the file in messages.

    Returns
    -------
    Protocol

    Raises
    ------
    SettingsError
        With every fault found, one line.
    """
    return parse_settings(Protocol, text, source=source, hint="see docs/protocol.md for every setting")


def load_protocol(path: Path) -> Protocol:
    """Read and validate a ``trial.toml``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Protocol

    Raises
    ------
    SettingsError
        If the file is missing, is not UTF-8 text or contains a fault. The message lists all faults.
    """
    if not path.is_file():
        raise SettingsError(
            "expected a trial folder with trial.toml, found no trial.toml",
            hint="run 'mri-pipeline init TRIAL' first",
        )
    try:
        return parse_protocol(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError("trial.toml: expected UTF-8 text, found bytes that are not UTF-8") from error


def with_database_url(text: str, database_url: str) -> str:
    r"""The text of a protocol with another database.

    Parameters
    ----------
    text : str
        TOML.
    database_url : str
        As in `Protocol`.

    Returns
    -------
    str
        TOML.

    Examples
    --------
    >>> with_database_url('database_url = ""', "postgresql+psycopg://db/trial")
    'database_url = "postgresql+psycopg://db/trial"\n'
    """
    line = f"database_url = {json.dumps(database_url, ensure_ascii=False)}\n"  # a JSON text is a TOML text, too
    replaced, found = re.subn(r"(?m)^database_url\s*=.*\n?", lambda _: line, text)
    return replaced if found else line + text


def protocol_text(name: str = "mesems") -> str:
    """The text of a protocol that comes with the package.

    Parameters
    ----------
    name : str
        Name of the protocol.

    Returns
    -------
    str
        TOML, as in ``trial.toml``.

    Raises
    ------
    SettingsError
        If no protocol has that name.

    Examples
    --------
    >>> [visit.week for visit in parse_protocol(protocol_text()).visits]
    [0, 4, 12, 24, 28, 36, 48]
    """
    folder = files("mri_pipeline") / "protocols"
    known = sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))
    if name not in known:
        raise SettingsError(f"expected a known protocol ({', '.join(known)}), found {name!r}")
    return (folder / f"{name}.toml").read_text(encoding="utf-8")
