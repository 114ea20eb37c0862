"""How many copies of a network a round holds, which decides whether a large one fits."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gptfl_bench.core.groups import Groups
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan, fit


def test_nothing_of_a_visit_outlives_it(parabola: Callable[..., Server]) -> None:
    federation = parabola([[1.0], [2.0], [3.0]]).federation
    sent: list[Any] = []
    seen: list[int] = []

    def work(received: Groups, client: Any) -> Groups:
        seen.append(sum(reference() is not None for reference in sent))
        reply = {"delta": {"w": torch.ones(1)}}
        sent.extend(
            weakref.ref(groups[group]["w"])
            for groups, group in ((received, "model"), (reply, "delta"))
        )
        return reply

    cohort = federation.exchange(
        1, [0, 1, 2], lambda client_id: {"model": {"w": torch.zeros(1)}}, work
    )
    assert seen == [0, 0, 0]
    assert cohort.sum("delta")["w"] == 3


def test_training_leaves_no_gradients_behind() -> None:
    model = nn.Linear(2, 2)
    data = Samples(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64))
    assert fit(model, data, Plan(batch_size=2), torch.Generator()).steps == 2
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_start_is_held_once() -> None:
    template = nn.Linear(2, 2)
    networks = Networks(template, torch.device("cpu"))
    assert networks.start["model"]["weight"].data_ptr() == template.weight.data_ptr()
    # Networks in training have their own.
    model = networks.new(networks.start)
    with torch.no_grad():
        model.get_parameter("weight").zero_()
    assert networks.start["model"]["weight"].any()
