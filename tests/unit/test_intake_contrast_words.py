"""Names of T1 series and values of ContrastBolusAgent in the languages of the trial's countries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from mri_pipeline.intake.contrast_words import Said, agent_given, said_of_contrast
from mri_pipeline.intake.header_values import header_values
from tests.unit.contrast_names import (
    AFTER,
    AGENT_GIVEN,
    AGENT_NOT_GIVEN,
    BEFORE,
    DENIED,
    GIVEN,
    SILENT,
    UNSTATED,
)


@pytest.mark.parametrize("name", [*AFTER, *GIVEN])
def test_names_after_contrast(name):
    assert said_of_contrast(name) is Said.AFTER


@pytest.mark.parametrize("name", [*BEFORE, *DENIED])
def test_names_before_contrast(name):
    assert said_of_contrast(name) is Said.BEFORE


DENIALS = {
    "German": ("ohne, kein, keine, nicht, nie, vor, vor der, bevor, prä, prae", "KM, Kontrastmittel, KM-Gabe, i.v. KM"),
    "French": ("sans, pas de, non, jamais, avant, pré, sans injection de", "gado, produit de contraste, PDC, Gd"),
    "Italian": ("senza, non, nessun, privo di, prima di, prima del, pre", "mdc, m.d.c., mezzo di contrasto, gadolinio"),
    "Spanish": ("sin, no, ningún, antes de, antes del, previo a, pre", "contraste, CIV, medio de contraste, gadolinio"),
    "Catalan": ("no, cap, abans de, previ a, pre", "contrast, mitjà de contrast, gadolini"),
    "Danish": ("uden, ikke, ingen, ej, før, præ, u.", "kontrast, kontraststof, iv kontrast, gadolinium"),
    "Swedish": ("utan, ej, inte, ingen, inget, före, innan, u.", "kontrast, kontrastmedel, iv kontrast, gadolinium"),
    "Dutch": ("zonder, geen, niet, voor, vóór, pre, z.", "contrast, contrastmiddel, iv contrast, gadolinium"),
    "Portuguese": ("sem, não, nenhum, antes do, prévio ao, pré", "contraste, meio de contraste, gadolínio, injeção"),
    "English": ("without, w/o, w/out, no, not, non, never, minus, before, prior to, pre", "contrast, Gd, IV contrast"),
    "Persian": ("bedoone, bedune, bi, ghabl az, qabl az", "tazrigh, haajeb, tazrigh haajeb"),
}  # fmt: skip


@pytest.mark.parametrize("language", DENIALS)
def test_an_agent_that_is_denied_is_never_after_contrast(language):
    denials, agents = (text.split(", ") for text in DENIALS[language])
    names = [
        form.format(denial, agent).replace(" ", space)
        for denial in denials
        for agent in agents
        for form in ("T1 {} {}", "T1 tra {} {} fs", "{} {} T1")
        for space in " _"
    ]
    assert {name: said_of_contrast(name) for name in names} == dict.fromkeys(names, Said.BEFORE)


@pytest.mark.parametrize("agent", ["KM", "Kontrast", "contrast", "gado", "Gd", "mdc", "contraste"])
def test_an_agent_with_a_denial_behind_it_is_before_contrast(agent):
    behind = (
        " nein, nicht, no, not given, none, non, nej, ikke, ej, niet, não, neg, negativ, nicht gegeben, pas, off, "
        "(-),:-,=0,=0.0, 0 ml, 0.0ml"
    )
    names = [f"T1 {agent}{denial}" for denial in behind.split(",")]
    assert {name: said_of_contrast(name) for name in names} == dict.fromkeys(names, Said.BEFORE)


@pytest.mark.parametrize(
    "name",
    [
        "T1 pre surgery",
        "T1 post treatment",
        "T1 pre RT",
        "T1 post biopsy",
        "T1 native space",
        "T1 no fs",
        "T1 0 mm gap",
    ],
)
def test_words_of_treatment_are_no_statement(name):
    assert said_of_contrast(name) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("No IV contrast", False), ("contrast not given", False), ("OFF", False), ("negative", False), ("ej", False),
        ("não utilizado", False), ("prä KM", False), ("Gd=0", False), ("0 mmol", False), ("niente", False),
        ("pas de produit", None), ("keine Angabe", None), ("no protocol", None), ("pending", None), ("bedoon", None),
        ("non-ionic Gd", True), ("Gadovist 1.0", True), ("DOTAREM 15ML", True), ("10 ml Dotarem", True),
        ("10 ml Gadovist 0 ml flush", True), ("Gadovist 7.5 ml (-)", True), ("Gadovist (-) reaction 7 ml", True),
        ("Dotarem 15 ml, NaCl 0 ml", True), ("7 ml/0 ml", True), ("- Clariscan", True), ("0.1 mmol/kg -", True),
        ("Dotarem -", None), ("Gadovist 0 ml, flow 2 ml/s", False),
        ("Dotarem 0 ml NaCl 20 ml", False), ("Gadovist 1 mmol/ml 0 ml", False), ("Gadovist 0 ml", False),
        ("no contrast, 20 ml NaCl", False), ("kein KM, 7 ml geplant", False), ("sense", False), ("sense Gd", None),
    ],
)  # fmt: skip
def test_denials_as_agent(value, expected):
    assert agent_given(value) is expected


@pytest.mark.parametrize("name", [*SILENT, *UNSTATED])
def test_names_that_say_nothing_or_both(name):
    assert said_of_contrast(name) is None


@pytest.mark.parametrize("name", ["T1 SENSE GD", "T1 w/o fs +C", "T1 Post Contrast w/o FS", "T1_SENSE_gado"])
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
