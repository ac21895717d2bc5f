"""The project's exceptions: one tree, one exit code each.

::

    ReadingCentreError                 1  (never raised itself)
    ├── UsageError                     2  wrong use: a path, an option, a state of the trial
    │   ├── SettingsError              2  trial.toml does not say what it must
    │   └── ImageError                 2  an image file is missing, broken or has no orientation
    │       └── GridMismatchError      2  two images that must share a grid do not
    ├── UploadRefusedError             3  an upload was refused; it is kept in quarantine
    │   ├── UnsafeUploadError          3  path traversal, bomb, too large, not an archive
    │   ├── UnreadableUploadError      3  no, or broken, DICOM
    │   ├── ComplianceError            3  field strength, sequences, geometry against the protocol
    │   └── GateClosedError            3  the site has no accepted dummy run
    ├── AnalysisError                  4  one subject cannot be analysed; the others go on
    └── ExternalToolError              1  a program this project calls failed

Every message says what was expected and what was found; `hint` says what to do next. Neither ever holds
patient data: no names, numbers, dates or paths from a header.
"""

from typing import ClassVar


class ReadingCentreError(Exception):
    """Anything this project raises on purpose.

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
        """Survive the way back from a worker process (keyword arguments do not pickle by themselves)."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[ReadingCentreError], message: str, hint: str) -> ReadingCentreError:
    return kind(message, hint=hint)


class UsageError(ReadingCentreError):
    """The command was used wrongly, or the trial is not in a state that allows it."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file does not say what it must, or says something unknown."""


class ImageError(UsageError):
    """An image file is missing, broken, or says nothing about its orientation."""


class GridMismatchError(ImageError):
    """Two images that must share a grid do not; nothing is resampled in silence."""


class UploadRefusedError(ReadingCentreError):
    """An upload was refused. It is kept in quarantine with this reason."""

    exit_code = 3


class UnsafeUploadError(UploadRefusedError):
    """The upload would write outside its folder, is far too large, or is not an archive or folder."""


class UnreadableUploadError(UploadRefusedError):
    """The upload holds no DICOM, or DICOM that cannot be read whole."""


class ComplianceError(UploadRefusedError):
    """The scans do not meet the trial protocol."""


class GateClosedError(UploadRefusedError):
    """The site has no accepted dummy run."""


class AnalysisError(ReadingCentreError):
    """One subject cannot be analysed; the others go on."""

    exit_code = 4


class ExternalToolError(ReadingCentreError):
    """A program this project calls failed."""
