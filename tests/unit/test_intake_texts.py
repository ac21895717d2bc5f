"""Texts of DICOM headers: names in every alphabet, damaged characters, elements with several values."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mri_pipeline.intake.header_values import header_values
from mri_pipeline.intake.identities import leaked, original_identities
from mri_pipeline.intake.leaks import scan_text
from tests.unit import dicom_factory as factory


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Müller^Jörg", "latin-1"),
        ("Weiß^Jürgen", "latin-1"),
        ("Yıldız^Işıl", "iso8859_9"),  # noqa: RUF001
        ("Łukasz^Żak", "iso8859_2"),
        ("Иванов^Пётр", "iso8859_5"),
        ("Παπαδόπουλος^Νίκος", "iso8859_7"),
        ("Gülşah^Çağlar", "iso8859_9"),
    ],
)
@pytest.mark.parametrize("written", [str, str.lower])
def test_a_name_is_found_in_the_character_set_of_its_country_and_in_utf_8(name, encoding, written):
    dataset = Dataset()
    dataset.PatientName = name
    identities = original_identities(dataset, "AB12")
    family = written(name.split("^")[0])
    for used in (encoding, "utf-8"):
        assert leaked(f"xx {family} yy".encode(used), identities), used


def test_a_character_that_no_encoding_can_write_does_not_hide_the_text_around_it():
    """A damaged byte of a header is read as a lone surrogate."""
    dataset = Dataset()
    dataset.PatientComments = "Erika \udcff Mustermann"
    for name in ("ERIKA", "MUSTERMANN"):
        assert scan_text(dataset, {name}).found == {"PatientComments": {name}}


@pytest.mark.parametrize(("spec", "echo_planar"), [(factory.FLAIR, False), (factory.EPI, True)])
def test_all_scanning_sequences_are_read_and_show_echo_planar_imaging(spec, echo_planar):
    small = replace(spec, shape=(4, 4, 1))
    dataset = factory.slice_dataset(small, factory.Patient(), "1.2.3", 0, np.zeros((4, 4), np.uint16))
    values = header_values(dataset)
    assert values["scanning_sequence"] == spec.scanning
    assert values["echo_planar"] is echo_planar
