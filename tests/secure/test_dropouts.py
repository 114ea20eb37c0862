"""Whoever falls silent, and whenever: the survivors' sum exactly, or no sum at all."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptfl_bench.core.errors import RoundAbandoned
from gptfl_bench.secure.protocol.aggregate import Protocol, secure_sum
from gptfl_bench.secure.protocol.messages import STAGES, Session, Stage
from gptfl_bench.secure.protocol.parties import Setting
from gptfl_bench.secure.protocol.ring import Ring

MODULI = {"bonawitz": (2, 97, 2**31 - 1, 2**31, 2**36, 2**62), "lightsecagg": (2**31 - 1,)}


def left(clients: tuple[int, ...], dropouts: Mapping[int, Stage], stage: Stage) -> list[int]:
    """Clients that still speak at a stage."""
    last = STAGES.index(stage)
    return [k for k in clients if k not in dropouts or STAGES.index(dropouts[k]) > last]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_sum_is_the_survivors_or_the_round_is_abandoned(
    protocol: Protocol, make_cohort: Callable[..., Any], data: st.DataObject
) -> None:
    size = data.draw(st.integers(2, 6))
    needed = data.draw(st.integers(size // 2 + 1, size))
    modulus = data.draw(st.sampled_from(MODULI[protocol]))
    cohort = make_cohort(size, needed, modulus, data.draw(st.integers(1, 9)))
    ids = cohort.setting.clients
    silent = data.draw(st.dictionaries(st.sampled_from(ids), st.sampled_from(STAGES)))
    seed = data.draw(st.integers(0, 2**40))
    if len(left(ids, silent, "unmask")) < needed:
        with pytest.raises(RoundAbandoned, match=f"round 1 is abandoned.*and {needed} are needed"):
            cohort.sum(protocol, silent, seed=seed)
        return
    survivors = left(ids, silent, "masked_input")
    result = cohort.sum(protocol, silent, seed=seed)
    assert list(result.survivors) == survivors
    assert result.values.tolist() == cohort.plain(survivors)


@pytest.mark.parametrize("stage", STAGES)
def test_as_many_may_drop_as_the_threshold_leaves_and_no_more(
    protocol: Protocol, make_cohort: Callable[..., Any], stage: Stage
) -> None:
    cohort = make_cohort(10, 7)
    ids = cohort.setting.clients
    result = cohort.sum(protocol, dict.fromkeys(ids[:3], stage))
    # Who falls silent after its vector was sent is in the sum.
    assert result.survivors == (ids if stage == "unmask" else ids[3:])
    assert result.values.tolist() == cohort.plain(result.survivors)
    with pytest.raises(RoundAbandoned, match=f"6 of 10 clients were left at {stage}, and 7"):
        cohort.sum(protocol, dict.fromkeys(ids[:4], stage))


def test_vectors_are_asked_for_one_by_one_and_of_those_who_send_them(
    protocol: Protocol, make_cohort: Callable[..., Any], wire: Any
) -> None:
    cohort = make_cohort(5, 3)
    first, second, *rest = cohort.setting.clients
    asked: list[tuple[int, int]] = []

    def vector(client: int) -> Tensor:
        asked.append((client, len(wire.said("masked_input"))))
        sent: Tensor = cohort.vectors[client]
        return sent

    silent: dict[int, Stage] = {first: "share_keys", second: "masked_input"}
    secure_sum(cohort.setting, vector, wire.send, 0, protocol, silent)
    assert asked == [(client, number) for number, client in enumerate(rest)]


@pytest.mark.parametrize("vector", [[-1, 0], [0, 97], [0], [0.0, 0.0]])
def test_a_vector_that_is_not_in_the_ring_is_refused(
    make_cohort: Callable[..., Any], vector: list[float]
) -> None:
    cohort = make_cohort(3, 2, 97, 2)
    cohort.vectors = dict.fromkeys(cohort.setting.clients, torch.tensor(vector))
    with pytest.raises(ValueError, match=r"\(2,\) int64 in \[0, 97\)"):
        cohort.sum()


def test_the_same_seed_gives_the_same_messages_and_another_session_others(
    protocol: Protocol, make_cohort: Callable[..., Any], wire: Any
) -> None:
    def masked(session: Session, seed: int) -> list[list[int]]:
        wire.log.clear()
        make_cohort(session=session).sum(protocol, wire=wire, seed=seed)
        return [tree["values"].tolist() for tree in wire.said("masked_input")]

    assert masked(Session(1), 0) == masked(Session(1), 0)
    for session, seed in ((Session(2), 0), (Session(1, 1), 0), (Session(1), 1)):
        assert not set(map(tuple, masked(Session(1), 0))) & set(map(tuple, masked(session, seed)))


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (4, 2), (4, 5)])
def test_a_cohort_in_which_nothing_is_hidden_is_refused(
    make_cohort: Callable[..., Any], size: int, needed: int
) -> None:
    with pytest.raises(ValueError, match=r"two or more|more than half of the 4 clients"):
        make_cohort(size, needed)


@pytest.mark.parametrize(
    ("clients", "length", "named"),
    [((3, 1), 4, "ascending"), ((1, 1), 4, "distinct"), ((-1, 1), 4, "ids"), ((1, 3), 0, "length")],
)
def test_a_setting_is_checked(clients: tuple[int, ...], length: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Setting(Session(1), clients, 2, Ring(97), length)
