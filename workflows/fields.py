"""Names of the fields that connect the workflows of a subject, and helpers of their connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from mri_pipeline.analysis.subject_job import VisitScans
from mri_pipeline.core.segmenters import Segmenter
from mri_pipeline.core.visits import Contrast
from workflows.interfaces.base import FIELD, TISSUE_FIELDS

RESULTS: Mapping[str, Contrast] = {
    "gel": Contrast.T1W_GD,
    "black_holes": Contrast.T1W,
    "t1_hypointensity": Contrast.T1W,
}
"""Results of a visit that are tracked, and the contrast that a visit needs for each."""


def subject_fields(visits: Sequence[VisitScans]) -> list[str]:
    """Fields that connect the workflows of a subject: its maps, and images, transforms and brain of every visit.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    list of str
    """
    return [*TISSUE_FIELDS, *scanned_fields(visits), *(f"{v.visit}_transforms" for v in visits)]


def visits_with(visits: Sequence[VisitScans], contrast: Contrast) -> list[VisitScans]:
    """Visits with a scan of the contrast.

    Parameters
    ----------
    visits : sequence of VisitScans
    contrast : Contrast

    Returns
    -------
    list of VisitScans
        In the order of `visits`.
    """
    return [v for v in visits if contrast in v.scans]


def contrast_fields(visit: VisitScans) -> list[str]:
    """Fields of the scans of a visit.

    Parameters
    ----------
    visit : VisitScans

    Returns
    -------
    list of str
        Such as ``flair``.
    """
    return [FIELD[contrast] for contrast in visit.scans]


def t1_field(visit: VisitScans) -> str | None:
    """Field of the T1 that separates grey matter from T2 lesions.

    Parameters
    ----------
    visit : VisitScans

    Returns
    -------
    str or None
        T1 before contrast if there is one, else T1 after contrast; None without T1.
    """
    return next((FIELD[c] for c in (Contrast.T1W, Contrast.T1W_GD) if c in visit.scans), None)


def scanned_fields(visits: Sequence[VisitScans]) -> list[str]:
    """Fields of the scans and the brain mask of every visit.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    list of str
        Such as ``wk04_flair``.
    """
    return [f"{v.visit}_{field}" for v in visits for field in (*contrast_fields(v), "brain")]


def gathered_lists(visits: Sequence[VisitScans]) -> dict[str, list[str]]:
    """Lists of images over the visits, and the fields that each list collects.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    dict of str to list of str
        ``flairs``, ``brains``, ``t1s`` (one T1 of each visit, see `t1_field`) and ``t2ws``; without empty lists.
    """
    lists = {
        "flairs": [f"{v.visit}_flair" for v in visits],
        "brains": [f"{v.visit}_brain" for v in visits],
        "t1s": [f"{v.visit}_{t1_field(v)}" for v in visits if t1_field(v)],
        "t2ws": [f"{v.visit}_{FIELD[Contrast.T2W]}" for v in visits_with(visits, Contrast.T2W)],
    }
    return {name: fields for name, fields in lists.items() if fields}


def gathered_fields(visits: Sequence[VisitScans]) -> list[str]:
    """Fields of the images that are collected into lists over the visits.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    list of str
        FLAIR, brain mask, one T1 and T2w of every visit.
    """
    return [field for fields in gathered_lists(visits).values() for field in fields]


def result_lists(visits: Sequence[VisitScans]) -> dict[str, list[VisitScans]]:
    """Lists of results over the visits, and the visits that each list has an entry of.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    dict of str to list of VisitScans
        ``t2_lesions``, `RESULTS` and, with black holes, ``black_hole_visits``; without empty lists.
    """
    lists = {field: visits_with(visits, contrast) for field, contrast in RESULTS.items()}
    lists = {"t2_lesions": list(visits), **lists, "black_hole_visits": lists["black_holes"]}
    return {field: having for field, having in lists.items() if having}


def external_fields(visit: VisitScans, segmenter: Segmenter) -> list[str]:
    """Fields of the images of a visit that an external segmenter uses.

    Parameters
    ----------
    visit : VisitScans
    segmenter : Segmenter

    Returns
    -------
    list of str
        The brain mask is last.
    """
    return [*(FIELD[c] for c in segmenter.contrasts if c in visit.scans), "brain"]


def external_inputs(visits: Sequence[VisitScans], segmenter: Segmenter) -> list[str]:
    """`external_fields` of every visit.

    Parameters
    ----------
    visits : sequence of VisitScans
    segmenter : Segmenter

    Returns
    -------
    list of str
        Such as ``wk04_flair``.
    """
    return [f"{v.visit}_{field}" for v in visits for field in external_fields(v, segmenter)]


def segmented_fields(visit: VisitScans) -> list[str]:
    """Outputs of `Segment` for a visit.

    Parameters
    ----------
    visit : VisitScans

    Returns
    -------
    list of str
        Normalised scans, T2 lesions, and the results that the contrasts of the visit allow.
    """
    found = [field for field, contrast in RESULTS.items() if contrast in visit.scans]
    probability = ["gel_probability"] if "gel" in found else []
    return [*contrast_fields(visit), "t2_lesions", "t2_probability", *found, *probability]


def written_inputs(visits: Sequence[VisitScans]) -> list[str]:
    """Fields of the brain mask and the transforms of every visit, which are written with its results.

    Parameters
    ----------
    visits : sequence of VisitScans

    Returns
    -------
    list of str
        Such as ``wk04_brain``.
    """
    return [f"{v.visit}_{field}" for v in visits for field in ("brain", "transforms")]


def merge_node(name: str, entries: int) -> pe.Node:
    """Node that collects its inputs into a list. It always runs: files of equal size and time differ by their paths.

    Parameters
    ----------
    name : str
        Name of the node.
    entries : int
        Number of inputs.

    Returns
    -------
    Node
    """
    return pe.Node(niu.Merge(entries), name=name, run_without_submitting=True, overwrite=True)


def list_entries(fields: Iterable[str]) -> list[tuple[str, str]]:
    """Connections of fields to the inputs of a `merge_node`.

    Parameters
    ----------
    fields : iterable of str

    Returns
    -------
    list of tuple
        Field and input, in the order of `fields`.
    """
    return [(field, f"in{entry}") for entry, field in enumerate(fields, start=1)]


# without annotations: nipype copies the source of this function to the node, without its imports
def pick(values, position):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One entry of a list; runs inside a connection.

    Parameters
    ----------
    values : list
    position : int
        From 0.

    Returns
    -------
    object
    """
    return values[position]
