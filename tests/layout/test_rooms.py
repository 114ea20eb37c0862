"""Which room may know which: arrows point down, and each rule fails when it is broken.

The rules are functions of sources, so that a test can plant an import in them.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import house  # type: ignore[import-not-found]  # ci/house.py, loaded by conftest.py
import pytest

ROOT = Path(__file__).parents[2]
BENCH = (
    "core",
    "data architectures",
    "training",
    "engine",
    "secure labels workers",
    "synthesis",
    "quality",
    "cells",
    "clusters silos",
    "runs",
    "explore",
    "api testing commands",
    "cli",
    "__main__",
)
REPORTS = (
    "records",
    "numbers drawing",
    "tables targets",
    "claims between",
    "figures exports",
    "page",
    "report",
    "notebook",
)
DATASETS = (
    "files glyphs",
    "backends preprocess",
    "tasks partitions",
    "prompts generators",
    "generators._digits",
)
FLOORS = {"gptfl_bench": BENCH, "gptfl_reports": REPORTS, "gptfl_datasets": DATASETS}
"""Rooms of each package, from the ground up; those on one floor don't know each other."""

DOORS = ("api", "commands", "explore", "testing")
METHODS_MAY = ("core", "data", "training", "engine", "architectures.network")
DATASETS_MAY = ("core", "data", "synthesis.generator", "synthesis.costs")
MOST = 12
"""Modules in a folder."""

Sources = Mapping[str, str]


OURS: Sources = house.modules(ROOT)


def _within(name: str, places: tuple[str, ...], package: str) -> bool:
    return any(name == f"{package}.{p}" or name.startswith(f"{package}.{p}.") for p in places)


def _floor(module: str) -> tuple[int, str] | None:
    """Return floor and room of a module; None for a package's own ``__init__``."""
    package, _, rest = module.partition(".")
    rooms = [(n, room) for n, floor in enumerate(FLOORS[package]) for room in floor.split()]
    fitting = [(n, room) for n, room in rooms if f"{rest}.".startswith(f"{room}.")]
    return max(fitting, key=lambda place: len(place[1]), default=None)


def _arrows(sources: Sources) -> Iterator[tuple[str, str]]:
    for module, text in sources.items():
        yield from ((module, target) for target in house.imports(text, sources))


def arrows_point_down(sources: Sources) -> list[str]:
    """A room imports itself and rooms on lower floors."""
    faults = []
    for module, target in _arrows(sources):
        package = module.partition(".")[0]
        if package in FLOORS and target.partition(".")[0] == package:
            here, there = _floor(module), _floor(target)
            if here and not there:
                faults.append(f"{module} imports the package's front, {target}")
            elif here and there and here[1] != there[1] and here[0] <= there[0]:
                faults.append(f"{module} imports {target}")
    return faults


def every_module_has_a_floor(sources: Sources) -> list[str]:
    """A new room is put on a floor."""
    return [
        module
        for module in sources
        if module.partition(".")[0] in FLOORS
        and "." in module
        and _floor(module) is None
        # Presets and what comes with them hold no code.
        and module != "gptfl_bench.conf"
    ]


def packages_know_few(sources: Sources) -> list[str]:
    """Methods and data sets know the engine, the engine knows records, reports know nobody."""

    def allowed(module: str, target: str) -> bool:
        here, there = module.partition(".")[0], target.partition(".")[0]
        if here == there or module == "gptfl_bench":
            return True
        if here == "gptfl_bench":
            door = _within(module, DOORS, here)
            return there == "gptfl_reports" and (door or target.startswith("gptfl_reports.records"))
        if here == "gptfl_methods":
            may = (*METHODS_MAY, "synthesis") if module == "gptfl_methods.gptfl" else METHODS_MAY
            return there == "gptfl_bench" and _within(target, may, there)
        if here == "gptfl_datasets":
            if target in ("gptfl_reports.records.files", "gptfl_reports.records.checksums"):
                return True
            return there == "gptfl_bench" and _within(target, DATASETS_MAY, there)
        return False

    return [f"{a} imports {b}" for a, b in _arrows(sources) if not allowed(a, b)]


def folders_are_small(sources: Sources) -> list[str]:
    """A folder holds at most twelve modules."""
    rooms = [house.room(module, sources) for module in sources]
    held = {
        room: sum(house.room(m, sources) == room and m != room for m in sources)
        for room in set(rooms)
    }
    return [f"{room}: {count}" for room, count in held.items() if count > MOST]


def fronts_say_one_thing(sources: Sources) -> list[str]:
    """The ``__init__`` of a room is one docstring; only a package's own gives out names."""
    rooms = {m for m in sources if "." in m and any(n.startswith(f"{m}.") for n in sources)}
    return [room for room in rooms if len(house.parsed(sources[room]).body) != 1]


def nobody_is_named_by_a_file(sources: Sources) -> list[str]:
    """No fingerprint depends on where its code lies or how it is written."""
    return [
        f"{module}: {node.name}"
        for module, text in sources.items()
        for node in ast.walk(house.parsed(text))
        if isinstance(node, ast.FunctionDef)
        and "fingerprint" in node.name
        and any(isinstance(part, ast.Name) and part.id == "__file__" for part in ast.walk(node))
    ]


def engine_names_no_method(sources: Sources) -> list[str]:
    """Below the commands, methods come from the registry; the paper's tables list them.

    A name counts in ``gptfl+X`` too, and does not in a docstring.
    """
    from gptfl_bench.engine.method import methods

    names = set(methods.names())
    return [
        f"{module} names {node.value!r}"
        for module, text in sources.items()
        if module.startswith("gptfl_bench.")
        and not _within(module, DOORS, "gptfl_bench")
        and module != "gptfl_bench.runs.reproductions"
        for tree in [house.parsed(text)]
        for silent in [{node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent
        if names & set(node.value.split("+"))
    ]


def there_is_no_circle(sources: Sources) -> list[str]:
    """No module is needed to load itself, and no room."""
    found: list[str] = house.circle(sources)
    return found or house.circle(sources, lambda module: house.room(module, sources))


PLANTED: dict[Callable[[Sources], list[str]], list[tuple[str, str]]] = {
    arrows_point_down: [
        ("gptfl_bench.engine.server", "from gptfl_bench.synthesis.synthesis import Synthesis"),
        ("gptfl_bench.data.task", "from gptfl_bench.architectures.network import models"),
        ("gptfl_bench.core.errors", "def f():\n    from gptfl_bench.runs import config"),
        ("gptfl_bench.cells.rounds", "from gptfl_bench import run"),
        ("gptfl_reports.numbers.spread", "from gptfl_reports.tables import units"),
        ("gptfl_datasets.tasks.cifar", "from gptfl_datasets.generators.folder import Folder"),
    ],
    every_module_has_a_floor: [("gptfl_bench.attic.box", "")],
    packages_know_few: [
        ("gptfl_reports.tables.units", "import gptfl_bench.core.errors"),
        ("gptfl_bench.cells.cell", "from gptfl_reports.tables import units"),
        ("gptfl_methods.fedavg", "from gptfl_bench.cells.spec import CellSpec"),
        ("gptfl_methods.moon", "from gptfl_bench.synthesis.synthesis import Synthesis"),
        ("gptfl_datasets.tasks.cifar", "from gptfl_bench.engine.server import Server"),
    ],
    folders_are_small: [(f"gptfl_bench.engine.more_{n}", "") for n in range(MOST)],
    fronts_say_one_thing: [("gptfl_bench.engine", "from gptfl_bench.engine import server")],
    nobody_is_named_by_a_file: [
        ("gptfl_datasets.prompts.grammar", "def fingerprint():\n    return open(__file__).read()")
    ],
    engine_names_no_method: [
        ("gptfl_bench.runs.config", 'WRAPPER = "gptfl"'),
        ("gptfl_bench.runs.config", "def warm(inner):\n    return f'gptfl+{inner}'"),
    ],
    there_is_no_circle: [
        ("gptfl_bench.core.errors", "from gptfl_bench.engine.method import methods"),
        ("gptfl_methods.parts.consensus", "import gptfl_methods.dsfl"),
    ],
}
RULES = list(PLANTED)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Callable[[Sources], list[str]]) -> None:
    assert rule(OURS) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_planted_fault_is_found(rule: Callable[[Sources], list[str]]) -> None:
    planted = PLANTED[rule]
    together = rule is folders_are_small
    for fault in [planted] if together else [[one] for one in planted]:
        changed = dict(OURS)
        for module, text in fault:
            changed[module] = f"{changed.get(module, '')}\n{text}\n"
        assert rule(changed), fault
