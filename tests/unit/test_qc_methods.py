"""The methods text names what the analysis used, with one reference in the bibliography for each citation."""

import re
from importlib.resources import files

import pytest

from mri_pipeline.core.method import METHOD
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.records import RegistrationRecord, SubjectResult, VisitCounts, VisitQuality
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast
from qc.reports.methods import _references, used_in, write_methods

SOFTWARE = {
    "mri-pipeline": "9.8", "mri-pipeline source": "0123456789ab", "nipype": "1.11", "scipy": "1.17",
    "SimpleITK": "2.5", "dcm2niix": "1.0",
}  # fmt: skip


def quality(visit, *contrasts, failure="", failed=(), skull_stripped=False):
    scans = [Contrast.FLAIR, *contrasts]
    records = tuple(RegistrationRecord(c, visit, 0.9, "gauss-newton", failed=c in failed) for c in scans)
    return VisitQuality(visit, failure, skull_stripped, 1.0, records)


ONE = SubjectResult("01", (VisitCounts("1", t2_count=3),), quality=(quality("1"),))
SERIAL = SubjectResult(
    "02",
    (
        VisitCounts("1", t2_count=3, gel_count=1, bh_count=0),
        VisitCounts("2", "1", t2_count=4, new_t2_count=1, gel_count=1, gel_new_count=1),
    ),
    quality=(
        quality("1", Contrast.T1W, Contrast.T1W_GD, Contrast.PDW, failed=[Contrast.PDW]),
        quality("2", Contrast.T1W_GD, skull_stripped=True),
        quality("3", Contrast.T2W, failure="no brain"),
    ),
)


@pytest.fixture
def write(tmp_path):
    def write(*results, rules=None, from_dicom=False):
        made = write_methods(
            tmp_path, results, rules=rules or LesionRules(), settings_digest="abc123", software=SOFTWARE,
            from_dicom=from_dicom,
        )  # fmt: skip
        return {file.name: file.read_text(encoding="utf-8") for file in made}

    return write


def cited(text):
    return set(re.findall(r"@(\w+)", text))


def entries(bibliography):
    return re.findall(r"^@\w+\{(\w+),$", bibliography, re.MULTILINE)


def test_one_visit_with_flair_alone_names_no_other_step(write):
    text = write(ONE)["CITATION.md"]
    assert "MRI scans of 1 subject (1 visit) were analysed with mri-pipeline 9.8 (source 0123456789ab, " in text
    assert "settings abc123)" in text
    assert "Contrasts (number of visits): FLAIR (1)." in text
    assert "26-connected component of at least 14 mm³" in text
    for other in (
        "adolinium",
        "Black holes",
        "midpoint",
        "enlarging",
        "registered",
        "DICOM",
        "excluded",
        "skull",
        "trees",
        "appear or vanish",
    ):
        assert other not in text


def test_every_step_that_was_used_is_named(write):
    text = write(ONE, SERIAL, from_dicom=True)["CITATION.md"]
    for words in (
        "MRI scans of 2 subjects (3 visits)",
        "converted with dcm2niix 1.0 [@Li2016]",
        "FLAIR (3), T1w (1), T1w after gadolinium (2).",
        "The FLAIR of 1 visit had been skull-stripped before.",
        "1 scan without an acceptable registration was excluded.",
        "midpoint space, the log-Euclidean mean of the transforms [@Arsigny2006]",
        "N4 algorithm [@Tustison2010]",
        "classified as new, persistent or re-enhancing [@Barkhof1997]",
        (
            f"a probability of at least {METHOD.t2_basins.least_probability} by gradient-boosted decision trees "
            "[@Friedman2001]"
        ),
        "Faint lesions that appear or vanish in white matter were detected by the difference of FLAIR",
        (
            f"by a logistic regression of enhancement, size, form, FLAIR and tissue (probability of at least "
            f"{METHOD.gel_nodes.least_probability}). Both require a T2 correlate"
        ),
        "Black holes are parts of T2 lesions",
        "more than 45.2 % (below 0.67 cm²) or 24.2 % (from 0.67 cm²) [@Goodkin1992]",
    ):
        assert words in text


def test_failed_visits_and_excluded_scans_were_not_used():
    used = used_in([SERIAL])
    assert used.contrasts == {"FLAIR": 2, "T1w": 1, "T1w after gadolinium": 2}
    assert (used.subjects, used.visits, used.excluded, used.skull_stripped) == (1, 2, 1, 1)
    nothing = used_in([SubjectResult("03", quality=(quality("1", failure="no brain"),))])
    assert (nothing.subjects, nothing.visits, nothing.contrasts) == (0, 0, {})


def test_rules_of_the_trial_and_another_segmenter_are_named(write):
    other = Segmenter(name="other", version="3", command=("x", "{flair}", "{mask}"), threshold=0.3)
    rules = LesionRules(segmenter=other, connectivity=1, t2_min_volume_mm3=9.0, enlarging_small_growth=0.5)
    text = write(SERIAL, rules=rules)["CITATION.md"]
    assert "segmented with other 3 (probability threshold 0.3)" in text
    assert "6-connected component of at least 9 mm³" in text
    assert "more than 50 %" in text
    assert "Please cite other as well." in text
    assert "built-in" not in text
    assert "decision trees" not in text
    assert "appear or vanish" not in text
    assert "Lesjak2018" not in cited(text)


@pytest.mark.parametrize("results", [(ONE,), (ONE, SERIAL)])
@pytest.mark.parametrize("from_dicom", [False, True])
def test_the_bibliography_holds_what_the_text_cites_and_nothing_else(write, results, from_dicom):
    made = write(*results, from_dicom=from_dicom)
    keys = entries(made["CITATION.bib"])
    assert set(keys) == cited(made["CITATION.md"])
    assert len(keys) == len(set(keys))
    assert made["CITATION.bib"].count("{") == made["CITATION.bib"].count("}")
    assert made["CITATION.md"].partition("# References")[2].count("\n\n") == len(keys)
    assert made["CITATION.html"].count("<li>") == len(keys)


def test_every_reference_is_complete_and_the_template_cites_it():
    template = (files("qc.reports") / "templates" / "methods.md.j2").read_text(encoding="utf-8")
    assert cited(template) == set(_references())
    for key, entry in _references().items():
        assert {"cite", "author", "title", "year", "volume", "pages", "doi"} <= set(entry)
        assert ("journal" in entry) is not ("booktitle" in entry)
        assert entry["year"] in entry["cite"]
        assert entry["year"] in key
        assert entry["cite"].startswith(entry["author"].partition(",")[0])


def test_the_page_shows_authors_and_years_in_place_of_keys(write):
    page = write(SERIAL)["CITATION.html"]
    assert "(Tustison et al., 2010)" in page
    assert "(Goodkin et al., 1992)" in page
    assert "[@" not in page
    assert "https://" not in page
    assert 'href="CITATION.bib"' in page


def test_titles_keep_their_capitals_in_bibtex(write):
    bibliography = write(ONE)["CITATION.bib"]
    assert "@article{Tustison2010," in bibliography
    assert "  title = {{N4ITK: improved N3 bias correction}},\n" in bibliography
    assert "cite = " not in bibliography


def test_without_an_analysed_visit_nothing_is_written_and_an_earlier_text_goes(write, tmp_path):
    assert len(write(ONE)) == 3
    assert write(SubjectResult("01", quality=(quality("1", failure="no brain"),))) == {}
    assert list(tmp_path.iterdir()) == []
