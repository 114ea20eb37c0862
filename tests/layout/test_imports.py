"""Which package may know which: arrows point one way, and never in a circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "gptfl_bench": "benchmark",
    "gptfl_methods": "methods",
    "gptfl_datasets": "datasets",
    "gptfl_reports": "reports",
}
MODULES = {
    ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__"): path
    for package, folder in FOLDERS.items()
    for path in sorted((ROOT / folder / package).rglob("*.py"))
}
READABLE = {
    "gptfl_reports.records.cells",
    "gptfl_reports.records.events",
    "gptfl_bench.core.errors",
    "gptfl_reports.records.quality",
}
"""What reports may import of the engine: what reads a run folder, without torch."""


def _imports(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Yield the modules of ours that a tree imports, at module level or everywhere."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            # "from package import module" names a module, "from module import name" its parent.
            yield from (
                full if (full := f"{base}.{alias.name}") in MODULES else base
                for alias in node.names
            )
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            if everywhere:
                yield from _imports(node, everywhere=True)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(node, everywhere=everywhere)


def _ours(module: str, *, everywhere: bool) -> set[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return {n for n in _imports(tree, everywhere=everywhere) if n.partition(".")[0] in FOLDERS}


def _of(package: str) -> list[str]:
    return [module for module in MODULES if module.partition(".")[0] == package]


@pytest.mark.parametrize("module", _of("gptfl_bench"))
def test_the_engine_knows_methods_and_data_sets_through_registries_only(module: str) -> None:
    known = {name.partition(".")[0] for name in _ours(module, everywhere=True)}
    at_import = {name.partition(".")[0] for name in _ours(module, everywhere=False)}
    assert at_import <= {"gptfl_bench"}
    # Commands print and write what reports make of records.
    commands = module == "gptfl_bench.cli" or module.endswith(("_command", "_commands"))
    allowed = {"gptfl_bench", "gptfl_reports"} if commands else {"gptfl_bench"}
    assert known <= allowed


@pytest.mark.parametrize("package", ["gptfl_methods", "gptfl_datasets"])
def test_methods_and_data_sets_know_the_engine_alone(package: str) -> None:
    for module in _of(package):
        known = {name.partition(".")[0] for name in _ours(module, everywhere=True)}
        assert known <= {"gptfl_bench", package}, module


def test_reports_know_what_a_run_folder_holds_and_nothing_else() -> None:
    for module in _of("gptfl_reports"):
        others = {
            name
            for name in _ours(module, everywhere=True)
            if name.partition(".")[0] != "gptfl_reports"
        }
        assert others <= READABLE, module


def test_what_reports_need_loads_without_torch() -> None:
    names = sorted({*READABLE, "gptfl_reports.report", "gptfl_reports.tables.leaderboard"})
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_no_module_imports_itself_in_a_circle() -> None:
    arrows = {module: _ours(module, everywhere=False) & MODULES.keys() for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in sorted(arrows[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


def test_hugging_faces_datasets_is_not_shadowed_at_the_root() -> None:
    # Without Hugging Face's package the folder imports as an empty namespace, which has no file.
    code = "import datasets; print(datasets.__file__ or '')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert not result.stdout.startswith(str(ROOT / "datasets"))
