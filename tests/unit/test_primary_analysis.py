"""The primary analysis on released tables: R's MASS::glm.nb is the witness, stored and, where R is, live.

tests/data/primary_analysis holds a made-up trial (no patient's numbers) and what R 4.2.2 with MASS 7.3-58.2 gave:
    Rscript docs/examples/primary_analysis.R endpoints.csv randomisation.csv placebo > glm_nb.csv
"""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from docs.examples import primary_analysis as example
from mri_pipeline.core.plan import planned_visits
from mri_pipeline.core.protocol import parse_protocol, protocol_text
from mri_pipeline.core.records import ScanStatus, SubjectResult, VisitCounts
from mri_pipeline.tables.endpoints import ENDPOINTS
from mri_pipeline.tables.inputs import SubjectInput
from mri_pipeline.tables.io import write_tables
from mri_pipeline.tables.release import release_tables

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
DATA = ROOT / "tests" / "data" / "primary_analysis"
FILES = DATA / "endpoints.csv", DATA / "randomisation.csv"
VISITS = planned_visits(parse_protocol(protocol_text()))
POPULATIONS = {"available": False, "complete": True}


def fitted(population, reference="placebo"):
    subjects = example.population(example.read_trial(*FILES), complete=POPULATIONS[population])
    return example.primary_model(subjects, reference=reference)


def numbers(fit):
    """The quantities of primary_analysis.R."""
    found = {"n": fit.n, "theta": fit.theta, "log_likelihood": fit.log_likelihood, "p_group": fit.p_value("group")}
    for term in ("intercept", "group", "baseline"):
        found[f"coefficient_{term}"] = fit.coefficients[term]
        found[f"standard_error_{term}"] = fit.standard_errors[term]
    return found | dict(zip(("rate_ratio", "rate_ratio_low", "rate_ratio_high"), fit.ratio("group"), strict=True))


def glm_nb(text):
    rows = list(csv.DictReader(text.splitlines()))
    return {
        name: {row["quantity"]: float(row["value"]) for row in rows if row["population"] == name}
        for name in POPULATIONS
    }


@pytest.mark.parametrize("population", POPULATIONS)
def test_the_stored_numbers_of_r(population):
    stored = glm_nb((DATA / "glm_nb.csv").read_text())[population]
    assert numbers(fitted(population)) == pytest.approx(stored, rel=1e-5)


def test_r_itself_gives_the_stored_numbers():
    if shutil.which("Rscript") is None:
        pytest.skip("no R: apt-get install r-base-core r-cran-mass")
    command = ["Rscript", str(EXAMPLES / "primary_analysis.R"), *map(str, FILES), "placebo"]
    live = glm_nb(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stored = glm_nb((DATA / "glm_nb.csv").read_text())
    for population in POPULATIONS:
        assert live[population] == pytest.approx(stored[population], rel=1e-6)


def test_the_other_reference_gives_the_inverse_ratio():
    there, back = (fitted("available", reference).ratio("group") for reference in ("placebo", "active"))
    assert back == pytest.approx((1 / there[0], 1 / there[2], 1 / there[1]), rel=1e-6)


def test_without_covariates_the_ratio_is_that_of_the_means():
    # equal offsets and a saturated mean: the maximum is at the two group means, whatever theta is
    count = pd.Series([0, 1, 9, 14, 2, 0, 3, 25, 4, 1])
    design = pd.DataFrame({"intercept": 1.0, "group": [0] * 5 + [1] * 5})
    fit = example.fit_negative_binomial(count, design, pd.Series([3] * 10))
    assert fit.ratio("group")[0] == pytest.approx(count[5:].mean() / count[:5].mean(), rel=1e-6)
    mean = np.where(design["group"], count[5:].mean(), count[:5].mean())
    weight = mean / (1 + mean / fit.theta)
    error = np.sqrt(1 / weight[:5].sum() + 1 / weight[5:].sum())
    assert fit.standard_errors["group"] == pytest.approx(error, rel=1e-6)


# --- from the pipeline's own files ---------------------------------------------------------------------------


GEL = {  # weeks 0, 4, 12, 24; None is not known
    "BCDF2345": (3, 1, 0, 2),
    "CCDF2345": (0, 7, None, 4),
    "DCDF2345": (None, 1, 1, 0),
    "FCDF2345": (1, None, None, None),
}
SEALED = {code: (f"S0{i % 2 + 1}", f"{i // 2 + 1:04d}") for i, code in enumerate(GEL)}


@pytest.fixture
def released(tmp_path):
    subjects = [
        SubjectInput(
            SubjectResult(
                code, tuple(VisitCounts(v.label, gel_count=n) for v, n in zip(VISITS, gel, strict=False))
            ),
            {v.label: ScanStatus.ANALYSED for v in VISITS[:4]},
        )
        for code, gel in GEL.items()
    ]
    write_tables(tmp_path / "tables", subjects, VISITS, study="mesems", provisional=True)
    release_tables(tmp_path / "tables", tmp_path / "released", SEALED, reason="primary analysis")
    groups = "".join(f"{site},{number},{'ab'[i % 2]}\n" for i, (site, number) in enumerate(SEALED.values()))
    (tmp_path / "list.csv").write_text("site,subject,group\n" + groups + "S09,0001,a\n")
    return tmp_path / "released" / "endpoints.csv", tmp_path / "list.csv"


def test_released_tables_are_read_by_site_and_number(released):
    trial = example.read_trial(*released)
    assert trial[["site", "subject", "group"]].values.tolist() == [
        ["S01", "0001", "a"], ["S01", "0002", "a"], ["S02", "0001", "b"], ["S02", "0002", "b"], ["S09", "0001", "a"],
    ]  # fmt: skip
    available, complete = (example.population(trial, complete=c) for c in (False, True))
    # no baseline, no later scan, never scanned: not in the model, but in the number of the randomised
    assert available[["baseline", "count", "exposure"]].values.tolist() == [[3, 3, 3], [0, 11, 2]]
    assert complete[["baseline", "count", "exposure"]].values.tolist() == [[3, 3, 3]]


def test_the_made_up_trial_has_the_columns_of_a_release():
    header = FILES[0].read_text().splitlines()[0].split(",")
    assert set(header) <= {"site", *ENDPOINTS.names}


def test_a_subject_that_was_not_randomised_or_is_listed_twice_is_refused(released):
    endpoints, groups = released
    whole = groups.read_text()
    groups.write_text(whole.replace("S01,0001,a\n", ""))
    with pytest.raises(ValueError, match="randomisation list, found 1 that are not"):
        example.read_trial(endpoints, groups)
    groups.write_text(whole + "S01,0001,b\n")
    with pytest.raises(ValueError, match="not a one-to-one merge"):
        example.read_trial(endpoints, groups)


def test_what_cannot_be_fitted_is_refused():
    subjects = example.population(example.read_trial(*FILES), complete=False)
    with pytest.raises(ValueError, match="one of them verum, found active, placebo"):
        example.primary_model(subjects, reference="verum")
    with pytest.raises(ValueError, match="expected two groups"):
        example.primary_model(subjects[subjects["group"] == "placebo"], reference="placebo")
    none = subjects["count"].where(subjects["group"] == "placebo", 0)
    with pytest.raises(ValueError, match="expected lesions in both groups"):
        example.primary_model(subjects.assign(count=none), reference="placebo")
    design = pd.DataFrame({"intercept": 1.0, "group": [0] * 4 + [1] * 4})
    with pytest.raises(ValueError, match="expected overdispersed counts"):
        example.fit_negative_binomial(pd.Series([2, 3, 2, 2, 1, 2, 2, 1]), design, pd.Series([3] * 8))


def test_the_command_says_what_it_analysed(released, capsys):
    example.main([*map(str, FILES), "--reference", "placebo"])
    said = capsys.readouterr().out
    assert "available visits: 44 of 48 randomised (active 22, placebo 22), 122 scans" in said
    assert "rate ratio 0.8087 (95 % CI 0.4665 to 1.4020), p = 0.4494" in said
    assert "complete only: 35 of 48" in said
    assert "PROVISIONAL" not in said
    example.main([*map(str, released), "--reference", "a"])
    said = capsys.readouterr().out
    assert "PROVISIONAL" in said
    assert "complete only: 1 of 5 randomised, no result: expected two groups, one of them a, found a" in said


def changes(endpoint, seed=5):
    """A made-up trial of changes: some subjects are followed for 12 weeks only, in one or two visits."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(60):
        weeks = 24 if i % 3 else 12
        count = int(rng.negative_binomial(1.2, 1.2 / (1.2 + 0.25 * weeks * (0.5 if i % 2 else 1))))
        rows.append(
            {
                "site": "S01", "subject": f"{i:04d}", "group": "active" if i % 2 else "placebo",
                "gel_count_wk00": int(rng.poisson(2)), f"{endpoint}_available": count,
                f"{endpoint}_visits": 1 + i % 2, f"{endpoint}_weeks": weeks,
                f"{endpoint}_complete": count if weeks == 24 else None,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_changes_have_the_weeks_as_offset_and_r_agrees(tmp_path):
    endpoint = "new_or_enlarging_t2_count_wk04_12_24"
    trial = changes(endpoint)
    subjects = example.population(trial, complete=False, endpoint=endpoint)
    assert sorted(set(subjects["exposure"])) == [12, 24]
    fit = example.primary_model(subjects, reference="placebo")
    visits = example.primary_model(subjects.assign(exposure=trial[f"{endpoint}_visits"]), reference="placebo")
    assert abs(fit.ratio("group")[0] - visits.ratio("group")[0]) > 0.05  # visits are another exposure
    if shutil.which("Rscript") is None:
        pytest.skip("no R: apt-get install r-base-core r-cran-mass")
    trial.drop(columns="group").to_csv(tmp_path / "endpoints.csv", index=False)
    trial[["site", "subject", "group"]].to_csv(tmp_path / "list.csv", index=False)
    files = [str(tmp_path / name) for name in ("endpoints.csv", "list.csv")]
    command = ["Rscript", str(EXAMPLES / "primary_analysis.R"), *files, "placebo", endpoint]
    live = glm_nb(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    assert numbers(fit) == pytest.approx(live["available"], rel=1e-5)


@pytest.mark.parametrize("endpoint", example.ENDPOINTS)
def test_every_endpoint_of_the_example_has_its_columns(endpoint):
    offset = example.offset_of(endpoint)
    assert offset == ("visits" if "gel" in endpoint else "weeks")
    assert {f"{endpoint}_{name}" for name in ("available", "complete", offset)} <= set(ENDPOINTS.names)
