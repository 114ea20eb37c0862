"""In how many bits networks compute: one setting for training and prediction alike.

``float32`` is that, also where a GPU would round the factors of products by default. ``tf32`` lets
it do so: factors have 10 bits after the point, sums are float32. With ``bfloat16`` networks run
under PyTorch's autocast, with products in bfloat16 (7 bits). Weights, gradients, updates and
statistics of normalisation stay in float32, and so do losses, for what a network returns is float32
again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gptfl_bench.core.errors import UsageError

Precision = Literal["float32", "tf32", "bfloat16"]
_SINCE = (8, 0)
"""Compute capability of the first GPUs with TF32, Ampere."""


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse TF32 where there is none: a record would tell of rounding that never took place.

    Raises:
        UsageError: If the device is no NVIDIA GPU, or an older one.
    """
    if precision != "tf32":
        return
    there = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _SINCE
    if not there:
        raise UsageError(
            f"precision='tf32' can't be had on device={str(device)!r}, only on NVIDIA GPUs from "
            "Ampere on; choose precision=float32 or bfloat16."
        )


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let products of float32 tensors be as precise as asked, and afterwards as they were.

    Whoever runs a cell inside a program of their own has these switches set for it, too.
    """
    if device.type != "cuda":
        yield
        return
    switches: list[Any] = [
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
    ]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def lowered(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """Return a network whose products are as precise as asked; the same object.

    Its ``encoder`` and ``head``, which some methods call by themselves, are treated like the whole.
    """
    if precision == "bfloat16":
        for part in (network, *(getattr(network, name, None) for name in ("encoder", "head"))):
            if isinstance(part, nn.Module):
                # A class, no function that knows this object: a copy of it works for itself.
                part.__class__ = _in_bfloat16(type(part), device)  # type: ignore[arg-type]
    return network


@cache
def _in_bfloat16(kind: type[nn.Module], device: torch.device) -> type[nn.Module]:
    """Return a class of modules like ``kind`` that run under autocast."""

    class Lowered(kind):  # type: ignore[valid-type, misc]
        def forward(self, *words: Any, **given: Any) -> Any:  # noqa: ANN401 - whatever it takes
            return under_autocast(super().forward, device)(*words, **given)

    Lowered.__name__, Lowered.__qualname__ = kind.__name__, kind.__qualname__
    return Lowered


def under_autocast(forward: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """Return a function that runs in bfloat16 where that is safe, and returns float32."""

    @wraps(forward)
    def run(*words: Any, **given: Any) -> Any:  # noqa: ANN401 - whatever a network takes
        # A copy of each weight in bfloat16 lasts for this call alone.
        with torch.autocast(device.type, torch.bfloat16):
            out = forward(*words, **given)
        return out.float() if isinstance(out, Tensor) and out.dtype == torch.bfloat16 else out

    return run
