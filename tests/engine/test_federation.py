"""Cohorts seen as sums, and the one place that visits clients."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import FitResult, Plan

MakeServer = Callable[..., Server]


def cohort(*replies: tuple[int, Groups]) -> Cohort:
    made = Cohort(list(range(len(replies))))
    for examples, reply in replies:
        made.add(reply, examples, [])
    return made


def deltas(*vectors: list[float]) -> Cohort:
    return cohort(*((1, {"delta": {"w": torch.tensor(v)}}) for v in vectors))


def test_sums_and_means_by_hand() -> None:
    """1 and 4 samples with 10 and 20: sum 30, mean 18, uniform mean 15."""
    found = cohort(
        (1, {"delta": {"w": torch.tensor([10.0])}}), (4, {"delta": {"w": torch.tensor([20.0])}})
    )
    assert found.examples == 5
    assert found.sum("delta")["w"].tolist() == [30.0]
    assert found.mean("delta")["w"].tolist() == [18.0]
    assert found.mean("delta", "uniform")["w"].tolist() == [15.0]
    # A policy may keep statistics at the clients, so nobody can count on them.
    assert found.mean("buffers") == found.sum("buffers") == {}
    found.mean("delta")["w"].zero_()
    assert found.mean("delta")["w"].tolist() == [18.0]


def test_integers_are_summed_without_overflow_and_rounded() -> None:
    """Two field elements of 32 bits; counters 4 and 7 with 1 and 3 samples: 6.25."""
    big = 2**31 - 2
    found = cohort(
        (1, {"x": {"n": torch.tensor([big, 4], dtype=torch.int32)}}),
        (3, {"x": {"n": torch.tensor([big, 7], dtype=torch.int32)}}),
    )
    assert found.sum("x")["n"].tolist() == [2 * big, 11]
    assert found.mean("x")["n"].tolist() == [big, 6]
    assert found.sum("x")["n"].dtype == torch.int64


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([[1.0, 2.0]] * 4, 1 / 4),
        ([[3.0, 0.0], [0.0, 4.0]], 1.0),
        ([[1.0, 0.0], [3.0, 0.0]], 10 / 16),
        ([[1.0, 0.0], [-1.0, 0.0]], None),
    ],
    ids=["equal", "orthogonal", "parallel", "cancelling"],
)
def test_gradient_diversity(updates: list[list[float]], expected: float | None) -> None:
    """m equal updates give 1 / m, orthogonal ones 1."""
    found = deltas(*updates).gradient_diversity
    assert found == (None if expected is None else pytest.approx(expected))


def test_train_loss_is_weighted_by_samples_drawn() -> None:
    made = Cohort([0, 1, 2])
    made.add({}, 5, [FitResult(2, 10, 1.0, 0.2)])
    made.add({}, 5, [FitResult(6, 30, 2.0, 0.6)])
    made.add({}, 5, [FitResult(0, 0, math.nan, 0.0)])
    assert made.train_loss == pytest.approx((10 + 60) / 40)
    assert (made.steps, made.drawn, made.examples) == (8, 40, 15)
    assert math.isnan(Cohort([0]).train_loss)


def test_memory_does_not_grow_with_the_cohort(
    parabola: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single replies are gone when the next client is visited, unless they were asked for."""

    def held(keep: bool) -> tuple[list[int], Cohort]:
        server = parabola([[1.0]] * 8, keep_replies=keep)
        send = server.federation.channel.send
        arrived: list[weakref.ref[torch.Tensor]] = []

        def watched(payload: Groups, direction: Any, round: int) -> Groups:
            received = send(payload, direction, round)
            arrived.extend(weakref.ref(tree["w"]) for tree in received.values())
            return received

        counts = []

        def work(received: Groups, client: Client) -> Groups:
            counts.append(sum(reference() is not None for reference in arrived))
            return {"delta": {"w": torch.ones(100)}}

        monkeypatch.setattr(server.federation.channel, "send", watched)
        return counts, server.federation.exchange(1, range(8), lambda k: {}, work)

    counts, lean = held(False)
    # The reply last received is still at hand when the next client is visited.
    assert max(counts) <= 1
    assert lean._replies is None
    with pytest.raises(RuntimeError):
        _ = lean.replies
    counts, full = held(True)
    assert counts == list(range(8))
    assert not full.saw_clients
    assert len(full.replies) == 8
    assert full.saw_clients


def test_visits_are_in_order_of_ids_and_counted(parabola: MakeServer) -> None:
    server = parabola([[1.0], [2.0, 2.0], [3.0]])
    seen, news = [], []
    server.federation.on_client = lambda done, due: news.append((done, due))

    def work(received: Groups, client: Client) -> Groups:
        seen.append((client.id, client.round, len(client.data), client.label_names))
        return {}

    found = server.federation.exchange(7, [2, 1], lambda k: {}, work)
    assert seen == [(1, 7, 2, ("zero",)), (2, 7, 1, ("zero",))]
    assert news == [(1, 2), (2, 2)]
    assert (found.clients, found.examples) == ([1, 2], 3)


def test_each_client_gets_what_was_meant_for_it(parabola: MakeServer) -> None:
    server = parabola([[1.0]] * 3)
    got: dict[int, float] = {}

    def work(received: Groups, client: Client) -> Groups:
        got[client.id] = received["x"]["id"].item()
        return {}

    server.federation.exchange(1, range(3), lambda k: {"x": {"id": torch.tensor(10 * k)}}, work)
    assert got == {0: 0, 1: 10, 2: 20}


def test_a_clients_state_is_its_own_and_no_traffic(parabola: MakeServer) -> None:
    server = parabola([[1.0]] * 2)

    def work(received: Groups, client: Client) -> Groups:
        visits = client.state.get("memory", {"visits": torch.tensor(0)})["visits"]
        client.state["memory"] = {"visits": visits + 1}
        return {"out": {"visits": visits}}

    sums = [
        server.federation.exchange(round, ids, lambda k: {}, work).sum("out")["visits"].item()
        for round, ids in ((1, [0]), (2, [0, 1]), (3, [0, 1]))
    ]
    assert sums == [0, 1, 3]
    assert {event.group for event in server.federation.channel.settle()} == {"out"}


def test_a_clients_state_can_be_given_up(parabola: MakeServer) -> None:
    server = parabola([[1.0]])

    def work(received: Groups, client: Client) -> Groups:
        if client.round == 1:
            client.state["memory"] = {"x": torch.ones(1)}
        else:
            client.state.clear()
        return {"out": {"kept": torch.tensor(float(bool(client.state)))}}

    for round in (1, 2):
        server.federation.exchange(round, [0], lambda k: {}, work)
    assert server.federation.store.read(0) == {}


def test_random_layers_depend_on_client_and_round_alone(parabola: MakeServer) -> None:
    """Dropout draws from torch's global stream, which is addressed during a visit."""

    def draws(clients: list[int], round: int) -> dict[int, list[float]]:
        server = parabola([[1.0]] * 3)
        found = {}

        def work(received: Groups, client: Client) -> Groups:
            found[client.id] = torch.rand(3).tolist()
            return {}

        server.federation.exchange(round, clients, lambda k: {}, work)
        return found

    together, alone, later = draws([0, 1, 2], 1), draws([2], 1), draws([2], 2)
    assert together[2] == alone[2]
    assert alone[2] != later[2]
    assert together[0] != together[1]


def test_fits_are_added_up(parabola: MakeServer) -> None:
    """A method may train more than once in a visit."""
    server = parabola([[1.0, 2.0, 3.0]])

    def work(received: Any, client: Client) -> Groups:
        for _ in range(2):
            client.fit(client.new_model(received), Plan(epochs=2, batch_size=2))
        return {}

    found = server.federation.exchange(1, [0], lambda k: dict(server.start), work)
    assert (found.steps, found.drawn) == (8, 12)
