"""The metered path between server and clients: every message is counted, byte for byte.

What was not sent does not arrive, and what arrives shares no memory with the sender: it is a copy
of the very tensors that the payload names, in the order in which the codec yields them; a large
one takes memory when either side writes it (:func:`gptfl_bench.core.groups.copy`). Bytes follow
from names, shapes and types by the codec's own arithmetic. A strict channel encodes and decodes
every message in truth and must come to the same; tests run on it.

The round, the client's id and its number of samples travel in a message's envelope; scalars and
bytes count the payload's tensors, ``wire_bytes`` the whole encoded message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.switches import switched_on
from gptfl_reports.records.events import Direction, TrafficCounted

ENVELOPE_BYTES = 24
"""Round, client id and number of samples as 64-bit integers."""

STRICT = "GPTFL_BENCH_STRICT"
"""Environment variable: 1 encodes and decodes every message of a cell, 0 and unset count alone."""


@dataclass
class _Count:
    messages: int = 0
    scalars: int = 0
    nbytes: int = 0
    wire_bytes: int = 0


@dataclass
class Channel:
    """Carries messages and keeps the ledger of the round under way.

    Attributes:
        strict: Whether messages are encoded to bytes and decoded again.
    """

    strict: bool = False
    _ledger: dict[tuple[int, Direction, str], _Count] = field(default_factory=dict)

    @classmethod
    def as_asked(cls) -> "Channel":
        """Return a channel that is strict if the environment asks for it.

        Raises:
            UsageError: If the environment variable is neither 0 nor 1.
        """
        meaning = "1 to encode every message or 0 to count it alone"
        return cls(switched_on(STRICT, False, meaning))

    def send(self, payload: Mapping[str, Tree], direction: Direction, round: int) -> Groups:
        """Return what the other side receives of ``payload``, and count it."""
        self._count(payload, direction, round)
        return self._decoded(payload) if self.strict else g.copied(payload)

    def lend(self, payload: Mapping[str, Tree], direction: Direction, round: int) -> Groups:
        """Return the same as :meth:`send`, for a receiver that reads it and keeps no part of it."""
        self._count(payload, direction, round)
        return self._decoded(payload) if self.strict else g.lent(payload)

    def _count(self, payload: Mapping[str, Tree], direction: Direction, round: int) -> None:
        form = g.layout(payload)
        # A header belongs to the message, not to a group: the first group carries it.
        header = len(form.head) + ENVELOPE_BYTES
        for group, nbytes in form.nbytes.items():
            count = self._ledger.setdefault((round, direction, group), _Count())
            count.messages += 1
            count.scalars += form.scalars[group]
            count.nbytes += nbytes
            count.wire_bytes += nbytes + header
            header = 0

    def _decoded(self, payload: Mapping[str, Tree]) -> Groups:
        data = g.encode(payload)
        if len(data) != (counted := g.layout(payload).size):
            raise RuntimeError(f"a message of {len(data)} bytes was counted as {counted}")
        return {
            group: {name: tensor.to(payload[group][name].device) for name, tensor in tree.items()}
            for group, tree in g.decode(data).items()
        }

    def take(self, counted: Iterable[TrafficCounted]) -> None:
        """Add what another channel counted of this round."""
        for event in counted:
            address = (event.round, event.direction, event.group)
            count = self._ledger.setdefault(address, _Count())
            count.messages += event.messages
            count.scalars += event.scalars
            count.nbytes += event.nbytes
            count.wire_bytes += event.wire_bytes

    def settle(self) -> list[TrafficCounted]:
        """Return what was counted since the last call, in order of round, direction and group."""
        settled = [
            TrafficCounted(*address, count.messages, count.scalars, count.nbytes, count.wire_bytes)
            for address, count in sorted(self._ledger.items())
        ]
        self._ledger.clear()
        return settled
