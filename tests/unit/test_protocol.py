"""trial.toml: its settings are in use, and every error names section, key and what was expected."""

import pytest

from mri_pipeline.core.accounts import Role
from mri_pipeline.core.errors import SettingsError
from mri_pipeline.core.protocol import load_protocol, parse_protocol, protocol_text
from mri_pipeline.core.provenance import settings_digest
from mri_pipeline.core.quality_limits import Action

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
    for part in ("acquisition", "lesions", "reading", "image_quality", "image_change", "scanner_gate"):
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


def with_limit(text: str) -> str:
    name = text.partition(" = ")[0]
    lines = [text if line.startswith(f"{name} =") else line for line in MESEMS.splitlines()]
    assert text in lines
    return "\n".join(lines)


def test_a_limit_of_image_quality_keeps_what_is_not_stated():
    shown = parse_protocol(MESEMS).image_quality.min_template_similarity
    limit = parse_protocol(with_limit("min_template_similarity = { value = 0.4 }")).image_quality
    assert limit.min_template_similarity == shown.model_copy(update={"value": 0.4})
    limit = parse_protocol(with_limit('min_snr = { action = "refuse" }')).image_quality
    assert (limit.min_snr.value, limit.min_snr.action) == (10.0, Action.REFUSE)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_limit_of_image_quality_is_a_finite_number(value):
    with pytest.raises(SettingsError, match=r"image_quality\.min_snr\.value: Input should be a finite number"):
        parse_protocol(with_limit(f"min_snr = {{ value = {value} }}"))


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


TWO = MESEMS.replace("readers = 1", "readers = 2")
READERS = """
[[readers]]
code = "R1"
[[readers]]
code = "r2"
[[readers]]
code = "ADJ"
role = "adjudicator"
"""


def test_two_reads_require_two_readers_and_an_adjudicator():
    protocol = parse_protocol(TWO + READERS)
    assert (protocol.reading.readers, len(protocol.readers)) == (2, 3)
    for listed in ("", READERS.replace('role = "adjudicator"', ""), '[[readers]]\ncode = "R1"\n'):
        with pytest.raises(SettingsError, match="require at least 2 readers and 1 adjudicator"):
            parse_protocol(TWO + listed)
    with pytest.raises(SettingsError, match="reader codes must differ"):
        parse_protocol(TWO + READERS.replace("r2", "r1"))
    with pytest.raises(SettingsError, match=r"reading\.readers"):
        parse_protocol(MESEMS.replace("readers = 1", "readers = 3"))


def test_a_reader_is_known_by_code_in_any_case_and_by_role():
    protocol = parse_protocol(TWO + READERS)
    assert [protocol.reader(code).code for code in ("r1", "R2", "adj")] == ["R1", "r2", "ADJ"]
    with pytest.raises(SettingsError, match=r"expected a reader of trial\.toml \(R1, r2\), found 'R3'"):
        protocol.reader("R3", Role.READER)
    with pytest.raises(SettingsError, match="reader ADJ: expected the role reader, found adjudicator"):
        protocol.reader("ADJ", Role.READER)
    with pytest.raises(SettingsError, match="reader R1: expected the role adjudicator, found reader"):
        protocol.reader("R1", Role.ADJUDICATOR)
    assert parse_protocol(MESEMS).reader("anybody").code == "anybody"


PEOPLE = """
[[accounts]]
code = "S01-AB"
role = "site"
site = "S01"
[[accounts]]
code = "DM"
role = "data manager"
"""


def test_people_who_do_not_read_have_accounts_of_their_own_and_change_no_digest():
    protocol = parse_protocol(TWO + READERS + PEOPLE)
    assert [(person.code, person.role, person.site) for person in protocol.accounts] == [
        ("S01-AB", Role.SITE, "S01"),
        ("DM", Role.DATA_MANAGER, ""),
    ]
    assert settings_digest(protocol) == settings_digest(parse_protocol(TWO + READERS))
    for old, new, message in (
        ('code = "DM"', 'code = "adj"', "codes of readers and accounts must differ"),
        ('site = "S01"', 'site = "S99"', "accounts must name a site of the trial"),
        ('site = "S01"', "", 'a site is required for the role "site"'),
        (
            '"data manager"',
            '"data manager"\nsite = "S01"',
            'a site is required for the role "site", and for no other',
        ),
        ('"data manager"', '"reader"', r"belong under \[\[readers\]\]"),
        ('"data manager"', '"statistician"', r"accounts\.1\.role"),
    ):
        with pytest.raises(SettingsError, match=message):
            parse_protocol(TWO + READERS + PEOPLE.replace(old, new))
    with pytest.raises(SettingsError, match=r"belong under \[\[accounts\]\]"):
        parse_protocol(TWO + READERS.replace('"adjudicator"', '"auditor"'))


def test_a_password_changes_no_digest_of_the_settings():
    with_password = READERS.replace('code = "R1"', 'code = "R1"\npassword_hash = "$argon2id$v=19$a"')
    digests = {settings_digest(parse_protocol(TWO + readers)) for readers in (READERS, with_password)}
    assert len(digests) == 1
    once = "one_time_password_hash"
    for wrong in (
        'password_hash = "secret"',
        'key_sha256 = "12"',
        f'{once} = "$argon2id$v=19$a"',
        f'{once} = "2026-01-01T00:00:00 $argon2id$v=19$a"',
        f'{once} = "2026-yesterday $argon2id$v=19$a"',
        f'{once} = "9999-12-31T23:59:59+00:00 $argon2id$v=19$a"',
    ):
        with pytest.raises(SettingsError, match=r"readers\.0\."):
            parse_protocol(TWO + READERS.replace('code = "R1"', f'code = "R1"\n{wrong}'))
