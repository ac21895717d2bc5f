"""Values of DICOM elements as plain Python values: text, numbers, dates and times."""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from typing import Any

LONGEST_TEXT = 96
"""Characters of a text that are kept."""
FIRST_YEAR = 1980
"""Earlier dates of a scan are placeholders: there was no MRI of patients."""


def text(value: Any) -> str:
    """Printable text without line breaks, truncated to 96 characters.

    Parameters
    ----------
    value : object
        Value of a DICOM element.

    Returns
    -------
    str
        Empty for None.
    """
    if value is None:
        return ""
    clean = "".join(c for c in str(value) if unicodedata.category(c)[0] != "C")
    return clean.strip()[:LONGEST_TEXT]


def texts(value: Any) -> list[str]:
    """The values of a multi-valued text element.

    Parameters
    ----------
    value : object
        Value of a DICOM element.

    Returns
    -------
    list of str
        Those of the first 16 values that are not empty (`text`).
    """
    if value is None or value == "":
        return []
    parts = value if not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") else [value]
    return [t for t in (text(part) for part in list(parts)[:16]) if t]


def number(value: Any) -> float | None:
    """The first number of a value.

    Parameters
    ----------
    value : object
        Value of a DICOM element.

    Returns
    -------
    float or None
        None if there is none or it is not finite.

    Raises
    ------
    ValueError
        If the value is not a number.
    """
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, (str, bytes))):
        value = next(iter(value), None)
    if value is None or value == "":
        return None
    result = float(value)
    return result if math.isfinite(result) else None


def whole(value: Any) -> int | None:
    """The first number of a value, truncated to an integer.

    Parameters
    ----------
    value : object
        Value of a DICOM element.

    Returns
    -------
    int or None
        None if there is none or it is not finite.

    Raises
    ------
    ValueError
        If the value is not a number.
    """
    result = number(value)
    return None if result is None else int(result)


def vector(value: Any, length: int) -> tuple[float, ...] | None:
    """A vector of finite numbers.

    Parameters
    ----------
    value : object
        Value of a DICOM element.
    length : int

    Returns
    -------
    tuple of float or None
        None if the value has another length or a number that is not finite.

    Raises
    ------
    ValueError
        If a part of the value is not a number.
    """
    if value is None or isinstance(value, str) or len(value) != length:
        return None
    result = tuple(float(v) for v in value)
    return result if all(map(math.isfinite, result)) else None


def positive_number(value: Any) -> float | None:
    """The first number of a value if it is above 0.

    Parameters
    ----------
    value : object
        Value of a DICOM element.

    Returns
    -------
    float or None
        None if it is missing, not finite, 0 or negative.

    Raises
    ------
    ValueError
        If the value is not a number.
    """
    result = number(value)
    return result if result is not None and result > 0 else None


def day_of(value: str) -> int | None:
    """Day of a DICOM date.

    Parameters
    ----------
    value : str
        Date or date and time, such as 20260331.

    Returns
    -------
    int or None
        Proleptic Gregorian ordinal. None if it is no date, or before `FIRST_YEAR`.

    Examples
    --------
    >>> day_of("20260331") - day_of("20260330"), day_of("19000101")
    (1, None)
    """
    try:
        at = dt.datetime.strptime(value[:8], "%Y%m%d").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return at.toordinal() if at.year >= FIRST_YEAR else None


def seconds_of_day(value: str) -> float | None:
    """Time of day of a DICOM time.

    Parameters
    ----------
    value : str
        Such as 143000.5, with or without colons and an offset from UTC.

    Returns
    -------
    float or None
        Seconds since midnight; None if it is no time.

    Examples
    --------
    >>> seconds_of_day("1430"), seconds_of_day("14:30:01.5"), seconds_of_day("noon")
    (52200.0, 52201.5, None)
    """
    digits = value.replace(":", "")
    try:
        hours, minutes, seconds = (
            int(digits[:2]),
            int(digits[2:4] or 0),
            float(digits[4:].split("+")[0].split("-")[0] or 0),
        )
    except ValueError:
        return None
    return hours * 3600.0 + minutes * 60.0 + seconds
