"""Fixtures of the registry's databases, of small uploads and of a trial with tables."""

import os
import shutil
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from mri_pipeline.core.layout import Trial
from qc import decision
from tests.unit import postgresql, slurm
from tests.unit.locked_trial import write_locked_trial


@pytest.fixture
def no_image_checks(monkeypatch):
    """Accept images that are no heads: the small objects of `dicom_factory`."""
    monkeypatch.setattr(decision, "judge_images", lambda measures, protocol: [])


@pytest.fixture(scope="session")
def postgresql_server():
    """URL of a PostgreSQL server. Without PostgreSQL the test is skipped, and fails where CI is set."""
    folder = postgresql.programs()
    if folder is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no PostgreSQL: apt-get install postgresql")
    with postgresql.server(folder) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server):
    """URL of a new, empty database."""
    name = f"trial_{uuid4().hex}"
    engine = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgresql_server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def slurm_configuration():
    """slurm.conf of a cluster of one node. Without Slurm the test is skipped, and fails where CI is set."""
    if not slurm.installed():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Slurm: apt-get install slurmctld slurmd munge")
    with slurm.cluster() as configuration:
        yield configuration


@pytest.fixture(scope="session")
def original_locked_trial(tmp_path_factory):
    return write_locked_trial(tmp_path_factory.mktemp("locked") / "trial")


@pytest.fixture
def locked_trial(original_locked_trial, tmp_path):
    """A copy of a trial with one subject, whose seven visits are read by R1 and locked, and its tables."""
    shutil.copytree(original_locked_trial.root, tmp_path / "trial")
    return Trial(tmp_path / "trial")
