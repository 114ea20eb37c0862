"""Public data: unlabelled samples outside the clients, one resource for all methods that need it.

They are either real samples of the task that no client gets, or the synthetic set that GPT-FL's
generator makes (the paper's future work). Labels are never handed out with them.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from gptfl_bench.tasks.task import Samples, Transform
from gptfl_bench.training.distill import replace_labels

if TYPE_CHECKING:
    from gptfl_bench.engine.server import Server


@dataclass(frozen=True)
class PublicSettings:
    """Where public data come from.

    Attributes:
        source: ``synthetic`` takes the generator's output; ``held_out`` keeps a part of the real
            training samples from all clients, for every method of the run alike; ``none`` refuses
            methods that need public data.
        share: Size of that part.
        limit: Most samples used; all if null.
    """

    source: Literal["synthetic", "held_out", "none"] = "synthetic"
    share: float = 0.1
    limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share} must be between 0 and 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit} must be 1 or more, or null")


def public_data(
    server: "Server", settings: PublicSettings, held_out: Samples | None, transform: Transform
) -> Samples:
    """Return public samples whose ``y`` is their row, (N,), for they have no labels.

    Synthetic ones need the label names first, which clients tell in a counted exchange of round 0.
    They meet networks that clients trained, so they go through the clients' ``transform``.
    """
    if held_out is None:
        held_out, _ = server.synthetic(server.discover_labels())
    kept = held_out.select(torch.arange(min(len(held_out), settings.limit or len(held_out))))
    kept = replace(kept, transform=transform)
    return replace_labels(kept, torch.arange(len(kept)))
