"""What the server sees: uniform vectors, and never both secrets of one client."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from gptfl_bench.secure.protocol.aggregate import Protocol
from gptfl_bench.secure.protocol.errors import WrongStageError
from gptfl_bench.secure.protocol.messages import SERVER, Stage, Survivors

LENGTH = 2**14
SIGNIFICANCE = 1e-4
"""Chance of each test below to fail if masks are uniform; seeds are fixed, so it does not."""


def histogram(values: Tensor, modulus: int) -> Tensor:
    """How many entries fall into each of 256 equal parts of [0, R)."""
    return torch.bincount((values.double() * 256 / modulus).long(), minlength=256)


def looks_uniform(values: Tensor, modulus: int) -> bool:
    return float(chisquare(histogram(values, modulus).numpy()).pvalue) > SIGNIFICANCE


def test_plain_vectors_do_not_look_uniform() -> None:
    assert looks_uniform(torch.randint(0, 2**20, (LENGTH,)), 2**20)
    assert not looks_uniform(torch.randn(LENGTH).mul(2**18).long() % 2**20, 2**20)


@pytest.mark.parametrize("modulus", [2**20, 2**31 - 1])
@pytest.mark.parametrize("entry", [0, 1, -1])
def test_each_masked_vector_looks_uniform_whatever_it_hides(
    protocol: Protocol, make_cohort: Callable[..., Any], wire: Any, modulus: int, entry: int
) -> None:
    if protocol == "lightsecagg" and modulus != 2**31 - 1:
        pytest.skip("LightSecAgg sums in its own field")
    cohort = make_cohort(4, 3, modulus, LENGTH)
    hidden = torch.full((LENGTH,), entry % modulus)
    cohort.vectors = dict.fromkeys(cohort.setting.clients, hidden)
    cohort.sum(protocol, wire=wire)
    sent = [tree["values"].long() for tree in wire.said("masked_input")]
    assert len(sent) == 4
    assert all(looks_uniform(values, modulus) for values in sent)
    # Nor does one tell about another: the masks of a pair would cancel.
    for one, other in pairwise(sent):
        assert looks_uniform((one - other) % modulus, modulus)
        assert looks_uniform((one + other) % modulus, modulus)


def test_masked_vectors_do_not_depend_on_the_plain_ones(
    protocol: Protocol, make_cohort: Callable[..., Any], wire: Any
) -> None:
    modulus = 2**31 - 1
    cohort = make_cohort(4, 3, modulus, LENGTH)
    bits = {k: torch.randint(0, 2, (LENGTH,)) for k in cohort.setting.clients}
    cohort.vectors = {k: values * (modulus // 3) for k, values in bits.items()}
    cohort.sum(protocol, wire=wire)
    for client, tree in zip(bits, wire.said("masked_input"), strict=True):
        values = tree["values"].long()
        table = [histogram(values[bits[client] == bit], modulus).tolist() for bit in (0, 1)]
        assert chi2_contingency(table).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("stage", "revealed"),
    [
        ("advertise_keys", []),
        ("share_keys", []),
        ("masked_input", ["lost"]),
        ("unmask", ["survivors"]),
    ],
)
def test_the_server_gets_shares_of_one_secret_of_a_client_or_of_none(
    make_cohort: Callable[..., Any], wire: Any, stage: Stage, revealed: list[str]
) -> None:
    """The key of one whose vector never came, the own mask of one whose vector did, never both."""
    cohort = make_cohort(7, 4)
    quiet, *others = cohort.setting.clients
    cohort.sum(dropouts={quiet: stage}, wire=wire)
    answers = wire.said("unmask")
    named = [kind for kind in ("lost", "survivors") if quiet in answers[0][kind].tolist()]
    assert named == revealed
    for answer in answers:
        assert answer["lost"].tolist() == [quiet] * (named == ["lost"])
        assert answer["survivors"].tolist() == [quiet] * (named == ["survivors"]) + others


def test_a_client_reveals_once(
    make_cohort: Callable[..., Any], make_play: Callable[..., Any]
) -> None:
    """Told first that a client survived and then that it did not, it keeps the second secret."""
    cohort = make_cohort(4, 3)
    play = make_play(cohort)
    assert len(list(play.messages())) == 4 * 4
    first, *others = cohort.setting.clients
    told = Survivors(cohort.setting.session, SERVER, torch.tensor([first, *others[:2]]))
    with pytest.raises(WrongStageError, match="takes the step unmask once"):
        play.clients[first].reveal(told)
