"""Faults of a DICOM library on damaged files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mri_pipeline.core.errors import UnreadableUploadError, UploadRefusedError
from mri_pipeline.core.io.atomic import DISK_FULL


@contextmanager
def dicom_faults_are_refusals(expected: str, *, hint: str) -> Iterator[None]:
    """Turn any exception on damaged DICOM into a refusal, and ignore warnings about invalid values.

    pydicom raises nearly any exception on damaged input.

    Parameters
    ----------
    expected : str
        Completes "expected …" of the message.
    hint : str

    Yields
    ------
    None

    Raises
    ------
    UnreadableUploadError
        For every exception inside the block except refusals and full disks. It names only the type of the exception.

    Examples
    --------
    >>> with dicom_faults_are_refusals("DICOM", hint="export the series again"):
    ...     raise TypeError("a value of the patient")
    Traceback (most recent call last):
    mri_pipeline.core.errors.UnreadableUploadError: expected DICOM, found a file that cannot be read (TypeError)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UploadRefusedError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise  # a fault of the disk, not of the file
            raise UnreadableUploadError(
                f"expected {expected}, found a file that cannot be read ({type(error).__name__})", hint=hint
            ) from None
