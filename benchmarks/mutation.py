"""Mutation score of a package: the share of small code faults that its unit tests detect.

    pip install --constraint constraints.txt --editable '.[mutation]'
    python benchmarks/mutation.py [--packages lesions intake reading tables] [--number 40] [--seed 13] [--report FILE]

A mutant is the code with one small fault: an exchanged operator, an increased number, a removed argument. The faults
are those of mutmut. One more fault removes a call whose result is not used. A random sample of all mutants of a
package is drawn. The same code, seed and number give the same sample. Error messages and descriptions (strings of
three words or more) are excluded.

Mutants are written into a copy of the project. The project itself is not changed. The unit tests of the package run
once on the unchanged code; the lines that each test executes are recorded. A mutant is then tested with the doctests of
its module and with the tests that execute the mutated statement, the fastest test file first. A test counts as
executing a statement, too, if its file executes it outside of a test (at import, in a shared fixture), or if the test
starts a process and imports the module. All tests are run if none executes it.

A mutant is *killed* if a test fails. It is also killed if the tests take four times as long as without the fault
(endless loop). It *survives* if all tests pass. Tests of real data are excluded.

The script prints each mutant, survivors with their difference to the code, and a table (package, mutants, killed,
survived, score). A full run of a package takes hours. 40 mutants take 5 to 30 min.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import importlib
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import site
import sys
import tempfile
import time
import venv
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import coverage
import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lesions", "intake", "reading", "tables")
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
LEAST_TIMEOUT_S, TIMES_BASELINE = 120.0, 4.0
SHARED = "shared"


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
    def of(cls, root: Path, path: Path) -> Module:
        """Find the faults of a module of a project."""
        wrapper = MetadataWrapper(cst.parse_module((root / path).read_text()))
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


def reached(root: Path, test: Path) -> set[Path]:
    """Files of a project that a test file imports, directly or indirectly."""
    found: set[Path] = set()
    waiting = [test]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [path for name in _imported(file) for path in _files_of(root, name)]
    return found


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(root: Path, name: str) -> Iterator[Path]:
    for folder in (root, root / "tests" / "unit"):
        path = folder.joinpath(*name.split("."))
        yield from (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())


@dataclass(frozen=True)
class Trace:
    """What the tests of one file executed on the unchanged code.

    The keys are node IDs of the tests. `SHARED` stands for the import of modules and for shared fixtures.
    """

    lines: Mapping[str, Mapping[str, Sequence[int]]]  # by test and module
    seconds: Mapping[str, float]
    with_process: Sequence[str]  # tests that started another process

    def chosen(self, module: Path, lines: set[int], *, imported: bool) -> list[str]:
        """Tests that execute one of the lines, the fastest first."""
        executing = {test for test, of in self.lines.items() if lines & set(of.get(str(module), ()))}
        if SHARED in executing:
            executing = set(self.seconds)
        elif imported:
            executing |= set(self.with_process)
        return sorted(executing, key=self.seconds.__getitem__)


@dataclass(eq=False)
class Tracer:
    """Plugin of pytest that records the lines and the time of each test."""

    copy: Path
    seconds: dict[str, float] = field(default_factory=dict)
    with_process: list[str] = field(default_factory=list)
    test: str = SHARED

    def __post_init__(self) -> None:
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{self.copy}/mri_pipeline/*"]
        )
        self.coverage.start()
        self.coverage.switch_context(SHARED)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Record one test."""
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self.test = item.nodeid
        self.coverage.switch_context(self.test)
        result = yield
        self.test = SHARED
        self.coverage.switch_context(SHARED)
        self.seconds[item.nodeid] = time.monotonic() - start
        if resource.getrusage(resource.RUSAGE_CHILDREN) != before:
            self.with_process.append(item.nodeid)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """Record fixtures of several tests apart: only the first test executes them."""
        if fixturedef.scope != "function":
            self.coverage.switch_context(SHARED)
        result = yield
        self.coverage.switch_context(self.test)
        return result

    def save(self, path: Path) -> None:
        """Write a `Trace` as JSON."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = {}
        for file in data.measured_files():
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    lines.setdefault(test, {}).setdefault(str(Path(file).relative_to(self.copy)), []).append(line)
        path.write_text(json.dumps({"lines": lines, "seconds": self.seconds, "with_process": self.with_process}))


def statement_lines(code: str, line: int) -> set[int]:
    """All lines of the statement at a line; of a compound statement, those of its header."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.stmt | ast.ExceptHandler) and line in (lines := _own_lines(node)):
            return set(lines)
    return {line}


def _own_lines(node: ast.stmt | ast.ExceptHandler) -> range:
    first = min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))
    body: Sequence[ast.stmt] = getattr(node, "body", ())
    last = body[0].lineno - 1 if body else node.end_lineno
    return range(first, max(first, last or first) + 1)


class Package:
    """Unit tests of a package in a copy of the project."""

    def __init__(self, name: str, copy: Path) -> None:
        self.name, self.copy = name, copy
        self.traces: dict[Path, Trace] = {}
        self.reached: dict[Path, set[Path]] = {}
        for test in sorted((copy / "tests").rglob(f"test_{name}_*.py")):
            trace = copy.parent / f"{test.stem}.json"
            if self._run([str(test.relative_to(copy))], timeout_s=3600.0, trace=trace) != "survived":
                raise SystemExit(f"expected {test.name} to pass on the unchanged code, but it fails")
            self.traces[test] = Trace(**json.loads(trace.read_text()))
            self.reached[test] = reached(copy, test)

    def modules(self) -> list[Module]:
        """All modules of the package, sorted by name."""
        files = sorted((self.copy / "mri_pipeline" / self.name).rglob("*.py"))
        return [Module.of(self.copy, file.relative_to(self.copy)) for file in files]

    def outcome(self, mutant: Mutant) -> str:
        """Run the tests on a mutant: "killed", "killed (time)" or "survived"."""
        target = self.copy / mutant.module
        original = target.read_text()
        tests, expected_s = self._chosen(mutant.module, statement_lines(original, mutant.line))
        target.write_text(mutant.code)
        try:
            timeout_s = max(LEAST_TIMEOUT_S, TIMES_BASELINE * expected_s)
            return self._run([*tests, str(mutant.module)], timeout_s=timeout_s)
        finally:
            target.write_text(original)

    def _chosen(self, module: Path, lines: set[int]) -> tuple[list[str], float]:
        """Tests that execute the lines, by file, and their time in s without the fault."""
        files = [
            (trace.chosen(module, lines, imported=self.copy / module in self.reached[test]), trace)
            for test, trace in self.traces.items()
        ]
        if not any(tests for tests, _ in files):
            files = [(list(trace.seconds), trace) for trace in self.traces.values()]
        timed = [(sum(trace.seconds[test] for test in tests), tests) for tests, trace in files]
        timed.sort(key=lambda item: item[0])
        return [test for _, tests in timed for test in tests], sum(seconds for seconds, _ in timed)

    def _run(self, tests: Sequence[str], *, timeout_s: float, trace: Path | None = None) -> str:
        """Run tests in a forked process, which has the libraries imported already."""
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_run_tests, args=(self.copy, tests, trace))
        process.start()
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
            return "killed (time)"
        passed = process.exitcode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        return "survived" if passed else "killed"


def make_interpreter(folder: Path, copy: Path) -> None:
    """Make a virtual environment that imports the copy first, then the packages of this environment.

    Tests start child processes with ``sys.executable -I``, which ignores PYTHONPATH.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shared = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (packages / "copy.pth").write_text(f"{copy}\nimport site; {shared}\n")


def _run_tests(copy: Path, tests: Sequence[str], trace: Path | None) -> None:
    os.chdir(copy)
    # import the copy, not an installed package; do not reuse compiled files of another mutant
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    sys.executable = str(copy.parent / "python" / "bin" / "python")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silent, stream)
    tracer = Tracer(copy) if trace else None
    code = pytest.main([*PYTEST, *tests], plugins=[tracer] if tracer else [])
    if tracer and trace:
        tracer.save(trace)
    os._exit(code)


def run(packages: Sequence[str], *, number: int, seed: int) -> Iterator[str]:
    """Test the mutants of each package and yield the lines of the report."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        compileall.compile_dir(copy, quiet=1)
        make_interpreter(copy.parent / "python", copy)
        for name in packages:
            package = Package(name, copy)
            modules = package.modules()
            sample = sample_of(modules, number=number, seed=seed)
            lived = 0
            for mutant in sample:
                start = time.monotonic()
                outcome = package.outcome(mutant)
                lived += outcome == "survived"
                yield f"{outcome:13}  {time.monotonic() - start:4.0f} s  {mutant.place}"
                if outcome == "survived":
                    yield mutant.difference
            killed = len(sample) - lived
            total = sum(len(module.faults) for module in modules)
            rows.append(f"| {name} | {total} | {len(sample)} | {killed} | {lived} | {killed / len(sample):.0%} |")
    yield "\n| package | all mutants | sample | killed | survived | score |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    yield from rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", nargs="+", default=PACKAGES, choices=PACKAGES)
    parser.add_argument("--number", type=int, default=40, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--report", type=Path, help="file for a copy of the printed report")
    options = parser.parse_args()
    for name in LIBRARIES:
        importlib.import_module(name)
    with (options.report or Path(os.devnull)).open("w", encoding="utf-8") as report:
        for line in run(options.packages, number=options.number, seed=options.seed):
            print(line, flush=True)
            print(line, file=report, flush=True)


if __name__ == "__main__":
    main()
