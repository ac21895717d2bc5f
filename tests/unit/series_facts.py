"""Headers of whole series for tests of recognition and choice."""

from pathlib import Path
from typing import Any

import numpy as np

from mri_pipeline.intake.contrast import Recognised, recognise
from mri_pipeline.intake.facts import InstanceFacts, ObjectKind
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.series import group_series

SE, IR, GR = ("SE",), ("SE", "IR"), ("GR",)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def instances(
    slices: int = 44, *, spacing: float = 3.0, skip: tuple[int, ...] = (), **changes: Any
) -> list[InstanceFacts]:
    name = changes.pop("name", "s1")
    normal = np.cross(changes.get("orientation", AXIAL)[:3], changes.get("orientation", AXIAL)[3:])
    common = {
        "kind": ObjectKind.MR, "study_key": "s", "series_key": name, "scanner_key": "m", "serial_key": "m",
        "modality": "MR",
        "rows": 256, "columns": 200, "pixel_spacing_mm": (0.9, 1.0), "thickness_mm": 3.0, "orientation": AXIAL,
        "image_type": ("ORIGINAL", "PRIMARY", "M"),
        "acquisition_type": "2D", "series_number": 1, "acquired_s": 0.0,
        "field_strength_t": 1.5,
    }  # fmt: skip
    return [
        InstanceFacts.model_validate(
            common | {"positions": (tuple(np.array([-90.0, -110.0, 0.0]) + i * spacing * normal),)} | changes
            | {"path": Path(f"{name}{i}"), "instance_key": f"{name}-{changes.get('echo_time_ms')}-{i}"}
            | {"instance_number": i + 1}
        )
        for i in range(slices) if i not in skip
    ]  # fmt: skip


def timed(
    tr: float | None, te: float | None, ti: float | None = None, echo: tuple[str, ...] = SE, **more: Any
) -> dict[str, Any]:
    return {
        "repetition_time_ms": tr,
        "echo_time_ms": te,
        "inversion_time_ms": ti,
        "scanning_sequence": echo,
        **more,
    }


def t1(name: str, start: float, **changes: Any) -> list[InstanceFacts]:
    return instances(name=name, **timed(550, 12, acquired_s=start, **changes))


def contrasts(*series: list[InstanceFacts]) -> dict[str, Recognised]:
    found = split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])])
    return {r.series.first.series_key: r for r in found}
