"""Fixtures that more than one test module uses."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None)  # no test depends on how fast the machine is
settings.load_profile("project")

_DATA = Path(os.environ.get("MRI_PIPELINE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public real data; the test is skipped where it is absent."""
    if not _DATA.is_dir():
        pytest.skip("no real data: set MRI_PIPELINE_TEST_DATA to the data sets named in the README")
    return _DATA
