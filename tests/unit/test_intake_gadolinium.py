"""Pre-contrast or post-contrast T1 by header, name and order; what is not certain triggers a query."""

from typing import Any

import pytest

from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import Choice, choose
from mri_pipeline.intake.contrast import Basis, recognise
from mri_pipeline.intake.facts import InstanceFacts
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.series import group_series
from qc.compliance import UploadPurpose, check_compliance
from tests.unit.series_facts import GR, contrasts, instances, t1, timed

BEFORE, AFTER = Contrast.T1W, Contrast.T1W_GD
GD, NONE = {"contrast_agent": True}, {"contrast_agent": False}


def volume(name: str, start: float, **changes: Any) -> list[InstanceFacts]:
    """A 3D gradient echo."""
    return instances(name=name, **timed(2300, 3, 900, GR, acquired_s=start, acquisition_type="3D"), **changes)


def named(text: str) -> dict[str, Any]:
    return {"description": text}


CERTAIN = {
    "the agent tells": ((t1("a", 0), t1("b", 900, **GD)), (Basis.ORDER, Basis.HEADER)),
    "the names tell": (
        (t1("a", 0, **named("T1 o.KM")), t1("b", 900, **named("T1 m.KM"))),
        (Basis.NAME, Basis.NAME),
    ),
    "W/O and W": (
        (t1("a", 0, **named("AX T1 W/O")), t1("b", 900, **named("AX T1 W CONTRAST"))),
        (Basis.NAME, Basis.NAME),
    ),
    "the header states none": (
        (t1("a", 0, **NONE), t1("b", 900, **named("T1 KM"))),
        (Basis.HEADER, Basis.NAME),
    ),
    "agent and time of injection of the whole exam": (
        (t1("a", 0, **GD, contrast_start_s=500.0), t1("b", 900, **GD, contrast_start_s=500.0)),
        (Basis.HEADER, Basis.HEADER),
    ),
    "agent of the whole exam, names tell": (
        (t1("a", 0, **GD, **named("T1 nativ")), t1("b", 900, **GD, **named("T1 KM"))),
        (Basis.NAME, Basis.HEADER),
    ),
    "agent of the whole exam, one name tells": (
        (t1("a", 0, **GD, **named("T1 nativ")), t1("b", 900, **GD)),
        (Basis.NAME, Basis.HEADER),
    ),
    "an unnamed series before a named one": (
        (t1("a", 0), t1("b", 900, **named("T1 KM"))),
        (Basis.ORDER, Basis.NAME),
    ),
}


@pytest.mark.parametrize("case", CERTAIN)
@pytest.mark.requirement("INTAKE-06")
def test_certain_pairs(case):
    series, basis = CERTAIN[case]
    found = contrasts(*series)
    assert (found["a"].contrast, found["b"].contrast) == (BEFORE, AFTER)
    timings = [found[name].timing for name in "ab"]
    assert tuple(t.basis for t in timings) == basis
    assert not any(t.doubtful for t in timings)
    assert queries(*series) == []


DOUBTFUL = {
    "two equal series": ((t1("a", 0), t1("b", 900)), (BEFORE, AFTER), Basis.ORDER),
    "two equal series, agent of the whole exam": (
        (t1("a", 0, **GD), t1("b", 900, **GD)),
        (BEFORE, AFTER),
        Basis.ORDER,
    ),
    "a named pre series and an unnamed one 14 minutes later": (
        (t1("a", 0, **named("T1 pre")), t1("b", 840)),
        (BEFORE, AFTER),
        Basis.ORDER,
    ),
    "2D before and 3D after, both unnamed": ((t1("a", 0), volume("b", 840)), (BEFORE, AFTER), Basis.ORDER),
    "two protocols, agent of the whole exam": (
        (t1("a", 0, **GD), volume("b", 900, **GD)),
        (AFTER, AFTER),
        Basis.HEADER,
    ),
    "a rescan at once": ((t1("a", 0), t1("b", 120)), (BEFORE, BEFORE), Basis.NONE),
    "the name contradicts the agent": (
        (t1("a", 0), t1("b", 900, **GD, **named("T1 nativ"))),
        (BEFORE, AFTER),
        Basis.HEADER,
    ),
    "the name contradicts the injection": (
        (t1("a", 0, **named("T1 nativ")), t1("b", 900, contrast_start_s=1000.0, **named("T1 KM"))),
        (BEFORE, BEFORE),
        Basis.HEADER,
    ),
    "the header states none, the name does not": (
        (t1("a", 0, **NONE), t1("b", 900, **NONE, **named("T1 KM"))),
        (BEFORE, AFTER),
        Basis.NAME,
    ),
    "native after contrast": (
        (t1("b", 900, **named("T1 nativ")), t1("a", 0, **named("T1 KM"))),
        (AFTER, BEFORE),
        Basis.NAME,
    ),
}


@pytest.mark.parametrize("case", DOUBTFUL)
@pytest.mark.requirement("INTAKE-06")
def test_what_is_not_certain_triggers_a_query(case):
    series, expected, basis = DOUBTFUL[case]
    found = contrasts(*series)
    assert (found["a"].contrast, found["b"].contrast) == expected
    timing = found["b"].timing
    assert timing is not None
    assert (timing.basis, timing.doubtful) == (basis, True)
    assert queries(*series)


def test_a_single_t1_without_evidence_is_stored_with_a_query():
    found = contrasts(t1("a", 0))["a"]
    assert (found.contrast, found.timing.basis) == (BEFORE, Basis.NONE)
    (query,) = queries(t1("a", 0))
    assert query == (
        "T1w: expected evidence of pre-contrast or post-contrast, found series 1: header, description and order do not "
        "say whether it is pre-contrast or post-contrast"
    )
    assert contrasts(t1("a", 0, **GD))["a"].contrast is AFTER
    assert queries(t1("a", 0, **GD)) == []


def test_a_series_without_a_time_has_no_order():
    found = contrasts(t1("a", 0, **named("T1 pre")), instances(name="b", **timed(550, 12, acquired_s=None)))
    assert (found["b"].contrast, found["b"].timing.basis) == (BEFORE, Basis.NONE)


def test_what_follows_a_post_contrast_series_is_post_contrast():
    found = contrasts(t1("a", 0), t1("b", 900, **named("T1 KM")), volume("c", 1200))
    assert [found[name].contrast for name in "abc"] == [BEFORE, AFTER, AFTER]
    assert not found["c"].timing.doubtful
    untagged = contrasts(t1("a", 0), t1("b", 900, **GD), volume("c", 1200))["c"]
    assert untagged.timing.doubtful  # the header of the other series names an agent, its own does not


def test_a_contradiction_names_both_sides():
    series = (t1("a", 0, series_number=2), t1("b", 900, series_number=4, **GD, **named("T1 nativ")))
    (query,) = [q for q in queries(*series) if q.startswith("ce-gadolinium_T1w")]
    assert "series 4: its header says post-contrast: contrast agent given" in query
    assert "but its description says pre-contrast" in query
    late = (t1("a", 0, series_number=2, **named("KM")), t1("b", 900, series_number=4, **named("nativ")))
    before, after = sorted(queries(*late), reverse=False)
    assert (
        "series 4: its description says pre-contrast, but it started after series 2, which is post-contrast"
        in before
    )
    assert (
        "series 2: its description says post-contrast, but it started before series 4, which is pre-contrast"
        in after
    )


def test_a_contradictory_series_is_named_where_another_one_is_chosen():
    certain = t1("b", 900, series_number=4, **GD)
    contradictory = t1("c", 1200, series_number=5, **GD, **named("T1 nativ"))
    series = (t1("a", 0), certain, contradictory)
    assert picked(*series)[AFTER].recognised.series.first.series_key == "b"
    (query,) = [q for q in queries(*series) if q.startswith("ce-gadolinium_T1w")]
    assert "series 5 is not used: its header says post-contrast" in query


def test_two_equal_series_that_both_read_as_post_contrast_trigger_a_query():
    series = (t1("a", 0, series_number=2, **named("KM")), t1("b", 900, series_number=4, **named("KM")))
    (query,) = queries(*series)
    assert "no pre-contrast T1, and several post-contrast ones: series 4, series 2" in query
    # an axial and a 3D series after contrast are no contradiction
    assert queries(t1("a", 0, **named("KM")), volume("b", 900, **named("KM"))) == []


def test_a_certain_series_is_preferred():
    series = (t1("a", 0, **named("T1 pre")), t1("b", 60))
    assert contrasts(*series)["b"].timing.doubtful  # a rescan, probably
    assert picked(*series)[BEFORE].recognised.series.first.series_key == "a"


def test_the_choice_tells_how_it_was_found():
    chosen = picked(t1("a", 0), t1("b", 900, **GD), instances(name="f", **timed(9000, 110, 2500, ("SE", "IR"))))
    assert (chosen[BEFORE].basis, chosen[AFTER].basis) == (Basis.ORDER, Basis.HEADER)
    assert chosen[Contrast.FLAIR].basis is None


def picked(*series: list[InstanceFacts]) -> dict[Contrast, Choice]:
    return dict(choose(split(*series)))


def split(*series: list[InstanceFacts]):
    return split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])])


def queries(*series: list[InstanceFacts]) -> list[str]:
    """Messages about pre-contrast and post-contrast."""
    items = split(*series)
    report = check_compliance(choose(items), items, parse_protocol(protocol_text()), purpose=UploadPurpose.VISIT)
    return [f.message for f in report.of(Action.QUERY) if f.rule == "contrast_timing"]
