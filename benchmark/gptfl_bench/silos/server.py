"""The server's side: clients of a cell are visited in their silos."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import ProcessLost
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.federation import Apart, Downlink, Federation, Visit, Visited, Work
from gptfl_bench.silos.messages import Ask, Begin, End, Here, Reply, Still, opened, packed
from gptfl_bench.silos.wire import Gone, Wire

_LOOK = 2.0
"""Seconds after which a silo that has not answered is asked whether it is there."""


class Silos(Apart):
    """The silos that hold a cell's clients: client ``k`` of ``n`` silos is held by ``k % n + 1``.

    Args:
        wire: Reaches them.
        count: How many there are.
    """

    first = 0

    def __init__(self, wire: Wire, count: int) -> None:
        self._wire, self._count = wire, count

    def gather(self, seconds: float) -> None:
        """Wait until all silos have said that they are there.

        Raises:
            ProcessLost: If one has not by then.
        """
        missing, end = set(range(1, self._count + 1)), time.monotonic() + seconds
        while missing:
            said = self._wire.receive(1.0)
            if said is not None and isinstance(opened(said[1]), Here):
                missing.discard(said[0])
            if missing and time.monotonic() > end:
                names = ", ".join(map(str, sorted(missing)))
                raise ProcessLost(f"no client {names} has come within {seconds:.0f} s")

    def open(self, spec: CellSpec) -> None:
        """Let silos take up a cell."""
        for silo in range(1, self._count + 1):
            self._tell(silo, packed(Begin(spec)), "begin")

    def close(self) -> None:
        """Let silos end that are there."""
        for silo in range(1, self._count + 1):
            with suppress(Gone):
                self._wire.send(silo, packed(End()))
        self._wire.close()

    def begin(
        self,
        federation: Federation,
        number: int,
        clients: Sequence[int],
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups],
    ) -> Visit:
        """Return what visits the clients of a round; all have been asked by then.

        Raises:
            ProcessLost: If a silo is gone.
        """
        token, handed = secrets.token_hex(8), g.encode(once())
        for client in clients:
            last = federation.store.versions.get(client)
            payload = g.encode(downlink(client))
            ask = Ask(token, client, number, work, payload, handed, last)
            self._tell(self._silo(client), packed(ask), f"round {number}")
        early: dict[int, Reply] = {}

        def visit(client: int) -> Visited:
            while client not in early:
                said = self._wire.receive(_LOOK)
                if said is None:
                    self._tell(self._silo(client), packed(Still()), f"round {number}")
                    continue
                reply = opened(said[1])
                if isinstance(reply, Here):
                    # It was started anew, and knows nothing of what it was asked.
                    raise ProcessLost(f"client {said[0]} of the federation came anew")
                if isinstance(reply, Reply) and reply.token == token:
                    early[reply.client] = reply
            reply = early.pop(client)
            if reply.error:
                raise RuntimeError(f"client {client}: {reply.error}")
            federation.channel.take(reply.counted)
            if reply.keeps:
                # That it was there; what it keeps stays where it is.
                federation.store.write(client, {}, number)
            return g.decode(reply.reply), reply.examples, reply.fits

        return visit

    def _silo(self, client: int) -> int:
        return client % self._count + 1

    def _tell(self, silo: int, data: bytes, when: str) -> None:
        try:
            self._wire.send(silo, data)
        except Gone as error:
            raise ProcessLost(f"client {silo} of the federation is gone ({when})") from error
