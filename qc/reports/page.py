"""Templates of the pages over all subjects."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(template: str, **values: Any) -> str:
    """Fill in a template of ``qc/reports/templates``.

    Parameters
    ----------
    template : str
        File name. Values are escaped in ``.html.j2`` and written as they are in others.
    **values
        Every name that the template uses.

    Returns
    -------
    str

    Raises
    ------
    jinja2.UndefinedError
        If a value is missing.
    """
    environment = Environment(
        loader=PackageLoader("qc.reports"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
