"""Operations of a reader in the browser, as they are sent and as they are stored."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mri_pipeline.reading.items import LesionKind

Number = Annotated[int, Field(strict=True, ge=0, le=65_535)]
"""A label of a voxel; 0 is background."""
Index = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Run = tuple[Index, Index, Number, Number]
"""First voxel, number of voxels, present label, new label."""
Decided = Literal["accept", "reject"]
ChangeWord = Literal["new", "enlarging", "none"]

REASONS = {
    "vessel": "Vessel",
    "artefact": "Artefact",
    "normal": "Normal structure",
    "too_small": "Too small",
    "not_ms": "Lesion of another disease",
    "other_type": "Lesion of another type",
    "other": "Other reason",
}
"""Reasons for a rejection, with their texts."""


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def body(self) -> str:
        """The operation as canonical JSON: equal operations have equal texts."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


class VoxelsOperation(_Operation):
    """Voxels of one kind of lesion get other labels.

    Attributes
    ----------
    op : str
    kind : LesionKind
    runs : tuple of (start, length, old, new)
        Voxel index (x fastest), number of voxels, present and new label.
    """

    op: Literal["voxels"]
    kind: LesionKind
    runs: Annotated[tuple[Run, ...], Field(min_length=1, max_length=500_000)]


class MarkDecision(BaseModel):
    """A decision on a lesion.

    Attributes
    ----------
    decision : str or None
        ``accept`` or ``reject``; None if undecided.
    reason : str
        A key of `REASONS`, or empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    decision: Decided | None = None
    reason: str = ""


class DecideOperation(_Operation):
    """A decision on a lesion, instead of `old`.

    Attributes
    ----------
    op : str
    kind : LesionKind
    lesion : int
    decision, reason
        As in `MarkDecision`.
    old : MarkDecision
    """

    op: Literal["decide"]
    kind: LesionKind
    lesion: Number
    decision: Decided | None
    reason: str = ""
    old: MarkDecision


class RetypeOperation(_Operation):
    """The voxels of a lesion are copied to a new lesion of kind `to`, and the lesion is rejected.

    Attributes
    ----------
    op : str
    kind : LesionKind
    lesion : int
    to : LesionKind
    """

    op: Literal["retype"]
    kind: LesionKind
    lesion: Number
    to: LesionKind


class ChangeOperation(_Operation):
    """A decision on the change of a T2 lesion since the previous visit, instead of `old`.

    Attributes
    ----------
    op : str
    lesion : int
    change, old : str or None
        ``new``, ``enlarging`` or ``none``; None if undecided.
    """

    op: Literal["change"]
    lesion: Number
    change: ChangeWord | None
    old: ChangeWord | None


Operation = Annotated[
    VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation, Field(discriminator="op")
]
OPERATION: TypeAdapter[VoxelsOperation | DecideOperation | RetypeOperation | ChangeOperation] = TypeAdapter(
    Operation
)
"""Reads an operation from JSON."""
