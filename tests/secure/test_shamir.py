"""Secret sharing: t shares give the secret, t - 1 fit every secret, wrong ones are named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.secure.protocol.errors import (
    DuplicateShareError,
    InconsistentSharesError,
    MalformedShareError,
    ProtocolError,
    TooFewSharesError,
)
from gptfl_bench.secure.protocol.shamir import PRIME, SHARE_BYTES, combine, split

SECRETS = st.binary(min_size=32, max_size=32)
SEED = bytes(range(32))


def value(share: bytes) -> int:
    return int.from_bytes(share, "big")


@settings(max_examples=200, deadline=None)
@given(secret=SECRETS, seed=SECRETS, data=st.data())
def test_any_t_shares_give_the_secret(secret: bytes, seed: bytes, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=12, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    shares = split(secret, threshold, points, seed)
    order = data.draw(st.permutations(points))
    assert combine([(point, shares[point]) for point in order], threshold) == secret


@settings(max_examples=200, deadline=None)
@given(secret=SECRETS, other=SECRETS, seed=SECRETS)
def test_two_shares_of_three_fit_any_secret(secret: bytes, other: bytes, seed: bytes) -> None:
    """The parabola through (0, other), (1, a) and (2, b) is 3b - 3a + other at 3."""
    shares = split(secret, 3, (1, 2, 3), seed)
    third = (3 * value(shares[2]) - 3 * value(shares[1]) + value(other)) % PRIME
    fitting = [(1, shares[1]), (2, shares[2]), (3, third.to_bytes(SHARE_BYTES, "big"))]
    assert combine(fitting, 3) == other


def test_two_shares_lie_on_a_line_that_starts_at_the_secret() -> None:
    shares = split(bytes(31) + b"\x07", 2, (1, 2, 3), SEED)
    slope = value(shares[1]) - 7
    assert (value(shares[2]) - value(shares[1]) - slope) % PRIME == 0
    assert (value(shares[3]) - value(shares[2]) - slope) % PRIME == 0
    # The slope fills the field: 32 bytes would leave the upper half of a share empty.
    assert slope % PRIME > 2**400


def test_other_seeds_give_other_shares() -> None:
    assert split(SEED, 2, (1,), SEED)[1] != split(SEED, 2, (1,), bytes(32))[1]


def changed(share: bytes) -> bytes:
    return bytes([share[0], share[1] ^ 1]) + share[2:]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_wrong_share_is_found(place: int) -> None:
    shares = list(split(SEED, 3, (1, 2, 3), SEED).items())
    shares[place] = (shares[place][0], changed(shares[place][1]))
    with pytest.raises(InconsistentSharesError, match=r"one of the shares at \[1, 2, 3\] is wrong"):
        combine(shares, 3)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([(1, 1)], TooFewSharesError),
        ([(1, 1), (1, 1)], DuplicateShareError),
        ([(1, 1), (1, 2)], DuplicateShareError),
    ],
)
def test_too_few_or_twice_the_same_are_refused(
    bad: list[tuple[int, int]], error: type[ProtocolError]
) -> None:
    shares = split(SEED, 2, (1, 2), SEED)
    with pytest.raises(error):
        combine([(point, shares[share]) for point, share in bad], 2)


@pytest.mark.parametrize(
    "share", [b"", bytes(65), bytes(67), PRIME.to_bytes(66, "big"), b"\xff" * 66]
)
def test_what_is_no_element_of_the_field_is_refused(share: bytes) -> None:
    with pytest.raises(MalformedShareError, match="66 bytes"):
        combine([(1, share), (2, bytes(66))], 2)


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="33 bytes"):
        split(bytes(33), 2, (1, 2), SEED)
