"""Public data: unlabelled samples outside the clients, one resource for all methods that need it.

They are either real samples of the task that no client gets, or the synthetic set that GPT-FL's
generator makes (the paper's future work). Labels are never handed out with them.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from gptfl_bench.data.samples import Samples, Transform


@dataclass(frozen=True)
class PublicSettings:
    """Where public data come from.

    Attributes:
        source: ``synthetic`` takes the generator's output; ``held_out`` keeps a part of the real
            training samples from all clients, for every method of the run alike; ``none`` refuses
            methods that need public data.
        share: Size of that part.
        always: Whether that part is kept from all clients even where public data are synthetic, so
            that both sources are compared on the same clients.
        limit: Most samples used; all if null.
    """

    source: Literal["synthetic", "held_out", "none"] = "synthetic"
    share: float = 0.1
    always: bool = False
    limit: int | None = None

    @property
    def withheld(self) -> bool:
        """Whether a part of the real training samples is kept from all clients."""
        return self.always or self.source == "held_out"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share} must be between 0 and 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit} must be 1 or more, or null")


def unlabelled(samples: Samples, settings: PublicSettings, transform: Transform) -> Samples:
    """Return public samples whose ``y`` is their row, (N,), for they have no labels.

    Synthetic ones meet networks that clients trained, so they go through the clients' transform.

    Args:
        samples: Held-out or synthetic samples.
        settings: How many of them are used.
        transform: The clients' transform.
    """
    kept = samples.select(torch.arange(min(len(samples), settings.limit or len(samples))))
    return replace(kept, transform=transform).with_labels(torch.arange(len(kept)))
