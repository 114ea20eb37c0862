"""What is handed to other processes arrives as it was, once, and leaves nothing behind."""

import gc
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gptfl_bench.workers.parcel import Parcel, opened


def test_values_arrive_as_they_were() -> None:
    wide = torch.arange(12.0).reshape(3, 4)
    sent = {
        "plain": wide,
        "a view": wide[1],
        "transposed": wide.t(),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "truth": torch.tensor([True, False]),
    }
    parcel = Parcel([sent, nn.Linear(2, 1), lambda x: x + 1])
    found = opened(parcel.address)
    assert isinstance(found, list)
    groups, layer, function = found
    assert list(groups) == list(sent)
    for name, tensor in sent.items():
        assert torch.equal(groups[name].nan_to_num(7), tensor.nan_to_num(7)), name
        assert groups[name].dtype == tensor.dtype
        assert groups[name].stride() == tensor.stride()
    assert isinstance(layer, nn.Linear)
    assert layer.weight.requires_grad
    assert function(1) == 2


def test_a_tensor_lies_there_once_and_a_reader_keeps_its_changes_to_itself() -> None:
    big = torch.zeros(100_000)
    parcel = Parcel([big, {"again": big}])
    assert Path(parcel.address.path).stat().st_size < 1.1 * 4 * len(big)
    readers: Any = [opened(parcel.address) for _ in range(2)]
    first, second = readers[0][0], readers[1][0]
    first.add_(1)
    assert second.sum() == 0
    assert big.sum() == 0


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_nothing_is_left_behind(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if kind == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    parcel = Parcel(torch.arange(4))
    address = parcel.address
    assert torch.equal(opened(address), torch.arange(4))  # type: ignore[arg-type]
    del parcel
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_pickled_is_an_error() -> None:
    with pytest.raises(TypeError):
        Parcel(number for number in (1, 2))
