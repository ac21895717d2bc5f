"""A result survives its file exactly, and nothing else is taken for one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.results import load_result, parse_result, result_text, save_result
from mri_pipeline.core.records import SubjectResult, VisitCounts


@given(st.from_type(SubjectResult).filter(lambda r: r.subject.isprintable()))
def test_any_finite_result_comes_back_equal(result):
    try:
        text = result_text(result)
    except ValueError:  # a number that is not finite
        return
    assert parse_result(text) == result


def test_file_is_written_whole_and_with_equal_bytes(tmp_path):
    result = SubjectResult("BC23")
    first = save_result(result, tmp_path / "deep" / "a.json").read_bytes()
    second = save_result(result, tmp_path / "b.json").read_bytes()
    assert first == second
    assert load_result(tmp_path / "b.json") == result
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("format"),
        lambda c: c.update(format=1),
        lambda c: c["result"].pop("lesions"),
        lambda c: c["result"].update(arm="A"),
        lambda c: c["result"].update(subject=12),
        lambda c: c["result"].update(visits=[{"visit": "wk00", "gel_count": "3"}]),
        lambda c: c.pop("result"),
    ],
)
def test_anything_else_is_refused(damage):
    content = json.loads(result_text(SubjectResult("BC23")))
    damage(content)
    with pytest.raises(UsageError, match="expected"):
        parse_result(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", b"\xff\xfe"])
def test_no_json_is_refused(text):
    with pytest.raises(UsageError, match="expected"):
        parse_result(text)


NUMBERS = [name for name in VisitCounts.__dataclass_fields__ if name.endswith("_ml")]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_not_finite_is_refused(name, value):
    text = result_text(SubjectResult("BC23", visits=(replace(VisitCounts("wk00"), **{name: 12345.5}),)))
    assert text.count("12345.5") == 1
    with pytest.raises(UsageError, match="expected"):
        parse_result(text.replace("12345.5", value))


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r"expected none\.json, found no such file"):
        load_result(tmp_path / "none.json")


def test_not_finite_is_never_written():
    visit = VisitCounts("wk00", t2_volume_ml=float("nan"))
    with pytest.raises(ValueError):
        result_text(replace(SubjectResult("BC23"), visits=(visit,)))
