"""The three kinds of lesion have the same colours in reports and in the reading room."""

import re
from importlib.resources import files


def colours(text: str) -> dict[str, str]:
    return dict(re.findall(r"--(t2|gel|bh): (#[0-9a-f]{6})", text))


def test_reports_and_reading_room_have_one_palette():
    report = colours(
        (files("qc") / "reports" / "templates" / "subject_report.html.j2").read_text(encoding="utf-8")
    )
    static = files("reading_centre") / "web" / "static"
    assert set(report) == {"t2", "gel", "bh"}
    assert colours((static / "site.css").read_text(encoding="utf-8")) == report
    script = (static / "reading" / "palette.js").read_text(encoding="utf-8")
    drawn = {
        kind.lower(): "#" + "".join(f"{int(part):02x}" for part in values.split(","))
        for kind, values in re.findall(r"(T2|GEL|BH): \[([\d, ]+)\]", script)
    }
    assert drawn == report
