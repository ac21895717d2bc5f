"""CSV files from spreadsheet programs: encodings, delimiters, decimals; a refusal names file, line and column."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_pipeline.core.errors import UsageError
from mri_pipeline.core.io import sheets
from mri_pipeline.core.io.sheets import read_sheet, whole_number
from mri_pipeline.reading.items import LesionKind
from mri_pipeline.reading.returned import done_marks, lesion_decisions
from mri_pipeline.reading.returned_changes import change_decisions

TEXT = "reading_code,comment\nAB12,Größe; früher\nCD34,\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["", "sep=,", '"sep=,"', "SEP=,"])
def test_every_encoding_and_separator_line_gives_the_same_rows(tmp_path, encoding, ends, separator):
    text = (separator + "\n" if separator else "") + TEXT
    (tmp_path / "list.csv").write_bytes(text.replace("\n", ends).encode(encoding))
    rows = read_sheet(tmp_path / "list.csv", ["reading_code"])
    assert rows == [
        {"reading_code": "AB12", "comment": "Größe; früher"},
        {"reading_code": "CD34", "comment": ""},
    ]
    assert [row.line for row in rows] == ([3, 4] if separator else [2, 3])


def test_a_utf16_file_with_byte_order_of_the_other_end(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_sheet(tmp_path / "list.csv", ["comment"])[0]["comment"] == "Größe; früher"


cell = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\0"), min_size=1, max_size=6)


@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=5), st.sampled_from(",;\t"), st.booleans())
def test_rows_that_a_csv_writer_wrote(tmp_path_factory, pairs, delimiter, separator):
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([("a", "b"), *pairs])
    path = tmp_path_factory.mktemp("sheet") / "x.csv"
    path.write_text((f"sep={delimiter}\n" if separator else "") + stream.getvalue(), newline="", encoding="utf-8")
    assert [(row["a"], row["b"]) for row in read_sheet(path, ["a", "b"])] == pairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^list\.csv, line 1: expected the columns a, b, found none named a, b$"),
        (b"sep=;\na;c\n", r"^list\.csv, line 2: expected the columns a, b, found none named b$"),
        (b"a,b,a\n", r"^list\.csv, line 1, column a: expected it once, found it twice$"),
        (b"a,b\n1,2\n\n3,4,5\n", r"^list\.csv, line 4, column 3: expected 2 cells as in the header, found more$"),
        (b'a,b\n1,2\n3,"4\n', r"^list\.csv, line 3: expected CSV, found unexpected end of data$"),
        (b"PK\x03\x04abc", r"^list\.csv, line 1: expected CSV text, found binary data$"),
        (b"a,b\n1,\x00\x002\n", r"^list\.csv, line 2: expected CSV text, found binary data$"),
    ],
)
def test_what_is_refused_names_file_line_and_column(tmp_path, content, message):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_sheet(tmp_path / "list.csv", ["a", "b"])


def test_a_missing_and_a_huge_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"expected none\.csv, found none"):
        read_sheet(tmp_path / "none.csv", ["a"])
    monkeypatch.setattr(sheets, "MAX_SHEET_BYTES", 3)
    (tmp_path / "list.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="found a larger one"):
        read_sheet(tmp_path / "list.csv", ["a"])


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,0", 1), ("1.0", 1), (" 12 ", 12), ("1,5", None), ("1e3", None), ("²", None), ("", None)],
)
def test_whole_numbers_of_spreadsheet_programs(text, number):
    assert whole_number(text) == number


def test_a_returned_worklist_with_decimal_commas_is_read(tmp_path):
    worklist = "sep=;\r\nreading_code;done\r\nAB12;1,0\r\nCD34;0,0\r\n"
    (tmp_path / "worklist.csv").write_bytes(worklist.encode("utf-16"))
    assert done_marks(tmp_path) == {"AB12": True, "CD34": False}
    lesions = "sep=;\nreading_code;type;lesion;decision;x_mm\nAB12;T2;1,0;accept;3,25\nAB12;T2;2,0;reject;4,5\n"
    (tmp_path / "lesions.csv").write_bytes(lesions.encode("utf-16"))
    decided, undecided = lesion_decisions(tmp_path, "AB12", {LesionKind.T2: (1, 2)})
    assert [(decision.lesion, decision.accepted) for decision in decided] == [(1, True), (2, False)]
    assert undecided == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AB12;T2;1,5;accept", r"^item AB12, lesions\.csv, line 4, column lesion: expected the proposed lesions"),
        (
            "AB12;T2;1,0;perhaps",
            r"^item AB12, lesions\.csv, line 4, column decision: expected accept or reject .*, found text of 7 char",
        ),
        ("ZZ12;T2;1,0;accept", r"^item AB12, lesions\.csv, line 4, column reading_code: expected its own"),
        ("AB12;T2;2,0;accept", r"^item AB12, lesions\.csv, line 4, column lesion: expected T2 lesion 2 once"),
        ("AB12;T2;1,0;accept;;x", r"^item AB12: lesions\.csv, line 4, column 5: expected 4 cells"),
    ],
)
def test_a_refused_decision_names_its_place(tmp_path, row, message):
    head = "sep=;\nreading_code;type;lesion;decision\nAB12;T2;2;reject\n"
    (tmp_path / "lesions.csv").write_text(head + row + "\n")
    with pytest.raises(UsageError, match=message):
        lesion_decisions(tmp_path, "AB12", {LesionKind.T2: (1, 2)})


def test_a_refused_mark_names_its_place(tmp_path):
    (tmp_path / "worklist.csv").write_text("reading_code,done\nAB12,yes\nCD34,nearly\n")
    with pytest.raises(
        UsageError,
        match=r"^worklist\.csv, line 3, column done: expected yes or an empty cell, found text of 6 characters$",
    ):
        done_marks(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "AB12,1,19700101",
            "column decision: expected new, enlarging or none for lesion 1, found text of 8 characters",
        ),
        ("19700101,1,new", "line 3: expected each proposed change once, found a row of another item"),
        ("AB12,19700101,new", "line 3: expected each proposed change once, found a row of another lesion"),
        ("AB12,2,new", "line 3: expected each proposed change once, found lesion 2 twice"),
        ("ZZ12,2,new", "line 3: expected each proposed change once, found a row of another item"),
    ],
)
def test_a_refused_change_names_its_place_and_not_its_text(tmp_path, row, message):
    (tmp_path / "changes.csv").write_text(f"reading_code,lesion,decision\nAB12,2,new\n{row}\n")
    with pytest.raises(UsageError, match=f"^item AB12, changes.csv, .*{message}$") as caught:
        change_decisions(tmp_path, "AB12", {1: "new", 2: "new"}, set())
    assert "1970" not in caught.value.message
