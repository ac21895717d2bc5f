"""Logs: the command line writes them where it is asked to, and leaves other loggers alone."""

import logging

import pytest
from nipype import config as nipype_config
from nipype import logging as nipype_logging
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from reading_centre import cli
from workflows.engine import run_workflow
from workflows.logs import ROOTS, log_to_file, remove_handler
from workflows.plugin import Plugin


def test_a_log_file_gets_this_projects_records_alone_until_it_is_detached(tmp_path):
    handler = log_to_file(tmp_path / "logs" / "x.log")
    logging.getLogger("mri_pipeline.images").info("resampled")
    logging.getLogger("elsewhere").warning("not ours")
    remove_handler(handler)
    logging.getLogger("mri_pipeline.images").warning("too late")
    (line,) = (tmp_path / "logs" / "x.log").read_text().splitlines()
    assert line.endswith("INFO mri_pipeline.images: resampled")


@pytest.mark.parametrize("arguments", [[], ["--verbose"], ["--log-file", "{tmp}/command.log"]])
def test_the_command_line_detaches_its_handlers(tmp_path, arguments):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    assert cli.invoke([*arguments, "init", str(tmp_path / "trial")]) == 0
    assert not any(logging.getLogger(name).handlers for name in ROOTS)
    assert (tmp_path / "command.log").is_file() == bool(arguments and arguments[0] == "--log-file")


def test_nipypes_configuration_and_log_levels_are_left_as_they_were(tmp_path):
    logger = nipype_logging.getLogger("nipype.workflow")
    level, before = logger.level, {name: dict(nipype_config._sections[name]) for name in ("logging", "execution")}
    workflow = pe.Workflow(name="wf", base_dir=str(tmp_path))
    workflow.add_nodes([pe.Node(niu.IdentityInterface(fields=["x"]), name="x"), pe.Node(niu.Merge(1), name="y")])
    assert run_workflow(workflow, plugin=Plugin.LINEAR, nprocs=1, crash_folder=tmp_path / "crashes") == []
    assert logger.level == level
    assert {name: dict(nipype_config._sections[name]) for name in before} == before
