"""Where networks and samples live, and how something gets there without a wait."""

import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU if there is one.

    Raises:
        UsageError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device={name!r} is not there; choose auto, cpu or a device gptfl-bench doctor lists."
        ) from error
    return device


def bring(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; nothing is copied if it is there.

    A GPU reads memory that can't be swapped out while this process goes on. Of any other memory
    it has a copy before this process does, which then waits for all that the GPU was given to do.
    """
    there = device.type == "cuda" and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if tensor.is_cpu and there:
        tensor = tensor.pin_memory()
    # The other way somebody may read the numbers before they have come.
    return tensor.to(device, non_blocking=tensor.is_cpu)
