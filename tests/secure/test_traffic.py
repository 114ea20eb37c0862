"""The ledger of a protocol run equals what one computes by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from gptfl_bench.secure.protocol.aggregate import Protocol

ID, HEADER, KEY, SHARE, TAG = 8, 24, 32, 66, 16
"""Bytes of an id, a header, a public key, a Shamir share and the tag of a sealed text."""


@pytest.mark.parametrize(("modulus", "width"), [(2**31 - 1, 4), (2**31, 4), (2**32, 8)])
def test_bonawitz_sends_what_its_four_rounds_need(
    make_cohort: Callable[..., Any], wire: Any, modulus: int, width: int
) -> None:
    """Ten clients; one is lost before each stage, so 9, 8, 7 and 6 are heard in the four rounds."""
    cohort = make_cohort(10, 6, modulus, length=50)
    ids = cohort.setting.clients
    stages = ("advertise_keys", "share_keys", "masked_input", "unmask")
    cohort.sum(dropouts=dict(zip(ids, stages, strict=False)), wire=wire)
    sealed = ID + 2 * SHARE + TAG
    assert ledger(wire) == {
        ("advertise_keys", "up"): (9, 9 * (HEADER + 2 * KEY)),
        ("advertise_keys", "down"): (9, 9 * (HEADER + 9 * (ID + 2 * KEY))),
        ("share_keys", "up"): (8, 8 * (HEADER + 8 * sealed)),
        ("share_keys", "down"): (8, 8 * (HEADER + 7 * sealed)),
        ("masked_input", "up"): (7, 7 * (HEADER + 50 * width)),
        ("unmask", "down"): (7, 7 * (HEADER + 7 * ID)),
        # Seeds of seven survivors, the key of the client that shared but sent no vector.
        ("unmask", "up"): (6, 6 * (HEADER + 8 * (ID + SHARE))),
    }


@pytest.mark.parametrize("protocol", ["lightsecagg"], indirect=True)
def test_lightsecagg_sends_what_its_four_rounds_need(
    protocol: Protocol, make_cohort: Callable[..., Any], wire: Any
) -> None:
    """As above, with U = 7 and T = 5 of ten clients: pieces have 51 / 2, so 26 entries."""
    cohort = make_cohort(10, 7, 2**31 - 1, length=51)
    ids = cohort.setting.clients
    cohort.sum(protocol, {ids[0]: "share_keys", ids[1]: "masked_input", ids[2]: "unmask"}, wire)
    sealed = ID + 4 * 26 + TAG
    assert ledger(wire) == {
        ("advertise_keys", "up"): (10, 10 * (HEADER + KEY)),
        ("advertise_keys", "down"): (10, 10 * (HEADER + 10 * (ID + KEY))),
        ("share_keys", "up"): (9, 9 * (HEADER + 9 * sealed)),
        ("share_keys", "down"): (9, 9 * (HEADER + 8 * sealed)),
        ("masked_input", "up"): (8, 8 * (HEADER + 51 * 4)),
        ("unmask", "down"): (8, 8 * (HEADER + 8 * ID)),
        ("unmask", "up"): (7, 7 * (HEADER + 4 * 26)),
    }


def ledger(wire: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Messages and bytes by stage and direction."""
    return {
        (count.group, count.direction): (count.messages, count.nbytes)
        for count in wire.channel.settle()
    }
