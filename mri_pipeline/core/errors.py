"""The project's exceptions: one tree, one exit code per class.

::

    ReadingCentreError                 1  (base class, never raised)
    ├── UsageError                     2  wrong use: a path, an option, the state of the trial
    │   ├── SettingsError              2  invalid settings in trial.toml
    │   └── ImageError                 2  an image file is missing, damaged or has no orientation
    │       └── GridMismatchError      2  two images that must share a grid do not
    ├── UploadRefusedError             3  an upload was refused and is kept in quarantine
    │   ├── UnsafeUploadError          3  path traversal, archive bomb, too large, not an archive
    │   ├── UnreadableUploadError      3  no DICOM, or damaged DICOM
    │   ├── IdentityError              3  a header value that is kept equals an identity of the patient
    │   ├── ComplianceError            3  field strength, sequences or geometry violate the protocol
    │   └── GateClosedError            3  the site has no accepted dummy run
    ├── AnalysisError                  4  one subject cannot be analysed; the others continue
    └── ExternalToolError              1  an external program failed

Every message says what was expected and what was found. `hint` says what to do next. Neither contains patient data: no
names, numbers, dates or paths from a header.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

_LONGEST_QUOTE: Final = 24
"""Characters of a text that `quoted` shows."""


class ReadingCentreError(Exception):
    """Base class of all errors that this project raises.

    Parameters
    ----------
    message : str
        What was expected and what was found, in one line.
    hint : str, optional
        What to do next, in one line.

    Examples
    --------
    >>> error = UsageError("expected a trial folder, found none", hint="run 'mri-pipeline init' first")
    >>> error.exit_code, error.hint
    (2, "run 'mri-pipeline init' first")
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling, which does not handle keyword arguments: errors return from worker processes."""
        return _rebuild, (type(self), self.message, self.hint)


def quoted(text: str) -> str:
    """A label, a code or a word for a message, in quotes and of limited length.

    For texts that a person typed or a settings file holds. Never for a value of a header, a subject number, a date or
    a free text: they may be patient data.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> quoted("wk05"), quoted("a word and many more words")
    ("'wk05'", "'a word and many more wor'... (26 characters)")
    """
    return repr(text) if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]!r}... ({len(text)} characters)"


def listed(items: Iterable[str], *, shown: int = 5) -> str:
    """The first of some items, and the number of the others.

    Parameters
    ----------
    items : iterable of str
    shown : int
        How many are named.

    Returns
    -------
    str

    Examples
    --------
    >>> listed("abcd", shown=2)
    'a, b and 2 more'
    """
    everything = list(items)
    more = len(everything) - shown
    return ", ".join(everything[:shown]) + (f" and {more} more" if more > 0 else "")


def _rebuild(kind: type[ReadingCentreError], message: str, hint: str) -> ReadingCentreError:
    return kind(message, hint=hint)


class UsageError(ReadingCentreError):
    """The command was used wrongly, or the state of the trial does not allow it."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file lacks a required setting, or has an unknown or invalid one."""


class ImageError(UsageError):
    """An image file is missing or damaged, or has no orientation."""


class GridMismatchError(ImageError):
    """Two images that must share a grid do not. Nothing is resampled silently."""


class UploadRefusedError(ReadingCentreError):
    """An upload was refused and is kept in quarantine with the reason."""

    exit_code = 3


class UnsafeUploadError(UploadRefusedError):
    """The upload would write outside its folder, is too large, or is neither archive nor folder."""


class UnreadableUploadError(UploadRefusedError):
    """The upload contains no DICOM, or DICOM that cannot be read completely."""


class IdentityError(UploadRefusedError):
    """An identity would remain in a header value that de-identification keeps.

    Parameters
    ----------
    message, hint : str
        As for all errors.
    elements : sequence of str, optional
        The header elements by series: ``4/SoftwareVersions``.
    """

    def __init__(self, message: str, *, hint: str = "", elements: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.elements = tuple(elements)

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling with the elements."""
        return _rebuild_identity, (self.message, self.hint, self.elements)


def _rebuild_identity(message: str, hint: str, elements: tuple[str, ...]) -> IdentityError:
    return IdentityError(message, hint=hint, elements=elements)


class ComplianceError(UploadRefusedError):
    """The scans do not comply with the trial protocol."""


class GateClosedError(UploadRefusedError):
    """The site has no accepted dummy run."""


class AnalysisError(ReadingCentreError):
    """One subject cannot be analysed. The others continue."""

    exit_code = 4


class ExternalToolError(ReadingCentreError):
    """An external program failed."""
