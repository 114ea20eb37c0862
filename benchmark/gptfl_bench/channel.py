"""The metered path between server and clients: every message is encoded, counted and decoded.

What was not sent does not arrive, and what arrives shares no memory with the sender. The round,
the client's id and its number of samples travel in a message's envelope; scalars and bytes count
the payload's tensors, ``wire_bytes`` the whole encoded message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptfl_bench import groups as g
from gptfl_bench.events import Direction, TrafficCounted
from gptfl_bench.groups import Groups, Tree

ENVELOPE_BYTES = 24
"""Round, client id and number of samples as 64-bit integers."""


@dataclass
class _Count:
    messages: int = 0
    scalars: int = 0
    nbytes: int = 0
    wire_bytes: int = 0


@dataclass
class Channel:
    """Carries messages and keeps the ledger of the round under way."""

    _ledger: dict[tuple[int, Direction, str], _Count] = field(default_factory=dict)

    def send(self, payload: Mapping[str, Tree], direction: Direction, round: int) -> Groups:
        """Return what the other side receives of ``payload``, and count it."""
        data = g.encode(payload)
        trees = {group: tree for group, tree in sorted(payload.items()) if tree}
        # A header belongs to the message, not to a group: the first group carries it.
        header = len(data) + ENVELOPE_BYTES - sum(g.nbytes(tree) for tree in trees.values())
        for group, tree in trees.items():
            count = self._ledger.setdefault((round, direction, group), _Count())
            count.messages += 1
            count.scalars += g.scalars(tree)
            count.nbytes += g.nbytes(tree)
            count.wire_bytes += g.nbytes(tree) + header
            header = 0
        return g.decode(data)

    def settle(self) -> list[TrafficCounted]:
        """Return what was counted since the last call, in order of round, direction and group."""
        settled = [
            TrafficCounted(*address, count.messages, count.scalars, count.nbytes, count.wire_bytes)
            for address, count in sorted(self._ledger.items())
        ]
        self._ledger.clear()
        return settled
