"""LightSecAgg's code: FedML's own numbers, hidden from T clients, and its overflow."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gptfl_bench.core.errors import UsageError
from gptfl_bench.secure.protocol.errors import EntryRangeError, MalformedMessageError, ProtocolError
from gptfl_bench.secure.protocol.lightsecagg import (
    FIELD,
    Code,
    LightSecAggServer,
    fedml_coefficients,
    times,
)
from gptfl_bench.secure.protocol.messages import MaskSumShare, Message, Survivors
from gptfl_bench.secure.protocol.ring import MERSENNE

needs_fedml = pytest.mark.skipif(
    importlib.util.find_spec("fedml") is None, reason="fedml is not installed"
)


@pytest.fixture
def fedml() -> ModuleType:
    spec = importlib.util.find_spec("fedml")
    assert spec
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "core" / "mpc" / "lightsecagg.py"
    own = importlib.util.spec_from_file_location("fedml_oracle", file)
    assert own
    assert own.loader
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    return module


def test_products_are_exact_where_64_bits_do_not_hold_them() -> None:
    largest = torch.full((70, 70), MERSENNE - 1)
    # (p - 1) squared is 1 modulo p.
    assert times(largest, largest).equal(torch.full((70, 70), 70))
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, MERSENNE, shape, generator=rng) for shape in ((5, 9), (9, 4)))
    exact = a.numpy().astype(object) @ b.numpy().astype(object) % MERSENNE
    assert times(a, b).tolist() == exact.tolist()


@needs_fedml
def test_any_u_clients_decode_the_sum_of_masks() -> None:
    code = Code(clients=6, needed=4, hidden=2, length=5)
    rng = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, MERSENNE, (4, 3), generator=rng) for _ in range(2))
    coded = FIELD.reduce(code.encode(first) + code.encode(second))
    wanted = FIELD.reduce(first + second)[:2].reshape(-1)[:5]
    for points in combinations(range(1, 7), 4):
        rows = coded[[point - 1 for point in points]]
        assert code.decode(points, rows).equal(wanted)


@needs_fedml
def test_what_t_clients_hold_is_hidden_by_the_random_pieces() -> None:
    """Their T coded pieces are an invertible image of T random ones, whatever the mask is."""
    code = Code(clients=6, needed=4, hidden=3, length=1)
    columns = code.encode(torch.eye(4, dtype=torch.int64))
    for rows in combinations(range(6), 3):
        a, b, c = (columns[row, 1:].tolist() for row in rows)
        cross = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
        assert sum(x * y for x, y in zip(a, cross, strict=True)) % MERSENNE


@needs_fedml
def test_fedmls_encoder_agrees_where_it_does_not_overflow(fedml: ModuleType) -> None:
    """Its products stay below 2**63 if pieces are small; at full size they do not."""
    code = Code(clients=10, needed=8, hidden=5, length=9)
    alphas, betas = np.arange(11, 19), np.arange(1, 11)
    small = torch.arange(24).reshape(8, 3)
    theirs = fedml.LCC_encoding_with_points(small.numpy(), alphas, betas, MERSENNE)
    assert code.encode(small).tolist() == theirs.tolist()
    large = MERSENNE - 1 - small
    theirs = fedml.LCC_encoding_with_points(large.numpy(), alphas, betas, MERSENNE)
    assert code.encode(large).tolist() != theirs.tolist()


@needs_fedml
def test_another_modulus_is_refused(make_cohort: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="lightsecagg sums modulo 2147483647, not 1024"):
        make_cohort(3, 2, 1024).sum("lightsecagg")


@needs_fedml
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: Survivors(m.session, m.sender, torch.arange(3)), MalformedMessageError),
        (lambda m: replace(m, values=m.values[1:]), MalformedMessageError),
        (lambda m: replace(m, values=m.values * 0 - 1), EntryRangeError),
        (lambda m: replace(m, values=m.values * 0 + MERSENNE), EntryRangeError),
    ],
)
def test_a_bad_share_of_masks_is_refused(
    make_cohort: Callable[..., Any],
    change: Callable[[MaskSumShare], Message],
    error: type[ProtocolError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive, refused = LightSecAggServer.receive, 0

    def tampered(server: LightSecAggServer, message: Message) -> None:
        nonlocal refused
        if isinstance(message, MaskSumShare):
            with pytest.raises(ProtocolError) as caught:
                receive(server, change(message))
            assert caught.type is error
            refused += 1
        receive(server, message)

    monkeypatch.setattr(LightSecAggServer, "receive", tampered)
    cohort = make_cohort(4, 3)
    assert cohort.sum("lightsecagg").values.tolist() == cohort.plain(cohort.setting.clients)
    assert refused == 4


def test_without_fedml_one_sentence_names_the_extra(
    make_cohort: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fedml_coefficients.cache_clear()
    with pytest.raises(UsageError, match=r"choose bonawitz, or install gptfl-bench\[fedml\]"):
        make_cohort().sum("lightsecagg")
    fedml_coefficients.cache_clear()
