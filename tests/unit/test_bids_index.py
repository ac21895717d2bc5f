"""Which files of a BIDS dataset are used, why others are not, and in which order sessions come."""

import itertools
import json
import logging
import re
from types import SimpleNamespace

import pytest
import typer

from mri_pipeline.core.errors import SettingsError, UsageError
from mri_pipeline.core.io.bids_index import NO_SESSION, index_dataset, load_filters
from mri_pipeline.core.io.session_order import order_sessions
from mri_pipeline.core.visits import Contrast
from reading_centre.cli import app, invoke
from reading_centre.commands.bids import memory_gb, repeat_options
from reading_centre.use_cases.analysis.bids import app as bids_app
from reading_centre.use_cases.analysis.bids.tables import require_one_digest
from workflows.outcome import BatchOutcome


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
    (problem,) = index(root).problems
    assert re.search(r"one FLAIR per session, found 2: .*acq-2D_FLAIR.*, .*acq-3D_FLAIR", problem)
    assert "--bids-filter-file" in problem
    assert index(root).sessions[0].scans == {}
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


@pytest.mark.parametrize("value", ["1", "01", 1, ["01", 7]])
def test_a_run_is_selected_with_and_without_leading_zeros(dataset, tmp_path, value):
    root = dataset("wk00/FLAIR", "wk00/run-01_T1w", "wk00/run-02_T1w")
    (tmp_path / "f.json").write_text(json.dumps({"t1w": {"run": value}}))
    scans = index(root, filters=load_filters(tmp_path / "f.json")).sessions[0].scans
    assert scans[Contrast.T1W].endswith("run-01_T1w.nii.gz")


def test_a_label_is_compared_as_it_is_written(dataset, tmp_path):
    root = dataset("wk00/acq-01_FLAIR", "wk00/acq-1_FLAIR")
    (tmp_path / "f.json").write_text(json.dumps({"flair": {"acquisition": "1"}}))
    scans = index(root, filters=load_filters(tmp_path / "f.json")).sessions[0].scans
    assert scans[Contrast.FLAIR].endswith("acq-1_FLAIR.nii.gz")


def test_keys_of_other_bids_apps_are_ignored_and_logged(tmp_path, caplog):
    shared = {"bold": {"task": "rest"}, "fmap": {"datatype": "fmap"}, "t2w": {"suffix": "T2w"}}
    (tmp_path / "f.json").write_text(json.dumps(shared))
    with caplog.at_level(logging.INFO):
        assert load_filters(tmp_path / "f.json") == {Contrast.T2W: {"suffix": ("T2w",)}}
    assert [record.message.partition(" is ignored")[0] for record in caplog.records] == [
        "--bids-filter-file: bold", "--bids-filter-file: fmap",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a JSON file"),
        ("[]", "expected an object with a key for each contrast, found a list$"),
        ('"see Mr. Muster"', "found text$"),
        ('{"flair": "acquisition of patient 4711"}', "expected an object of entities for 'flair', found text$"),
        ('{"t1w": null}', "expected an object of entities for 't1w', found null$"),
        ('{"t1w": true}', "for 't1w', found true or false$"),
        ('{"t1w": 1}', "for 't1w', found a number$"),
        ('{"flare": {}}', "found 'flare'"),
        ('{"t1": {}}', "found 't1'"),
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
    (problem,) = index(root).problems
    assert "order the sessions, found the labels post, pre" in problem
    assert "--session-order FIRST,SECOND" in problem
    assert "post,pre" not in problem  # alphabetical order may be the wrong one
    assert index(root).sessions == ()
    sessions_table(root, {"post": "2021-05-01T10:00:00", "pre": "2021-02-01"})
    found = index(root)
    assert ([s.visit for s in found.sessions], found.order_source) == (["pre", "post"], "acq_time")
    assert "2021" not in found.model_dump_json()
    sessions_table(root, {"post": "2021-05-01T10:00:00", "pre": "n/a"})
    assert "found the labels" in index(root).problems[0]


def test_every_problem_of_a_subject_is_listed(dataset):
    root = dataset("a/acq-2D_FLAIR", "a/acq-3D_FLAIR", "a/T1w", "b/FLAIR", "b/run-1_T2w", "b/run-2_T2w")
    problems = index(root).problems
    assert [problem.partition(", found")[0] for problem in problems] == [
        "expected one FLAIR per session", "expected one T2w per session",
        "expected acq_time or numbers that order the sessions",
    ]  # fmt: skip
    assert [session.scans.keys() for session in index(root, session_order=["b", "a"]).sessions] == [
        {Contrast.FLAIR}, {Contrast.T1W},
    ]  # fmt: skip


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
        ("bids --keep-work B O participant --participant-label 02 03", ["02", "03"]),
        ("bids --skip_bids_validation B O participant --participant-label 02 03 -v", ["02", "03"]),
        ("-v bids B O participant --participant-label 02 03", ["02", "03"]),
        ("bids -vv B O participant --participant-label 02 03", ["02", "03"]),
        ("--verbose bids -wW --mem_mb=8000 B O participant --participant-label 02 03", ["02", "03"]),
    ],
)
def test_one_option_takes_several_labels(arguments, expected):
    done = repeat_options(arguments.split())
    labels = [value for option, value in itertools.pairwise(done) if option.startswith("--participant")]
    assert labels == expected
    assert [a for a in done if not a.startswith("-") and a not in labels] == ["bids", "B", "O", "participant"]


def test_every_flag_is_known_to_the_counting_of_arguments():
    program = typer.main.get_command(app)
    flags = [
        name
        for command in (program, program.commands["bids"])
        for option in command.params
        if getattr(option, "is_flag", False) or getattr(option, "count", False)
        for name in option.opts
    ]
    for flag in flags:
        done = repeat_options([*f"bids {flag} B O participant --participant-label 02 03".split()])
        assert done.count("--participant-label") == 2, flag


@pytest.mark.parametrize(
    "options",
    [
        "-v",
        "-vv",
        "--verbose --keep-work",
        "--skip_bids_validation --mem_mb 8000 --nthreads 2",
        "--mem_mb=8000 -wWORK",
    ],
)
def test_options_of_fmriprep_are_accepted_at_any_place(options, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        bids_app, "run_participants", lambda *_, **options: asked.append(options) or BatchOutcome(())
    )
    monkeypatch.chdir(tmp_path)
    labels = ["--participant-label", "02", "03"]
    paths = [str(tmp_path), str(tmp_path / "out"), "participant"]
    for before in ([], ["-v"]):
        assert invoke([*before, "bids", *options.split(), *paths, *labels]) == 0
        assert invoke([*before, "bids", *paths, *labels, *options.split()]) == 0
    assert [one["selection"].participants for one in asked] == [("02", "03")] * 4


def test_verbose_after_the_command_shows_the_steps(tmp_path, monkeypatch, capfd):
    def analyse(*_args, **_options):
        logging.getLogger("workflows.batch").info("one step")
        return BatchOutcome(())

    monkeypatch.setattr(bids_app, "run_participants", analyse)
    paths = [str(tmp_path), str(tmp_path / "out"), "participant"]
    assert invoke(["bids", *paths]) == 0
    assert "one step" not in capfd.readouterr().err
    assert invoke(["bids", *paths, "-v"]) == 0
    assert "one step" in capfd.readouterr().err
    assert invoke(["bids", *paths]) == 0
    assert "one step" not in capfd.readouterr().err


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


def test_results_of_two_digests_are_not_in_one_table():
    first, second = (SimpleNamespace(rules_digest=digit * 64) for digit in "12")
    found = "found sub-b with rules digest 222222222222, expected 111111111111$"
    with pytest.raises(UsageError, match=found):
        require_one_digest({"a": first, "b": second})
    with pytest.raises(UsageError, match=found):
        require_one_digest({"b": second}, first.rules_digest)
    assert require_one_digest({"a": first, "b": first}) == first.rules_digest
