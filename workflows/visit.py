"""Workflow of one visit before the visits meet: brain, and every contrast to the FLAIR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.model import Contrast
from workflows.interfaces.base import FIELD
from workflows.interfaces.images import ExtractBrain, Register


def init_visit_wf(*, visit: str, scans: Mapping[Contrast, Path], name: str = "visit_wf") -> pe.Workflow:
    """Find the brain of one visit and bring its contrasts to its FLAIR.

    Parameters
    ----------
    visit : str
        Label, for messages.
    scans : mapping of Contrast to Path
        What the visit has; FLAIR is needed.

    Inputs
    ------
    flair, t1w, t1w_gd, t2w, pdw
        The scans as acquired; only those of `scans` are declared.

    Outputs
    -------
    brain
        Brain mask on the FLAIR's grid.
    template_to_flair
        Affine from the template's world.
    t1w_to_flair, t1w_gd_to_flair, t2w_to_flair, pdw_to_flair
        Rigid transforms of the contrasts the visit has.
    """
    workflow = pe.Workflow(name=name)
    others = [contrast for contrast in scans if contrast is not Contrast.FLAIR]
    inputnode = pe.Node(niu.IdentityInterface(fields=[FIELD[c] for c in scans]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["brain", "template_to_flair", *(f"{FIELD[c]}_to_flair" for c in others)]),
        name="outputnode",
    )
    inputnode.inputs.trait_set(**{FIELD[contrast]: str(path) for contrast, path in scans.items()})

    brain = pe.Node(ExtractBrain(), name="brain", mem_gb=0.8)
    workflow.connect([
        (inputnode, brain, [("flair", "flair")]),
        (brain, outputnode, [("brain", "brain"), ("template_to_flair", "template_to_flair")]),
    ])  # fmt: skip
    for contrast in others:
        field = FIELD[contrast]
        register = pe.Node(
            Register(same_contrast=False, what=f"{contrast.value} to FLAIR of {visit}"),
            name=f"register_{field}",
            mem_gb=0.8,
        )
        workflow.connect([
            (inputnode, register, [("flair", "fixed"), (field, "moving")]),
            (brain, register, [("brain", "fixed_brain")]),
            (register, outputnode, [("moving_to_fixed", f"{field}_to_flair")]),
        ])  # fmt: skip
    return workflow
