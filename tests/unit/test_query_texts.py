"""Every rule whose finding may become a query says what the site has to do."""

import ast
from pathlib import Path

import pytest

import qc
from mri_pipeline.core.quality_limits import Action
from qc.compliance import TIMING_RULE
from qc.contrast_timing import RULE
from qc.findings import NEVER_OVERRULED, Finding
from qc.identity import BEFORE_INFUSION, WINDOW, WITHDRAWN
from qc.scan_profile import ONE_SCANNER
from qc.scanner_gate import SCANNER_GATE
from reading_centre.use_cases.office.query import questions

NAMED = {
    "TIMING_RULE": TIMING_RULE,
    "RULE": RULE,
    "BEFORE_INFUSION": BEFORE_INFUSION,
    "WINDOW": WINDOW,
    "WITHDRAWN": WITHDRAWN,
    "SCANNER_GATE": SCANNER_GATE,
    "ONE_SCANNER": ONE_SCANNER,
}
MAKERS = {"Finding", "_query", "_refuse", "make"}
NO_QUERY = {
    "left_out",
    "not_measured",
    "conversion",
    "field_strength",
    "split_series",
    "same_images",
    "same_study",
    "patient",
}
"""Notes, and refusals that no decision makes a query."""
OF_LIMITS = {
    "thickness_2d", "gap", "in_plane_2d", "spacing_3d", "coverage", "coverage_loss", "minutes_after_contrast",
    "same_protocol",
}  # fmt: skip
"""Rules whose limit in trial.toml says what to do: `test_a_limit_of_the_acquisition_says_what_to_do`."""


def rules() -> set[str]:
    """First arguments of all findings in `qc`, and of the tables from which loops make findings."""
    found = set()
    for path in Path(qc.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in MAKERS
                and node.args
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
                elif isinstance(first, ast.Name):
                    found |= {NAMED[first.id]} if first.id in NAMED else set()
            if isinstance(node, ast.Tuple) and path.name == "acceptance.py" and len(node.elts) >= 3:
                first = node.elts[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_the_rules_are_found():
    assert {
        "window",
        "withdrawn",
        "same_scanner",
        "blank_slices",
        "contrast_timing",
        "patient",
    } <= rules()
    assert NO_QUERY - {"left_out", "not_measured", "conversion"} <= NEVER_OVERRULED


@pytest.mark.parametrize("rule", sorted(rules() - NO_QUERY - OF_LIMITS))
def test_every_query_says_what_to_do(rule):
    (question,) = questions([Finding(rule, Action.QUERY, "expected this, found that")])
    assert len(question.to_do.split()) >= 4
