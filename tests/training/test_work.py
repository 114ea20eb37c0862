"""Amounts of work by hand: batches of each size, in all rounds, for each method that differs."""

from dataclasses import replace

import pytest

from gptfl_bench.engine.method import Method, methods
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work, train

AMOUNTS = Amounts(
    rounds=3, cohort=2, visited={10: 4, 3: 2}, public=100, synthetic=200, num_classes=5
)
PLAN = Plan(epochs=2, batch_size=4)


def _of(name: str, **fields: object) -> dict[tuple[str, int, str], float]:
    """Return the batches of a method by kind, size and network."""
    method: Method = replace(methods.get(name)(), plan=PLAN, **fields)  # type: ignore[call-arg]
    return {(w.kind, w.batch_size, w.network): w.batches for w in method.work(AMOUNTS)}


LOCAL = {("train", 2, ""): 8, ("train", 3, ""): 4, ("train", 4, ""): 16}
"""Four visits to 10 samples, in two epochs of 4 + 4 + 2, and two visits to 3."""


@pytest.mark.parametrize(
    ("plan", "samples", "expected"),
    [
        (Plan(epochs=2, batch_size=4), 10, {4: 4, 2: 2}),
        (Plan(epochs=1, batch_size=4), 8, {4: 2}),
        (Plan(epochs=1, batch_size=16), 3, {3: 1}),
        (Plan(steps=6, batch_size=4), 10, {4: 4, 2: 2}),
        (Plan(epochs=0, batch_size=4), 10, {}),
        (Plan(epochs=1, batch_size=4), 0, {}),
    ],
)
def test_a_pass_is_whole_batches_and_a_last_one(
    plan: Plan, samples: int, expected: dict[int, float]
) -> None:
    assert {work.batch_size: work.batches for work in train(plan, samples)} == expected


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "fedopt"])
def test_local_training_is_all_of_it(name: str) -> None:
    assert _of(name) == LOCAL


def test_an_ensemble_looks_at_public_data_and_the_server_distils() -> None:
    distillation = Plan(steps=7, batch_size=100)
    found = _of("feddf", distillation=distillation)
    assert found == {**LOCAL, ("predict", 100, ""): 6, ("train", 100, ""): 21}


def test_clients_of_ds_fl_distil_too() -> None:
    distillation = Plan(epochs=1, batch_size=25)
    found = _of("dsfl", distillation=distillation, open_per_round=50)
    # Two batches in each of six visits and three rounds at the server.
    assert found == {**LOCAL, ("train", 25, ""): 18, ("predict", 50, ""): 6}


def test_small_models_share_visits_evenly() -> None:
    found = _of("fedet", client_models=("a", "b"), distillation=Plan(steps=1, batch_size=100))
    assert found["train", 4, "a"] == found["train", 4, "b"] == 8
    assert found["predict", 100, "a"] == 3
    assert found["train", 100, ""] == 3
    assert ("train", 4, "") not in found


def test_a_warm_start_adds_pre_training_once_for_all() -> None:
    method = methods.get("gptfl")()
    inner = replace(methods.get("fedavg")(), plan=PLAN)  # type: ignore[call-arg]
    method = replace(method, inner=inner, pretrain=Plan(epochs=3, batch_size=60))  # type: ignore[call-arg]
    shared = [work for work in method.work(AMOUNTS) if work.shared]
    assert shared == [Work("train", 60, 9, shared=True)]
    assert len(method.work(AMOUNTS)) == 1 + len(LOCAL)


def test_images_are_made_in_one_round_and_trained_on_later() -> None:
    early = _of("dynafed", length=4)
    assert early == LOCAL | {("train", 25, ""): 0}
    late = _of("dynafed", length=3, finetune=Plan(epochs=2, batch_size=256))
    # Five images of each class, in one batch: the making, replaced here by the later training.
    assert late["train", 25, ""] == 2
