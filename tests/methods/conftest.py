"""Fixtures for tests that put a published bug into a method."""

from collections.abc import Callable, Sequence

import pytest
import torch

from gptfl_bench.groups import Groups
from gptfl_bench.method import Method
from gptfl_bench.server import Server


def play_rounds(
    method: Method, server: Server, count: int = 1, cohort: Sequence[int] = ()
) -> Groups:
    """Return the state after rounds with the given clients, or all."""
    state = method.prepare(server)
    for server.round in range(1, count + 1):
        before = {group: {n: t.clone() for n, t in tree.items()} for group, tree in state.items()}
        arrived = server.federation.exchange(
            server.round,
            cohort or range(server.num_clients),
            lambda client_id, state=state: method.downlink(state, client_id),  # type: ignore[misc]
            method.client_update,
        )
        following = method.aggregate(state, arrived, server)
        for group, tree in before.items():
            for name, tensor in tree.items():
                assert torch.equal(tensor, state[group][name]), "the last state was changed"
        state = following
    return state


def catches_bugs(check: Callable[[object], None], right: object, *wrong: object) -> None:
    """The check passes on the method as it is and fails on each copy with a bug."""
    check(right)
    for buggy in wrong:
        with pytest.raises(AssertionError):
            check(buggy)


@pytest.fixture(scope="session")
def rounds() -> Callable[..., Groups]:
    """Return :func:`play_rounds`."""
    return play_rounds


@pytest.fixture(scope="session")
def catches() -> Callable[..., None]:
    """Return :func:`catches_bugs`."""
    return catches_bugs
