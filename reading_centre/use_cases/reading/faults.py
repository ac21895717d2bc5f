"""Errors of the reading room. Their messages are shown to readers: they name no subject, visit or file."""

from __future__ import annotations

from typing import Any

from mri_pipeline.core.errors import UsageError


class ConflictError(UsageError):
    """The request does not fit the present state of the reading.

    Parameters
    ----------
    message, hint : str
        As for all errors.
    more : dict, optional
        For the browser.
    """

    def __init__(self, message: str, *, hint: str = "", more: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.more = more or {}


class RefusedError(UsageError):
    """The request does not fit the marks of the case."""


class NotHeldError(UsageError):
    """The browser tab does not hold the case."""


class BreakError(UsageError):
    """A reader has read as many cases as one sitting may have."""


class UnavailableError(UsageError):
    """The case cannot be shown. The reason is in the log of the server, because it may name the subject."""
