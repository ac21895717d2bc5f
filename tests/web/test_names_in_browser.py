"""Names are removed from DICOM files in the browser; all that the reading centre reads stays as it was.

The module of the site's page runs in the Node.js that comes with Playwright.
"""

import dataclasses
import json
import re
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright._impl._driver import compute_driver_executable
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from mri_pipeline.intake.allowed import GROUPS, KEPT, MOMENTS, UIDS
from mri_pipeline.intake.deidentify import Blinding, deidentify
from mri_pipeline.intake.header_worker import read_one
from mri_pipeline.intake.identities import COMMON, PLACEHOLDERS
from tests.unit.dicom_factory import FLAIR, write_series
from tests.unit.enhanced_factory import EnhancedSpec, texture, write_enhanced

STATIC = Path(__file__).parents[2] / "reading_centre" / "web" / "static" / "upload"
SITE = {"key": "00ff" * 16, "placeholders": sorted(PLACEHOLDERS), "common": sorted(COMMON)}
KEY = b"0123456789abcdef"
RUN = """
import { readFileSync, writeFileSync } from 'node:fs';
const [modules, site, ...paths] = process.argv.slice(1);
const { withoutNames, UnreadError } = await import(`${modules}/dicom.js`);
const { identityOf } = await import(`${modules}/identity.js`);
const identity = await identityOf(JSON.parse(site));
const answers = [];
for (const path of paths) {
  try {
    const blob = await withoutNames(new File([readFileSync(path)], 'one'), identity);
    if (blob) writeFileSync(`${path}.clean`, Buffer.from(await blob.arrayBuffer()));
    answers.push(blob ? 'cleaned' : 'left out');
  } catch (error) {
    answers.push(error instanceof UnreadError ? `unread: ${error.message}` : `fault: ${error.stack}`);
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
    dataset.SeriesDescription = "t2_flair_tra MUSTERMANN"
    dataset.ProtocolName = "Hirn HOSP-4711"
    item = Dataset()
    item.RequestedProcedureID = "REQ98765"
    item.PatientID = "HOSP-4711"
    dataset.RequestAttributesSequence = Sequence([item])
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x20, "OB", b"tPatientName Mustermann^Erika 19640812\0")
    return dataset


NAMES = (b"MUSTERMANN", b"ERIKA", b"HOSP-4711", b"19640812", b"LINDENWEG", b"HAUSARZT", b"KLINIKUM", b"ACC12345",
         b"REQ98765", b"S4711")  # fmt: skip


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
@pytest.mark.parametrize("spelling", ["MÜLLER-JÖNS", "Müller-Jöns", "müller-jöns"])
def test_names_with_accents_are_found_in_any_case(original, charset, spelling):
    dataset = pydicom.dcmread(original)
    dataset.SpecificCharacterSet = charset
    dataset.PatientName, dataset.SeriesDescription = "Müller-Jöns^Søren", f"flair {spelling} søren"
    dataset.save_as(original)
    kept = pydicom.dcmread(cleaned(original)).SeriesDescription
    assert re.fullmatch(r"flair X{11,13} X{5,6}", kept)


def test_a_public_element_of_unknown_type_is_kept_without_names(original):
    content = original.read_bytes()
    at = content.index(b"\x08\x00\x3e\x10LO")
    length = int.from_bytes(content[at + 6 : at + 8], "little")
    new = b"\x08\x00\x3e\x10UN\0\0" + length.to_bytes(4, "little")
    original.write_bytes(content[:at] + new + content[at + 8 :])
    assert pydicom.dcmread(cleaned(original)).SeriesDescription == "t2_flair_tra XXXXXXXXXX"


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
    assert dataset.SeriesDescription == "t2_flair_tra XXXXXXXXXX"
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
    """All facts of the header but the names in the description, and the same de-identified file."""
    before, after = facts_of(original), facts_of(cleaned(original))
    different = {name for name in before if before[name] != after[name]}
    assert different == {"person_keys", "description"}
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
    item = dataset.PerFrameFunctionalGroupsSequence[0]
    block = item.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    nested = Dataset()
    nested.PatientName = "Mustermann^Erika"
    block.add_new(0x0F, "SQ", Sequence([nested]))
    dataset.save_as(path, enforce_file_format=True)
    clean = cleaned(path)
    assert b"MUSTERMANN" not in clean.read_bytes().upper()
    before, after = facts_of(path), facts_of(clean)
    assert {name for name in before if before[name] != after[name]} == {"person_keys", "description"}
    kept = pydicom.dcmread(clean)
    assert len(kept.PerFrameFunctionalGroupsSequence) == len(dataset.PerFrameFunctionalGroupsSequence)
    assert kept.PixelData == dataset.PixelData


def test_every_element_that_the_reading_centre_keeps_is_kept():
    source = (STATIC / "dicom.js").read_text()
    named = re.search(r"OF_IMAGE = new Set\(\[(.*?)\]\)", source, re.DOTALL)[1]
    of_image = {int(tag, 16) for tag in re.findall(r"0x[0-9a-f]{8}", named)}
    groups = {int(group, 16) for group in re.findall(r"0x[0-9a-f]{4}\b", re.search(r"GROUPS = .*", source)[0])}
    tags = {
        tag_for_keyword(keyword) for keyword in KEPT | GROUPS | UIDS | {name for pair in MOMENTS for name in pair}
    }
    tags.remove(tag_for_keyword("PixelData"))
    assert {tag for tag in tags if tag >> 16 == 8} <= of_image
    assert {tag >> 16 for tag in tags} - {8} <= groups


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


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
@pytest.mark.parametrize("name", ["Mustermann^Erika", "müller weiß^søren^^", "ANONYMOUS", ""])
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
