"""The example of each model of the protocol: R is the witness, to four digits. Tiny data end in a sentence.

The tables are those of a simulated trial, written and released by the pipeline. The groups are random.
"""

import csv
import io
import math
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import mixed_effects
import numpy as np
import pandas as pd
import period_comparison
import primary_analysis
import pytest
import volumes
from scipy import integrate, stats

from tests.unit.trial_results import write_results

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FOUR_DIGITS = 5e-5
PRIMARY = [
    f"{name}_wk04_12_24" for name in ("gel_count", "new_or_enlarging_t2_count", "combined_unique_active_count")
]
MIXED = ["gel_count", "new_or_enlarging_t2_count", "combined_unique_active_count"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("trial"))


@cache
def has_r(library):
    command = ["Rscript", "-e", f"quit(status = !nzchar(system.file(package = '{library}')))"]
    return shutil.which("Rscript") is not None and not subprocess.run(command, check=False).returncode


def run_r(script, *arguments, library="MASS"):
    """Numbers by analysis and quantity, and the messages. Without R the test is skipped, and fails where CI is set."""
    if not has_r(library):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no R with {library}: see CONTRIBUTING.md")
    done = subprocess.run(
        ["Rscript", str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    key = "population" if rows and "population" in rows[0] else "analysis"
    found = {}
    for row in rows:
        found.setdefault(row[key], {})[row["quantity"]] = float(row["value"])
    return found, done


def test_mixed_effects_agree_with_glmmtmb(trial):
    released, groups = trial
    table = released / "lesion_timepoints.csv"
    found, _ = run_r("mixed_effects.R", table, groups, "placebo", *MIXED, library="glmmTMB")
    assert set(found) == set(MIXED)
    for endpoint in MIXED:
        visits = mixed_effects.visits_of(table, groups, endpoint=endpoint)
        fit = mixed_effects.mixed_model(visits, reference="placebo", nodes=1)
        assert mixed_effects.numbers(fit) == pytest.approx(found[endpoint], rel=FOUR_DIGITS, abs=FOUR_DIGITS / 10)


@pytest.mark.parametrize("endpoint", PRIMARY)
def test_negative_binomial_agrees_with_glm_nb(trial, endpoint):
    released, groups = trial
    table = released / "endpoints.csv"
    found, _ = run_r("primary_analysis.R", table, groups, "placebo", endpoint)
    subjects = primary_analysis.population(
        primary_analysis.read_trial(table, groups), complete=False, endpoint=endpoint
    )
    fit = primary_analysis.primary_model(subjects, reference="placebo")
    for term in ("intercept", "group", "baseline"):
        assert fit.coefficients[term] == pytest.approx(found["available"][f"coefficient_{term}"], rel=FOUR_DIGITS)
        assert fit.standard_errors[term] == pytest.approx(
            found["available"][f"standard_error_{term}"], rel=FOUR_DIGITS
        )
    assert fit.theta == pytest.approx(found["available"]["theta"], rel=FOUR_DIGITS)


def test_paired_tests_agree_with_wilcox_test(trial):
    released, groups = trial
    found, done = run_r("period_comparison.R", released / "endpoints.csv", groups)
    table = primary_analysis.read_trial(released / "endpoints.csv", groups)
    assert len(found) == 2 * len(period_comparison.COMPARISONS), done.stderr
    for name, (first, second) in period_comparison.COMPARISONS.items():
        for group, subjects in table.groupby("group"):
            ours = period_comparison.paired_test(subjects[first], subjects[second])
            assert ours == pytest.approx(found[f"{name} {group}"], rel=FOUR_DIGITS)
    # half as many lesions in period 2, and growing volumes
    assert found["gel_count placebo"]["median_difference"] < 0
    assert found["t2_volume_ml_wk00_wk24 placebo"]["p"] < 0.001


def test_volumes_agree_with_lm(trial):
    released, groups = trial
    found, done = run_r("volumes.R", released / "endpoints.csv", groups, "placebo")
    table = primary_analysis.read_trial(released / "endpoints.csv", groups)
    assert set(found) == set(volumes.RESPONSES), done.stderr
    for name in volumes.RESPONSES:
        subjects, zeros = volumes.responses(table, name)
        ours = {"zeros": zeros} | volumes.variance_analysis(subjects, reference="placebo")
        assert ours == pytest.approx(found[name], rel=FOUR_DIGITS)
    assert found["bh_volume_ml_wk24"]["zeros"] > 0
    assert found["t2_volume_ml_wk24"]["zeros"] == 0


# --- without R -------------------------------------------------------------------------------------------------


def test_the_marginal_likelihood_is_the_integral(trial):
    released, groups = trial
    visits = mixed_effects.visits_of(released / "lesion_timepoints.csv", groups)
    few = visits[visits["subject"].isin(visits["subject"].unique()[:4])]
    count, number = few["count"].to_numpy(float), pd.factorize(few["subject"])[0]
    design, offset = np.ones((len(few), 1)), np.zeros(len(few))
    theta, sd, mean = 1.7, 0.9, 0.4

    def likelihood(i):
        own = count[number == i]

        def integrand(effect):
            mu = math.exp(mean + sd * effect)
            return float(stats.nbinom.pmf(own, theta, theta / (theta + mu)).prod() * stats.norm.pdf(effect))

        return integrate.quad(integrand, -10, 10, epsabs=1e-14)[0]

    exact = sum(math.log(likelihood(i)) for i in range(4))
    at = np.array([mean, math.log(theta), math.log(sd)])
    laplace, quadrature = (
        mixed_effects._Likelihood(count, design, offset, number, nodes)(at) for nodes in (1, 25)
    )
    assert quadrature == pytest.approx(exact, rel=1e-9)
    assert abs(laplace - exact) > 1e-4  # another approximation, and so are the numbers of glmmTMB
    assert laplace == pytest.approx(exact, rel=1e-2)


def test_exposure_and_baseline_of_the_visits(trial):
    released, groups = trial
    table = pd.read_csv(released / "lesion_timepoints.csv", dtype={"subject": str})
    for endpoint in mixed_effects.ENDPOINTS:
        visits = mixed_effects.visits_of(released / "lesion_timepoints.csv", groups, endpoint=endpoint)
        assert set(visits["week"]) == {4, 12, 24}
        assert set(visits["exposure"]) == ({1} if endpoint == "gel_count" else {4, 8, 12, 20})
    # without its visit of week 4, the changes of week 12 accumulate over 12 weeks
    gap = table[(table["week"] == 12) & (table["reference_visit"] == "wk00")].iloc[0]
    row = visits[(visits["week"] == 12) & (visits["exposure"] == 12)]
    assert gap["new_t2_count"] in set(row["count"])
    first = table[table["week"] == 0].groupby(["site", "subject"])["gel_count"].sum()
    assert set(visits["baseline"]) <= set(first)


def test_a_volume_of_zero_counts_as_half_of_the_smallest_lesion():
    trial = pd.DataFrame(
        {"group": list("aabb"), "bh_volume_ml_wk24": [0.0, 0.014, 1.0, None], "bh_volume_ml_wk00": 1.0}
    )
    subjects, zeros = volumes.responses(trial, "bh_volume_ml_wk24")
    assert subjects["response"].tolist() == pytest.approx([math.log(0.007), math.log(0.014), 0.0])
    assert zeros == 1
    change, zeros = volumes.responses(trial, "bh_volume_ml_change_wk00_wk24")
    assert change["response"].tolist() == pytest.approx([math.log(0.007), math.log(0.014), 0.0])
    assert volumes.responses(trial, "bh_volume_ml_wk24", zero_ml=0.5)[0]["response"][0] == math.log(0.5)


def test_the_paired_test_is_exact_in_the_limit_of_its_ranks():
    first = pd.Series(range(12), dtype=float)
    found = period_comparison.paired_test(first, first + np.array([1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0]))
    assert (found["n"], found["n_different"], found["v"]) == (12, 11, 66 - 2)
    mean, variance = 11 * 12 / 4, 11 * 12 * 23 / 24
    assert found["p"] == pytest.approx(2 * stats.norm.sf((64 - mean - 0.5) / math.sqrt(variance)))


# --- tiny and degenerate data end in a sentence ----------------------------------------------------------------

COMMANDS = {
    "primary_analysis": "endpoints.csv",
    "mixed_effects": "lesion_timepoints.csv",
    "period_comparison": "endpoints.csv",
    "volumes": "endpoints.csv",
}


def call(name, released, groups, capsys, reference="placebo"):
    module = {"primary_analysis": primary_analysis, "mixed_effects": mixed_effects, "volumes": volumes}.get(
        name, period_comparison
    )
    options = [] if name == "period_comparison" else ["--reference", reference]
    code = 0
    try:
        primary_analysis.or_sentence(lambda: module.main([str(released / COMMANDS[name]), str(groups), *options]))
    except SystemExit as left:
        code = left.code
    return code, capsys.readouterr().out


def blank(released, columns, value):
    """Set columns of both tables to one value."""
    for file in ("endpoints.csv", "lesion_timepoints.csv"):
        table = pd.read_csv(released / file, dtype=str)
        for column in table.columns:
            if any(part in column for part in columns) and not column.endswith(("_visits", "_weeks")):
                table.loc[table[column].notna(), column] = value
        table.to_csv(released / file, index=False)


@pytest.fixture
def tiny(tmp_path):
    return write_results(tmp_path, subjects=2)


@pytest.mark.parametrize("name", COMMANDS)
def test_one_or_two_subjects_end_in_a_sentence(tmp_path, capsys, name):
    for subjects in (1, 2):
        files = write_results(tmp_path / str(subjects), subjects=subjects)
        code, said = call(name, *files, capsys)
        assert code == 0
        assert ": expected " in said
        assert "nan" not in said


@pytest.mark.parametrize("name", COMMANDS)
def test_all_zero_and_equal_numbers_end_in_a_sentence(tmp_path, capsys, name):
    released, groups = write_results(tmp_path, subjects=12)
    blank(released, ("gel_", "t2_", "bh_", "combined_"), "0")
    code, said = call(name, released, groups, capsys)
    assert code == 0
    lines = [line for line in said.splitlines() if line and not line.startswith("PROVISIONAL")]
    assert lines
    assert all(": expected " in line for line in lines)


@pytest.mark.parametrize("name", ["primary_analysis", "mixed_effects", "volumes"])
def test_one_arm_and_another_reference_end_in_a_sentence(tmp_path, capsys, name):
    files = write_results(tmp_path / "one", subjects=10, groups=("placebo",))
    assert "expected two groups, one of them placebo, found placebo" in call(name, *files, capsys)[1]
    files = write_results(tmp_path / "two", subjects=10)
    said = call(name, *files, capsys, reference="verum")[1]
    assert "expected two groups, one of them verum, found active, placebo" in said


def test_equal_counts_have_no_overdispersion(tmp_path, capsys):
    released, groups = write_results(tmp_path, subjects=12)
    blank(released, ("gel_count",), "2")
    for name in ("primary_analysis", "mixed_effects"):
        assert "found terms" in call(name, released, groups, capsys)[1]  # the baseline is constant, too


def test_wrong_files_end_in_a_sentence(tiny, tmp_path, capsys):
    released, groups = tiny
    assert call("volumes", released / "none", groups, capsys)[0].endswith("endpoints.csv'")
    assert call("volumes", released, tmp_path / "none.csv", capsys)[0] == "expected none.csv, found none"
    groups.write_text("sep=;\nsite;subject;group\nS00;0000;\n")
    assert (
        call("volumes", released, groups, capsys)[0]
        == "list.csv, line 3, column group: expected a group, found none"
    )
    groups.write_text("site;subject;group\nS00;0000;a\n")
    assert "found 1 that are not" in call("volumes", released, groups, capsys)[0]
    (released / "endpoints.csv").write_text("site,subject\n")
    assert "found none named" in call("volumes", released, groups, capsys)[0]


@pytest.mark.parametrize("script", ["primary_analysis", "mixed_effects", "period_comparison", "volumes"])
def test_tiny_data_end_in_a_sentence_of_r_too(tiny, script):
    released, groups = tiny
    options = [] if script == "period_comparison" else ["placebo"]
    library = "glmmTMB" if script == "mixed_effects" else "MASS"
    found, done = run_r(f"{script}.R", released / COMMANDS[script], groups, *options, library=library)
    assert not found
    assert ": expected " in done.stderr
    assert done.returncode == 0
    assert "Error" not in done.stderr


@pytest.mark.parametrize("script", ["primary_analysis", "period_comparison", "volumes"])
def test_wrong_files_end_in_a_sentence_of_r_too(tiny, script):
    released, groups = tiny
    options = [] if script == "period_comparison" else ["placebo"]
    done = run_r(f"{script}.R", released / "lesion_timepoints.csv", groups, *options)[1]
    assert done.stderr.startswith("lesion_timepoints.csv: expected columns separated by commas, found none named ")
    groups.write_text(groups.read_text().replace(",", ";"))
    done = run_r(f"{script}.R", released / "endpoints.csv", groups, *options)[1]
    assert done.stderr == (
        "list.csv: expected columns separated by commas, found none named site, subject, group\n"
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_the_examples_run_as_programs(tiny):
    released, groups = tiny
    command = [sys.executable, EXAMPLES / "volumes.py", released / "endpoints.csv", groups, "--reference", "x"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no analysis: expected two groups, one of them x, found active, placebo" in done.stdout
