"""Each shipped check finds the fault it is for, and a method without faults passes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import gptfl_bench as gb
from gptfl_bench import trees
from gptfl_bench.testing import checks as testing
from gptfl_methods import FedAvg
from gptfl_methods.gptfl import GptFl


@dataclass(frozen=True)
class Halved(FedAvg):
    """Takes half a step; nothing is wrong with it."""

    def aggregate(self, state: gb.Groups, cohort: gb.Cohort, server: gb.Server) -> gb.Groups:
        half = trees.add(state["model"], cohort.mean("delta", self.weighting), 0.5)
        return {**super().aggregate(state, cohort, server), "model": half}


class NoDataclass(FedAvg):
    """Is not decorated."""


@dataclass(frozen=True)
class Listed(FedAvg):
    """Has a field that can be changed."""

    steps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Broken(FedAvg):
    """Asks for what never came."""

    def client_update(self, received: gb.Groups, client: gb.Client) -> gb.Groups:
        return {"delta": received["weights"]}


def _noisy(reply: gb.Groups, noise: torch.Tensor) -> gb.Groups:
    delta = {name: tensor + noise for name, tensor in reply["delta"].items()}
    return {**reply, "delta": delta}


@dataclass(frozen=True)
class Unseeded(FedAvg):
    """Draws from a generator of its own, never the same."""

    def client_update(self, received: gb.Groups, client: gb.Client) -> gb.Groups:
        rng = torch.Generator()
        rng.seed()
        return _noisy(super().client_update(received, client), torch.rand((), generator=rng))


@dataclass(frozen=True)
class ReadsGlobal(FedAvg):
    """Uses what the global generator of Python holds."""

    def client_update(self, received: gb.Groups, client: gb.Client) -> gb.Groups:
        import random

        noise = torch.tensor(float(random.getstate()[1][1] % 97))
        return _noisy(super().client_update(received, client), noise)


@dataclass(frozen=True)
class MovesGlobal(FedAvg):
    """Moves the global generator of Python."""

    def client_update(self, received: gb.Groups, client: gb.Client) -> gb.Groups:
        import random

        random.random()
        return super().client_update(received, client)


@dataclass(frozen=True)
class Remembers(FedAvg):
    """Keeps a counter outside the state, which a resumed cell has not."""

    seen: ClassVar[dict[int, int]] = {}

    def prepare(self, server: gb.Server) -> gb.Groups:
        self.seen.clear()
        return super().prepare(server)

    def aggregate(self, state: gb.Groups, cohort: gb.Cohort, server: gb.Server) -> gb.Groups:
        self.seen[0] = self.seen.get(0, 0) + 1
        following = super().aggregate(state, cohort, server)
        scale = 1.0 + self.seen[0]
        return {**following, "model": trees.add(state["model"], cohort.mean("delta"), scale)}


@dataclass(frozen=True)
class Gossips(FedAvg):
    """Lets clients see who was there before them."""

    heard: ClassVar[list[int]] = []

    def prepare(self, server: gb.Server) -> gb.Groups:
        self.heard.clear()
        return super().prepare(server)

    def client_update(self, received: gb.Groups, client: gb.Client) -> gb.Groups:
        self.heard.append(client.id)
        reply = super().client_update(received, client)
        return _noisy(reply, torch.tensor(float(len(self.heard))))


@dataclass(frozen=True)
class InPlace(FedAvg):
    """Adds the update to the last state itself."""

    def aggregate(self, state: gb.Groups, cohort: gb.Cohort, server: gb.Server) -> gb.Groups:
        for name, tensor in cohort.mean("delta").items():
            state["model"][name].add_(tensor)
        return state


@dataclass(frozen=True)
class Grows(FedAvg):
    """Has another group in its state after the first round."""

    def aggregate(self, state: gb.Groups, cohort: gb.Cohort, server: gb.Server) -> gb.Groups:
        return {**super().aggregate(state, cohort, server), "more": {"x": torch.ones(1)}}


@dataclass(frozen=True)
class Secretive(FedAvg):
    """Says that it reads single replies, and does not."""

    needs = frozenset({gb.Need.REPLIES})


@dataclass(frozen=True)
class Undeclared(FedAvg):
    """Asks for a sum that it did not declare."""

    def weightings(self) -> tuple[gb.Weighting, ...]:
        return ("uniform",)


@dataclass(frozen=True)
class Forgets(gb.Method):
    """Wraps another method and forwards nothing but what it must."""

    wraps: ClassVar[str] = "fedavg"
    inner: gb.Method = field(default_factory=FedAvg)

    prepare = GptFl.prepare
    downlink = GptFl.downlink
    client_update = GptFl.client_update
    aggregate = GptFl.aggregate
    predict = GptFl.predict


@pytest.mark.parametrize(
    ("method", "check", "said"),
    [
        (NoDataclass(), testing.is_a_value, "its class is no dataclass itself"),
        (Listed(), testing.is_a_value, "it has no hash"),
        (Broken(), testing.finishes, "it fails with KeyError: 'weights'"),
        (Unseeded(), testing.repeats, "two runs differ"),
        (ReadsGlobal(), testing.keeps_off_global_randomness, "a global generator changes"),
        (MovesGlobal(), testing.keeps_off_global_randomness, "moves a global generator"),
        (Remembers(), testing.resumes, "killed in round 2 and resumed it ends otherwise"),
        (Gossips(), testing.keeps_clients_apart, "sends something else in other company"),
        (InPlace(), testing.changes_nothing_it_was_given, "aggregate changes the last state"),
        (Grows(), testing.changes_nothing_it_was_given, "change from round to round"),
        (Secretive(), testing.says_what_the_server_reads, "take Need.REPLIES out of needs"),
        (Undeclared(), testing.works_on_sums, "Method.weightings"),
        (Forgets(), testing.starts_warm, "does not forward ablated"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, gb.Method) else "",
)
def test_a_fault_is_found(method: gb.Method, check: object, said: str, tmp_path: Path) -> None:
    assert check in testing.CHECKS
    assert callable(check)
    fault = check(method, tmp_path)
    assert said in fault
    assert fault.endswith(".")
    assert check(Halved(), tmp_path / "whole") == ""


def test_a_method_without_faults_passes_by_class_object_and_name() -> None:
    gb.check_method(Halved)
    gb.check_method(Halved(weighting="uniform"))
    gb.check_method("scaffold")


def test_the_first_fault_is_raised_with_the_methods_name() -> None:
    with pytest.raises(AssertionError, match=r"^Broken: it fails with KeyError"):
        gb.check_method(Broken)


def test_a_field_without_a_default_is_named() -> None:
    @dataclass(frozen=True)
    class Asks(FedAvg):
        rate: float = field(kw_only=True)

    with pytest.raises(AssertionError, match=r"'rate'; give every field a default value"):
        gb.check_method(Asks)
