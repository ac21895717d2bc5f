"""The site's statement which series is which contrast, as options or a file of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.sheets import decoded
from mri_pipeline.core.visits import Contrast

_NAMES = {contrast.value.upper(): contrast for contrast in Contrast}


def read_statement(items: Sequence[str]) -> dict[Contrast, int]:
    """Series numbers by contrast.

    Parameters
    ----------
    items : sequence of str
        Each is ``CONTRAST=NUMBER``, or the path of a text file with such a line for each contrast. Empty lines, and
        what follows ``#``, are ignored.

    Returns
    -------
    dict of Contrast to int

    Raises
    ------
    UsageError
        If an item is neither, a contrast is unknown or stated twice, or a number is none.

    Examples
    --------
    >>> read_statement(["FLAIR=4", "t1w=6"])
    {<Contrast.FLAIR: 'FLAIR'>: 4, <Contrast.T1W: 'T1w'>: 6}
    """
    lines = [line for item in items for line in ([item] if "=" in item else _lines(item))]
    stated: dict[Contrast, int] = {}
    for line in lines:
        name, _, number = (part.strip() for part in line.partition("="))
        contrast = _NAMES.get(name.upper())
        if contrast is None or not number.isdecimal():
            wrong = "an unknown contrast" if contrast is None else "no whole number after '='"
            raise UsageError(
                f"--series: expected CONTRAST=NUMBER, found {wrong if '=' in line else 'a text without ='}",
                hint=f"contrasts: {', '.join(c.value for c in Contrast)}; for example --series FLAIR=4",
            )
        if contrast in stated:
            raise UsageError(f"--series: expected {contrast.value} once, found it twice", hint="check the numbers")
        stated[contrast] = int(number)
    return stated


def statement_text(stated: Mapping[Contrast, int]) -> str:
    """The statement for the audit trail.

    Parameters
    ----------
    stated : mapping of Contrast to int

    Returns
    -------
    str

    Examples
    --------
    >>> statement_text({Contrast.T1W: 6, Contrast.FLAIR: 4})
    'FLAIR=4 T1w=6'
    """
    return " ".join(sorted(f"{contrast.value}={number}" for contrast, number in stated.items()))


def _lines(name: str) -> list[str]:
    try:
        text = decoded(Path(name).read_bytes(), file="--series")
    except (OSError, UsageError) as error:
        raise UsageError(
            "--series: expected CONTRAST=NUMBER or a text file of such lines, found neither",
            hint="for example --series FLAIR=4 --series T1w=6",
        ) from error
    return [line for line in (part.partition("#")[0].strip() for part in text.splitlines()) if line]
