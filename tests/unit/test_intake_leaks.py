"""Identities in text that is kept: found in any form, and told from the names of devices."""

import pickle
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mri_pipeline.core.errors import IdentityError
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.identities import original_identities
from mri_pipeline.intake.identity_words import identity_words
from mri_pipeline.intake.leaks import date_pattern, scan_text
from tests.unit import dicom_factory as factory
from tests.unit.identity_cases import FOUND, NOT_FOUND

SMALL = replace(factory.T1_GD, shape=(16, 12, 2))
BLINDING = Blinding("AB12", b"0123456789abcdef")


def prepared(folder, name="Mustermann^Erika", **extra):
    return factory.write_series(folder, replace(SMALL, extra=extra), replace(factory.Patient(), name=name))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("Vida^Maria", {"ManufacturerModelName": "MAGNETOM Vida"}),
        ("Sola^Jo", {"ManufacturerModelName": "MAGNETOM Sola"}),
        ("Avanto", {"ManufacturerModelName": "Avanto"}),
        ("Doe^Jane", {"ManufacturerModelName": "SIGNA Premier", "InstitutionalDepartmentName": "Premier Imaging"}),
        ("Doe^Jane", {"ManufacturerModelName": "MAGNETOM Vida", "OperatorsName": "VIDA"}),
        ("Doe^Jane", {"ManufacturerModelName": "Kanorama HFO", "InstitutionalDepartmentName": "Room Kanorama"}),
        ("Titan^Ann", {"ManufacturerModelName": "Vantage Titan", "Manufacturer": "TOSHIBA_MEC"}),
        ("Syng^Ann", {"SoftwareVersions": "syngo MR XA30"}),
        ("Fit^Prisma", {"ManufacturerModelName": "Prisma_fit"}),
        ("MAGNETOM Vida", {"ManufacturerModelName": "MAGNETOM Vida"}),
        ("Ola^Ann", {"ManufacturerModelName": "MAGNETOM Sola"}),
    ],
)
def test_the_name_of_a_device_is_no_identity_where_a_device_is_named(tmp_path, name, extra):
    files = prepared(tmp_path / "in", name, **extra)
    written = [pydicom.dcmread(path) for path in deidentify(files, tmp_path / "out", BLINDING)]
    assert [w.ManufacturerModelName for w in written] == [extra.get("ManufacturerModelName", "Avanto")] * 2


@pytest.mark.parametrize(
    ("name", "extra", "tag"),
    [
        ("Vida^Maria", {"ScanOptions": "VIDA"}, "ScanOptions (0018,0022)"),
        ("Muster^Erika", {"ScanOptions": "FS_MUSTER"}, "ScanOptions (0018,0022)"),
        ("Muster^Erika", {"ScanOptions": "FSMUSTER1"}, "ScanOptions (0018,0022)"),
        ("Muster^Erika", {"SoftwareVersions": "syngoMUSTER1"}, "SoftwareVersions (0018,1020)"),
        ("Amin^Erika", {"SoftwareVersions": "syngo_mrAmin"}, "SoftwareVersions (0018,1020)"),
        ("Muster^Erika", {"ManufacturerModelName": "Vida Muster"}, "ManufacturerModelName (0008,1090)"),
        ("Muster^Erika", {"ImageType": ["ORIGINAL", "PRIMARY", "MMUSTER"]}, "ImageType (0008,0008)"),
        ("Doe^Jane", {"PatientID": "123456", "SoftwareVersions": "VB123456x"}, "SoftwareVersions (0018,1020)"),
    ],
)
def test_an_identity_is_found_glued_and_the_message_names_series_and_tag(tmp_path, name, extra, tag):
    with pytest.raises(
        IdentityError, match="series 4: expected no identity after de-identification, found 1 in"
    ) as caught:
        deidentify(prepared(tmp_path / "in", name, **extra), tmp_path / "out", BLINDING)
    assert tag in caught.value.message
    assert name.split("^")[0].upper() not in (caught.value.message + caught.value.hint).upper()
    assert "--clear-identity" in caught.value.hint
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"PatientName": "Li^Na"}, "VB17 Na Li"),
        ({"PatientName": "Li^Na^^^"}, "VB17 Li, Na"),
        ({"PatientName": "Kim^Min"}, "Vida MinKim"),
        ({"PatientName": "Kim^Min-Su"}, "VB17_MinSu"),
        ({"PatientName": "O'Dea^Eva"}, "VB17 ODea"),
        ({"PatientName": "Muller^Eva"}, "VB17 Mueller"),
        ({"PatientName": "Lecoeur^Eva"}, "Lecœur"),
        ({"PatientName": "Li^Na=李^娜"}, "娜 李"),
        ({"PatientID": "123456789"}, "VB 123-456 789"),
        ({"PatientID": "AB123456"}, "VB AB-123456"),
        ({"PatientID": "AB-00123456"}, "VB 123456"),
        ({"ContentCreatorName": "Zorromann"}, "Zorromann"),
        ({"PlacerOrderNumberImagingServiceRequest": "Z1234567"}, "Z 1234567"),
    ],
)
@pytest.mark.requirement("INTAKE-04")
def test_names_and_numbers_are_found_in_any_order_grouping_and_spelling(tmp_path, extra, text):
    stated = {"SpecificCharacterSet": "ISO_IR 192", "SoftwareVersions": text}
    files = prepared(tmp_path / "in", "Doe^Jane", **stated | extra)
    with pytest.raises(IdentityError, match="expected no identity") as caught:
        deidentify(files, tmp_path / "out", BLINDING)
    assert caught.value.elements == ("4/SoftwareVersions",)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-05", "2024/3/5", "05.03.2024", "5.3.24", "03/05/2024", "5 Mar 2024", "05-MAR-24", "Mar 5, 2024",
        "5. März 2024", "5 mars 2024", "5 de marzo de 2024", "05032024", "03052024", "2024Mar05", "V1_2024-03-05b",
        "5th March 2024", "5 maart 2024", "built 5 marts 2024", "2024 05 03", "5.III.2024", "05:03:2024", "5|3|2024",
        "5th of March 2024", "5 de marzo del 2024", "05  -  03  -  2024", "5 marca 24",
    ],
)  # fmt: skip
@pytest.mark.requirement("INTAKE-04")
def test_a_date_is_found_in_any_notation(tmp_path, text):
    patient = replace(factory.Patient(), birth="20240305")
    files = factory.write_series(tmp_path / "in", replace(SMALL, extra={"SoftwareVersions": text}), patient)
    with pytest.raises(IdentityError, match=r"found 1 in SoftwareVersions \(0018,1020\)"):
        deidentify(files, tmp_path / "out", BLINDING)


@pytest.mark.parametrize(
    "text", ["2024-03-15", "15.03.2024", "2024.3.50", "5.3.2023", "R5.3.1", "5 May 2024", "XA30"]
)
def test_another_date_or_version_is_none(text):
    assert not date_pattern("20240305").search(text.upper())


@pytest.mark.parametrize(
    ("birth", "text"),
    [
        ("20241231", "31 des 2024"),
        ("20240520", "20.V.24"),
        ("13590101", "1359/01/01"),
        ("20240305", "2024年3月5日"),
    ],
)
def test_a_date_of_another_language_or_calendar_is_found(birth, text):
    dataset = Dataset()
    dataset.SoftwareVersions = text
    assert scan_text(dataset, {birth}).found == {"SoftwareVersions": {birth}}


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("Li^Na", {"SoftwareVersions": "VB17 Li final NA"}),
        ("Li", {"SoftwareVersions": "VB17 Li"}),
        ("de la Cruz^An", {"SoftwareVersions": "VB17 de la"}),
        ("Solà^Jo", {"ManufacturerModelName": "MAGNETOM Sola"}),
        ("Ara", {"ManufacturerModelName": "MAGNETOM Aera"}),
        ("Joe", {"SoftwareVersions": "VB17 Jo"}),
        ("\u0e31\u0e34\u0e35", {"SoftwareVersions": "VB17"}),  # accents alone
        ("Doe^Jane", {"StationName": "SKYRA-3T", "ManufacturerModelName": "Skyra 3T"}),
        ("Doe^Jane", {"PatientID": "123456", "SoftwareVersions": "1234 567"}),
    ],
)
def test_a_short_part_or_another_number_is_no_identity(tmp_path, name, extra):
    files = prepared(tmp_path / "in", name, SpecificCharacterSet="ISO_IR 192", **extra)
    assert len(deidentify(files, tmp_path / "out", BLINDING)) == len(files)


def test_a_cleared_tag_is_kept_and_the_others_are_not(tmp_path):
    files = prepared(tmp_path / "in", "Muster^Erika", SoftwareVersions="VB17 Muster")
    cleared = replace(BLINDING, cleared=frozenset({"4/SoftwareVersions", "2/ScanOptions"}))
    assert [pydicom.dcmread(p).SoftwareVersions for p in deidentify(files, tmp_path / "out", cleared)] == [
        "VB17 Muster"
    ] * 2
    files = prepared(tmp_path / "in2", "Muster^Erika", SoftwareVersions="VB17 Muster", ScanOptions="MUSTER")
    with pytest.raises(IdentityError, match=r"found 1 in ScanOptions"):
        deidentify(files, tmp_path / "out2", cleared)


def test_sequences_are_searched():
    item, dataset = Dataset(), Dataset()
    item.FrameType = ["ORIGINAL", "MUSTER"]
    dataset.MRImageFrameTypeSequence = Sequence([item])
    assert scan_text(dataset, {"MUSTER"}).found == {"FrameType": {"MUSTER"}}


@pytest.mark.parametrize("charset", [None, "ISO_IR 100", "ISO_IR 192", "ISO_IR 101"])
def test_a_cleared_value_may_have_umlauts_in_any_character_set(tmp_path, charset):
    patient = replace(factory.Patient(), name="Müßler^Jörg")
    extra = {"SoftwareVersions": ["VB17 Müßler", "syngo"]} | ({"SpecificCharacterSet": charset} if charset else {})
    files = factory.write_series(tmp_path / "in", replace(SMALL, extra=extra), patient)
    with pytest.raises(IdentityError, match=r"series 4: .* found 1 in SoftwareVersions") as caught:
        deidentify(files, tmp_path / "out", BLINDING)
    assert caught.value.elements == ("4/SoftwareVersions",)
    assert pickle.loads(pickle.dumps(caught.value)).elements == ("4/SoftwareVersions",)
    cleared = replace(BLINDING, cleared=frozenset(caught.value.elements))
    assert len(deidentify(files, tmp_path / "out", cleared)) == len(files)


def test_a_tag_is_cleared_for_its_series_alone(tmp_path):
    files = prepared(tmp_path / "in", "Muster^Erika", SoftwareVersions="VB17 Muster")
    other = replace(BLINDING, cleared=frozenset({"2/SoftwareVersions", "14/SoftwareVersions"}))
    with pytest.raises(IdentityError, match=r"series 4: expected no identity"):
        deidentify(files, tmp_path / "out", other)


@pytest.mark.parametrize(
    ("identifying", "description"),
    [
        ({"PatientName": "Ge^Ma"}, "t2_image"),
        ({"PatientName": "Miller^Tim^E"}, "real time"),
        ({"ReferringPhysicianName": "Traa^Jan"}, "t2_flair_tra"),
        ({"InstitutionAddress": "1000 Brussels"}, "ep2d_diff_b_1000"),
    ],
)
def test_parts_of_ordinary_words_and_numbers_are_no_identities(identifying, description):
    original, kept = Dataset(), Dataset()
    for keyword, value in identifying.items():
        setattr(original, keyword, value)
    kept.SeriesDescription = description
    assert not scan_text(kept, original_identities(original, "AB12")).found


@pytest.mark.parametrize("number", ["2019-345678", "12.345678", "AB12-345678"])
def test_the_digits_of_a_part_of_a_number_are_found(number):
    original, kept = Dataset(), Dataset()
    original.PatientID, kept.SeriesDescription = number, "345678_t1"
    assert scan_text(kept, original_identities(original, "AB12")).found


@pytest.mark.parametrize("case", FOUND, ids=str)
@pytest.mark.requirement("INTAKE-04")
def test_what_the_browser_finds_is_found(case):
    assert found_in(*case)


@pytest.mark.parametrize("case", NOT_FOUND, ids=str)
def test_what_the_browser_lets_pass_is_let_pass(case):
    assert not found_in(*case)


def found_in(identifying, element, text):
    original, kept = Dataset(), Dataset()
    for keyword, value in identifying.items():
        setattr(original, keyword, value)
    setattr(kept, element, text)
    return scan_text(kept, original_identities(original, "AB12")).found


@pytest.mark.parametrize(
    "text",
    ["MRT 12", "Kopf MRT 64", "MRT12 Kopf", "MRT 64 Kopf 1", "MRT_KOPF_12_KM", "MRT 13 1964", "12 MAG", "MAG_64"],
)
@pytest.mark.parametrize("birth", ["19640312", "19640512"])
def test_the_words_mrt_and_mag_are_a_date_only_with_the_day_and_the_year_of_one(text, birth):
    assert date_pattern(birth).search(text.upper()) is None


@pytest.mark.parametrize(
    ("birth", "text"), [("19640312", "12 MRT 1964"), ("19640312", "MRT 12, 64"), ("19640512", "12 MAG 1964")]
)
def test_the_dutch_march_and_the_italian_may_are_found(birth, text):
    assert date_pattern(birth).search(text)


def test_no_word_of_mr_is_a_month():
    """Else "t2_tra_64" is a day in April 1964, and "cervical" one in June."""
    words = identity_words()
    tried = [
        (f"1964{month:02}12", f"{text} {word} 64")
        for month in range(1, 13)
        for word in words.known
        if word.isalpha() and word not in words.placeholders
        for text in ("12", "T2 12")
    ]
    assert [one for one in tried if date_pattern(one[0]).search(one[1])] == []
