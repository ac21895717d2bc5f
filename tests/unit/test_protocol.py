"""trial.toml: what it says is what is used, and every fault has a place and a word."""

import pytest

from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.protocol import Action, load_protocol, parse_protocol, protocol_text

MESEMS = protocol_text("mesems")


def test_the_protocol_of_the_trial():
    protocol = parse_protocol(MESEMS)
    assert [v.label for v in protocol.visits] == ["wk00", "wk04", "wk12", "wk24", "wk28", "wk36", "wk48"]
    assert [v.week for v in protocol.visits if v.before_infusion] == [0, 24]
    assert protocol.acquisition.min_field_strength_t == 1.5
    assert protocol.acquisition.max_slice_thickness_2d_mm.action is Action.QUERY


def test_the_written_defaults_are_the_defaults():
    """A setting shown in mesems.toml must say what an absent one means."""
    shown = parse_protocol(MESEMS)
    for part in ("acquisition", "lesions", "reading", "image_quality"):
        assert getattr(shown, part) == type(getattr(shown, part))()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mesems"', 'name = "mesems"\ncolour = 1', "colour: Extra inputs are not permitted"),
        ("week = 4,", "week = 5,", "visit wk04 is not week 5"),
        ('label = "wk04"', 'label = "wk00"', "visit labels must differ"),
        ('{ contrast = "FLAIR", required = true },', "", "FLAIR must be a required sequence"),
        ('code = "S02"', 'code = "S01"', "site codes must differ"),
        ('code = "S02"', 'code = "S 02"', r"sites\.1\.code"),
        ('action = "query"', 'action = "shout"', r"acquisition\..*action"),
        ("[lesions]", "[lesions", "expected TOML"),
    ],
)
def test_faults_are_named(old, new, message):
    assert old in MESEMS
    with pytest.raises(SettingsError, match=message) as caught:
        parse_protocol(MESEMS.replace(old, new, 1))
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_unknown_visit_site_protocol_and_folder(tmp_path):
    protocol = parse_protocol(MESEMS)
    with pytest.raises(SettingsError, match="expected a visit of the protocol"):
        protocol.visit("wk99")
    with pytest.raises(SettingsError, match=r"expected a site of trial\.toml \(S01, S02\)"):
        protocol.site("S77")
    with pytest.raises(SettingsError, match="expected a known protocol"):
        protocol_text("other")
    with pytest.raises(SettingsError, match=r"expected a trial folder with trial\.toml"):
        load_protocol(tmp_path / "trial.toml")
