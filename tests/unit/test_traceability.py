"""Every requirement of the qualification has a test or a check, and the pages say which."""

import importlib.util
import json
from pathlib import Path

import pytest

from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.settings import parse_settings
from reading_centre.qualification import requirements
from reading_centre.qualification.requirements import load_requirements, load_tests
from reading_centre.use_cases.qualify import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
KNOWN = {one.id for one in load_requirements()}


@pytest.fixture(scope="module")
def traceability():
    spec = importlib.util.spec_from_file_location("traceability", DOCS / "traceability.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_and_the_tests_of_the_report_are_those_of_the_marks(traceability):
    marked = traceability.marked_tests()
    assert traceability.TESTS.read_text(encoding="utf-8") == json.dumps(marked, indent=1) + "\n", (
        "run 'make docs-columns'"
    )
    assert traceability.PAGE.read_text(encoding="utf-8") == traceability.page(marked), "run 'make docs-columns'"
    assert load_tests() == marked


def test_every_requirement_has_a_test(traceability):
    assert set(traceability.marked_tests()) == KNOWN


def test_every_mark_and_every_check_names_a_known_requirement(traceability):
    assert set(traceability.marked_tests()) <= KNOWN
    assert {one.requirement for one in CHECKS} <= KNOWN


def test_installation_and_performance_are_always_checked():
    checked = {one.requirement for one in CHECKS}
    assert {one for one in KNOWN if one.startswith("IQ")} <= checked


def test_marks_are_read_from_the_source(traceability):
    source = """
@pytest.mark.slow
@pytest.mark.requirement("A-01", "A-02")
@pytest.mark.parametrize("x", [1])
def test_one(x): ...

@pytest.mark.other("A-03")
def test_two(): ...
"""
    assert list(traceability.marks_of(source)) == [("test_one", ["A-01", "A-02"])]
    with pytest.raises(ValueError, match="malformed"):
        list(traceability.marks_of("@pytest.mark.requirement(NAME)\ndef test_one(): ..."))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('id = "A-01"\ntext = "It works."\nsource = "x"\n', "each id once, found A-01 again"),
        ('id = "A-1"\ntext = "It works."\nsource = "x"\n', "String should match pattern"),
        ('id = "A-02"\ntext = "It works"\nsource = "x"\n', "String should match pattern"),
        ('id = "A-02"\ntext = "It works."\nsource = ""\n', "at least 1 character"),
    ],
)
def test_a_wrong_requirement_is_refused(change, message):
    first = '[[requirements]]\nid = "A-01"\ntext = "It works."\nsource = "x"\n'
    text = f"{first}[[requirements]]\n{change}"
    with pytest.raises(SettingsError, match=message):
        parse_settings(requirements._File, text, source="requirements.toml", hint="")
