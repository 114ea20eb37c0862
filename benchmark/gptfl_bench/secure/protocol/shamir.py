"""Shamir's secret sharing (1979): any t shares give the secret, t - 1 tell nothing about it."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice

from gptfl_bench.secure.protocol.errors import (
    DuplicateShareError,
    InconsistentSharesError,
    MalformedShareError,
    TooFewSharesError,
)
from gptfl_bench.secure.protocol.keys import BYTES

PRIME = 2**521 - 1
"""Modulus of the field, a Mersenne prime.

Twice as long as a secret: what comes out of a wrong share is a random element, which is no
secret of 32 bytes but with a probability of 2**-265.
"""

SHARE_BYTES = 66


def split(secret: bytes, threshold: int, points: Iterable[int], seed: bytes) -> dict[int, bytes]:
    """Return a share for each point.

    Args:
        secret: 32 bytes.
        threshold: t, the number of shares that give the secret.
        points: Distinct numbers above 0, one for each holder.
        seed: 32 bytes that the polynomial's coefficients are drawn from, used once.
    """
    if len(secret) != BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes can't be shared, only one of {BYTES}")
    # 521 bits of a stream are uniform but for the one value that is the prime itself.
    drawn = hashlib.shake_256(seed).digest(SHARE_BYTES * (threshold - 1))
    coefficients = [int.from_bytes(secret, "big")] + [
        (int.from_bytes(drawn[start : start + SHARE_BYTES], "big") & PRIME) % PRIME
        for start in range(0, len(drawn), SHARE_BYTES)
    ]
    return {point: _value(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Iterable[tuple[int, bytes]], threshold: int) -> bytes:
    """Return the secret behind the first t shares.

    Args:
        shares: Points and the shares there.
        threshold: t, as it was when the secret was split.

    Raises:
        TooFewSharesError: If there are fewer than t.
        DuplicateShareError: If two are at one point.
        MalformedShareError: If one is no element of the field.
        InconsistentSharesError: If they give no secret of 32 bytes. This finds accidents; an
            attacker can choose a wrong share so that it goes unnoticed.
    """
    used = list(islice(shares, threshold))
    points = tuple(point for point, _ in used)
    if len(used) < threshold:
        raise TooFewSharesError(f"{len(used)} shares are too few, {threshold} are needed")
    if len(set(points)) < threshold:
        raise DuplicateShareError(f"two shares are at one of the points {sorted(points)}")
    for _, share in used:
        check(share)
    weights = _weights_at_zero(points)
    values = (int.from_bytes(share, "big") for _, share in used)
    secret = sum(w * value for w, value in zip(weights, values, strict=True)) % PRIME
    if secret >> (8 * BYTES):
        raise InconsistentSharesError(f"one of the shares at {sorted(points)} is wrong")
    return secret.to_bytes(BYTES, "big")


def check(share: bytes) -> None:
    """Refuse what is no element of the field.

    Raises:
        MalformedShareError: If it is too short, too long or too large.
    """
    if len(share) != SHARE_BYTES or int.from_bytes(share, "big") >= PRIME:
        raise MalformedShareError(f"a share must be {SHARE_BYTES} bytes, below 2**521 - 1")


def _value(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value


# A round reconstructs many secrets from the shares of the same clients.
@lru_cache(maxsize=8)
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Return Lagrange's weights of the values at ``points`` in the value at 0."""
    weights = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
