"""Public functions, methods and classes have complete numpydoc docstrings."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mri_pipeline", "qc", "workflows", "reading_centre")
EXEMPT = "reading_centre/commands/"  # the docstring of a command is its --help text
MODULES = [p.relative_to(ROOT).as_posix() for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]
WITHOUT_SECTIONS = re.compile(r"overload|(cached_)?property|(field|model)_validator|field_serializer")
"""Decorators of functions that need no sections: a property is documented like an attribute."""


def definitions(body, prefix=""):
    """Public functions, methods and classes of a module or class, by their qualified names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{node.name}.")


def documented(node):
    """Names of the entries in each section of a docstring."""
    _, *parts = re.split(r"^(\w+)\n-{3,}$", ast.get_docstring(node) or "", flags=re.MULTILINE)
    lines = [re.findall(r"^\S.*", part, re.MULTILINE) for part in parts[1::2]]
    names = [[name for line in found for name in line.split(" : ")[0].split(", ")] for found in lines]
    return dict(zip(parts[::2], names, strict=True))


def parameters(function):
    """Names of the parameters of a function in numpydoc's notation, without `self` and `cls`."""
    a = function.args
    stars = [f"{star}{arg.arg}" for star, arg in (("*", a.vararg), ("**", a.kwarg)) if arg]
    return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in {"self", "cls"}] + stars


def raises(node):
    """True if a function contains a `raise` outside of nested functions."""
    nested = ast.FunctionDef | ast.ClassDef | ast.Lambda
    children = ast.iter_child_nodes(node)
    return any(isinstance(c, ast.Raise) or (not isinstance(c, nested) and raises(c)) for c in children)


def faults(node):
    """What the docstring of a function or class lacks."""
    found = documented(node)
    if isinstance(node, ast.ClassDef):
        init = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
        fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and n.target.id[0] != "_"]
        names, attributes = parameters(init) if init else fields, found.get("Attributes", ())
        if not set(attributes) <= set(fields):
            yield f"attributes {attributes}, expected some of {fields}"
    else:
        names, attributes = parameters(node), ()
        result = "None" if node.returns is None else ast.unparse(node.returns)
        described = {"Returns", "Yields"} & set(found) or node.name.startswith("init_")  # Inputs and Outputs
        if result not in {"None", "Never", "NoReturn"} and not described:
            yield "no section Returns or Yields"
        if raises(node) and "Raises" not in found:
            yield "no section Raises"
    if sorted(found.get("Parameters", [])) != sorted(names) and not attributes:
        yield f"parameters {found.get('Parameters', [])}, expected {names}"


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith(EXEMPT)])
def test_docstrings_have_the_sections_of_numpydoc_and_the_parameters_of_the_signature(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    found = [
        f"{name} (line {node.lineno}): {fault}"
        for name, node in definitions(tree.body)
        if not any(WITHOUT_SECTIONS.match(ast.unparse(d)) for d in getattr(node, "decorator_list", ()))
        for fault in faults(node)
    ]
    assert found == []
