"""Mutation score of a package: the share of small code faults that its unit tests detect.

    pip install --constraint constraints.txt --editable '.[mutation]'
    python benchmarks/mutation.py [--rooms lesions intake reading tables] [--number 40] [--seed 13] [--report FILE]

A mutant is the code with one small fault: an exchanged operator, an increased number, a removed argument. The faults
are those of mutmut. One more fault removes a call whose result is not used. A random sample of all mutants of a
package is drawn. The same code, seed and number give the same sample. Error messages and descriptions (strings of
three words or more) are excluded.

Mutants are written into a copy of the project. The project itself is not changed. A mutant is tested with the unit
tests of its package that import the mutated module, the fastest test file first. It is *killed* if a test fails. It is
also killed if the tests take four times as long as without the fault (endless loop). It *survives* if all tests pass.
Tests of real data are excluded.

The script prints each mutant, a table (package, mutants, killed, survived, score), and all survivors with their
difference to the code. A full run of a package takes hours. 40 mutants take 5 to 30 min.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import importlib
import itertools
import multiprocessing
import os
import random
import shutil
import site
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("lesions", "intake", "reading", "tables")
LEFT_OUT = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "demo", "shared")
PYTEST = (
    "-x", "-q", "-n0", "-m", "not real_data", "--hypothesis-seed=0", "-p", "no:cacheprovider",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
LIBRARIES = (
    "hypothesis", "numpy", "scipy.ndimage", "scipy.spatial", "skimage.graph", "nibabel", "SimpleITK", "pydicom",
    "pydantic", "sqlalchemy.orm", "pandas", "pandera.pandas", "matplotlib.pyplot",
)  # fmt: skip
"""Imported once, before the processes are forked."""
PROSE_WORDS = 3
LEAST_TIMEOUT_S, TIMES_BASELINE = 60.0, 4.0


@dataclass(frozen=True)
class Mutant:
    """A module with one fault."""

    module: Path  # relative to the project
    code: str
    line: int
    difference: str

    @classmethod
    def of(cls, module: Path, original: str, code: str) -> Mutant:
        """Describe how the code differs from the original."""
        lines = list(difflib.unified_diff(original.splitlines(), code.splitlines(), n=0, lineterm=""))[2:]
        line = int(lines[0].split()[1].lstrip("-").split(",")[0])
        return cls(module, code, line, "\n".join(text for text in lines if not text.startswith("@@")))

    @property
    def place(self) -> str:
        """File and line, relative to the project."""
        return f"{self.module}:{self.line}"


def without_call(node: cst.Expr) -> Iterator[cst.Pass]:
    """Remove a call that is a statement of its own."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass(semicolon=node.semicolon)


class Faults(MutationVisitor):
    """Collect the faults of a module. Error messages are excluded."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Exclude ``raise`` statements."""
        return not isinstance(node, cst.Raise) and super().on_visit(node)


@dataclass(frozen=True, eq=False)
class Module:
    """A module and all its faults in source order."""

    path: Path  # relative to the project
    tree: cst.Module
    faults: Sequence[Mutation]

    @classmethod
    def of(cls, path: Path) -> Module:
        """Find the faults of a module."""
        wrapper = MetadataWrapper(cst.parse_module((ROOT / path).read_text()))
        nothing = IgnoredCode(no_mutate_lines=set(), ignore_node_lines=set(), ignore_pattern_lines=set())
        visitor = Faults([*mutation_operators, (cst.Expr, without_call)], nothing)
        return cls(path, wrapper.visit(visitor), visitor.mutations)

    def mutant(self, fault: Mutation) -> Mutant | None:
        """Apply a fault; None if the code is unchanged or invalid, or if the fault is in prose."""
        if _is_prose(fault.original_node):
            return None
        changed = self.tree.deep_replace(fault.original_node, fault.mutated_node)
        if not isinstance(changed, cst.Module) or changed.code == self.tree.code or not _is_python(changed.code):
            return None
        return Mutant.of(self.path, self.tree.code, changed.code)


def sample_of(modules: Sequence[Module], *, number: int, seed: int) -> list[Mutant]:
    """Draw mutants of all modules of a package with equal probability."""
    faults = [(module, fault) for module in modules for fault in module.faults]
    random.Random(seed).shuffle(faults)
    drawn = (module.mutant(fault) for module, fault in faults)
    return list(itertools.islice((mutant for mutant in drawn if mutant is not None), number))


def _is_prose(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and len(node.raw_value.split()) >= PROSE_WORDS


def _is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def reached(test: Path) -> set[Path]:
    """Files of the project that a test file imports, directly or indirectly."""
    found: set[Path] = set()
    waiting = [test]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [path for name in _imported(file) for path in _files_of(name)]
    return found


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str) -> Iterator[Path]:
    for folder in (ROOT, ROOT / "tests" / "unit"):
        path = folder.joinpath(*name.split("."))
        yield from (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())


class Room:
    """Unit tests of a package in a copy of the project."""

    def __init__(self, name: str, copy: Path) -> None:
        self.name, self.copy = name, copy
        tests = sorted((ROOT / "tests").rglob(f"test_{name}_*.py"))
        self.reached = {test: reached(test) for test in tests}
        self.seconds: dict[Path, float] = {}
        for test in tests:
            start = time.monotonic()
            if not self._pass([test], timeout_s=3600.0):
                raise SystemExit(f"expected {test.name} to pass on the unchanged code, but it fails")
            self.seconds[test] = time.monotonic() - start

    def modules(self) -> list[Module]:
        """All modules of the package, sorted by name."""
        files = sorted((ROOT / "mri_pipeline" / self.name).rglob("*.py"))
        return [Module.of(file.relative_to(ROOT)) for file in files]

    def kills(self, mutant: Mutant) -> bool:
        """Run the tests on a mutant; True if one fails or they take too long."""
        tests = [test for test, files in self.reached.items() if ROOT / mutant.module in files]
        tests = sorted(tests or self.reached, key=self.seconds.__getitem__)
        target = self.copy / mutant.module
        original = target.read_text()
        target.write_text(mutant.code)
        try:
            expected = sum(self.seconds[test] for test in tests)
            timeout_s = max(LEAST_TIMEOUT_S, TIMES_BASELINE * expected)
            return not self._pass([*tests, ROOT / mutant.module], timeout_s=timeout_s)
        finally:
            target.write_text(original)

    def _pass(self, files: Sequence[Path], *, timeout_s: float) -> bool:
        """Run tests in a forked process, which has the libraries imported already."""
        names = [str(file.relative_to(ROOT)) for file in files]
        process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(self.copy, names))
        process.start()
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def make_interpreter(folder: Path, copy: Path) -> None:
    """Make a virtual environment that imports the copy first, then the packages of this environment.

    Tests start child processes with ``sys.executable -I``, which ignores PYTHONPATH.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shared = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (packages / "copy.pth").write_text(f"{copy}\nimport site; {shared}\n")


def _run_tests(copy: Path, names: Sequence[str]) -> None:
    os.chdir(copy)
    # import the copy, not an installed package; do not reuse compiled files of another mutant
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    sys.executable = str(copy.parent / "python" / "bin" / "python")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silent, stream)
    os._exit(pytest.main([*PYTEST, *names]))


def run(rooms: Sequence[str], *, number: int, seed: int) -> Iterator[str]:
    """Test the mutants of each package and yield the lines of the report."""
    rows, survivors = [], []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        compileall.compile_dir(copy, quiet=1)
        make_interpreter(copy.parent / "python", copy)
        for name in rooms:
            room = Room(name, copy)
            modules = room.modules()
            sample = sample_of(modules, number=number, seed=seed)
            lived = []
            for mutant in sample:
                start = time.monotonic()
                if not room.kills(mutant):
                    lived.append(mutant)
                outcome = "survived" if mutant in lived[-1:] else "killed"
                yield f"{outcome}  {time.monotonic() - start:4.0f} s  {mutant.place}"
            killed = len(sample) - len(lived)
            total = sum(len(module.faults) for module in modules)
            rows.append(
                f"| {name} | {total} | {len(sample)} | {killed} | {len(lived)} | {killed / len(sample):.0%} |"
            )
            survivors += lived
    yield "\n| package | all mutants | sample | killed | survived | score |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    yield from rows
    for mutant in survivors:
        yield f"\n{mutant.place}\n{mutant.difference}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rooms", nargs="+", default=ROOMS, choices=ROOMS)
    parser.add_argument("--number", type=int, default=40, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--report", type=Path, help="file for a copy of the printed report")
    options = parser.parse_args()
    for name in LIBRARIES:
        importlib.import_module(name)
    with (options.report or Path(os.devnull)).open("w", encoding="utf-8") as report:
        for line in run(options.rooms, number=options.number, seed=options.seed):
            print(line, flush=True)
            print(line, file=report, flush=True)


if __name__ == "__main__":
    main()
