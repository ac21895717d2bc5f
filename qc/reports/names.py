"""Plain names of contrasts and rules on the pages for sites and QC staff."""

from __future__ import annotations

from typing import Final

from mri_pipeline.core.visits import Contrast
from qc.change import CHANGE

CONTRAST_NAMES: Final = {
    Contrast.T1W: "T1",
    Contrast.T1W_GD: "T1 after contrast",
    Contrast.T2W: "T2",
    Contrast.PDW: "Proton density",
    Contrast.FLAIR: "FLAIR",
}

_RULES: Final = {
    "field_strength": "Field strength",
    "sequence": "Sequence",
    "whole_series": "Whole series",
    "spacing_3d": "3D voxel size",
    "thickness_2d": "Slice thickness",
    "gap": "Gap between slices",
    "in_plane_2d": "In-plane voxel size",
    "coverage": "Coverage",
    "inverted": "Inverted grey levels",
    "lossy_compression": "Lossy compression",
    "copies_differ": "Copies with other pixels",
    "contrast_recognised": "Contrast recognition",
    "contrast_timing": "Before or after contrast",
    "enhancement": "Enhancement",
    "minutes_after_contrast": "Time after contrast",
    "snr": "Signal to noise",
    "cnr": "Grey/white contrast to noise",
    "edge": "Head at the edge",
    "ghosting": "Ghosting in the air",
    "ghost_in_head": "Ghosting in the head",
    "saturation": "Saturation",
    "spike": "Spike in k-space",
    "line": "Interference line (zipper)",
    "sharpness": "Sharpness",
    "slice_displacement": "Displaced slice",
    "interleave": "Odd and even slices, position",
    "alternation": "Odd and even slices, intensity",
    "slice_step": "Step between slices",
    "doubled_slice": "Doubled slice",
    "motion_left_right": "Motion within slices, left and right",
    "motion_front_back": "Motion within slices, front and back",
    "tilt": "Tilt of the slices",
    "same_head": "Same head",
    "one_scanner": "One scanner",
    "scanner_identity": "Serial number of the scanner",
    "no_brain": "Match to the brain template",
    "upside_down": "Upside down",
    "left_right": "Left and right",
    "brain_missing": "Brain outside of the slices",
    "vertex": "Brain cut off at the vertex",
    "foramen_magnum": "Brain cut off at the foramen magnum",
    "fluid_signal": "Signal of CSF",
    "grey_signal": "Signal of grey matter",
    "bias": "Shading",
    "void": "Signal void",
    "not_measured": "Not measured",
    "blank_slices": "Blank slices",
    "repeated_slices": "Copied slices",
    "copied_scan": "Copied scan",
    "head_volume": "Volume of the head",
    "head_detail": "Local variation of the head",
    "slice_coherence": "Correlation of neighbouring slices",
    "split_series": "Series in parts",
    "coverage_loss": "Missing coverage",
    "conversion": "Conversion",
    "scanner_gate": "Dummy run of the scanner",
    "same_scanner": "Same scanner",
    "same_software": "Same software",
    "same_protocol": "Same protocol",
    "one_visit": "One visit",
    "left_out": "Not used",
}


def rule_name(rule: str) -> str:
    """The plain name of a rule.

    Parameters
    ----------
    rule : str
        Name in findings and queries.

    Returns
    -------
    str
        The rule itself if it has no other name.

    Examples
    --------
    >>> rule_name("snr"), rule_name("change_snr")
    ('Signal to noise', 'Signal to noise, change')
    """
    if rule.startswith(CHANGE):
        return f"{rule_name(rule.removeprefix(CHANGE))}, change"
    return _RULES.get(rule, rule)
