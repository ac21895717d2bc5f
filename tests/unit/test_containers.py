"""The definitions of the containers agree with each other and with the command line.

`integration/test_container` builds the image.
"""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from reading_centre import cli

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
APPTAINER = (ROOT / "containers" / "apptainer.def").read_text()
COMPOSE = yaml.safe_load((ROOT / "containers" / "compose.yaml").read_text())
BUILD = "python:3.11-slim-bookworm"


def section(name):
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in found.group(1).splitlines() if line.strip()]


def docker_environment():
    block = re.search(r"^ENV (.*?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL).group(1)
    return dict(word.split("=", 1) for word in shlex.split(block.replace("\\\n", " ")))


def test_both_images_have_the_same_base_environment_and_extras():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert {*bases, *re.findall(r"^From: (\S+)", APPTAINER, re.MULTILINE)} == {BUILD}
    exported = dict(line.removeprefix("export ").split("=", 1) for line in section("environment"))
    private = {"LOGNAME", "MPLCONFIGDIR"}  # /tmp of a cluster is shared, and the home folder is mounted
    assert exported == {name: value for name, value in docker_environment().items() if name not in private}
    copied = [line.split()[0] for line in section("files")]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"][
        "include"
    ]
    assert {name.removesuffix("*") for name in packages} <= set(copied)
    extras = set(re.findall(r"\[(\w+)\]\"", DOCKERFILE + APPTAINER))
    assert extras == {"postgresql"}
    assert (
        extras <= tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    )


def test_the_image_runs_the_command_as_an_unprivileged_user():
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users[-1:] == ["reader"]
    assert re.search(r"useradd .*--uid 10001 reader", DOCKERFILE)
    assert 'ENTRYPOINT ["mri-pipeline"]' in DOCKERFILE
    assert section("runscript") == ['exec mri-pipeline "$@"']
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert "mri-pipeline" in scripts


def test_compose_starts_the_web_application_behind_a_healthy_database(capsys):
    web, database = COMPOSE["services"]["web"], COMPOSE["services"]["database"]
    command, *arguments = web["command"]
    cli.invoke([command, "--help"])
    shown = capsys.readouterr().out
    assert [option for option in arguments if option.startswith("--") and option not in shown] == []
    assert web["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "pg_isready" in database["healthcheck"]["test"][-1]
    port = arguments[arguments.index("--port") + 1]
    assert web["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"127.0.0.1:{port}/login" in web["healthcheck"]["test"][-1]
    assert arguments[0] == web["volumes"][0].rpartition(":")[2] == "/trial"
    for service in (web, database):
        secrets = {value for name, value in service["environment"].items() if "PASSWORD" in name}
        assert secrets == {"${DB_PASSWORD:?set DB_PASSWORD}"}


def test_the_first_lines_of_compose_lay_out_a_trial_on_its_database(capsys):
    text = (ROOT / "containers" / "compose.yaml").read_text()
    words = re.search(r"run --rm web (init .*)", text).group(1).split()
    cli.invoke(["init", "--help"])
    assert words[2] in capsys.readouterr().out
    database = COMPOSE["services"]["database"]["environment"]
    assert words[3] == f"postgresql+psycopg://{database['POSTGRES_USER']}@database/{database['POSTGRES_DB']}"


@pytest.mark.parametrize("name", ["compose.yaml", "apptainer.def"])
def test_the_documentation_names_each_definition(name):
    assert f"containers/{name}" in (ROOT / "docs" / "install.md").read_text()
