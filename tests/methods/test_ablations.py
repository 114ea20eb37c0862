"""``X-ablated``: each method without what sets it apart, by name and bit for bit."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.method import methods
from gptfl_bench.runs import experiment
from gptfl_bench.runs.config import Config, load
from gptfl_reports.records.schema import ABLATED

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SETTINGS = [
    "plan.batch_size=4",
    "plan.lr=0.1",
    "methods.dynafed.length=2",
    "methods.dynafed.matching.outer_steps=2",
    "methods.fedftg.width=2",
]


@cache
def _config() -> Config:
    return load("tiny", "quick", SETTINGS)


def named(name: str) -> Any:
    return _config().method(name)


@pytest.mark.parametrize("name", ["fedprox", "fedopt", "fedgen", "fedftg", "feddf", "dynafed"])
def test_is_fedavg_without_its_idea(run_cell: RunCell, bits: Bits, name: str) -> None:
    """In the mean its authors take: uniform for FedDF and DynaFed, by samples for the others."""
    uniform = named(name).weighting == "uniform"
    assert uniform is (name in ("feddf", "dynafed"))
    plain = load("tiny", "quick", [*SETTINGS, f"methods.fedavg.weighting={named(name).weighting}"])
    expected = run_cell(plain.method("fedavg"), rounds=3).state["model"]
    assert bits({"": run_cell(named(name + ABLATED), rounds=3).state["model"]}) == bits(
        {"": expected}
    )
    assert bits({"": run_cell(named(name), rounds=3).state["model"]}) != bits({"": expected})


def test_nothing_else_changes() -> None:
    for name in methods.names():
        if methods.get(name).ablation:
            whole, without = named(name), named(name + ABLATED)
            changed = {f for f in vars(whole) if vars(whole)[f] != vars(without)[f]}
            allowed = {key.partition(".")[0] for key in methods.get(name).ablation}
            assert changed
            assert changed <= allowed, name
            warm = named(f"gptfl+{name}{ABLATED}")
            assert warm.inner == without
            assert warm.pretrain == named(f"gptfl+{name}").pretrain


def test_the_settings_of_a_method_are_those_of_its_ablation() -> None:
    config = load("digits", "default", ["methods.moon.temperature=0.25", "methods.moon.mu=5"])
    moon = config.method("moon-ablated")
    assert (moon.temperature, moon.mu) == (0.25, 0.0)  # type: ignore[attr-defined]


def test_the_word_ablations_names_all() -> None:
    able = [name for name in methods.names() if methods.get(name).ablation]
    assert experiment.expand(["ablations"]) == [name + ABLATED for name in able]
    assert {"moon", "feddf", "fedgen", "dynafed"} <= set(able)
    assert experiment.started(["moon-ablated"], "warm") == ["gptfl+moon-ablated"]
    assert experiment.started(["gptfl+moon-ablated"], "cold") == ["moon-ablated"]


@pytest.mark.parametrize("name", ["fedavg-ablated", "scaffold-ablated", "gptfl-ablated"])
def test_a_method_without_one_says_what_to_compare_it_with(name: str) -> None:
    with pytest.raises(UsageError, match=r"compare it with fedavg, and gptfl\+X with X"):
        named(name)
