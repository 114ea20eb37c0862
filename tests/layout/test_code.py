"""House rules that a machine can check: sizes, names, copies, and examples that run."""

import ast
import doctest
import importlib
import tomllib
from itertools import combinations
from pathlib import Path

import house  # type: ignore[import-not-found]  # ci/house.py, loaded by conftest.py
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmark", "methods", "datasets", "reports")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
METHODS = sorted((ROOT / "methods" / "gptfl_methods").glob("[!_]*.py"))
LONGEST_FILE, LONGEST_METHOD = 400, 150
COPY = 6
"""Lines of code in a row that count as a copy."""

TRAINERS = {
    "benchmark/gptfl_bench/training/fit.py": "the training loop",
    "methods/gptfl_methods/parts/feature_generator.py": "trains FedGen's generator at the server",
    "methods/gptfl_methods/fedftg.py": "trains its generator at the server",
    "methods/gptfl_methods/scaffold.py": "option I's gradient over all samples takes no step",
    "datasets/gptfl_datasets/generators/_digits/train.py": "trains the embedded generator itself",
    "datasets/gptfl_datasets/generators/_digits/judge.py": "trains the judge of its samples",
}
"""The only files that may call ``backward``."""

OPEN_SIGNATURES = {
    ("benchmark/gptfl_bench/api.py", "run"): "settings by name are its interface",
    ("benchmark/gptfl_bench/explore.py", "load"): "so are a loader's options",
    ("benchmark/gptfl_bench/explore.py", "synthesise"): "and a generator's fields",
    ("benchmark/gptfl_bench/training/precision.py", "forward"): "a network takes what it takes",
    ("benchmark/gptfl_bench/training/precision.py", "run"): "and so does what stands for it",
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def copies(first: list[str], second: list[str]) -> list[str]:
    """Return the first line of each run of lines that both have."""
    runs = {tuple(second[start : start + COPY]) for start in range(len(second) - COPY + 1)}
    starts = range(len(first) - COPY + 1)
    return [first[start] for start in starts if tuple(first[start : start + COPY]) in runs]


def test_files_stay_short() -> None:
    for path in FILES:
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length < (LONGEST_METHOD if path in METHODS else LONGEST_FILE), _name(path)


def test_fedprox_is_fedavg_and_its_own_idea() -> None:
    fedprox = ROOT / "methods" / "gptfl_methods" / "fedprox.py"
    assert len(house.code_lines(fedprox.read_text(encoding="utf-8"))) < 40


def test_there_is_one_training_loop() -> None:
    found = {_name(path) for path in FILES if ".backward(" in path.read_text(encoding="utf-8")}
    assert found == TRAINERS.keys()


def test_methods_are_no_copies_of_each_other() -> None:
    lines = {path.stem: house.code_lines(path.read_text(encoding="utf-8")) for path in METHODS}
    assert len(lines) > 1
    for (first, a), (second, b) in combinations(lines.items(), 2):
        assert not copies(a, b), f"{first} and {second}"


def test_the_copy_finder_finds_a_copy() -> None:
    body = [f"line {number}" for number in range(COPY)]
    assert copies(["a", *body, "b"], ["c", *body]) == ["line 0"]
    assert copies(["a", *body[1:], "b"], ["c", *body]) == []


def test_signatures_say_what_they_take() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.FunctionDef)
                and (_name(path), node.name) not in OPEN_SIGNATURES
            ):
                assert node.args.kwarg is None, f"{_name(path)}: {node.name}"


def test_a_file_is_named_after_its_idea() -> None:
    for path in FILES:
        words = set(path.stem.split("_"))
        assert not words & {"util", "utils", "helper", "helpers", "manager", "misc", "common"}


def test_a_method_has_the_name_of_its_file() -> None:
    from gptfl_bench.engine.method import methods

    for name in methods.names():
        module = methods.get(name).__module__
        if module.startswith("gptfl_methods."):
            assert module == f"gptfl_methods.{name}"


def test_defaults_that_ruff_takes_for_immutable_are() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    for name in ruff["lint"]["flake8-bugbear"]["extend-immutable-calls"]:
        module, _, kind = name.rpartition(".")
        assert getattr(importlib.import_module(module), kind).__dataclass_params__.frozen, name


EXAMPLES = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=_name)
def test_examples_in_docstrings_are_right(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
