"""Floats as integers in a ring: sums are off by half a step for each client, and never wrap."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.core.errors import Diverged
from gptfl_bench.secure.protocol.quantise import Quantiser
from gptfl_bench.secure.protocol.ring import Ring

COORDINATES = st.floats(-2, 2, width=32)


@settings(max_examples=300, deadline=None)
@given(
    vectors=st.lists(st.lists(COORDINATES, min_size=3, max_size=3), min_size=1, max_size=12),
    clip=st.floats(0.01, 4),
    bits=st.integers(1, 32),
)
def test_a_sum_of_m_clients_is_off_by_m_halves_of_a_step_at_most(
    vectors: list[list[float]], clip: float, bits: int
) -> None:
    quantiser = Quantiser.narrowest(clip, bits, len(vectors))
    sent = [quantiser.encode(torch.tensor(v, dtype=torch.float64)) for v in vectors]
    assert all(quantiser.ring.holds(one.values) for one in sent)
    total = quantiser.ring.reduce(torch.stack([one.values for one in sent]).sum(0))
    clipped = [[max(-clip, min(clip, x)) for x in vector] for vector in vectors]
    bound = len(vectors) * clip / 2**bits
    for got, column in zip(
        quantiser.decode(total).tolist(), zip(*clipped, strict=True), strict=True
    ):
        assert abs(got - math.fsum(column)) <= bound * (1 + 1e-12)
    outside = sum(abs(x) > clip for vector in vectors for x in vector)
    assert sum(one.clipped for one in sent) == outside


def test_a_mean_by_weights_keeps_the_precision_of_one_client() -> None:
    # Steps of 1/8: 0.3 becomes 2 steps, -0.9 becomes -7. (2 * 30 - 7 * 10) / 40 / 8 = -1/32.
    quantiser = Quantiser.narrowest(1.0, 4, 40)
    first = quantiser.encode(torch.tensor([0.3]), weight=30)
    second = quantiser.encode(torch.tensor([-0.9]), weight=10)
    total = quantiser.ring.reduce(first.values + second.values)
    assert quantiser.decode(total).tolist() == [-40 / 32]


@pytest.mark.parametrize("modulus", [5 * 2**8 + 1, 2**11])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sum_fits_into_the_smallest_ring(modulus: int, sign: int) -> None:
    quantiser = Quantiser(0.5, 8, Ring(modulus), 5)
    one = quantiser.encode(torch.tensor([sign * 0.5]))
    assert one.clipped == 0
    assert quantiser.decode(quantiser.ring.reduce(5 * one.values)).tolist() == [sign * 2.5]


def test_nothing_stays_nothing() -> None:
    assert Quantiser.narrowest(0.1, 3, 2).encode(torch.zeros(2, 2)).values.tolist() == [0] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(Diverged, match="infinite or not a number"):
        Quantiser.narrowest(1.0, 8, 2).encode(torch.tensor([0.0, value]))


def test_settings_under_which_sums_wrap_are_refused() -> None:
    with pytest.raises(ValueError, match="a total weight of 32768 need a modulus above"):
        Quantiser(1.0, 16, Ring(2**31 - 1), 32768)
    Quantiser(1.0, 16, Ring(2**31 - 1), 32767)
    # A ring of m * 2**b entries would tell m * c and -m * c alike.
    with pytest.raises(ValueError, match="need a modulus above 1024, not 1024; take fewer bits"):
        Quantiser(1.0, 8, Ring(2**10), 4)


@pytest.mark.parametrize(
    ("clip", "bits", "weight", "named"),
    [
        (0, 8, 2, "clip=0"),
        (math.inf, 8, 2, "clip=inf"),
        (1, 0, 2, "bits=0"),
        (1, 33, 2, "bits=33"),
        (1, 8, 0, "total_weight=0"),
    ],
)
def test_settings_out_of_range_are_named(clip: float, bits: int, weight: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Quantiser(clip, bits, Ring(2**60), weight)


@pytest.mark.parametrize("weight", [0, -1, 41])
def test_a_weight_beyond_the_total_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match=f"weight={weight} must be 1 to 40"):
        Quantiser.narrowest(1.0, 4, 40).encode(torch.zeros(1), weight)


@pytest.mark.parametrize("modulus", [0, 1, 2**63, 2**32 + 1])
def test_a_ring_whose_sums_64_bits_can_not_hold_is_refused(modulus: int) -> None:
    with pytest.raises(ValueError, match=str(modulus)):
        Ring(modulus)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**62), min_size=1, max_size=50),
    modulus=st.sampled_from([2, 97, 2**31 - 1, 2**31, 2**32 - 5, 2**32, 2**62]),
)
def test_sums_reduced_once_are_those_of_exact_integers(values: list[int], modulus: int) -> None:
    ring, entries = Ring(modulus), [value % modulus for value in values]
    total = torch.tensor(0)
    for entry in entries:
        total += entry
    assert int(ring.reduce(total)) == sum(entries) % modulus
    assert int(ring.reduce(-total)) == -sum(entries) % modulus
    assert torch.tensor(modulus - 1).to(ring.dtype).item() == modulus - 1
