"""What an import loads: little for users, no torch for reports, one package for a registry."""

import ast
import subprocess
import sys
from pathlib import Path

import house  # type: ignore[import-not-found]  # ci/house.py, loaded by conftest.py
import pytest

ROOT = Path(__file__).parents[2]
OURS = house.modules(ROOT)


def _loaded(code: str) -> set[str]:
    """Return the modules that are loaded after some code, in a process of its own."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("registry", "others"),
    [
        ("gptfl_bench.data.task import tasks", ("generators", "prompts", "partitions")),
        (
            "gptfl_bench.data.partition import partitions",
            ("generators", "prompts", "tasks.cifar", "tasks.digits"),
        ),
        (
            "gptfl_bench.synthesis.generator import generators",
            ("generators._digits.train", "prompts", "tasks.cifar", "partitions"),
        ),
        (
            "gptfl_bench.synthesis.generator import prompt_writers",
            ("generators", "tasks.cifar", "partitions"),
        ),
    ],
)
def test_a_registry_loads_its_own_package_alone(registry: str, others: tuple[str, ...]) -> None:
    name = registry.rpartition(" ")[2]
    code = f"from {registry}\n{name}.names()"
    places = tuple(f"gptfl_datasets.{other}." for other in others)

    def strangers(code: str) -> set[str]:
        return {m for m in _loaded(code) if f"{m}.".startswith(places)}

    assert strangers(code) == set()
    assert strangers(f"{code}\nimport gptfl_datasets.{others[0]}") != set()


def test_what_reports_need_loads_without_torch() -> None:
    names = [name for name in OURS if name.startswith("gptfl_reports.")]
    loaded = _loaded(f"import {', '.join(names)}")
    assert loaded.isdisjoint({"torch", "pandas", "matplotlib", "gptfl_bench"})


def test_names_for_users_are_whole() -> None:
    import gptfl_bench

    assert gptfl_bench.__all__ == sorted(gptfl_bench.__all__)
    assert all(getattr(gptfl_bench, name) is not None for name in gptfl_bench.__all__)
    # Editors see what is given out, from the very places.
    (block,) = (
        node
        for node in ast.parse(OURS["gptfl_bench"]).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen | {"__version__"} == set(gptfl_bench.__all__)
    rooms = {name.split(".")[1] for name in OURS if name.startswith("gptfl_bench.")}
    # A room of the same name would take a name's place once it is loaded.
    assert not rooms & set(gptfl_bench.__all__)


def test_the_package_is_imported_at_once() -> None:
    code = (
        "import time\nstart = time.perf_counter()\nimport gptfl_bench\n"
        "print(time.perf_counter() - start, 'torch' in sys.modules, 'pandas' in sys.modules)"
    )
    seconds = []
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", f"import sys\n{code}"],
            capture_output=True,
            text=True,
            check=True,
        )
        taken, torch, pandas = run.stdout.split()
        assert (torch, pandas) == ("False", "False")
        seconds.append(float(taken))
    assert min(seconds) < 0.2


def test_hugging_faces_datasets_is_not_shadowed_at_the_root() -> None:
    # Without Hugging Face's package the folder imports as an empty namespace, which has no file.
    code = "import datasets; print(datasets.__file__ or '')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert not result.stdout.startswith(str(ROOT / "datasets"))
