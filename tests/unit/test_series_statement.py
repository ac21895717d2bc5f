"""A statement of the site settles what headers and names leave open, and nothing else."""

from dataclasses import replace

import pytest

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io.nifti import load_image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.intake.choose import choose
from mri_pipeline.intake.contrast import Basis, recognise
from mri_pipeline.intake.gadolinium import split_gadolinium
from mri_pipeline.intake.series import group_series
from mri_pipeline.intake.stated import apply_statement
from reading_centre import cli
from reading_centre.use_cases.uploads.series_statement import read_statement
from tests.unit import ingest_trial
from tests.unit.ingest_trial import SMALL, ingest, opened, upload
from tests.unit.series_facts import IR, instances, t1, timed

FLAIR = instances(name="f", **timed(9000, 110, 2500, IR, acquired_s=0, series_number=4))
SECOND = instances(name="g", **timed(9000, 110, 2500, IR, acquired_s=99, series_number=5))
UNKNOWN = instances(name="u", **timed(1000, 60, acquired_s=50, series_number=7))
DWI = instances(
    name="d", **timed(9000, 90, acquired_s=70, series_number=8, description="ep2d_diff", b_value=1000.0)
)
T1S = (t1("a", 60, series_number=2), t1("b", 900, series_number=6))


def chosen(stated, *series):
    items = split_gadolinium([recognise(s) for s in group_series([i for facts in series for i in facts])])
    return choose(apply_statement(items, stated))


def keys(choices):
    return {contrast: choice.recognised.series.first.series_key for contrast, choice in choices.items()}


def test_of_two_series_the_stated_one_is_used():
    assert keys(chosen({}, FLAIR, SECOND)) == {Contrast.FLAIR: "g"}
    choices = chosen({Contrast.FLAIR: 4}, FLAIR, SECOND)
    assert keys(choices) == {Contrast.FLAIR: "f"}
    assert choices[Contrast.FLAIR].evidence == "series 4 is FLAIR by a statement of the site"


def test_a_series_of_unknown_contrast_has_the_stated_one():
    assert Contrast.T2W not in chosen({}, FLAIR, UNKNOWN)
    assert keys(chosen({Contrast.T2W: 7}, FLAIR, UNKNOWN))[Contrast.T2W] == "u"


def test_a_statement_settles_before_and_after_contrast():
    by_order = chosen({}, FLAIR, *T1S)
    assert all(by_order[c].timing_query for c in (Contrast.T1W, Contrast.T1W_GD))
    choices = chosen({Contrast.T1W: 2, Contrast.T1W_GD: 6}, FLAIR, *T1S)
    assert [(choices[c].basis, choices[c].timing_query) for c in (Contrast.T1W, Contrast.T1W_GD)] == [
        (Basis.SITE, ""), (Basis.SITE, ""),
    ]  # fmt: skip
    exchanged = chosen({Contrast.T1W: 6, Contrast.T1W_GD: 2}, FLAIR, *T1S)
    assert (keys(exchanged)[Contrast.T1W], keys(exchanged)[Contrast.T1W_GD]) == ("b", "a")


def test_a_statement_against_a_certain_header_stays_a_doubt():
    injected = t1("b", 900, series_number=6, contrast_start_s=600.0)
    query = chosen({Contrast.T1W: 6}, FLAIR, injected)[Contrast.T1W].timing_query
    assert query == (
        "series 6: the site states pre-contrast, but its header says post-contrast by the time of the injection"
    )


@pytest.mark.parametrize(
    ("stated", "match"),
    [
        ({Contrast.FLAIR: 99}, "--series FLAIR=99: expected the number of a series of the upload, found 2, 4, 6, 7, 8"),
        ({Contrast.T2W: 4}, "--series T2w=4: expected a series that may be T2w, found that series 4 is FLAIR"),
        ({Contrast.T2W: 8}, "expected a series that may be T2w, found that series 8 is "),
        ({Contrast.T1W: 2, Contrast.T1W_GD: 2}, "different series for each contrast, found one series for T1w and ce"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_an_error_and_nothing_is_guessed(stated, match):
    with pytest.raises(UsageError, match=match):
        chosen(stated, FLAIR, UNKNOWN, DWI, *T1S)


def test_two_series_of_one_number_are_an_error_unless_one_fits():
    other = [i.model_copy(update={"series_number": 4}) for i in SECOND]
    with pytest.raises(UsageError, match="expected one series with this number, found 2"):
        chosen({Contrast.FLAIR: 4}, FLAIR, other)
    numbered = [i.model_copy(update={"series_number": 4}) for i in UNKNOWN]
    assert keys(chosen({Contrast.FLAIR: 4}, FLAIR, numbered))[Contrast.FLAIR] == "f"


def test_options_and_files_are_read(tmp_path):
    file = tmp_path / "series.txt"
    file.write_text("# of the radiographer\nFLAIR = 4\n\nce-gadolinium_T1w=6  # the 3D one\n")
    assert read_statement([str(file), "t2w=3"]) == {Contrast.FLAIR: 4, Contrast.T1W_GD: 6, Contrast.T2W: 3}
    without = tmp_path / "without.txt"
    without.write_text("FLAIR 4")
    for wrong, match in (
        (["FLAIR=x"], "expected CONTRAST=NUMBER, found no whole number after '='"),
        (["DWI=3"], "expected CONTRAST=NUMBER, found an unknown contrast"),
        ([str(without)], "expected CONTRAST=NUMBER, found a text without ="),
        (["FLAIR=3", "flair=4"], "expected FLAIR once, found it twice"), (["no-such-file"], "found neither"),
        ([str(tmp_path)], "found neither"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=match):
            read_statement(wrong)


def test_a_statement_is_audited_and_a_wrong_one_is_not_a_refusal(tmp_path, capsys, no_image_checks):
    trial = ingest_trial.new_trial(tmp_path / "trial")
    second = replace(SMALL[0], number=8, start_s=60.0)
    sent = upload(tmp_path / "up", specs=(*SMALL, second))
    arguments = ["ingest", str(trial.root), str(sent), "--site", "S01", "--subject", "0001", "--visit", "wk04"]
    assert cli.invoke([*arguments, "--series", "FLAIR=9"]) == 2
    assert "--series FLAIR=9: expected the number of a series of the upload, found 1, 2, 3, 4, 8" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not list(trial.quarantine.glob("*/upload*"))
    assert not list(trial.work.glob("intake-*"))
    one, other = {Contrast.FLAIR: 1}, {Contrast.FLAIR: 8}
    ingest(trial, sent, "wk04", stated=one)
    assert flair_of(trial) == 1
    ingest(trial, sent, "wk04")  # the statement need not be repeated
    with pytest.raises(UsageError, match=r"expected no accepted scan, found one \(received\)"):
        ingest(trial, sent, "wk04", stated=other)
    for _ in range(2):  # the second time nothing changes
        ingest(trial, sent, "wk04", stated=other, replace_because="the other FLAIR")
        assert flair_of(trial) == 8
    with opened(trial) as registry:
        stated = [e.details["series"] for e in registry.audit_trail() if e.action == "scan received"]
        assert (stated, len(registry.withdrawn())) == (["FLAIR=1", "FLAIR=8"], 1)


def flair_of(trial):
    """Number of the series that was stored as FLAIR: the factory adds it to the voxels, which are 10 or more."""
    (held,) = ingest_trial.agree(trial)
    (image,) = trial.rawdata.anat(held.subject, "wk04").glob("*_FLAIR.nii.gz")
    return float(load_image(image).data.min()) - 10
