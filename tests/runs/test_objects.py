"""Methods handed over as objects: what they are called, and what is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pytest

import gptfl_bench as gb
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import experiment
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedprox import FedProx
from gptfl_methods.gptfl import GptFl


def _planned(asked: Sequence[str | Method]) -> dict[str, str]:
    planned = experiment.plan(asked, "digits", "quick", [0])
    return {cell.name: cell.run_id for cell in planned.cells}


def _weak() -> Method:
    @dataclass(frozen=True)
    class Mine(FedAvg):
        def prepare(self, server: Any) -> Any:
            return super().prepare(server)

    return Mine()


def _strong() -> Method:
    @dataclass(frozen=True)
    class Mine(FedAvg):
        def prepare(self, server: Any) -> Any:
            return {**super().prepare(server), "more": {}}

    return Mine()


PLAN = FedProx().plan
CASES: dict[str, tuple[list[str | Method], list[str]]] = {
    "one": ([FedProx(mu=0.5)], ["fedprox"]),
    "one field": (
        [FedProx(mu=0.5), FedProx(mu=2.0)],
        ["fedprox(mu=0.5)", "fedprox(mu=2.0)"],
    ),
    "two fields": (
        [FedProx(mu=0.5), FedProx(mu=2.0), FedProx(mu=2.0, plan=replace(PLAN, lr=0.3))],
        [f"fedprox(mu={m},lr={lr})" for m, lr in ((0.5, 0.1), (2.0, 0.1), (2.0, 0.3))],
    ),
    "what is wrapped": (
        [GptFl(inner=FedProx(mu=0.5)), GptFl(inner=FedProx(mu=2.0)), FedProx()],
        ["fedprox", "gptfl+fedprox(mu=0.5)", "gptfl+fedprox(mu=2.0)"],
    ),
    "a sign in a number": (
        [FedProx(mu=1e20), FedProx(mu=1e-20)],
        ["fedprox(mu=1e-20)", "fedprox(mu=1e20)"],
    ),
    "equal ones": ([FedProx(mu=0.5), FedProx(mu=0.5)], ["fedprox"]),
}


@pytest.mark.parametrize("case", CASES)
def test_objects_of_one_class_are_named_by_the_fields_that_differ(case: str) -> None:
    objects, names = CASES[case]
    found = [_planned(order) for order in permutations(objects)]
    assert sorted(found[0]) == sorted(names)
    assert all(other == found[0] for other in found)


def test_one_asked_for_by_name_keeps_it_whatever_the_order() -> None:
    by_name = experiment.plan(["fedprox"], "digits", "quick", [0]).cells[0]
    assert isinstance(by_name.method, FedProx)
    other = replace(by_name.method, mu=7.0)
    found = _planned(["fedprox", other])
    assert found == _planned([other, "fedprox"])
    assert set(found) == {"fedprox", "fedprox(mu=7.0)"}
    assert found["fedprox"] == by_name.run_id
    # The very same is no second cell.
    assert _planned(["fedprox", by_name.method]) == {"fedprox": by_name.run_id}


def test_classes_of_one_name_are_told_apart_by_their_code() -> None:
    found = _planned([_weak(), _strong()])
    assert found == _planned([_strong(), _weak()])
    assert len(set(found.values())) == 2
    assert all(name.startswith("mine(") for name in found)
    assert _planned([_weak()])["mine"] != _planned([_strong()])["mine"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (FedAvg, r"FedAvg is a class; hand over FedAvg\(\)"),
        ([FedAvg, "fedprox"], r"FedAvg is a class; hand over FedAvg\(\)"),
        (["fedavg", 3], "3 is neither the name of a method nor a method"),
        (None, "None is neither the name of a method nor a method"),
        ([None], "None is neither the name of a method nor a method"),
        ([["fedavg"]], "is neither the name of a method nor a method"),
        ([methods], "is neither the name of a method nor a method"),
    ],
)
def test_what_is_no_method_is_refused(asked: Any, words: str) -> None:
    with pytest.raises(gb.UsageError, match=words):
        gb.run(asked, preset="quick", seeds=[0], progress=False)
