"""The paper's networks go through the methods that look into a network or need a second one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptfl_bench.data.public import PublicSettings
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.training.fit import Plan
from gptfl_methods.parts.matching import Matching

PLAN = Plan(batch_size=4, lr=0.01)
FEW = Plan(steps=2, batch_size=4, lr=0.01)

FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "fedavg": lambda small: {},
    "moon": lambda small: {},
    "fedgen": lambda small: {"generator_steps": 2},
    "feddf": lambda small: {"distillation": FEW},
    "fedet": lambda small: {"distillation": FEW, "client_models": (small,)},
    "dynafed": lambda small: {
        "length": 2,
        "matching": Matching(1, outer_steps=1, inner_steps=2, augmentations=()),
    },
}
"""What differs from a method's defaults, so that seconds do."""


def made_up(shape: tuple[int, ...], modality: Any) -> Task:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 3
    x = torch.randn(24, *shape, generator=rng)
    return Task(
        name=modality,
        train=Samples(x[:20], y[:20]),
        test=Samples(x[20:], y[20:]),
        label_names=("cat", "dog", "eel"),
        from_media=torch.from_numpy,
        modality=modality,
        groups=tuple(f"author {row % 4}" for row in range(20)),
    )


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("model", "small", "shape", "modality"),
    [
        ("resnet18", "resnet18", (3, 32, 32), "image"),
        ("convnet", "convnet_tiny", (3, 8, 8), "image"),
        ("conv_gru_small", "conv_gru_tiny", (9, 128), "speech"),
    ],
)
def test_rounds_run(
    name: str,
    model: str,
    small: str,
    shape: tuple[int, ...],
    modality: str,
    run_cell: Callable[..., Any],
) -> None:
    outcome = run_cell(
        replace(methods.get(name)(), **{"plan": PLAN, **FIELDS[name](small)}),
        task=made_up(shape, modality),
        model=model,
        rounds=1,
        num_clients=4,
        cohort_size=3,
        lift_conventions=True,
        public=PublicSettings(source="held_out", share=0.2),
    )
    assert outcome.cell.ending.status == "finished", outcome.cell.ending.reason
    before, after = outcome.cell.evaluations
    assert before.loss != after.loss
