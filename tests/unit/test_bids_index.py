"""Which files of a BIDS dataset are used, why others are not, and in which order sessions come."""

import itertools
import json
import logging

import pytest

from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.bids_index import NO_SESSION, index_dataset, load_filters
from mri_pipeline.core.io.session_order import order_sessions
from mri_pipeline.core.visits import Contrast
from reading_centre.commands.bids import memory_gb, repeat_options


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset from names below sub-01; a session is the part before the slash, if any."""

    def make(*names, links=()):
        (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
        for name in (*names, *links):
            session, _, rest = name.rpartition("/")
            folder = tmp_path / "sub-01" / (f"ses-{session}" if session else "") / "anat"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / (
                "_".join(filter(None, ["sub-01", f"ses-{session}" * bool(session), rest])) + ".nii.gz"
            )
            if name in links:
                path.symlink_to(tmp_path / "annex" / "nothing")
            else:
                path.touch()
        return tmp_path

    return make


def index(root, **options):
    return index_dataset(root, ["01"], **options)["01"]


@pytest.mark.parametrize("agent", ["gadolinium", "gad", "Gd", "gadobutrol"])
def test_any_contrast_agent_is_the_t1_after_contrast(dataset, agent):
    root = dataset("wk00/FLAIR", "wk00/T1w", f"wk00/ce-{agent}_T1w")
    (session,) = index(root).sessions
    assert set(session.scans) == {Contrast.FLAIR, Contrast.T1W, Contrast.T1W_GD}
    assert session.scans[Contrast.T1W_GD].endswith(f"ce-{agent}_T1w.nii.gz")


def test_one_unambiguous_file_is_used_whatever_its_other_entities(dataset):
    root = dataset("wk00/acq-3D_FLAIR", "wk00/rec-norm_T2w", "wk00/run-1_T1w")
    (session,) = index(root).sessions
    assert set(session.scans) == {Contrast.FLAIR, Contrast.T2W, Contrast.T1W}
    assert index(root).ignored == ()


def test_two_candidates_are_an_error_that_lists_them_and_a_filter_settles_it(dataset, tmp_path):
    root = dataset("wk00/acq-2D_FLAIR", "wk00/acq-3D_FLAIR")
    with pytest.raises(
        UsageError, match=r"one FLAIR per session, found 2: .*acq-2D_FLAIR.*, .*acq-3D_FLAIR"
    ) as error:
        index(root)
    assert "--bids-filter-file" in error.value.hint
    (tmp_path / "f.json").write_text(json.dumps({"flair": {"acquisition": "3D"}}))
    found = index(root, filters=load_filters(tmp_path / "f.json"))
    assert found.sessions[0].scans[Contrast.FLAIR].endswith("acq-3D_FLAIR.nii.gz")
    assert [(file.path[-17:], file.reason) for file in found.ignored] == [
        ("acq-2D_FLAIR.nii.gz"[-17:], "the filter file excludes it")
    ]


@pytest.mark.parametrize(
    ("value", "used"), [(None, "FLAIR"), (["2D", "9D"], "acq-2D_FLAIR"), ("2D", "acq-2D_FLAIR"), ([], "FLAIR")]
)
def test_a_filter_may_ask_for_absence_or_several_values(dataset, tmp_path, value, used):
    root = dataset("wk00/FLAIR", "wk00/acq-2D_FLAIR")
    (tmp_path / "f.json").write_text(json.dumps({"FLAIR": {"acquisition": value}}))
    scans = index(root, filters=load_filters(tmp_path / "f.json")).sessions[0].scans
    assert scans[Contrast.FLAIR].endswith(f"ses-wk00_{used}.nii.gz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a JSON file"),
        ("[]", "an object of entities"),
        ('{"bold": {}}', "found 'bold'"),
        ('{"flair": {"colour": "red"}}', "found 'colour'"),
    ],
)
def test_a_filter_file_that_cannot_be_used_is_refused(tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_filters(tmp_path / "f.json")


def test_every_file_that_is_not_used_is_listed_with_the_reason(dataset):
    root = dataset(
        "wk00/FLAIR", "wk00/T2starw", "wk00/ce-Gd_FLAIR", "wk00/part-phase_T2w", "wk00/desc-x_T1w", "T1w",
        links=["wk00/PDw"],
    )  # fmt: skip
    (root / "sub-01" / "ses-wk00" / "anat" / "brain mask.nii.gz").touch()
    found = index(root)
    assert [set(session.scans) for session in found.sessions] == [{Contrast.FLAIR}]
    reasons = {file.path.rpartition("/")[2].removesuffix(".nii.gz"): file.reason for file in found.ignored}
    assert reasons == {
        "brain mask": "its name is not a BIDS name",
        "sub-01_T1w": "it lies outside of the subject's sessions",
        "sub-01_ses-wk00_PDw": "it is a link whose target is missing (datalad get?)",
        "sub-01_ses-wk00_T2starw": "T2starw is not a contrast of this analysis",
        "sub-01_ses-wk00_ce-Gd_FLAIR": "FLAIR after contrast is not a contrast of this analysis",
        "sub-01_ses-wk00_desc-x_T1w": "desc-x is a processed image",
        "sub-01_ses-wk00_part-phase_T2w": "part-phase is not a magnitude image",
    }


def test_a_flair_whose_link_points_nowhere_stays_a_session(dataset):
    found = index(dataset("wk04/FLAIR", links=["wk00/FLAIR"]))
    assert [session.visit for session in found.sessions] == ["wk00", "wk04"]
    assert Contrast.FLAIR in found.sessions[0].scans


def test_a_subject_without_session_level_has_one_visit(dataset):
    (session,) = index(dataset("FLAIR", "T1w")).sessions
    assert session.visit == NO_SESSION
    assert set(session.scans) == {Contrast.FLAIR, Contrast.T1W}


def test_sessions_that_are_not_asked_for_are_listed_and_unknown_ones_refused(dataset):
    root = dataset("wk00/FLAIR", "wk04/FLAIR")
    found = index(root, sessions=["wk04"])
    assert [session.visit for session in found.sessions] == ["wk04"]
    assert found.ignored[0].reason == "its session is not among those asked for"
    with pytest.raises(UsageError, match="found unknown wk99"):
        index(root, sessions=["wk99"])


def sessions_table(root, times):
    rows = ["session_id\tacq_time", *(f"ses-{label}\t{time}" for label, time in times.items())]
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("\n".join(rows) + "\n")


def test_acquisition_times_order_sessions_before_their_labels(dataset, caplog):
    root = dataset("pre/FLAIR", "post/FLAIR")
    with pytest.raises(UsageError, match=r"order the sessions, found the labels post, pre") as error:
        index(root)
    assert "--session-order FIRST,SECOND" in error.value.hint
    assert "post,pre" not in error.value.hint  # alphabetical order may be the wrong one
    sessions_table(root, {"post": "2021-05-01T10:00:00", "pre": "2021-02-01"})
    found = index(root)
    assert ([s.visit for s in found.sessions], found.order_source) == (["pre", "post"], "acq_time")
    assert "2021" not in found.model_dump_json()
    sessions_table(root, {"post": "2021-05-01T10:00:00", "pre": "n/a"})
    with pytest.raises(UsageError, match="found the labels"):
        index(root)


def test_acquisition_times_of_scans_tables_count_too(dataset):
    root = dataset("post/FLAIR", "pre/FLAIR")
    for label, day in (("post", "02"), ("pre", "01")):
        table = root / "sub-01" / f"ses-{label}" / f"sub-01_ses-{label}_scans.tsv"
        table.write_text(f"filename\tacq_time\nanat/x.nii.gz\t2020-01-{day}T00:00:00Z\n")
    assert [session.visit for session in index(root).sessions] == ["pre", "post"]


def test_acquisition_times_that_contradict_numbers_win_and_trigger_a_warning(dataset, caplog):
    root = dataset("wk00/FLAIR", "wk04/FLAIR")
    sessions_table(root, {"wk00": "2021-05-01", "wk04": "2021-02-01"})
    with caplog.at_level(logging.WARNING):
        assert [session.visit for session in index(root).sessions] == ["wk04", "wk00"]
    assert "sub-01: acq_time contradicts the numbers in the session labels" in caplog.text
    assert "2021" not in caplog.text


def test_equal_acquisition_times_order_nothing(dataset):
    root = dataset("wk00/FLAIR", "wk04/FLAIR")
    sessions_table(root, {"wk00": "2021-05-01", "wk04": "2021-05-01"})
    assert index(root).order_source == "numbers in the session labels"


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "2", "1"], ["1", "2", "10"]),
        (["wk12", "wk04", "wk100"], ["wk04", "wk12", "wk100"]),
        (["12m", "6m"], ["6m", "12m"]),
        (["M06", "m12"], ["M06", "m12"]),
    ],
)
def test_numbers_order_labels_that_differ_in_nothing_else(tmp_path, labels, order):
    assert order_sessions(tmp_path, "01", labels)[0] == order


@pytest.mark.parametrize(
    "labels", [["baseline", "6m", "12m"], ["6m", "1y"], ["wk04", "w12"], ["1", "01"], ["1a", "1b"], ["a", "b"]]
)
def test_other_labels_are_refused_and_an_explicit_order_settles_it(tmp_path, labels):
    with pytest.raises(UsageError, match="found the labels " + ", ".join(sorted(labels))):
        order_sessions(tmp_path, "01", labels)
    assert order_sessions(tmp_path, "01", labels[::-1], explicit=["zz", *labels]) == (labels, "--session-order")
    with pytest.raises(UsageError, match=f"found none for {labels[0]}"):
        order_sessions(tmp_path, "01", labels, explicit=labels[1:])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("bids B O participant --participant-label 01 sub-02 --json", ["01", "sub-02"]),
        ("bids B O participant --json --participant_label 01 02", ["01", "02"]),
        ("bids --skip-bids-validation B O participant --participant-label 01 02", ["01", "02"]),
        ("bids --participant-label 01 B O participant", ["01"]),
    ],
)
def test_one_option_takes_several_labels(arguments, expected):
    done = repeat_options(arguments.split())
    labels = [value for option, value in itertools.pairwise(done) if option.startswith("--participant")]
    assert labels == expected
    assert [a for a in done if not a.startswith("-") and a not in labels] == ["bids", "B", "O", "participant"]


def test_other_commands_keep_their_arguments():
    assert repeat_options(["run", "T", "--subject", "A", "B"]) == ["run", "T", "--subject", "A", "B"]


@pytest.mark.parametrize(("text", "gb"), [("16G", 16.0), ("16000", 16.0), ("1.5 GB", 1.5), ("2000mb", 2.0)])
def test_memory_is_read_as_fmriprep_reads_it(text, gb):
    assert memory_gb(text) == gb


@pytest.mark.parametrize(
    ("text", "message"), [("16", "at least 1 GB"), ("much", "found 'much'"), ("4X", "found '4X'")]
)
def test_memory_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        memory_gb(text)
