"""Change of image quality since the earlier visits and the dummy run: which changes are found, and which are none."""

from dataclasses import replace

import pytest

from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.quality_limits import Action, QualityLimit
from mri_pipeline.core.visits import Contrast
from mri_pipeline.registry import ScannerFacts
from qc.change import CHANGE_RULES, judge_change
from qc.field_scan import FieldMeasures
from qc.measure_record import measure_record
from qc.quality_rules import RULES
from tests.unit.ingest_trial import ingest, new_trial, opened, upload
from tests.unit.test_qc_acceptance import GOOD

LIMITS = ChangeLimits()
NOW = measure_record({Contrast.FLAIR: GOOD})
BY_SETTING = {rule.setting: rule for rule in CHANGE_RULES}


def values(name, value):
    return {"FLAIR": NOW["FLAIR"] | {name: value}}


def judge(now=NOW, *, earlier=None, dummy_run=None, limits=LIMITS, known=()):
    return judge_change(now, earlier=earlier or {}, dummy_run=dummy_run, limits=limits, known=known)


def test_every_limit_has_its_rule_and_every_measure_with_a_limit_is_compared():
    assert set(BY_SETTING) == set(ChangeLimits.model_fields) - {"dummy_run_factor", "min_head_agreement"}
    assert {rule.name for rule in RULES} - {rule.rule for rule in CHANGE_RULES} == {"upside_down", "left_right"}
    of_rule = {rule.name: rule.value.replace("edge_percent", "edge_share") for rule in RULES}
    assert {rule.rule: rule.value for rule in CHANGE_RULES} == {
        rule.rule: of_rule[rule.rule] for rule in CHANGE_RULES
    }
    assert {rule.value for rule in CHANGE_RULES} <= set(NOW["FLAIR"])
    assert all(f"\n{setting} = " in protocol_text() for setting in BY_SETTING)


def test_an_unchanged_scan_has_no_finding():
    assert judge(earlier={"wk00": NOW, "wk04": NOW}, dummy_run=NOW) == []
    assert judge() == []


@pytest.mark.parametrize("phase_axis", [None, 0, 1])
def test_motion_within_slices_is_compared_along_the_stated_phase_encoding(phase_axis):
    before = NOW["FLAIR"]["slices.coherence_ratio"]
    for now, rule, axis in ((before - 1, "motion_left_right", 0), (before + 1, "motion_front_back", 1)):
        scan = values("slices.coherence_ratio", now)
        if phase_axis is not None:
            scan["FLAIR"]["phase_axis"] = float(phase_axis)
        found = [finding.rule for finding in judge(scan, earlier={"wk00": NOW})]
        assert found == ([f"change_{rule}"] if phase_axis in (None, axis) else [])


def beyond(rule, factor):
    """A value that is worse than that of NOW by a multiple of the limit; 0 is replaced by a value that can fall."""
    before = NOW["FLAIR"][rule.value] or 1.0
    limit = getattr(LIMITS, rule.setting).value
    change = factor * (limit / 100 * abs(before) if rule.relative else limit / rule.scale)
    return before, before - change if "_fall_" in rule.setting else before + change


@pytest.mark.parametrize("setting", BY_SETTING)
@pytest.mark.parametrize("reference", ["earlier", "dummy_run"])
def test_a_change_beyond_the_limit_is_a_query(setting, reference):
    rule = BY_SETTING[setting]
    margin = LIMITS.dummy_run_factor if reference == "dummy_run" else 1.0
    for factor, queries in ((0.98 * margin, 0), (1.02 * margin, 1)):
        before, now = beyond(rule, factor)
        old = values(rule.value, before)
        found = judge(values(rule.value, now), **{reference: {"wk00": old} if reference == "earlier" else old})
        assert [finding.rule for finding in found] == [f"change_{rule.rule}"] * queries
    (finding,) = found
    assert finding.action is Action.QUERY
    assert finding.limit == pytest.approx(margin * getattr(LIMITS, setting).value)
    assert finding.measured == pytest.approx(1.02 * finding.limit, rel=0.02, abs=2e-3)
    assert finding.to_do == getattr(LIMITS, setting).ask
    assert (
        "of visit wk00, found" if reference == "earlier" else "of the dummy run of the scanner"
    ) in finding.message


@pytest.mark.parametrize("setting", BY_SETTING)
def test_only_two_sided_limits_find_a_change_in_the_other_direction(setting):
    rule = BY_SETTING[setting]
    before, now = beyond(rule, 1.05)
    found = judge(values(rule.value, 2 * before - now), earlier={"wk00": values(rule.value, before)})
    other = {r.setting for r in CHANGE_RULES if r.value == rule.value} - {setting}  # its own limit
    assert {finding.rule for finding in found} == (
        {f"change_{rule.rule}"} if "_change_" in setting else {f"change_{BY_SETTING[name].rule}" for name in other}
    )


@pytest.mark.requirement("INTAKE-12")
def test_the_limits_of_the_protocol_decide():
    text = protocol_text().replace(
        "max_fall_snr_percent = { value = 60.0, action", "max_fall_snr_percent = { value = 9.0, action"
    )
    limits = parse_protocol(text).image_change
    (finding,) = judge(values("snr", 36.0), earlier={"wk00": NOW}, limits=limits)
    assert "snr" in finding.rule
    refuse = ChangeLimits(max_fall_snr_percent=QualityLimit(value=9.0, action=Action.REFUSE, ask="call us"))
    (finding,) = judge(values("snr", 36.0), earlier={"wk00": NOW}, limits=refuse)
    assert (finding.action, finding.to_do) == (Action.REFUSE, "call us")
    assert ChangeLimits.model_validate({"max_rise_void_mm": {"value": 1.0}}).max_rise_void_mm.ask
    (finding,) = judge(values("snr", 20.0), dummy_run=NOW, limits=ChangeLimits(
        dummy_run_factor=1.0, max_fall_snr_percent=QualityLimit(value=49.0, ask="x")
    ))  # fmt: skip
    assert finding.measured == 50.0


def test_earlier_visits_are_their_median_and_come_before_the_dummy_run():
    earlier = {"wk00": values("snr", 10.0), "wk04": values("snr", 100.0), "wk12": values("snr", 101.0)}
    (finding,) = judge(values("snr", 15.0), earlier=earlier, dummy_run=values("snr", 1000.0))
    assert "below the 100 of visits wk00, wk04, wk12 (median), found 15" in finding.message
    (finding,) = judge(values("snr", 15.0), earlier={"wk00": values("snr", 15.0)}, dummy_run=values("snr", 1e9),
                       limits=ChangeLimits(dummy_run_factor=1.0))  # fmt: skip
    assert "of the dummy run of the scanner" in finding.message


def test_what_was_not_measured_or_has_a_finding_is_not_compared():
    earlier = {"wk00": NOW}
    worse = values("snr", 1.0)
    assert judge(worse, earlier=earlier, known={("snr", Contrast.FLAIR)}) == []
    assert judge(worse, earlier=earlier, known={("snr", Contrast.T1W)})
    assert judge({"T1w": worse["FLAIR"]}, earlier=earlier, dummy_run=NOW) == []
    assert judge({"FLAIR": {}}, earlier=earlier) == []
    assert judge(worse, earlier={"wk00": {"FLAIR": {}}}, dummy_run={}) == []
    assert judge(values("snr", 5.0), earlier={"wk00": values("snr", 0.0)}) == []


def test_a_visit_is_compared_with_earlier_visits_on_its_scanner_and_becomes_a_query(tmp_path):
    trial = new_trial(tmp_path / "trial")
    ingest(trial, upload(tmp_path / "up0"), "wk24")
    with opened(trial) as registry:
        (code,) = registry.subjects()
        ((_, scanner),) = registry.scanner_gates.scanners().values()
        (stored,) = registry.measures.all()
        litres = stored.values["FLAIR"]["content.head_litres"]
        other = ScannerFacts("Other", "Model", "v1", 3.0, "ef" * 8)
        for visit, found, made_by in (
            ("wk04", 50.0, other),
            ("wk48", 50.0, scanner),
            ("wk12", 2 * litres, scanner),
        ):
            registry.record_scan(
                code, visit, site="S01", upload_digest=visit, scanner=made_by,
                measures={"FLAIR": {"content.head_litres": found}},
            )  # fmt: skip
    sent = upload(tmp_path / "up1", day=200)
    tried = ingest(trial, sent, "wk28", dry_run=True)
    received = ingest(trial, sent, "wk28")
    assert received.queries == tried.queries
    with opened(trial) as registry:
        assert [m.visit for m in registry.measures.all()] == ["wk24", "wk04", "wk48", "wk12", "wk28"]
        assert registry.differences_from_audit() == []
        queries = [query for query in registry.site_queries.all() if query.question.rule.startswith("change_")]
    (query,) = queries
    assert (query.visit, query.question.rule, query.question.contrast) == ("wk28", "change_head_volume", "FLAIR")
    assert "of visits wk12, wk24 (median), found" in query.question.message
    assert query.question.to_do


def test_a_visit_is_compared_with_the_dummy_run_of_its_scanner(tmp_path):
    trial = new_trial(tmp_path / "trial")
    ingest(trial, upload(tmp_path / "up0"), "wk00")
    with opened(trial) as registry:
        ((_, scanner),) = registry.scanner_gates.scanners().values()
        registry.record_dummy_run(
            "S01",
            accepted=True,
            upload_digest="d1",
            scanner=scanner,
            measures={"FLAIR": {"content.head_litres": 90.0}},
        )
    received = ingest(trial, upload(tmp_path / "up1", day=28), "wk04")
    (found,) = [text for text in received.queries if "dummy run" in text]
    assert found.startswith("FLAIR: expected a volume of the head at most 60 % from the 90 L of the dummy run")


def test_a_misleading_measure_is_not_stored():
    field = FieldMeasures(
        0.4, 0.5, 6.0, 0.6, None, None, None, 0.2, 1.0, (2.0, 2.0, None), {"efc": "x", "fber": "x"}
    )
    (stored,) = measure_record({Contrast.FLAIR: replace(GOOD, field=field)}).values()
    assert {name for name in stored if name.startswith("field.")} == {
        "field.cjv", "field.wm2max", "field.inu_range", "field.inu_median",
    }  # fmt: skip
    whole = replace(GOOD, field=replace(field, misleading={}))
    assert measure_record({Contrast.FLAIR: whole})["FLAIR"]["field.efc"] == 0.5
