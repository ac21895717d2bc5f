"""The receive coil is kept whatever the patient is called, and lets no identity through."""

import pytest
from pydicom.dataset import Dataset

from mri_pipeline.intake.coil import coil_without_identity


def header(name, number="HOSP-4711", birth="19640812"):
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = name, number, birth
    dataset.StudyID, dataset.StudyDate, dataset.StationName = "064", "20210314", "MRSTATION7"
    return dataset


@pytest.mark.parametrize(
    ("coil", "dataset"),
    [
        ("Head_32", header("HEAD^PHANTOM", "HEAD")),
        ("HEA;HEP", header("Doe^Jane", "HEA-001")),
        ("Head/Neck 20", header("Meyer^Eck")),
        ("HeadNeck_64", header("Neck^Ed")),
        ("HE1-4;NE1,2;SP1", header("Doe^He")),
        ("8HRBRAIN", header("Brain^Hr")),
        ("SENSE-Head-8", header("Doe^Jane", "8")),
        ("Head 064", header("Doe^Jane")),
        ("dS Head 32ch", header("Doe^Jane")),
        ("MULTI COIL", header("Multi^Coil")),
        ("Head Xyzzy 20", header("Doe^Jane")),
        ("", header("Doe^Jane")),
    ],
)
def test_the_words_of_a_coil_are_kept(coil, dataset):
    assert coil_without_identity(coil, dataset) == coil


@pytest.mark.parametrize(
    ("coil", "dataset"),
    [
        ("coil Li Bo 19640812", header("Li^Bo")),
        ("coil Li", header("Li^Bo")),
        ("Head 12.08.64", header("Doe^Jane")),
        ("Head 14MAR2021", header("Doe^Jane")),
        ("Head Müller", header("MUELLER^Jo")),
        ("Head Mueller", header("Müller^Jo")),
        ("Head Muller", header("Müller^Jo")),
        ("Head Lukasz", header("Łukasz^Żak")),
        ("HeadMustermann20", header("Mustermann^Erika")),
        ("mustermann 20", header("Mustermann^Erika")),
        ("Head 4711", header("Doe^Jane")),
        ("Head hosp", header("Doe^Jane")),
        ("Head P12", header("Doe^Jane", "P12")),
        ("Head MRSTATION7", header("Doe^Jane")),
        ("coil Na-Li", header("Li^Na")),
        ("Head 123 456 789", header("Doe^Jane", "123456789")),
        ("Head Haakansen", header("Håkansen^Jo")),
    ],
)
def test_an_identity_in_the_name_of_a_coil_is_not_kept(coil, dataset):
    assert coil_without_identity(coil, dataset) == ""


def test_a_coil_has_at_most_64_characters():
    assert coil_without_identity("Head " * 19, header("Doe^Jane")) == ("Head " * 19)[:64]
