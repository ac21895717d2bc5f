"""Names of T1 series and values of ContrastBolusAgent in the languages of the trial's countries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from mri_pipeline.intake.contrast_words import Said, agent_given, said_of_contrast
from mri_pipeline.intake.header_values import header_values
from tests.unit.contrast_names import AFTER, AGENT_GIVEN, AGENT_NOT_GIVEN, BEFORE, SILENT


@pytest.mark.parametrize("name", AFTER)
def test_names_after_contrast(name):
    assert said_of_contrast(name) is Said.AFTER


@pytest.mark.parametrize("name", BEFORE)
def test_names_before_contrast(name):
    assert said_of_contrast(name) is Said.BEFORE


@pytest.mark.parametrize("name", SILENT)
def test_names_that_say_nothing_or_both(name):
    assert said_of_contrast(name) is None


@pytest.mark.parametrize(
    "name", ["T1 SENSE GD", "T1 w/o fs +C", "T1 Post Contrast w/o FS", "T1 - KM", "T1_SENSE_gado"]
)
def test_words_of_other_things_deny_no_contrast(name):
    assert said_of_contrast(name) is Said.AFTER


@pytest.mark.parametrize("name", ["T1 +/- C", "T1 ± KM", "Kopf nativ + KM", "T1 native post"])
def test_both_is_no_statement(name):
    assert said_of_contrast(name) is None


def test_the_description_decides_before_the_name_of_the_protocol():
    assert said_of_contrast("t1 pre | Brain with contrast") is Said.BEFORE
    assert said_of_contrast("t1_mpr | t1_mpr_KM") is Said.AFTER
    assert said_of_contrast("T1 with and without contrast | T1 +C") is None


@given(st.sampled_from((*AFTER, *BEFORE, *SILENT)), st.sampled_from([str.upper, str.lower]), st.sampled_from("_ "))
def test_spelling_changes_nothing(name, spelling, separator):
    assert said_of_contrast(spelling(name).replace(" ", separator)) is said_of_contrast(name)


@given(st.text(max_size=96))
def test_any_text_is_read(text):
    assert said_of_contrast(text) in {None, *Said}
    assert agent_given(text) in {None, True, False}


@pytest.mark.parametrize("value", AGENT_NOT_GIVEN)
def test_agents_that_mean_none_or_unknown(value):
    assert not agent_given(value)


@pytest.mark.parametrize("value", AGENT_GIVEN)
def test_agents_that_were_given(value):
    assert agent_given(value) is True


def test_unknown_is_not_none():
    assert agent_given("unknown") is None
    assert agent_given("no contrast") is False


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"ContrastBolusAgent": "no contrast"}, False),
        ({"ContrastBolusAgent": "Dotarem"}, True),
        ({"ContrastBolusVolume": 14.0}, True),
        ({"ContrastBolusVolume": 0.0}, None),
        ({"ContrastBolusAgent": "no contrast", "ContrastBolusVolume": 14.0}, None),  # contradicts itself
        ({"ContrastBolusAgent": "unknown", "ContrastBolusVolume": 14.0}, True),
        ({"ContrastBolusAgentSequence": [Dataset()]}, True),
    ],
)
def test_the_header_as_a_whole(values, expected):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Rows, dataset.Columns = "1.2.840.10008.5.1.4.1.1.4", 8, 8
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    assert header_values(dataset)["contrast_agent"] is expected
