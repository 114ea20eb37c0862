"""Masks: uniform, the same however they are cut, and gone from a sum as computed by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from gptfl_bench.secure.protocol import bonawitz, masks
from gptfl_bench.secure.protocol.bonawitz import BonawitzClient
from gptfl_bench.secure.protocol.errors import ForgedShareError, MalformedKeyError
from gptfl_bench.secure.protocol.keys import KeyPair, seal, simulated_secret, unseal
from gptfl_bench.secure.protocol.masks import add_mask, mask
from gptfl_bench.secure.protocol.ring import Ring

SEED = bytes(range(32))


@pytest.mark.parametrize("modulus", [2, 3, 5, 2**31 - 1, 2**31, 2**32 - 5, 3 * 2**30, 2**36])
def test_a_mask_is_uniform(modulus: int) -> None:
    drawn = mask(SEED, 2**16, Ring(modulus))
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < modulus
    buckets = min(modulus, 256)
    counts = torch.bincount((drawn.double() * buckets / modulus).long(), minlength=buckets)
    # What a remainder of too few bits would favour shows in the lowest residues, too.
    low = torch.bincount(drawn % min(modulus, 16))
    assert chisquare(counts.numpy()).pvalue > 1e-3
    assert modulus % 16 or chisquare(low.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("modulus", [3, 2**31 - 1, 2**36])
def test_a_mask_is_the_same_however_it_is_cut(
    modulus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mask(SEED, 100, Ring(modulus))
    monkeypatch.setattr(masks, "CHUNK", 7)
    assert mask(SEED, 100, Ring(modulus)).equal(whole)
    assert mask(SEED, 31, Ring(modulus)).equal(whole[:31])


def test_a_mask_added_and_subtracted_leaves_nothing() -> None:
    total = torch.arange(5)
    add_mask(total, SEED, Ring(97))
    assert not total.equal(torch.arange(5))
    add_mask(total, SEED, Ring(97), -1)
    assert total.equal(torch.arange(5))


@pytest.fixture
def known_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the masks of clients 1, 4 and 7 known values."""
    values = {"own 1": 5, "own 4": 7, "own 7": 11, "1 4": 3, "1 7": 9, "4 7": 6}

    def add(total: Tensor, seed: bytes, ring: Ring, sign: int = 1) -> None:
        total += sign * values[seed.decode().split("mask ")[-1].strip()]

    monkeypatch.setattr(bonawitz, "add_mask", add)
    monkeypatch.setattr(KeyPair, "agree", lambda self, public, purpose: purpose.encode())
    monkeypatch.setattr(
        BonawitzClient, "_own_seed", lambda self: f"own {self.id}".ljust(32).encode()
    )


@pytest.mark.usefixtures("known_masks")
def test_masks_cancel_as_by_hand(make_cohort: Callable[..., Any], wire: Any) -> None:
    """Modulo 16, clients 1, 4 and 7 hold 1, 2 and 3.

    They send 1 + 5 + 3 + 9 = 2, 2 + 7 - 3 + 6 = 12 and 3 + 11 - 9 - 6 = 15. The sum is 29, and
    without the own masks 29 - 5 - 7 - 11 = 6. Without client 7, the sum is 14; the own masks leave
    2, and the masks shared with client 7 leave 2 - 9 - 6 = 3 modulo 16.
    """
    cohort = make_cohort(3, 2, modulus=16, length=1)
    cohort.vectors = {1: torch.tensor([1]), 4: torch.tensor([2]), 7: torch.tensor([3])}
    assert cohort.sum(wire=wire).values.tolist() == [6]
    assert [tree["values"].tolist() for tree in wire.said("masked_input")] == [[2], [12], [15]]
    assert cohort.sum(dropouts={7: "masked_input"}).values.tolist() == [3]


def test_two_clients_agree_on_a_key_that_others_do_not_have() -> None:
    one, two, other = (KeyPair(simulated_secret(0, "pair", k)) for k in range(3))
    assert one.agree(two.public, "a") == two.agree(one.public, "a")
    assert one.agree(two.public, "a") != one.agree(two.public, "b")
    assert one.agree(two.public, "a") != other.agree(two.public, "a")


def test_a_public_key_that_gives_all_the_same_secret_is_refused() -> None:
    with pytest.raises(MalformedKeyError, match="low order"):
        KeyPair(SEED).agree(bytes(32), "a")


def test_a_sealed_share_opens_with_its_own_key_only() -> None:
    sealed = seal(SEED, b"a share")
    assert unseal(SEED, sealed) == b"a share"
    for key, text in ((bytes(32), sealed), (SEED, sealed[:-1] + b"?"), (SEED, b"")):
        with pytest.raises(ForgedShareError, match="changed or is not for this client"):
            unseal(key, text)


def test_simulated_secrets_depend_on_the_whole_address() -> None:
    secrets = {
        simulated_secret(seed, "round", round, "client", client)
        for seed in (0, 1)
        for round in (1, 2, 12)
        for client in (1, 2, 12)
    }
    assert len(secrets) == 18
    assert {len(secret) for secret in secrets} == {32}
