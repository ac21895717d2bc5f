"""Archives are read in the browser as the reading centre reads them; what is not read there is sent as it is.

The modules of the site's page run in the Node.js that comes with Playwright.
"""

import io
import json
import random
import stat
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pydicom
import pytest
from playwright._impl._driver import compute_driver_executable

from tests.web.test_names_in_browser import NAMES, SITE, STATIC, original  # noqa: F401 - a fixture

RUN = """
import { readFileSync, writeFileSync } from 'node:fs';
const [modules, site, path] = process.argv.slice(1);
const { Chosen } = await import(`${modules}/choose.js`);
const { identityOf } = await import(`${modules}/identity.js`);
const { filesOfArchive } = await import(`${modules}/archive.js`);
const file = new File([readFileSync(path)], path, { lastModified: 1 });
const read = await filesOfArchive(file, () => {}).then(
  (files) => Promise.all(files.map(
    async (one) => [one.path, Buffer.from(await one.file.arrayBuffer()).toString('hex')])),
  (error) => `${error.name}: ${error.message}`);
const chosen = await Chosen.of([{ file, path }], await identityOf(JSON.parse(site)), () => {});
writeFileSync(`${path}.sent`, Buffer.from(await chosen.blob.arrayBuffer()));
console.log(JSON.stringify({ read, text: chosen.text, whole: chosen.whole, content: chosen.content,
  left: chosen.left, notCleaned: chosen.notCleaned, canBeSent: chosen.canBeSent }));
"""
FILES = {
    "one/deep/Ärztin 1.dcm": random.Random(1).randbytes(70_000),
    "one/zeros": bytes(3_000_000),
    "two": b"",
    f"{'long/' * 60}name": b"x" * 513,
}


def in_browser(path: Path) -> dict:
    node, _ = compute_driver_executable()
    command = [node, "--input-type=module", "-e", RUN, str(STATIC), json.dumps(SITE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(path: Path) -> dict[str, bytes]:
    return {name: bytes.fromhex(content) for name, content in in_browser(path)["read"]}


def refusal(path: Path, content: bytes | None = None) -> str:
    """Why an archive is not read. It is sent as it is."""
    if content is not None:
        path.write_bytes(content)
    found = in_browser(path)
    assert found["whole"] == 1
    assert Path(f"{path}.sent").read_bytes() == path.read_bytes()
    assert found["read"].removeprefix("Error: ") in found["text"], found
    return found["text"].partition("this browser: ")[2]


def zip_of(
    path: Path, files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED, *, comment: bytes = b""
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("one")
        archive.comment = comment
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, bytes] = FILES, form: int = tarfile.PAX_FORMAT, mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        folder = tarfile.TarInfo("one")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read(tmp_path, method):
    assert read(zip_of(tmp_path / "a.zip", method=method, comment=b"PK\5\6 of a station")) == FILES


def test_a_zip_of_a_stream_and_a_zip64_are_read(tmp_path, monkeypatch):
    class Stream(io.RawIOBase):
        """Without a way back: sizes and checksums follow the data."""

        def __init__(self):
            self.content = bytearray()

        def writable(self):
            return True

        def write(self, content):
            self.content += content
            return len(content)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    (tmp_path / "stream.zip").write_bytes(stream.content)
    assert read(tmp_path / "stream.zip") == FILES
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        for limit in ("ZIP64_LIMIT", "ZIP_FILECOUNT_LIMIT"):  # for the directory at the end
            monkeypatch.setattr(zipfile, limit, 1)
    assert b"PK\6\6" in path.read_bytes()
    assert read(path) == FILES


@pytest.mark.parametrize(
    ("form", "mode"),
    [(form, mode) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT) for mode in ("w", "w:gz")],
)
def test_a_tar_is_read(tmp_path, form, mode):
    name = "a.tar" if mode == "w" else "a.tgz"
    assert read(tar_of(tmp_path / name, form=form, mode=mode)) == FILES


def test_an_ustar_with_a_long_path_is_read(tmp_path):
    files = {f"{'p' * 90}/{'q' * 60}/file": b"1"}
    assert read(tar_of(tmp_path / "a.tar", files, tarfile.USTAR_FORMAT)) == files


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_path_from_the_present_folder_is_no_hidden_file(tmp_path, original, pack):  # noqa: F811
    content = original.read_bytes()
    files = {"./k/1": content, "2": content, "./.hidden": b"x", "./3": content, ".//4": content}
    path = pack(tmp_path / ("a.zip" if pack is zip_of else "a.tar"), files)
    found = in_browser(path)
    assert [name for name, _ in found["read"]] == ["k/1", "2", ".hidden", "3", "4"]
    assert "removed from 4 files" in found["text"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:/x", "..\\x"])
def test_paths_that_lead_out_of_an_archive_are_not_read(tmp_path, name):
    assert refusal(tar_of(tmp_path / "a.tar", {"a": b"1", name: b"2"})).startswith(
        "it has paths that lead out of it"
    )
    assert refusal(zip_of(tmp_path / "a.zip", {"a": b"1", name: b"2"})).startswith(
        "it has paths that lead out of it"
    )


def test_damaged_zips_are_sent_as_they_are(tmp_path):
    path = zip_of(tmp_path / "a.zip")
    whole = path.read_bytes()
    for content in (whole[:-5000], whole[:-1], whole[5:], b"x" + whole, whole + b"x", b"PK"):
        assert refusal(tmp_path / "damaged.zip", content).startswith("it is damaged"), content[:8]
    (tmp_path / "empty.zip").write_bytes(b"PK\5\6" + bytes(18))
    assert "it has no files" in in_browser(tmp_path / "empty.zip")["text"]
    data = bytearray(whole)
    data[60_000] ^= 1  # within the first file, which is stored nearly as it is
    assert refusal(tmp_path / "bit.zip", bytes(data)).startswith("it is damaged")


def test_damaged_tars_are_sent_as_they_are(tmp_path):
    plain, packed = tar_of(tmp_path / "a.tar").read_bytes(), tar_of(tmp_path / "a.tgz", mode="w:gz").read_bytes()
    end = len(plain.rstrip(b"\0")) + 511 & ~511
    broken = bytearray(plain)
    broken[520] ^= 1
    for content in (plain[:end], plain[: end - 700], plain + plain, bytes(broken[512:]), bytes(700)):
        (tmp_path / "b.tar").write_bytes(content)
        text = in_browser(tmp_path / "b.tar")["text"]
        assert "damaged or incomplete" in text or ("no files" in text and not any(content)), len(content)
    for content in (packed[:-1], packed[:-9] + bytes(9), packed[:2000], packed + packed):
        assert refusal(tmp_path / "b.tgz", content).startswith("it is damaged")


def test_what_is_not_read_has_its_reason(tmp_path):
    data = bytearray(zip_of(tmp_path / "a.zip", {"a": b"1"}).read_bytes())
    entry = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<H", data, entry + 8, 1)
    assert refusal(tmp_path / "encrypted.zip", bytes(data)).startswith("it has a password.")
    assert "compressed in a way" in refusal(zip_of(tmp_path / "b.zip", method=zipfile.ZIP_BZIP2))
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "it has links" in refusal(tmp_path / "link.zip")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE):
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "a"
        with tarfile.open(tmp_path / "link.tar", "w") as archive:
            archive.addfile(info)
        assert "it has links" in refusal(tmp_path / "link.tar"), kind
    for facts, expected in (({"size": "x"}, "it is damaged"), ({"GNU.sparse.major": "1"}, "it has links")):
        info = tarfile.TarInfo("a")
        info.pax_headers = facts
        with tarfile.open(tmp_path / "pax.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(info)
        assert expected in refusal(tmp_path / "pax.tar"), facts
    for name, content in (
        ("a/b.ZIP", b"1"),
        ("a", b"PK\3\4"),
        ("b", b"\x1f\x8b"),
        ("c", b"7z\xbc\xaf"),
        ("d", b"Rar!"),
    ):
        assert "another archive" in in_browser(zip_of(tmp_path / "c.zip", {name: content}))["text"], name
    assert "no files" in in_browser(zip_of(tmp_path / "d.zip", {"a/.hidden": b"1", "__MACOSX/x": b"2"}))["text"]


def test_bombs_are_not_unpacked(tmp_path):
    zeros = {f"{number}": bytes(20_000_000) for number in range(4)}
    assert "too large" in refusal(zip_of(tmp_path / "a.zip", zeros))
    assert "too large" in refusal(tar_of(tmp_path / "a.tgz", zeros, mode="w:gz"))
    data = bytearray(zip_of(tmp_path / "b.zip", {"a": bytes(1_000_000)}).read_bytes())
    entry = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, entry + 24, 10)  # it says 10 bytes
    assert refusal(tmp_path / "liar.zip", bytes(data)).startswith("it is damaged")
    with tarfile.open(tmp_path / "size.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.size = 2**60
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    assert refusal(tmp_path / "size.tar").startswith(("it is damaged", "it has too many"))


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_names_are_removed_from_the_files_of_an_archive(tmp_path, original, pack):  # noqa: F811
    files = {f"MUSTERMANN/{number}.dcm": original.read_bytes() for number in range(3)}
    path = pack(
        tmp_path / ("a.zip" if pack is zip_of else "a.tar"),
        files | {"MUSTERMANN/.DS_Store": b"HOSP-4711", "__MACOSX/1": b"\x1f\x8bHOSP-4711"},
    )
    found = in_browser(path)
    sent = Path(f"{path}.sent").read_bytes()
    assert (found["whole"], found["text"].partition(" MB. ")[2]) == (
        0,
        "Names, birth dates and numbers were removed from 3 files. The pixels are not changed.",
    )
    assert not [name for name in NAMES if name in sent.upper()]
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        assert archive.getnames() == [f"scans/00000{number}" for number in range(3)]
    assert in_browser(path)["content"] == found["content"]
    assert Path(f"{path}.sent").read_bytes() == sent  # an upload goes on after the same choice


def test_an_archive_with_a_file_that_cannot_be_cleaned_is_sent_as_it_is(tmp_path, original):  # noqa: F811
    cut = original.read_bytes()[:300]
    path = zip_of(tmp_path / "a.zip", {"1": original.read_bytes(), "2": cut})
    found = in_browser(path)
    assert found["whole"] == 1
    assert "a DICOM file in it cannot be read here" in found["text"]
    assert Path(f"{path}.sent").read_bytes() == path.read_bytes()


def test_what_is_not_sent_is_listed_with_its_reason(tmp_path, original):  # noqa: F811
    """A digit of the class that was damaged, too: it must not be left out in silence."""
    slice_, screen, damaged, burned = (
        original.with_name(f"{name}.dcm") for name in ("a", "screen", "damaged", "text")
    )
    slice_.write_bytes(original.read_bytes())
    for path, values in (
        (screen, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SeriesInstanceUID": "1.2.3.99"}),
        (damaged, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}),
        (burned, {"BurnedInAnnotation": "YES", "SeriesInstanceUID": "1.2.3.98"}),
    ):
        dataset = pydicom.dcmread(original)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    files = {path.name: path.read_bytes() for path in (slice_, screen, damaged, burned)}
    found = in_browser(zip_of(tmp_path / "scan.zip", files))
    assert (found["whole"], found["notCleaned"]) == (0, [])
    assert found["text"].startswith("1 file, ")
    assert {one["path"]: one["why"] for one in found["left"]} == {
        "screen.dcm": "no MR image, by its class (screenshot)",
        "damaged.dcm": "no MR image, by its class (CT image), "
        "but other images of its series are sent: it may be damaged",
        "text.dcm": "text within the image, by its header",
    }


def test_an_identity_in_a_text_is_listed_with_its_element_and_series(tmp_path, original):  # noqa: F811
    dataset = pydicom.dcmread(original)
    dataset.SeriesDescription, dataset.SeriesNumber = "t2 Mustermann", 7
    dataset.save_as(original.with_name("b"))
    files = {"a": original.read_bytes(), "b": original.with_name("b").read_bytes()}
    found = in_browser(zip_of(tmp_path / "scan.zip", files))
    assert (found["whole"], found["left"]) == (1, [])
    place = "Series description (0008,103E) of series 7"
    assert found["notCleaned"] == [{"path": "b", "why": f"a description holds patient data: {place}"}]
    assert "Mustermann" not in json.dumps(found["notCleaned"])


def test_if_nothing_is_sent_the_reasons_are_listed(tmp_path, original):  # noqa: F811
    dataset = pydicom.dcmread(original)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(original)
    found = in_browser(zip_of(tmp_path / "scan.zip", {"a": original.read_bytes()}))
    assert (found["canBeSent"], found["left"]) == (
        False, [{"path": "a", "why": "text within the image, by its header"}]
    )  # fmt: skip
