"""A check: one function that says what it found, and whether the requirement is met."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mri_pipeline.core.errors import ReadingCentreError

_LOG = logging.getLogger(__name__)

Subject = TypeVar("Subject")
"""What a check looks at."""

Result = tuple[bool, str]
"""Whether the requirement is met, and what was found."""


@dataclass(frozen=True)
class CheckFinding:
    """Result of one check.

    Parameters
    ----------
    requirement : str
        Id of the requirement.
    expected, found : str
    passed : bool
    """

    requirement: str
    expected: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """A check of one requirement.

    Parameters
    ----------
    requirement : str
        Id of the requirement.
    expected : str
    function : callable
        Gets what is checked; returns whether the requirement is met, and what was found.
    """

    requirement: str
    expected: str
    function: Callable[[Subject], Result]

    def __call__(self, subject: Subject) -> CheckFinding:
        """Check.

        Parameters
        ----------
        subject : object

        Returns
        -------
        CheckFinding
            Failed if the function raises.
        """
        try:
            passed, found = self.function(subject)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the requirement is not met
            passed, found = False, reason_of(error)
        return CheckFinding(self.requirement, self.expected, found, passed)

    def not_reached(self, reason: str) -> CheckFinding:
        """The finding if the check could not be made.

        Parameters
        ----------
        reason : str

        Returns
        -------
        CheckFinding
            Failed.
        """
        return CheckFinding(self.requirement, self.expected, f"not reached: {reason}", passed=False)


def reason_of(error: Exception) -> str:
    """Why a check could not be completed. An unexpected error is logged.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str
        Without paths and values of an unexpected error.
    """
    if isinstance(error, ReadingCentreError):
        return error.message
    _LOG.error("a check ended unexpectedly", exc_info=error)
    return f"ended in {type(error).__name__}"


def check(requirement: str, expected: str) -> Callable[[Callable[[Subject], Result]], Check[Subject]]:
    """Decorator that makes a function a check.

    Parameters
    ----------
    requirement : str
        Id of the requirement.
    expected : str

    Returns
    -------
    callable

    Examples
    --------
    >>> @check("IQ-01", "a number above 1")
    ... def large(value: int):
    ...     return value > 1, str(value)
    >>> large(3)
    CheckFinding(requirement='IQ-01', expected='a number above 1', found='3', passed=True)
    """
    return lambda function: Check(requirement, expected, function)
