"""Settings of secure aggregation, and which clients get lost under it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.secure.protocol.messages import Stage

_STAGES: dict[str, Stage] = {"before": "masked_input", "after": "unmask"}
"""From which stage on a lost client is silent."""


@dataclass(frozen=True)
class SecureSettings:
    """How sums are taken where ``secure_aggregation`` is set.

    Attributes:
        protocol: ``bonawitz``, or ``lightsecagg`` with the extra ``fedml``.
        clip: Largest absolute value of a coordinate that is sent; what is more is cut off and
            counted.
        bits: Bits of a coordinate: its steps are ``clip / 2**(bits - 1)`` wide.
        threshold: Share of the clients asked that must stay to the end of a round.
        dropout: Probability that a client gets lost in a round, one half before it has sent its
            masked vector and one half after.
        schedule: Clients that get lost for certain, as ``ROUND:CLIENT:before`` or ``:after``,
            separated by commas; round 0 is label discovery.
    """

    protocol: Literal["bonawitz", "lightsecagg"] = "bonawitz"
    clip: float = 4.0
    bits: int = 20
    threshold: float = 2 / 3
    dropout: float = 0.0
    schedule: str = ""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not 0 < self.clip <= 1e6:
            raise ValueError(f"clip={self.clip} must be above 0 and at most 1,000,000")
        if not 2 <= self.bits <= 32:
            raise ValueError(f"bits={self.bits} must be from 2 to 32")
        if not 0.5 < self.threshold <= 1:
            # With half of the clients a server could run two rounds and learn both their sums.
            raise ValueError(f"threshold={self.threshold} must be above 0.5 and at most 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be in [0, 1)")
        _scheduled(self.schedule)

    def least(self, clients: int) -> int:
        """Return how many of a cohort's clients must stay, 2 or more."""
        return max(2, -(-round(self.threshold * clients * 1e9) // 10**9))

    def lost(self, seed: int, round: int, clients: Sequence[int]) -> dict[int, Stage]:
        """Return which of a cohort's clients get lost, and from which stage on."""
        rng = numpy_rng(seed, "dropout", "round", round)
        lost: dict[int, Stage] = {}
        for client in clients:
            draw = float(rng.random())
            if draw < self.dropout:
                lost[client] = _STAGES["before" if draw < self.dropout / 2 else "after"]
        planned = _scheduled(self.schedule).get(round, {})
        return lost | {client: stage for client, stage in planned.items() if client in clients}


def _scheduled(text: str) -> dict[int, dict[int, Stage]]:
    """Return the clients that a schedule loses, by round.

    Raises:
        ValueError: If it is no schedule.
    """
    planned: dict[int, dict[int, Stage]] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"(\d+):(\d+):(before|after)", entry)
        if not found:
            raise ValueError(
                f"schedule={text!r} must be entries such as 3:17:before with commas, for client "
                "17 in round 3 before it has sent its masked vector (or after)"
            )
        planned.setdefault(int(found[1]), {})[int(found[2])] = _STAGES[found[3]]
    return planned
