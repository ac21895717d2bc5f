"""The trial protocol: one validated file, ``trial.toml``.

Every threshold that makes an endpoint is a named setting here, with its default and its source
(the table of concepts in ``docs/definitions.md``).
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mri_pipeline.errors import SettingsError
from mri_pipeline.model import Contrast, week_of


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Action(StrEnum):
    """What a limit that is not met leads to."""

    REFUSE = "refuse"
    QUERY = "query"
    NOTE = "note"


class Visit(_Settings):
    """A planned visit. `before_infusion` marks scans that must precede the infusion of that week."""

    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    week: Annotated[int, Field(ge=0)]
    window_days: Annotated[int, Field(ge=0)] = 7
    before_infusion: bool = False


class Sequence(_Settings):
    """A required or optional contrast of every visit."""

    contrast: Contrast
    required: bool = True


class Limit(_Settings):
    """A bound on the acquisition and what breaking it leads to."""

    value: float
    action: Action = Action.QUERY


def _query(value: float) -> Limit:
    return Limit(value=value)


class AcquisitionLimits(_Settings):
    """MAGNIMS-CMSC-NAIMS 2021 (Wattjes et al., Lancet Neurol 2021;20:653); field strength is the trial's rule."""

    min_field_strength_t: Annotated[float, Field(gt=0)] = 1.5  # always a refusal
    max_spacing_3d_mm: Limit = Field(default_factory=lambda: _query(1.5))
    max_slice_thickness_2d_mm: Limit = Field(default_factory=lambda: _query(3.0))
    max_slice_gap_mm: Limit = Field(default_factory=lambda: _query(0.05))
    max_in_plane_2d_mm: Limit = Field(default_factory=lambda: _query(1.0))
    min_coverage_mm: Limit = Field(default_factory=lambda: _query(120.0))
    min_minutes_after_contrast: Limit = Field(default_factory=lambda: _query(5.0))
    max_protocol_change: Limit = Field(default_factory=lambda: _query(0.10))  # share, of times and voxel sizes
    scanner_change: Action = Action.QUERY  # another scanner or software version than at the subject's other visits


class ImageLimits(_Settings):
    """Image-quality floors of a dummy run, measured on the image itself."""

    min_snr: Limit = Field(default_factory=lambda: _query(10.0))
    min_cnr: Limit = Field(default_factory=lambda: _query(2.0))


class LesionRules(_Settings):
    """What is counted (sources: docs/definitions.md)."""

    connectivity: Annotated[int, Field(ge=1, le=3)] = 3  # 3 = 26-connected
    t2_min_volume_mm3: float = 14.0  # a 3 mm sphere (MAGNIMS / McDonald usage)
    gel_min_volume_mm3: float = 14.0  # at least 3 mm, never a one-voxel focus (Barkhof 1997)
    gel_min_voxels: int = 2
    gel_min_t2_overlap: float = 0.6  # share of an enhancing component with a FLAIR correlate
    black_hole_min_volume_mm3: float = 14.0
    black_hole_chronic_weeks: int = 24
    enlarging_area_threshold_cm2: float = 0.67  # Arch Neurol 1992;49:261
    enlarging_small_growth: float = 0.452  # largest axial area, lesions below the threshold
    enlarging_large_growth: float = 0.242  # lesions at or above it
    enlarging_min_growth_mm3: float = 12.0  # growth floor as in Anima's lesion evolution tool


class Site(_Settings):
    """A site of the trial; the number of scanners is not limited."""

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")]


class Reading(_Settings):
    """How readers see the scans."""

    order_of_visits_known: bool = False


class Protocol(_Settings):
    """A whole ``trial.toml``."""

    name: str
    visits: Annotated[tuple[Visit, ...], Field(min_length=1)]
    sequences: tuple[Sequence, ...]
    sites: tuple[Site, ...] = ()
    acquisition: AcquisitionLimits = Field(default_factory=AcquisitionLimits)
    image_quality: ImageLimits = Field(default_factory=ImageLimits)
    lesions: LesionRules = Field(default_factory=LesionRules)
    reading: Reading = Field(default_factory=Reading)
    database_url: str = ""  # empty: registry.sqlite in the trial folder
    max_upload_mb: Annotated[int, Field(gt=0)] = 4096

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
        if Contrast.FLAIR not in {s.contrast for s in self.sequences if s.required}:
            raise ValueError("FLAIR must be a required sequence")
        return self

    def visit(self, label: str) -> Visit:
        """The planned visit of that label.

        Raises
        ------
        SettingsError
            If the protocol plans no such visit.
        """
        for visit in self.visits:
            if visit.label == label:
                return visit
        planned = ", ".join(v.label for v in self.visits)
        raise SettingsError(f"expected a visit of the protocol ({planned}), found another label")

    def site(self, code: str) -> Site:
        """The site of that code.

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
            "found another code",
            hint="add the site under [[sites]] in trial.toml",
        )


def parse_protocol(text: str, *, source: str = "trial.toml") -> Protocol:
    """Validate the text of a ``trial.toml``.

    Raises
    ------
    SettingsError
        With every fault found, one line.
    """
    try:
        return Protocol.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: expected TOML, found {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'protocol'}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsError(f"{source}: {faults}", hint="see docs/protocol.md for every setting") from error


def load_protocol(path: Path) -> Protocol:
    """Read and validate a ``trial.toml``."""
    if not path.is_file():
        raise SettingsError(
            "expected a trial folder with trial.toml, found none", hint="run 'mri-pipeline init TRIAL' first"
        )
    try:
        return parse_protocol(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError("trial.toml: expected UTF-8 text, found other bytes") from error


def protocol_text(name: str = "mesems") -> str:
    """The text of a protocol that comes with the package.

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
