"""What an import loads: little for users, no torch for reports, one package for a registry."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import house  # type: ignore[import-not-found]  # ci/house.py, loaded by conftest.py

ROOT = Path(__file__).parents[2]
OURS = house.modules(ROOT)


EACH = """
import json, os, sys, torch
assert not any(name.startswith("gptfl") for name in sys.modules)
for code in json.loads(sys.argv[1]):
    # A process of its own for each, which finds PyTorch loaded and nothing of ours.
    child = os.fork()
    if not child:
        exec(code)
        print(*sys.modules, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def _loaded(*codes: str) -> list[set[str]]:
    """Return the modules that are loaded after each of some codes, beside PyTorch."""
    run = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(codes)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [set(line.split()) for line in run.stdout.splitlines()]


STRANGERS = {
    "gptfl_bench.data.task import tasks": ("generators", "prompts", "partitions"),
    "gptfl_bench.data.partition import partitions": (
        *("generators", "prompts", "tasks.cifar", "tasks.digits"),
    ),
    "gptfl_bench.synthesis.generator import generators": (
        *("generators._digits.train", "prompts", "tasks.cifar", "partitions"),
    ),
    "gptfl_bench.synthesis.generator import prompt_writers": (
        *("generators", "tasks.cifar", "partitions"),
    ),
}
"""What no registry's names may load."""


def test_a_registry_loads_its_own_package_alone() -> None:
    alone = [f"from {registry}\n{registry.split()[-1]}.names()" for registry in STRANGERS]
    faulty = [
        f"{code}\nimport gptfl_datasets.{others[0]}"
        for code, others in zip(alone, STRANGERS.values(), strict=True)
    ]
    loaded = _loaded(*alone, *faulty)
    strangers = [
        {name for name in found if f"{name}.".startswith(tuple(f"gptfl_datasets.{o}." for o in os))}
        for found, os in zip(loaded, 2 * [*STRANGERS.values()], strict=True)
    ]
    assert strangers[: len(alone)] == [set()] * len(alone)
    assert all(strangers[len(alone) :])


def test_what_reports_need_loads_without_torch() -> None:
    names = [name for name in OURS if name.startswith("gptfl_reports.")]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
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
