"""Settings of the readings: what readers see, who reads, and when two reads disagree."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SerializationInfo, field_serializer, field_validator

from mri_pipeline.core.accounts import READING_ROLES, Account, Role
from mri_pipeline.core.settings import DIGEST, Settings


class Reader(Account):
    """A reader of the trial. The name of the account is shown with the reader's signature.

    Attributes
    ----------
    role : Role
        An adjudicator decides between two reads and makes no read.
    key_sha256 : str
        SHA-256 of the reader's key file; empty without key file.
    """

    role: Role = Role.READER
    key_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def has_account(self) -> bool:
        """True if the reader has a password of any kind or a key file."""
        return bool(self.login_hash or self.key_sha256)

    @field_validator("role")
    @classmethod
    def _reads(cls, value: Role) -> Role:
        if value not in READING_ROLES:
            raise ValueError('expected "reader" or "adjudicator"; other roles belong under [[accounts]]')
        return value

    @field_serializer("key_sha256")
    def _no_rule_either(self, value: str, info: SerializationInfo) -> str | None:
        return None if info.context == DIGEST else value


class Comparison(Settings):
    """When two reads of a visit disagree. One exceeded limit is enough.

    Attributes
    ----------
    max_gel_count_difference : int
        Largest difference between the numbers of GEL.
    gel_seen_by_one : bool
        True if a GEL that overlaps no GEL of the other read is a disagreement.
    max_new_t2_count_difference : int
        Largest difference between the numbers of new T2 lesions. Each reader's read is compared with the same reader's
        read of the previous analysed visit.
    max_t2_volume_difference_percent : float
        Largest difference between the T2 lesion volumes, in percent of their mean.
    """

    max_gel_count_difference: Annotated[int, Field(ge=0)] = 0
    gel_seen_by_one: bool = True
    max_new_t2_count_difference: Annotated[int, Field(ge=0)] = 0
    max_t2_volume_difference_percent: Annotated[float, Field(ge=0, le=200)] = 20.0


class Reading(Settings):
    """Presentation of the scans to readers, and number of reads.

    Attributes
    ----------
    readers : int
        Number of reads of each visit, by different readers.
    order_of_visits_known : bool
        True if readers see the order of the visits.
    deface : bool
        True if the face is blanked in the images for readers.
    rereads_percent : float
        Share of the visits that a reader reads a second time, hidden in a later worklist. A re-read changes no number.
    cases_per_sitting : int
        Cases that a reader may open and sign in the reading room without a break; 0 for no limit.
    comparison : Comparison
        Used if `readers` is 2.
    """

    readers: Annotated[int, Field(ge=1, le=2)] = 1
    order_of_visits_known: bool = False
    deface: bool = True
    rereads_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    cases_per_sitting: Annotated[int, Field(ge=0, le=1000)] = 0
    comparison: Comparison = Field(default_factory=Comparison)

    @field_serializer("deface", "rereads_percent", "cases_per_sitting")
    def _no_rule(self, value: float, info: SerializationInfo) -> float | None:
        return None if info.context == DIGEST else value  # none changes a number
