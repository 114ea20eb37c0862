"""Addressed randomness."""

import hashlib

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.core.randomness import address_seed, isolated_torch_rng, numpy_rng, torch_rng

ADDRESSES = st.tuples(
    st.integers(0, 20),
    st.lists(st.one_of(st.text("a1 ", max_size=3), st.integers(0, 12)), max_size=3),
)


@settings(max_examples=300)
@given(a=ADDRESSES, b=ADDRESSES)
def test_addresses_meet_only_if_they_are_equal(
    a: tuple[int, list[str | int]], b: tuple[int, list[str | int]]
) -> None:
    same = a[0] == b[0] and [(type(n), n) for n in a[1]] == [(type(n), n) for n in b[1]]
    assert (address_seed(a[0], *a[1]) == address_seed(b[0], *b[1])) == same


def test_addresses_the_engine_uses_are_distinct() -> None:
    purposes = ("batches", "cohort", "start", "server", "pretrain", "client", "evaluate")
    seeds = {
        address_seed(seed, purpose, "round", round, "client", client)
        for seed in range(5)
        for purpose in purposes
        for round in range(20)
        for client in range(20)
    }
    assert len(seeds) == 5 * len(purposes) * 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_are_the_same_on_every_machine() -> None:
    """BLAKE2b of the text form, without its lowest bit; Python's own hash changes by process."""
    text = "7\x1fstr:batches\x1fint:1\x1fstr:x"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    assert (
        address_seed(7, "batches", 1, "x")
        == int.from_bytes(digest, "big") // 2
        == 7286373280238591597
    )


def test_generators_at_an_address() -> None:
    assert torch.equal(
        torch.randn(4, generator=torch_rng(1, "a")), torch.randn(4, generator=torch_rng(1, "a"))
    )
    assert numpy_rng(1, "a").random() == numpy_rng(1, "a").random()
    assert numpy_rng(1, "a").random() != numpy_rng(2, "a").random()


def test_the_global_stream_is_addressed_inside_and_untouched_outside() -> None:
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with isolated_torch_rng(3, "x"):
            drawn.append(torch.nn.Dropout(0.5)(torch.ones(50)))
        torch.rand(1)
    assert torch.equal(*drawn)
    torch.set_rng_state(before)
    with isolated_torch_rng(3, "x"):
        torch.rand(10)
    assert torch.equal(torch.get_rng_state(), before)
