"""Names are removed from DICOM files in the browser; all that the reading centre reads stays as it was.

The module of the site's page runs in the Node.js that comes with Playwright.
"""

import dataclasses
import hashlib
import hmac
import itertools
import json
import re
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright._impl._driver import compute_driver_executable
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info, write_sequence
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from mri_pipeline import intake
from mri_pipeline.intake import header_values
from mri_pipeline.intake.allowed import GROUPS, KEPT, MOMENTS, UIDS
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.facts import ObjectKind
from mri_pipeline.intake.header_worker import read_one
from mri_pipeline.intake.identities import IDENTIFYING
from mri_pipeline.intake.identity_words import word_table
from tests.unit import identity_cases
from tests.unit.dicom_factory import FLAIR, write_series
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced

STATIC = Path(__file__).parents[2] / "reading_centre" / "web" / "static" / "upload"
SITE = {"key": "00ff" * 16, **word_table()}
KEY = b"0123456789abcdef"
RUN = """
import { readFileSync, writeFileSync } from 'node:fs';
const [modules, site, ...paths] = process.argv.slice(1);
const { withoutNames } = await import(`${modules}/dicom.js`);
const { LeftOutError, UnreadError } = await import(`${modules}/unread.js`);
const { identityOf } = await import(`${modules}/identity.js`);
const identity = await identityOf(JSON.parse(site));
const answers = [];
for (const path of paths) {
  try {
    const { blob } = await withoutNames(new File([readFileSync(path)], 'one'), identity);
    writeFileSync(`${path}.clean`, Buffer.from(await blob.arrayBuffer()));
    answers.push('cleaned');
  } catch (error) {
    const known = error instanceof UnreadError ? `unread: ${error.message}` : `fault: ${error.stack}`;
    answers.push(error instanceof LeftOutError ? 'left out' : known);
  }
}
console.log(JSON.stringify(answers));
"""


def in_browser(*paths: Path, site=SITE) -> list[str]:
    node, _ = compute_driver_executable()
    command = [node, "--input-type=module", "-e", RUN, str(STATIC), json.dumps(site), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cleaned(path: Path, **site) -> Path:
    assert in_browser(path, site=SITE | site) == ["cleaned"]
    return path.with_name(f"{path.name}.clean")


def full_of_names(dataset: Dataset) -> Dataset:
    """Names where scanners write them, and where people do."""
    dataset.OtherPatientIDs = "HOSP-4711"
    dataset.PatientAddress = "Lindenweg 3"
    dataset.ReferringPhysicianName = "Hausarzt^Anton"
    dataset.InstitutionName = "Klinikum Musterstadt"
    dataset.AccessionNumber = "ACC12345"
    dataset.StudyID = "S4711"
    dataset.ImageComments = "Frau Mustermann, unruhig"
    dataset.SeriesDescription = "t2_flair_tra"
    dataset.ProtocolName = "Hirn"
    item = Dataset()
    item.RequestedProcedureID = "REQ98765"
    item.PatientID = "HOSP-4711"
    dataset.RequestAttributesSequence = Sequence([item])
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x20, "OB", b"tPatientName Mustermann^Erika 19640812\0")
    return dataset


NAMES = (b"MUSTERMANN", b"ERIKA", b"HOSP-4711", b"19640812", b"LINDENWEG", b"HAUSARZT", b"KLINIKUM", b"ACC12345",
         b"REQ98765", b"S4711")  # fmt: skip


@pytest.fixture
def original(tmp_path) -> Path:
    (path, *_) = write_series(tmp_path / "series", dataclasses.replace(FLAIR, shape=(32, 24, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = full_of_names(pydicom.dcmread(path))
        dataset.save_as(path)
    return path


def changed(path: Path, syntax: str) -> Path:
    """The same object in another transfer syntax."""
    dataset = pydicom.dcmread(path)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == "fragments":
        content = dataset.PixelData
        dataset.PixelData = encapsulate([content[:512], content[512:]])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = RLELossless
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    dataset.save_as(path, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    return path


def pixel_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[content.rindex(b"\xe0\x7f\x10\x00") :]


@pytest.mark.parametrize("syntax", ["explicit", ImplicitVRLittleEndian, RLELossless, "fragments"])
def test_nothing_that_names_the_patient_is_left_and_the_pixels_are_the_same(original, syntax):
    if syntax != "explicit":
        changed(original, syntax)
    content = original.read_bytes().upper()
    assert all(name in content for name in NAMES)
    clean = cleaned(original)
    content = clean.read_bytes().upper()
    assert [name for name in NAMES if name in content] == []
    assert pixel_bytes(clean) == pixel_bytes(original)
    dataset = pydicom.dcmread(clean)
    assert dataset.SeriesDescription == "t2_flair_tra"
    assert dataset.file_meta.FileMetaInformationGroupLength == len(meta_of(clean))
    assert {"PatientName", "PatientID"} == {e.keyword for e in dataset if e.tag.group == 0x0010}
    assert not [e for e in dataset if e.tag.is_private]
    assert [int(e.tag) for e in dataset] == sorted(int(e.tag) for e in dataset)


def meta_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[
        144 : content.index(b"\x08\x00\x05\x00" if b"\x08\x00\x05\x00" in content else b"\x08\x00\x08\x00")
    ]


def facts_of(path: Path) -> dict:
    report = read_one(0, path, KEY)
    assert report.facts is not None, report
    return report.facts.model_dump() | {"path": None}


def test_the_reading_centre_reads_the_same(original, tmp_path):
    """All facts of the header but the person, and the same de-identified file."""
    before, after = facts_of(original), facts_of(cleaned(original))
    different = {name for name in before if before[name] != after[name]}
    assert different == {"person_keys", "number_key"}
    assert after["number_key"] == ""
    assert all(key.startswith("p") for key in after["person_keys"])
    blinding = Blinding("CODE2345", b"0123456789abcdef")
    one, two = (
        pydicom.dcmread(deidentify([path], tmp_path / name, blinding)[0])
        for name, path in (("one", original), ("two", original.with_name(f"{original.name}.clean")))
    )
    assert one == two


def test_an_enhanced_object_keeps_its_functional_groups(tmp_path):
    spec = dataclasses.replace(FLAIR, shape=(32, 24, 4))
    path = write_enhanced(tmp_path / "one", spec, texture((32, 24, 4)), EnhancedSpec((0, 1, 2, 3)))
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Mustermann^Erika", "HOSP-4711", "19640812"
    dataset.ProtocolName = dataset.SeriesDescription = "t2_flair"
    item = dataset.PerFrameFunctionalGroupsSequence[0]
    block = item.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    nested = Dataset()
    nested.PatientName = "Mustermann^Erika"
    block.add_new(0x0F, "SQ", Sequence([nested]))
    dataset.save_as(path, enforce_file_format=True)
    clean = cleaned(path)
    assert b"MUSTERMANN" not in clean.read_bytes().upper()
    before, after = facts_of(path), facts_of(clean)
    assert {name for name in before if before[name] != after[name]} == {"person_keys", "number_key"}
    kept = pydicom.dcmread(clean)
    assert len(kept.PerFrameFunctionalGroupsSequence) == len(dataset.PerFrameFunctionalGroupsSequence)
    assert kept.PixelData == dataset.PixelData


SENT, NAME_TAGS, ALL_IDENTIFYING = (
    {int(tag, 16) for tag in re.findall(r"0x[0-9a-f]{8}", block)}
    for block in re.findall(r"= new (?:Map|Set)\(\[(.*?)\n\]\)", (STATIC / "elements.js").read_text(), re.DOTALL)
)
INTAKE = Path(intake.__file__).parent


def test_the_elements_that_are_sent_are_those_that_the_reading_centre_reads():
    """Those of its allow-list, and those that are named where it reads a header; no other ones."""
    read = "".join(
        (INTAKE / name).read_text() for name in ("header_values.py", "header_worker.py", "odd_numbers.py")
    )
    named = {int(tag) for word in re.findall(r'"([A-Z]\w+)"', read) if (tag := tag_for_keyword(word))}
    allowed = set(map(tag_for_keyword, KEPT | GROUPS | UIDS | {name for pair in MOMENTS for name in pair}))
    not_sent = set(map(tag_for_keyword, ("PixelData", "DirectoryRecordSequence"))) | {
        tag for tag in named if tag >> 16 in (0x0002, 0x0010)
    }
    assert (named | allowed | {tag_for_keyword("SpecificCharacterSet")}) - not_sent == SENT


def test_all_identities_that_the_reading_centre_knows_are_searched_but_those_that_are_sent():
    of_device_and_scan = set(map(tag_for_keyword, ("PerformedStationName", "PerformedProcedureStepStartDate")))
    assert set(map(tag_for_keyword, IDENTIFYING)) - SENT - of_device_and_scan == NAME_TAGS | ALL_IDENTIFYING
    assert {tag for tag in NAME_TAGS | ALL_IDENTIFYING if dictionary_VR(tag) == "PN"} == NAME_TAGS


def test_each_element_has_the_kind_of_its_type():
    source = (STATIC / "elements.js").read_text()
    kinds = {"SQ": {"SQ"}, "CS": {"CS"}, "TEXT": {"LO", "SH"}, "NUMBER": {"DS", "IS"}, "DATE": {"DA", "TM", "DT"},
             "UID": {"UI"}}  # fmt: skip
    for kind, tags in re.findall(r'all\("(\w+)", \[(.*?)\]', source, re.DOTALL):
        found = {dictionary_VR(int(tag, 16)) for tag in re.findall(r"0x[0-9a-f]{8}", tags)}
        assert found <= kinds.get(kind, {"US", "UL", "FD", "US or SS"}), kind


def person(path: Path, **changes) -> tuple[str, str, str]:
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    other = path.with_name("other")
    dataset.save_as(other)
    return facts_of(cleaned(other))["person_keys"]


def test_pseudonyms_tell_patients_apart_and_know_a_patient_again(original):
    known = facts_of(cleaned(original))["person_keys"]
    assert all(known)
    assert person(original, PatientName="MUSTERMANN^ERIKA^^") == known
    number, name, birth = person(original, PatientID="HOSP-4712")
    assert number != known[0]
    assert (name, birth) == known[1:]
    assert person(original, PatientBirthDate="19640813")[2] != known[2]
    assert person(original, PatientName="ANONYMOUS", PatientBirthDate="") == (known[0], "", "")
    elsewhere = facts_of(cleaned(original, key="11ee" * 16))["person_keys"]
    assert set(elsewhere).isdisjoint(known)  # another site's key


IN_CHARSETS = [
    *itertools.product(["ISO_IR 100", "ISO_IR 192"], ["Mustermann^Erika", "müller weiß^søren^^", "ANONYMOUS", ""]),
    ("ISO_IR 101", "Kováčová^Jana"), ("ISO_IR 144", "Иванов^Иван"), ("ISO_IR 126", "Παπάς^Νίκος"),
    ("GB18030", "王^小东"), ("GBK", "王^小东"), (["", "ISO 2022 IR 149"], "Hong=洪^吉洞"),
    (["", "ISO 2022 IR 149"], "홍^길동"), (["", "ISO 2022 IR 87"], "山田^太郎"),
]  # fmt: skip


@pytest.mark.parametrize(("charset", "name"), IN_CHARSETS)
def test_the_reading_centre_computes_the_pseudonyms_of_the_browser(original, charset, name):
    """An upload with names is compared with one without."""
    dataset = pydicom.dcmread(original)
    dataset.SpecificCharacterSet, dataset.PatientName = charset, name
    dataset.save_as(original)
    named = read_one(0, original, KEY, bytes.fromhex(SITE["key"])).facts
    removed = read_one(0, cleaned(original), KEY, bytes.fromhex(SITE["key"])).facts
    assert named.pseudonym_keys == removed.person_keys
    assert all(named.pseudonym_keys) is (name not in {"", "ANONYMOUS"})
    assert (removed.pseudonym_keys, read_one(0, original, KEY).facts.pseudonym_keys) == (("", "", ""),) * 2


def test_what_is_not_read_is_said(original, tmp_path):
    written = {}
    for syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):  # as the meta information states
        written[syntax] = tmp_path / str(syntax)
        meta = pydicom.dcmread(original).file_meta
        meta.TransferSyntaxUID = syntax
        with written[syntax].open("wb") as file:
            file.write(bytes(128) + b"DICM")
            write_file_meta_info(file, meta)
            file.write(bytes(200))
    noise = tmp_path / "noise"
    noise.write_bytes(np.random.default_rng(0).bytes(3000))
    short = tmp_path / "short"
    short.write_bytes(original.read_bytes()[:300])
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    after = tmp_path / "after"
    after.write_bytes(original.read_bytes() + b"\xfa\xff\xfa\xff" + b"SQ\0\0" + b"\xff" * 4)
    answers = in_browser(*written.values(), noise, short, empty, after)
    assert [answer.partition(":")[0] for answer in answers] == ["unread"] * 6, answers


def test_a_file_without_its_end_is_cleaned_and_the_directory_is_left_out(original, tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(original.read_bytes()[:-100])
    directory = tmp_path / "DICOMDIR"
    dataset = pydicom.dcmread(original)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.save_as(directory)
    assert in_browser(cut, directory) == ["cleaned", "left out"]
    assert read_one(0, cut.with_name("cut.clean"), KEY).fault == read_one(0, cut, KEY).fault


def test_no_cut_or_changed_file_is_a_fault(original, tmp_path):
    """At any length, and with any byte of the header changed, a file is cleaned or not read."""
    content = original.read_bytes()
    rng = np.random.default_rng(7)
    paths = []
    for number, length in enumerate(rng.integers(0, 2500, 60)):
        path = tmp_path / f"cut{number}"
        path.write_bytes(content[:length])
        paths.append(path)
    for number, at in enumerate(rng.integers(132, 2500, 200)):
        damaged = bytearray(content)
        damaged[at] = int(rng.integers(0, 256))
        path = tmp_path / f"damaged{number}"
        path.write_bytes(damaged)
        paths.append(path)
    answers = in_browser(*paths)
    assert {answer.partition(":")[0] for answer in answers} <= {"cleaned", "unread", "left out"}


HELD = "unread: a description holds patient data"


def with_values(path: Path, number: int = 0, **values) -> Path:
    """A copy of a file with other values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        copy = path.with_name(f"copy{number}")
        dataset.save_as(copy)
    return copy


HIDDEN_IN_TEXTS = (
    {"SeriesDescription": "t2_flair_tra MUSTERMANN"},
    {"SeriesDescription": "flairMustermann3"},
    {"ProtocolName": "Hirn HOSP-4711"},
    {"PatientID": "12345678", "SeriesDescription": "12345678"},  # digits only
    {"PatientID": "12345678", "SoftwareVersions": "12345678"},
    {"PatientID": "4711999", "ProtocolName": "T24711999"},
    {"PatientID": "47-11-999", "ProtocolName": "4711999"},
    {"PatientID": "0004711999", "ProtocolName": "t2 4711999"},
    {"ProtocolName": "1964-08-12"},
    {"ProtocolName": "t2 12. August 1964"},
    {"ProtocolName": "12.08.64"},
    {"ProtocolName": "640812"},
    {"PatientName": "Kim^Lee", "SeriesDescription": "flair KIM"},
    {"PatientName": "Norm^Erika", "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]},  # a word of DICOM
    {"SoftwareVersions": "syngoMUSTERMANN"},
    {"ScanOptions": ["FS", "MUSTERMANNX"]},
    {"StationName": "MUSTERMANN"},
    {"ManufacturerModelName": "Erika"},
    {"DeviceSerialNumber": "HOSP-4711"},
    {"ReceiveCoilName": "Head Mustermann"},
    {"RepetitionTime": "9000", "SequenceName": "Erika"},
    {"SoftwareVersions": "syngo ACC12345"},
    {"SoftwareVersions": "Hausarzt"},
    {"SoftwareVersions": "Musterstadt"},
    {"SeriesDescription": "S4711"},
    {"SeriesDescription": "REQ98765"},  # in a sequence that is not sent
    {"PatientMotherBirthName": "Schmidt^A", "SeriesDescription": "flair SCHMIDT"},
    {"OperatorsName": "Schmidt^A", "SeriesDescription": "flair SCHMIDT"},
    {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "ИВАНОВ^ИВАН", "SeriesDescription": "flair Иванов"},
    {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "ИВАНОВ^ИВАН", "SeriesDescription": "flair Иванов"},
    {"SpecificCharacterSet": "ISO_IR 101", "PatientName": "Kováčová^Jana", "SeriesDescription": "KOVÁČOVÁ"},
    {"SpecificCharacterSet": "GB18030", "PatientName": "刘德华", "SeriesDescription": "flair 刘德华"},
    {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^Xiao=王^小东", "SeriesDescription": "王小东头部"},
    {"SpecificCharacterSet": "GB18030", "PatientName": "丂伾丒丄", "SeriesDescription": "flair 丂伾丒丄"},
    {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "김희중", "SeriesDescription": "t2 김희중"},
    {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "山田^太郎", "SeriesDescription": "t2 山田"},
    {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Weiß", "SeriesDescription": "WEISS"},
    {"PatientName": "Müller-Jöns^Søren", "SeriesDescription": "flair mueller"},
    {"PatientName": "Müller-Jöns^Søren", "SeriesDescription": "flair Soren"},
    *({"PatientName": name, "SeriesDescription": text} for name, text in (
        ("Li^Na", "T1 Li Na"), ("Li^Na", "T1 NA LI"), ("Li^Na", "T1 Li, Na"), ("Li^Na^^^", "T1 Li^Na"),
        ("Li^Na^^Dr", "Na_Li_t1"), ("Li^Na", "T1NaLi3"), ("Li Na", "na.li"), ("Li, Na", "T1 NALI"),
        ("Ng^Vy", "t1_Ng_Vy"), ("Ho^An", "T1 HO-AN"), ("Li^E", "T1 E. Li"), ("Kim^Min-Su", "T1 MinSu"),
        ("Kim^Min-Su", "MIN SU flair"), ("Kim^Min", "T1 MinKim"), ("Lee^Ann", "T1 ANNLEE"), ("O'Dea^Eva", "T1 ODea"),
        ("D'Arc^Eva", "t1_DArc"), ("Horvath^Bela", "Bela HORVATH"), ("Kim^Su", "flair_kim2"),
        ("MULLER^Eva", "T1 Mueller"),
    )),
    *({"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "SeriesDescription": text} for name, text in (
        ("王^丽", "T1 丽王"), ("李娜", "T1 李 娜"), ("Li^Na=李^娜", "头部 娜·李"),
        ("Lecœur^Eva", "LECOEUR"), ("Lecoeur^Eva", "Lecœur"), ("Þórsson^Ed", "THORSSON"), ("Đorđić^Ea", "Djordjic"),
        ("Håkansén^Ea", "Haakansen"), ("Haakansen^Ea", "HÅKANSEN"), ("Großmann^Ea", "GROẞMANN"),
    )),
    *({"PatientID": number, "SeriesDescription": text} for number, text in (
        ("123456789", "T1 123 456 789"), ("123456789", "t1_123-456-789"), ("123-456-789", "T1 123 456 789"),
        ("7561234567890", "756.1234.5678.90"), ("AB123456", "T1 AB-123456"), ("AB-123456", "T1 123456"),
        ("KIS-000123456", "T1 123.456"), ("123456", "T1 123.456"),
    )),
    *({"PatientBirthDate": date, "SeriesDescription": text} for date, text in (
        ("19801231", "T1 31 des 1980"), ("19801231", "31. desember 80"), ("19801231", "31 grudnia 1980"),
        ("19800312", "1980 12 03"), ("19800312", "12.III.1980"), ("19800312", "12:03:1980"), ("19800312", "12|03|1980"),
        ("19800312", "12th of March 1980"), ("19800312", "12 de marzo del 1980"), ("19800312", "12  -  03  -  1980"),
        ("19800512", "12.V.80"), ("13590101", "1359/01/01"), ("25230312", "12-03-2523"),
    )),
    {"SpecificCharacterSet": "ISO_IR 192", "PatientBirthDate": "19800312", "SeriesDescription": "1980年3月12日"},
    {"PatientBirthDateInAlternativeCalendar": "1359/12/21", "SeriesDescription": "1359-12-21"},
    *({keyword: "Zorromann", "SeriesDescription": "T1 Zorromann"} for keyword in (
        "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest", "PersonName",
        "NamesOfIntendedRecipientsOfResults", "ContentCreatorName", "ConsultingPhysicianName", "OrderEnteredBy",
    )),
    {"PatientID": "123456789", "SeriesNumber": 123456789},
    {"PatientID": "123456789", "StudyInstanceUID": "1.2.276.123456789.1"},
    {"PatientID": "AB-123456", "SeriesInstanceUID": "1.2.276.123456.1"},
    {"PatientBirthDate": "19640812", "FrameOfReferenceUID": "1.2.276.4.196408121.1"},
)  # fmt: skip


def test_a_file_with_an_identity_in_a_text_that_is_sent_is_not_cleaned(original):
    paths = [with_values(original, number, **values) for number, values in enumerate(HIDDEN_IN_TEXTS)]
    assert dict(zip(map(str, HIDDEN_IN_TEXTS), in_browser(*paths), strict=True)) == dict.fromkeys(
        map(str, HIDDEN_IN_TEXTS), HELD
    )


@pytest.mark.parametrize("expected", ["FOUND", "NOT_FOUND"])
def test_the_browser_finds_what_the_reading_centre_finds(original, expected):
    """The same cases as in `tests.unit.test_intake_leaks`, with the same answers."""
    blank = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate"), "")
    cases = getattr(identity_cases, expected)
    paths = [
        with_values(original, number, SpecificCharacterSet="ISO_IR 192", **blank | identifying | {element: text})
        for number, (identifying, element, text) in enumerate(cases)
    ]
    answers = dict(zip(map(str, cases), in_browser(*paths), strict=True))
    assert answers == dict.fromkeys(answers, HELD if expected == "FOUND" else "cleaned")


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
@pytest.mark.parametrize("spelling", ["MÜLLER-JÖNS", "Müller-Jöns", "müller-jöns", "søren"])
def test_names_with_accents_are_found_in_any_case(original, charset, spelling):
    name = {"PatientName": "Müller-Jöns^Søren", "SpecificCharacterSet": charset}
    assert in_browser(with_values(original, **name, SeriesDescription=f"flair {spelling}")) == [HELD]


def test_texts_that_identify_nobody_are_sent(original):
    """Other words, words of DICOM in the name of an institution, and numbers that are near an identity."""
    innocent = (
        {"SeriesDescription": "t2_flair_tra_p2", "ProtocolName": "MS Hirn 3T"},
        {"InstitutionName": "Siemens Medical Head Center", "SeriesDescription": "head"},
        {"InstitutionName": "Institut für MRT und CT", "ProtocolName": "MRT Kopf vor und nach KM"},
        {"InstitutionName": "Centre d'Imagerie IRM Lille Sud", "SeriesDescription": "IRM 3D T1 GADO"},
        {"ReferringPhysicianName": "Dr. med.^Müller", "SeriesDescription": "T1 med kontrast"},
        {"InstitutionName": "Universitätsklinikum Essen", "StationName": "MRESSEN1"},
        {"PatientComments": "MS, FLAIR und T1 KM", "SeriesDescription": "t2_flair_sag"},
        {"OperatorsName": "SAG", "PatientID": "123", "SeriesDescription": "t2 1234"},
        {"PatientBirthDate": "19640812", "SeriesDescription": "v1964.8.13"},
        {"PatientName": "ANONYMOUS", "SeriesDescription": "anonymous"},
        {"PatientName": "Eng^Li", "SeriesDescription": "flair length"},
        {"SpecificCharacterSet": "GB18030", "PatientName": "刘^德", "SeriesDescription": "德华"},
        {"PatientName": "Li^Na", "SeriesDescription": "T1 Li flair NA final image linear"},
        {"PatientName": "Li", "SeriesDescription": "T1 Li"},
        {"PatientName": "de la Cruz^An", "SeriesDescription": "T1 de la cabeza"},
        {"PatientID": "123456", "SeriesDescription": "1234 567", "ImagingFrequency": "123.123456"},
        {"PatientID": "123456", "StudyInstanceUID": "1.2.1123456.3", "SeriesNumber": 1123456},
        {"PatientBirthDate": "20210314", "StudyInstanceUID": "1.2.20210314092653.1"},  # a phantom, born at its scan
        {"PatientBirthDate": "19800312", "SeriesDescription": "12 echoes 1980 TR 12 TE 3"},
        {"OperatorsName": "AB^C", "SeriesDescription": "C AB"},
        {"PatientName": "Ge^Ma", "SeriesDescription": "t2_image"},
        {"PatientName": "Miller^Tim^E", "SeriesDescription": "time_course"},
        {"ReferringPhysicianName": "Traa^Jan", "SeriesDescription": "t2_flair_tra"},
        {"InstitutionAddress": "1000 Brussels", "SeriesDescription": "ep2d_diff_b_1000"},
    )  # fmt: skip
    paths = [with_values(original, number, **values) for number, values in enumerate(innocent)]
    assert in_browser(*paths) == ["cleaned"] * len(innocent)


@pytest.mark.parametrize("syntax", ["explicit", ImplicitVRLittleEndian])
def test_what_shows_text_or_is_no_image_of_mr_is_not_sent(original, syntax):
    """Also if a text has an identity: such an object does not keep the others from being cleaned."""
    changes = (
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "SeriesDescription": "Mustermann"}, {"Modality": "OT"},
        {"SOPClassUID": "1.3.46.670589.11.0.0.12.2", "SeriesDescription": "Mustermann"},
        {"BurnedInAnnotation": "YES"}, {"BurnedInAnnotation": "NO"}, {"Modality": "MR"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.4"},
    )  # fmt: skip
    paths = [with_values(original, number, **values) for number, values in enumerate(changes)]
    if syntax != "explicit":
        paths = [changed(path, syntax) for path in paths]
    assert in_browser(*paths) == ["left out"] * 6 + ["cleaned"] * 3


def test_a_damaged_class_or_modality_is_not_left_out_in_silence(original):
    damaged = ({"SOPClassUID": "1.2.840.10008.9.1.4.1.1.4"}, {"Modality": "MQ"})
    paths = [with_values(original, number, **values) for number, values in enumerate(damaged)]
    assert all(found.startswith("unread: its ") for found in in_browser(*paths))


def test_the_digits_of_a_part_of_a_number_are_found(original):
    numbers = ("2019-345678", "12.345678", "AB12-345678")
    paths = [
        with_values(original, n, PatientID=id_, SeriesDescription="345678_t1") for n, id_ in enumerate(numbers)
    ]
    assert all(found.startswith("unread") for found in in_browser(*paths))


def test_a_patient_number_that_begins_with_the_day_of_the_scan_is_found_in_a_uid(original):
    uid = "1.2.3.20190305123.1"
    named = with_values(original, 1, PatientID="20190305123", StudyDate="20190305", StudyInstanceUID=uid)
    other = with_values(original, 2, PatientID="7", StudyDate="20190305", StudyInstanceUID=uid)
    found = in_browser(named, other)
    assert found[0].startswith("unread")
    assert found[1] == "cleaned"


def test_the_images_that_are_sent_are_those_that_the_reading_centre_uses():
    (listed,) = re.findall(r"OF_MR = \[(.*?)\]", (STATIC / "dicom.js").read_text())
    used = {uid for uid, kind in header_values._KINDS.items() if kind in (ObjectKind.MR, ObjectKind.ENHANCED_MR)}
    assert set(re.findall(r'"([\d.]+)"', listed)) == used


@pytest.mark.parametrize("syntax", ["explicit", RLELossless, "fragments"])
def test_padding_after_the_pixels_is_not_sent(original, syntax):
    if syntax != "explicit":
        changed(original, syntax)
    content = original.read_bytes()
    padding = b"\xfc\xff\xfc\xffOB\0\0" + (10).to_bytes(4, "little") + b"Mustermann"
    for rest in (padding, padding + b"\xfe\xff\x10\0PN\x0a\0Mustermann"):
        original.write_bytes(content + rest)
        clean = cleaned(original)
        assert b"Mustermann" not in clean.read_bytes()
        assert clean.read_bytes().endswith(content[-200:])


def test_a_private_name_is_an_identity(original):
    dataset = pydicom.dcmread(original)
    dataset.private_block(0x0011, "ANY", create=True).add_new(1, "PN", "Zo^Ra")
    dataset.SeriesDescription = "T1 Ra Zo"
    dataset.save_as(original)
    assert in_browser(original) == [HELD]


def with_type(content: bytes, tag: bytes, vr: bytes) -> bytes:
    """The content of a file with a short element as one of another, long type."""
    at = content.index(tag, 300)
    length = int.from_bytes(content[at + 6 : at + 8], "little")
    return content[: at + 4] + vr + b"\0\0" + length.to_bytes(4, "little") + content[at + 8 :]


def test_texts_of_any_type_are_searched(original):
    paths = []
    for number, (vr, description) in enumerate(
        (vr, text) for vr in (b"UN", b"UT", b"OB") for text in ("t2 flair", "t2 Mustermann")
    ):
        path = with_values(original, number, SeriesDescription=description)
        path.write_bytes(with_type(path.read_bytes(), b"\x08\x00\x3e\x10", vr))
        paths.append(path)
    assert in_browser(*paths) == ["cleaned", HELD] * 3
    assert pydicom.dcmread(paths[0].with_name("copy0.clean")).SeriesDescription == "t2 flair"


def test_a_number_that_is_a_text_is_searched(original):
    path = with_values(original, SeriesNumber=11)
    content = path.read_bytes()
    at = content.index(b"\x20\x00\x11\x00IS")
    path.write_bytes(content[: at + 6] + b"\x06\0ERIKA " + content[at + 8 + content[at + 6] :])
    assert in_browser(path) == [HELD]


def test_a_name_in_a_binary_number_is_found(original):
    path = with_values(original)
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x10\x00US")
    path.write_bytes(content[: at + 6] + b"\x06\0ERIKA " + content[at + 10 :])
    assert in_browser(path) == [HELD]


def test_a_text_as_a_binary_number_is_not_read(original):
    path = with_values(original)
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00SH"))
    assert in_browser(path) == ["unread: an element of another type"]


@pytest.mark.parametrize("syntax", ["explicit", ImplicitVRLittleEndian])
def test_the_same_elements_are_sent_with_and_without_types(original, syntax):
    """None that is not on the list, in groups of the image, too: it may hold anything."""
    path = with_values(
        original, AcquisitionComments="free text", DerivationDescription="free text", PatientSex="F",
        DeviceUID="1.2.3", ContrastBolusIngredient="Mustermann", ImageComments="free text", BodyPartExamined="HEAD",
    )  # fmt: skip
    if syntax != "explicit":
        changed(path, syntax)
    clean = pydicom.dcmread(cleaned(path))
    assert {int(element.tag) for element in clean} == {
        tag
        for tag in map(int, pydicom.dcmread(path).keys())
        if tag in SENT or tag in (0x100010, 0x100020, 0x7FE00010)
    }


def test_one_patient_in_several_character_sets_has_one_pseudonym(original):
    sets = ("ISO_IR 101", "ISO_IR 192")
    names = ("Kováčová^Jana", "KOVÁČOVÁ^JANA", "Kova\u0301c\u030cova\u0301^Jana")
    spelt = [
        (charset, name) for charset in sets for name in names if charset == "ISO_IR 192" or "\u0301" not in name
    ]
    found = set()
    for number, (charset, name) in enumerate(spelt):
        path = with_values(original, number, SpecificCharacterSet=charset, PatientName=name)
        found.add(facts_of(cleaned(path))["person_keys"])
    assert len(spelt) == 5
    assert len(found) == 1
    assert all(next(iter(found)))
    other = with_values(original, 9, SpecificCharacterSet="ISO_IR 101", PatientName="Kovačova^Jana")
    assert facts_of(cleaned(other))["person_keys"] not in found


def test_latin_1_is_read_without_the_additions_of_windows(original):
    """A byte from 80 to 9F is not the letter of Windows-1252."""
    pseudonyms = []
    for number, letter in enumerate((b"\x8a", b"S")):
        path = with_values(original, number, SpecificCharacterSet="ISO_IR 100", PatientName="Xebek^Anna")
        path.write_bytes(path.read_bytes().replace(b"Xebek", letter + b"ebek"))
        pseudonyms.append(str(pydicom.dcmread(cleaned(path)).PatientName))
    key = bytes.fromhex(SITE["key"])
    expected = hmac.new(key, "name|\x8aEBEKANNA".encode(), hashlib.sha256).hexdigest()[:16]
    assert pseudonyms[0].startswith(f"PSN-{expected}^")
    assert pseudonyms[0] != pseudonyms[1]


def test_unknown_character_sets_and_bytes_that_are_not_of_theirs_are_not_read(original):
    unknown = with_values(original, 0, SpecificCharacterSet="ISO_IR 100")
    unknown.write_bytes(unknown.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999"))
    several = with_values(original, 1, SpecificCharacterSet=["ISO 2022 IR 100", "ISO 2022 IR 144"])
    wrong = with_values(original, 2, SpecificCharacterSet="ISO_IR 192", SeriesDescription="flair XX")
    wrong.write_bytes(wrong.read_bytes().replace(b"flair XX", b"flair \xfcX"))
    assert in_browser(unknown, several, wrong) == [
        "unread: a character set that is not read here",
        "unread: a character set that is not read here",
        "unread: a text is not in its character set",
    ]


def test_names_in_utf_8_without_its_statement_are_found(original):
    path = with_values(
        original, SpecificCharacterSet="ISO_IR 192", PatientName="MÜLLER", SeriesDescription="Müller"
    )
    for other in (b"ISO_IR 100", b"ISO_IR 6  ", b" " * 10):
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", other))
        assert in_browser(path) == [HELD]


@pytest.mark.parametrize("known_length", [True, False])
def test_functional_groups_of_unknown_type_are_not_left_out_in_silence(tmp_path, known_length):
    spec = dataclasses.replace(FLAIR, shape=(32, 24, 4))
    path = write_enhanced(tmp_path / "one", spec, texture((32, 24, 4)), EnhancedSpec((0, 1, 2, 3)))
    dataset = pydicom.dcmread(path)
    content = path.read_bytes()
    groups = DicomBytesIO()
    groups.is_implicit_VR = groups.is_little_endian = True
    write_sequence(groups, dataset["PerFrameFunctionalGroupsSequence"], ["iso8859"])
    value, length = groups.getvalue(), len(groups.getvalue())
    if not known_length:
        value, length = value + b"\xfe\xff\xdd\xe0" + bytes(4), 0xFFFFFFFF
    at, end = content.index(b"\x00\x52\x30\x92"), content.rindex(b"\xe0\x7f\x10\x00")
    element = b"\x00\x52\x30\x92UN\0\0" + length.to_bytes(4, "little") + value
    path.write_bytes(content[:at] + element + content[end:])
    assert len(pydicom.dcmread(path).PerFrameFunctionalGroupsSequence) == 4
    assert in_browser(path) == ["unread: an element of another type"]


@pytest.mark.parametrize("syntax", ["explicit", ImplicitVRLittleEndian])
def test_identities_and_texts_within_sequences_are_searched(original, syntax):
    paths = []
    for number, (inner, description) in enumerate((("Mustermann", "t2"), ("Head", "t2 Zuweiser"))):
        dataset = pydicom.dcmread(original)
        dataset.SeriesDescription = description
        coil, request, shared = Dataset(), Dataset(), Dataset()
        coil.ReceiveCoilName = inner
        shared.MRReceiveCoilSequence = Sequence([coil])
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
        request.RequestingPhysician = "Zuweiser^Anna"
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0F, "SQ", Sequence([request]))
        path = original.with_name(f"nested{number}")
        dataset.save_as(path)
        paths.append(path if syntax == "explicit" else changed(path, syntax))
    assert in_browser(*paths) == [HELD] * 2
