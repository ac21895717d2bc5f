"""Every constant that a result depends on is in one frozen, digested tree."""

import ast
import dataclasses
from pathlib import Path

import pytest

import mri_pipeline
from mri_pipeline.core import method, provenance
from mri_pipeline.core.method import METHOD, Method, brain, tissue
from mri_pipeline.core.protocol import LesionRules
from mri_pipeline.core.scoring import ScoringMethod

LIBRARY = Path(mri_pipeline.__file__).parent
NUMERICAL = {
    "MM2_PER_CM2", "ML_PER_MM3", "_MM3_PER_ML", "_FWHM_TO_SIGMA", "_MEAN_ABS_Z", "_LIMITS", "_ROUNDING",
    "_ROUNDING_MM3", "_EPSILON", "_EXACT", "_CONVERGED", "_MAX_ITERATIONS", "_POSITION_DECIMALS", "_EVENLY",
    "_DIGITS", "_LAST_BIN", "_LEVELS", "OUTSIDE", "WHITE", "GREY", "CSF", "_ORDER", "SIZES_MM3",
}  # fmt: skip
"""Conversion of units, constants of distributions, indices, accuracy of floating-point numbers and of iterations, and
the classes of a table."""
CHANGES_NO_NUMBER = {"face.py", "reading_tools.py"}
"""Act on what readers see alone. In the tree, its constants would make results and reads void."""


def numbers(path):
    """Names of module-level constants that hold a number of their own."""
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = [x for t in getattr(node, "targets", [getattr(node, "target", None)]) for x in ast.walk(t)]
        names = [x.id for x in targets if isinstance(x, ast.Name) and x.id.isupper()]
        literals = (x.value for x in ast.walk(node.value) if isinstance(x, ast.Constant))
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in literals):
            yield from names


@pytest.mark.parametrize("room", ["lesions", "images"])
def test_no_threshold_is_outside_the_tree(room):
    outside = {
        f"{path.name}: {name}"
        for path in (LIBRARY / room).rglob("*.py")
        if path.name not in CHANGES_NO_NUMBER
        for name in numbers(path)
        if name not in NUMERICAL
    }
    assert outside == set()


COMMON = {0.0, 0.5, 1.0, 2.0}
"""No thresholds: halves, units and doubles of formulas."""
LEAST = 1e-3
"""Smaller numbers avoid a division by 0."""
FORMULAS = {
    "features.py": {12.0},  # variance of a uniform distribution
    "brain.py": {1e6},  # mm3 in a litre
    "element_values.py": {60.0, 3600.0},  # seconds in a minute, in an hour
    "header_values.py": {86400.0},  # seconds in a day
    "unpack.py": {1e6},  # bytes in an MB
}


@pytest.mark.parametrize("room", ["lesions", "images", "analysis", "intake", "convert"])
def test_no_function_has_a_number_of_its_own(room):
    outside = {
        f"{path.name}, line {node.lineno}: {node.value}"
        for path in (LIBRARY / room).rglob("*.py")
        if path.name not in CHANGES_NO_NUMBER
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
        if node.value > LEAST and node.value not in COMMON | FORMULAS.get(path.name, set())
    }
    assert outside == set()


SMALL = {0, 1, 2}
"""Of counts and of axes."""
FORMATS = {
    "pieces.py": {4},  # fewer points lie in a plane: they have no shape
    "matching.py": {7},  # degrees of freedom
    "resample.py": {3},  # order of a spline
    "header_worker.py": {8},  # bytes of the start of an element
    "coil.py": {3},  # letters of an element of a coil
}


def compared(node):
    """Integers of a comparison, without those of calls and of indices."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield node.value
    if not isinstance(node, ast.Call | ast.Subscript):
        for child in ast.iter_child_nodes(node):
            yield from compared(child)


@pytest.mark.parametrize("room", ["lesions", "images", "analysis", "intake", "convert"])
def test_no_comparison_has_an_integer_of_its_own(room):
    outside = {
        f"{path.name}, line {node.lineno}: {value}"
        for path in (LIBRARY / room).rglob("*.py")
        if path.name not in CHANGES_NO_NUMBER
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        for value in compared(node)
        if value not in SMALL | FORMATS.get(path.name, set())
    }
    assert outside == set()


def test_settings_that_are_an_argument_are_not_read_from_the_tree():
    """Otherwise another value of the argument has no effect."""
    trees = [
        ast.parse(path.read_text()) for room in ("lesions", "images") for path in (LIBRARY / room).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    annotated = [ast.unparse(node.annotation) for node in nodes if isinstance(node, ast.arg) and node.annotation]
    arguments = {
        field.name
        for field in dataclasses.fields(Method)
        if {type(getattr(METHOD, field.name)).__name__, f"{type(getattr(METHOD, field.name)).__name__} | None"}
        & set(annotated)
    }
    assert arguments == {"t2", "gel", "black_holes", "registration", "bias", "brain", "tissue"}
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "METHOD"}
    assert read & arguments == set()


def leaves(tree=METHOD, path=()):
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, (*path, field.name))
        else:
            yield (*path, field.name), value


def kinds(tree):
    """Classes of the tree, at every depth."""
    yield type(tree)
    for field in dataclasses.fields(tree):
        if dataclasses.is_dataclass(getattr(tree, field.name)):
            yield from kinds(getattr(tree, field.name))


def changed(tree, path, value):
    name, *rest = path
    return dataclasses.replace(tree, **{name: changed(getattr(tree, name), rest, value) if rest else value})


def test_every_constant_is_part_of_the_digest(monkeypatch):
    digests = {provenance.settings_digest(LesionRules())}
    paths = list(leaves())
    for path, value in paths:
        other = (*value[:-1], value[-1] + 1) if isinstance(value, tuple) else value + 1
        monkeypatch.setattr(provenance, "METHOD", changed(METHOD, path, other))
        digests.add(provenance.settings_digest(LesionRules()))
    assert len(digests) == 1 + len(paths) > 100


def test_scores_change_no_digest():
    """No result of an analysis depends on them."""
    assert not any(isinstance(getattr(METHOD, field.name), ScoringMethod) for field in dataclasses.fields(Method))


def test_the_tree_is_frozen_and_every_constant_has_a_meaning():
    found = set(kinds(METHOD))
    assert {tissue.PosteriorFossa, tissue.DeepRegions, brain.EdgeSettings} < found
    for kind in found - {Method}:
        documented = kind.__doc__.partition("----------")[2]
        for field in dataclasses.fields(kind):
            assert field.name in documented, f"{kind.__name__}.{field.name}"
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(kind(), field.name, 0)
    assert Method() == method.METHOD
