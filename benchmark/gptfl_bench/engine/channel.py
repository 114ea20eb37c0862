"""The metered path between server and clients: every message is encoded, counted and decoded.

What was not sent does not arrive, and what arrives shares no memory with the sender. The round,
the client's id and its number of samples travel in a message's envelope; scalars and bytes count
the payload's tensors, ``wire_bytes`` the whole encoded message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree
from gptfl_reports.records.events import Direction, TrafficCounted

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
    _last: dict[tuple[str, str], tuple[Tensor, int]] = field(default_factory=dict)
    _bytes: bytes = field(default_factory=lambda: g.encode({}))

    def send(self, payload: Mapping[str, Tree], direction: Direction, round: int) -> Groups:
        """Return what the other side receives of ``payload``, and count it."""
        data = g.encode(payload) if direction == "up" else self._encode_once(payload)
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

    def _encode_once(self, payload: Mapping[str, Tree]) -> bytes:
        """Return a payload's bytes, those of the last call if it had the very same tensors."""
        # A tensor's version grows when it is changed in place.
        tensors = {
            (group, name): (tensor, tensor._version)
            for group, tree in payload.items()
            for name, tensor in tree.items()
        }
        if tensors.keys() != self._last.keys() or any(
            tensor is not self._last[key][0] or version != self._last[key][1]
            for key, (tensor, version) in tensors.items()
        ):
            self._last, self._bytes = tensors, g.encode(payload)
        return self._bytes

    def settle(self) -> list[TrafficCounted]:
        """Return what was counted since the last call, in order of round, direction and group."""
        settled = [
            TrafficCounted(*address, count.messages, count.scalars, count.nbytes, count.wire_bytes)
            for address, count in sorted(self._ledger.items())
        ]
        self._ledger.clear()
        return settled
