"""A cell, and what cells share, are found again by the code that made them, and by no other."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gptfl_bench as gb
from gptfl_bench.architectures.network import models
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.data.task import Task
from gptfl_bench.runs import experiment
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl

SMALL: dict[str, Any] = {
    "preset": "quick",
    "seeds": [0],
    "rounds": 1,
    "num_clients": 4,
    "cohort_size": 2,
    "partition": {"recipe": "iid"},
    "progress": False,
}


class Own(nn.Module):
    """A network whose ``repr`` tells neither what it computes nor its number."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(16, 3), factor
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1)) * self.factor
        return logits


class Squared(Own):
    """Prints as the other does, and computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.square())


Squared.__name__ = Own.__name__


def brighter(x: Tensor, rng: torch.Generator | None = None) -> Tensor:
    return x + 1


@dataclass(frozen=True)
class Add:
    """A transform whose class is the same for all values."""

    value: float

    def __call__(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return x + self.value


def _with(task: Task, transform: Callable[..., Tensor]) -> Task:
    parts = (replace(part, transform=transform) for part in (task.train, task.test))
    train, test = parts
    return replace(task, train=train, test=test)


def _adding(value: float) -> Callable[..., Tensor]:
    return lambda x, rng=None: x + value


@pytest.mark.parametrize(
    "other",
    [
        {"network": Squared()},
        {"network": Own(2.0)},
        {"transform": brighter},
        {"transform": _adding(2.0)},
        {"transform": Add(2.0)},
        {"synthetic_transform": brighter},
    ],
    ids=["class", "argument", "function", "closure", "object", "of synthetic data"],
)
def test_other_code_is_another_cell_with_other_start_weights(
    other: Mapping[str, Any], make_spec: Callable[..., CellSpec], tiny_task: Task
) -> None:
    def spec(changes: Mapping[str, Any]) -> CellSpec:
        task = _with(tiny_task, changes.get("transform", _adding(1.0)))
        task = replace(task, synthetic_transform=changes.get("synthetic_transform"))
        return make_spec(GptFl(), task=task, network=changes.get("network", Own()))

    def shared(spec: CellSpec) -> object:
        task = spec.load_task()
        samples = replace(task.train, transform=task.synthetic_transform or task.train.transform)
        return spec.start_key, samples.form

    assert spec({}).run_id == spec({}).run_id
    assert shared(spec({})) == shared(spec({}))
    assert spec(other).run_id != spec({}).run_id
    assert shared(spec(other)) != shared(spec({}))


def test_pretrained_weights_of_other_code_are_not_taken(
    run_cell: Callable[..., Any], tiny_task: Task, tmp_path: Path
) -> None:
    def cached(**changes: Any) -> bool:
        ran = run_cell(GptFl(), rounds=0, cache=tmp_path / "cache", **changes)
        return bool(ran.cell.pretrained.cached)

    for changes in (
        {"network": Own()},
        {"network": Squared()},
        {"network": Own(), "task": _with(tiny_task, brighter)},
        {"network": Own(), "task": _with(tiny_task, Add(3.0))},
    ):
        assert not cached(**changes)
        assert cached(**changes)


@dataclass(frozen=True)
class Reshaping(FedAvg):
    """Makes another network of the task's, which prints the same."""

    def network(self, template: nn.Module) -> nn.Module:
        return nn.Sequential(Own(3.0))


@dataclass(frozen=True)
class ReshapingToo(FedAvg):
    """Makes yet another."""

    def network(self, template: nn.Module) -> nn.Module:
        return nn.Sequential(Own(4.0))


@dataclass(frozen=True)
class Plain(FedAvg):
    """Trains the network as it is."""

    rate: float = field(default=1.0)


def test_what_a_method_makes_of_the_network_counts(make_spec: Callable[..., CellSpec]) -> None:
    keys = [make_spec(GptFl(inner=inner())).start_key for inner in (Reshaping, ReshapingToo)]
    assert keys[0] != keys[1]
    # Pre-training is shared with methods that train the network as it is.
    assert make_spec(GptFl(inner=Plain())).start_key == make_spec(GptFl()).start_key


def test_parts_of_the_program_have_no_code_in_the_key(make_spec: Callable[..., CellSpec]) -> None:
    digits = gb.load("digits")
    for method in (FedAvg(), GptFl(inner=FedAvg())):
        assert "code" not in make_spec(method, task=digits).identity()
    assert set(make_spec(Plain(), task=digits).code) == {"method"}
    assert set(make_spec(GptFl(inner=Plain()), task=digits).code) == {"method"}


def test_a_registered_part_from_elsewhere_counts_by_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models.names()

    def run_id(factor: float) -> tuple[str, str]:
        monkeypatch.setitem(models._parts, "mine", lambda shape, classes: Own(factor))
        (spec,) = experiment.plan(["fedavg"], "digits", "quick", [0], ["model=mine"]).cells
        return spec.run_id, spec.model_key

    assert run_id(1.0) == run_id(1.0)
    assert all(a != b for a, b in zip(run_id(1.0), run_id(2.0), strict=True))


def test_the_tables_keep_versions_of_own_code_apart(tiny_task: Task, tmp_path: Path) -> None:
    for network in (Own(), Squared()):
        gb.run("fedavg", tiny_task, out=tmp_path / "runs", model=network, **SMALL)
    found = gb.read(tmp_path / "runs")
    assert len(found.rows) == 2
    assert len(found.leaderboard()) == 2
    assert len({cell.record["config"]["code"]["model"] for cell in found.cells}) == 2  # type: ignore[index]


EXECUTED = """
from torch import nn
class Executed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 3)
    def forward(self, x):
        return self.linear(x.flatten(1))
"""


def test_nothing_made_by_code_without_source_is_used_again(
    tiny_task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str], fake_generator: str
) -> None:
    space: dict[str, Any] = {}
    exec(EXECUTED, space)  # noqa: S102 - what is tested
    network = space["Executed"]()
    settings = {**SMALL, "seeds": [0, 1], "synthetic": {"generator": fake_generator}}
    settings |= {"quality": {"samples": 0}, "rounds": 0}

    def ran() -> Any:
        return gb.run(["fedavg", "gptfl"], tiny_task, out=tmp_path / "r", model=network, **settings)

    first = ran()
    said = capfd.readouterr().err
    assert said.count("the model's code can't be read ('Executed.__init__'") == 1
    assert "define it in a file" in said
    second = ran()
    assert {*first.rows["run_id"]}.isdisjoint(second.rows["run_id"])
    assert [c.pretrained.cached for c in second.cells if c.pretrained] == [False, False]
    # Seeds of one run are repetitions of one another; those of another run are not.
    cells = gb.read(tmp_path / "r").cells
    codes = [cell.record["config"]["code"]["model"] for cell in cells]  # type: ignore[index]
    assert sorted(map(codes.count, set(codes))) == [4, 4]


METHOD = """
from dataclasses import dataclass
from my_base import Half

@dataclass(frozen=True)
class Mine(Half):
    pass
"""
BASE = """
from dataclasses import dataclass
from gptfl_methods.fedavg import FedAvg

@dataclass(frozen=True)
class Half(FedAvg):
    def aggregate(self, state, cohort, server):
        new = super().aggregate(state, cohort, server)
        return {**new, "model": {n: t * 0.5 for n, t in new["model"].items()}}
"""
DATA = """
import torch
from gptfl_bench import Samples, Task
def load():
    y = torch.arange(40) % 2
    x = y[:, None].float() + torch.linspace(0, 1, 3)
    def scaled(x, rng=None):
        return x * 1.0
    part = Samples(x, y, transform=scaled)
    return Task("mydata", part, part, ("no", "yes"))
"""
NET = """
from torch import nn
class Line(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) * 1.0
def line(input_shape, num_classes):
    return Line(input_shape[0], num_classes)
"""
POINTS = """
[gptfl_bench.methods]
mine = my_method:Mine
[gptfl_bench.datasets]
mydata = my_data:load
[gptfl_bench.models]
line = my_net:line
"""
COMMAND = [
    *("run", "--methods", "mine", "--dataset", "mydata", "--preset", "quick", "--seeds", "0"),
    *("--out", "runs", "model=line", "rounds=1", "num_clients=4", "cohort_size=2"),
    *("partition.recipe=iid", "device=cpu"),
]
EDITS = {
    "nothing": ("my_base", "", "", True),
    "a comment": ("my_base", "@dataclass", "# half of it\n@dataclass", True),
    "the method's base in another file": ("my_base", "t * 0.5", "t * 0.25", False),
    "the network": ("my_net", "* 1.0", "* 2.0", False),
    "the transform": ("my_data", "x * 1.0", "x * 2.0", False),
    "the samples": ("my_data", "linspace(0, 1, 3)", "linspace(0, 2, 3)", False),
}


def test_the_command_notices_edits_of_installed_parts(
    python: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command is a process of its own; the cells in the run folder are found again or not."""
    site = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    # What was edited within a second would be read from its old bytecode.
    code = "import sys; sys.dont_write_bytecode = True; from gptfl_bench.cli import main; "

    def cells() -> set[str]:
        done = python(f"{code}sys.exit(main(sys.argv[1:]))", *COMMAND, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "can't be read" not in done.stderr
        return {path.parent.name for path in (tmp_path / "runs").glob("*/record.json")}

    about = site / "my_parts-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    sources = {"my_method": METHOD, "my_base": BASE, "my_data": DATA, "my_net": NET}
    for name, text in sources.items():
        (site / f"{name}.py").write_text(text)
    known = cells()
    assert len(known) == 1
    (record,) = (tmp_path / "runs").glob("*/record.json")
    assert set(json.loads(record.read_text())["config"]["code"]) == {"method", "model", "task"}
    for edit, (name, old, new, same) in EDITS.items():
        assert old in sources[name]
        (site / f"{name}.py").write_text(sources[name].replace(old, new))
        found = cells()
        assert len(found - known) == (0 if same else 1), edit
        known = found
        (site / f"{name}.py").write_text(sources[name])
