"""Write docs/traceability.md and the tests of each requirement, from the marks of the tests.

`python docs/traceability.py` writes both files; a test compares them with the marks. A test is marked with
``@pytest.mark.requirement("READ-03")``. The marks are read from the source, so that no test is imported.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reading_centre.qualification.requirements import TESTS_FILE, load_requirements
from reading_centre.use_cases.qualify import CHECKS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "traceability.md"
TESTS = ROOT / "reading_centre" / "qualification" / TESTS_FILE

HEAD = """\
# Requirements and their tests

<!-- Written by docs/traceability.py from reading_centre/qualification/requirements.toml and the marks of the tests.
Do not edit. -->

Each requirement is verified by automated tests, by a check of [`mri-pipeline qualify`](qualification.md) on the
installation, or by both. The tests run before each release.
"""
_GROUPS = {
    "IQ": "Installation", "INTAKE": "Intake", "IMAGE": "Images", "LESION": "Lesions", "TABLE": "Tables",
    "BLIND": "Blinding", "READ": "Reading", "AUDIT": "Audit trail", "RUN": "Runs", "PQ": "Performance",
}  # fmt: skip


def marked_tests() -> dict[str, list[str]]:
    """Tests by the requirement that they are marked with."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test, ids in marks_of(path.read_text(encoding="utf-8")):
            for one in ids:
                found.setdefault(one, []).append(f"{path.relative_to(ROOT / 'tests').as_posix()}::{test}")
    return dict(sorted(found.items()))


def marks_of(source: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Name and requirements of each marked test of a module."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.requirement":
                    yield node.name, [ast.literal_eval(argument) for argument in decorator.args]


def page(tests: Mapping[str, Sequence[str]]) -> str:
    """The whole page as Markdown."""
    return HEAD + "".join(_section(group, title, tests) for group, title in _GROUPS.items())


def _section(group: str, title: str, tests: Mapping[str, Sequence[str]]) -> str:
    rows = "".join(
        f"| {one.id} | {one.text} | {one.source} | {_checked(one.id)} | {_named(tests.get(one.id, ()))} |\n"
        for one in load_requirements()
        if one.id.partition("-")[0] == group
    )
    return f"\n## {title}\n\n| id | requirement | source | `qualify` | tests |\n| --- | --- | --- | --- | --- |\n{rows}"


def _checked(requirement: str) -> str:
    if requirement.startswith("PQ"):
        return "PQ"
    checked = any(one.requirement == requirement for one in CHECKS)
    return ("IQ" if requirement.startswith("IQ") else "OQ") if checked else ""


def _named(tests: Sequence[str]) -> str:
    return "<br>".join(f"`{test}`" for test in tests)


if __name__ == "__main__":
    found = marked_tests()
    TESTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
