"""Pages and forms."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import ReadingCentreError, SettingsError
from mri_pipeline.core.visits import Contrast
from qc.reports.agreement import STATISTICS
from reading_centre.use_cases.office.visit_plan import Window
from reading_centre.web.access import User

_LOG = logging.getLogger(__name__)
_OFFICE: Final = (
    ("/office", "Overview"),
    ("/office/queries", "Queries"),
    ("/office/quarantine", "Quarantine"),
    ("/office/scanners", "Scanners"),
    ("/office/jobs", "Uploads and jobs"),
    ("/office/analysis", "Analysis"),
    ("/office/reads", "Reads"),
    ("/office/people", "People"),
    ("/office/audit", "Audit trail"),
)
MENUS: Final[dict[Role, tuple[tuple[str, str], ...]]] = {
    Role.DATA_MANAGER: _OFFICE,
    Role.AUDITOR: _OFFICE,
    Role.SITE: (("/site", "Overview"), ("/site/upload", "Send scans"), ("/site/queries", "Queries")),
}
"""Links in the header: address and title."""


def page(request: Request, name: str, status: int = 200, **context: Any) -> Response:
    """A page.

    Parameters
    ----------
    request : Request
    name : str
        Of the template.
    status : int
    **context : object
        Of the template. The person of the session and the menu are added.

    Returns
    -------
    Response
    """
    templates: Jinja2Templates = request.app.state.templates
    user: User | None = getattr(request.state, "user", None)
    menu = MENUS.get(user.role, ()) if user else ()
    context = {"user": user, "menu": menu, "path": request.url.path, **context}
    return templates.TemplateResponse(request, f"{name}.html.j2", context, status_code=status)


LONGEST_FIELD: Final = 2000
"""Characters of a field of a form."""


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that was sent.

    Parameters
    ----------
    request : Request

    Returns
    -------
    dict of str to str
        Empty for a body of another form.

    Raises
    ------
    HTTPException
        422 if a field is too long (`LONGEST_FIELD`).
    """
    try:
        fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=20)
    except ValueError:  # too many fields
        return {}
    found = {name: values[0].replace("\0", "").replace("\r\n", "\n") for name, values in fields.items()}
    if any(len(value) > LONGEST_FIELD for value in found.values()):
        raise HTTPException(422, f"Expected up to {LONGEST_FIELD} characters in a field, found more. Shorten it.")
    return found


def fault_place(fault: Mapping[str, Any]) -> str:
    """Place of a fault in a request, without the name of an unknown field: that is content of the request.

    Parameters
    ----------
    fault : mapping
        An element of ``errors()`` of a validation error of pydantic.

    Returns
    -------
    str
        Empty if the request has a fault as a whole.

    Examples
    --------
    >>> fault_place({"type": "missing", "loc": ("body", "size")})
    'body size'
    >>> fault_place({"type": "extra_forbidden", "loc": ("body", "Max Mustermann")})
    'body, an unknown field'
    """
    unknown = fault["type"] == "extra_forbidden"
    parts = fault["loc"][:-1] if unknown else fault["loc"]
    return " ".join(str(part) for part in parts) + (", an unknown field" if unknown else "")


def sentences(text: str) -> list[str]:
    """The parts of a message as sentences.

    Parameters
    ----------
    text : str
        Parts are separated by semicolons.

    Returns
    -------
    list of str

    Examples
    --------
    >>> sentences("T1w: expected one series, found none; FLAIR: 4 mm slices")
    ['T1w: expected one series, found none.', 'FLAIR: 4 mm slices.']
    """
    parts = text.replace(Contrast.T1W_GD.value, "T1 after contrast").split("; ")
    return [f"{part[0].upper()}{part[1:].rstrip('.')}." for part in parts if part]


def minute(utc: str) -> str:
    """A time for people, to the minute.

    Parameters
    ----------
    utc : str
        ISO 8601.

    Returns
    -------
    str

    Examples
    --------
    >>> minute("2026-03-01T08:15:00+00:00")
    '2026-03-01 08:15'
    """
    return utc[:16].replace("T", " ")


def _days(window: Window) -> str:
    first, last = (f"{day.day}\N{NO-BREAK SPACE}{day:%b}" for day in (window.first, window.last))
    return f"{first} to {last} {window.last:%Y}"


_REFUSALS: Final = {"ComplianceError": "not as the protocol asks", "IdentityError": "an identity may remain"}


def _spaced(name: str) -> str:
    """The name of a class of errors as words."""
    return _REFUSALS.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error")).lower()


def _decimals(number: str) -> str:
    return f"{float(number):.3f}".replace("-", "\N{MINUS SIGN}") if number else "\N{EN DASH}"


def _endpoint(name: str) -> str:
    """The name of a column as words, with its unit."""
    words = name.removesuffix("_ml").replace("_", " ")
    words = re.sub(r"\bbh\b", "black hole", re.sub(r"\b(gel|t2)\b", lambda found: found[0].upper(), words))
    return f"{words} (mL)" if name.endswith("_ml") else words


def _statistic(name: str) -> str:
    return STATISTICS.get(name, name.replace("_", " "))


FILTERS: Final = {
    "minute": minute,
    "sentences": sentences,
    "days": _days,
    "spaced": _spaced,
    "decimals": _decimals,
    "endpoint": _endpoint,
    "statistic": _statistic,
}
"""Filters of the templates."""


_SETTINGS: Final = "The settings of the trial have a fault. Tell the reading centre."


def message_of(error: ReadingCentreError) -> str:
    """The text of an error for the person who made the request.

    Parameters
    ----------
    error : ReadingCentreError

    Returns
    -------
    str
    """
    if isinstance(error, SettingsError):  # its message is of trial.toml
        _LOG.error("%s", error)
        return _SETTINGS
    hint = "" if "mri-pipeline" in error.hint else error.hint  # a command is no next step on a page
    return " ".join(sentences(error.message) + sentences(hint))
