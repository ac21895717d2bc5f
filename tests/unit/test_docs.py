"""The documentation names every column and every command."""

import importlib.util
import re
from pathlib import Path

import pytest

from mri_pipeline.analysis.calibration import COLUMNS as CALIBRATION_COLUMNS
from mri_pipeline.core.accounts import StaffAccount
from mri_pipeline.core.acquisition_limits import AcquisitionLimits
from mri_pipeline.core.change_limits import ChangeLimits
from mri_pipeline.core.gate_settings import ScannerGateSettings
from mri_pipeline.core.protocol import LesionRules, Protocol, RequiredSequence, Site, Visit
from mri_pipeline.core.quality_limits import ImageLimits, QualityLimit
from mri_pipeline.core.reading_settings import Comparison, Reader, Reading
from mri_pipeline.reading.serial import CHANGE_COLUMNS
from mri_pipeline.reading.worklist import ADJUDICATION_LIST_COLUMNS, with_series
from mri_pipeline.reading.worklist_item import ADJUDICATION_COLUMNS, LESION_COLUMNS
from reading_centre.cli import app
from reading_centre.use_cases.analysis import evaluate, segment

DOCS = Path(__file__).parents[2] / "docs"


def test_columns_of_the_tables_are_those_of_the_schema():
    spec = importlib.util.spec_from_file_location("columns", DOCS / "columns.py")
    columns = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(columns)
    assert columns.PAGE.read_text(encoding="utf-8") == columns.page(), "run 'make docs-columns'"


def sections():
    text = (DOCS / "outputs.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (
            "read",
            (*ADJUDICATION_COLUMNS, *LESION_COLUMNS, *with_series(ADJUDICATION_LIST_COLUMNS), *CHANGE_COLUMNS),
        ),
        ("segment", segment._COLUMNS),
        ("run", CALIBRATION_COLUMNS),
        ("evaluate", [name for columns in evaluate.TABLES.values() for name in columns]),
    ],
)
def test_every_column_of_other_tables_is_described(section, names):
    first_cells = re.findall(r"^\| (`.*?) \|", sections()[section], re.MULTILINE)
    described = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert set(names) <= described


def test_every_command_has_its_outputs():
    commands = {command.name for command in (*app.registered_commands, *app.registered_groups)}
    assert commands == set(sections())


def test_every_setting_of_trial_toml_is_described_with_its_default():
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(?:\[\[)?(\w+)(?:\]\])?` \| (.*?) \|", text, re.MULTILINE)}
    settings = (
        Visit, RequiredSequence, Site, AcquisitionLimits, ImageLimits, ChangeLimits, ScannerGateSettings, LesionRules,
        StaffAccount, Reader, Comparison,
    )  # fmt: skip
    fields = {name: field for m in (Protocol, *settings, Reading) for name, field in m.model_fields.items()}
    tables = {"acquisition", "image_quality", "image_change", "scanner_gate", "lesions", "reading", "comparison"}
    assert set(rows) == set(fields) - tables
    for name, shown in rows.items():
        default = fields[name].get_default(call_default_factory=True)
        value = default.value if isinstance(default, QualityLimit) else default
        if isinstance(value, bool):
            assert shown == str(value).lower(), name
        elif isinstance(value, int | float):
            assert float(shown) == value, name
