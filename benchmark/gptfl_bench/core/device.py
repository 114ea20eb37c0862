"""Where networks and samples live."""

import torch

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
