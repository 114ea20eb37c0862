"""Worker processes that clients work in, and what goes to them and comes back.

A worker is started once for all cells of a process. Networks and samples are handed to it once a
cell, what the server sends once a round, both in shared memory; a visit takes along what its client
keeps, and brings back its reply. A worker serves a client with the code that serves it in one
process, and replies are added in the clients' order, so the numbers are the same bit for bit.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from loky import get_reusable_executor

from gptfl_bench.core.errors import WorkerKilled
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Apart, Downlink, Federation, Visit, Visited, Work
from gptfl_bench.workers.parcel import Address, Parcel, opened
from gptfl_bench.workers.visiting import Answer, answered, kept_by, taken_in

IDLE_SECONDS = 600
"""After which a worker ends."""
_KILLED = (
    "a worker process was killed, for want of memory as a rule; give the same command again, which "
    "goes on with it, with fewer workers."
)


class Workers(Apart):
    """Processes that the clients of a cell work in.

    Args:
        count: How many.
        threads: Intra-op threads of each.
        say: Tells a person that clients work one after another after all, and why.
    """

    first = 1

    def __init__(self, count: int, threads: int, say: Callable[[str], None]) -> None:
        self._count, self._threads, self._say = count, threads, say
        self._station: Parcel | None = None
        self._serial = False

    def begin(
        self,
        federation: Federation,
        number: int,
        clients: Sequence[int],
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups],
    ) -> Visit:
        """Return what visits the clients of a round; all are under way from the first on."""

        def alone(client: int) -> Visited:
            return federation.serve(client, number, downlink, work, once)

        round = None if self._serial else self._packed(federation, (number, downlink, work, once()))
        if round is None or self._station is None:
            return alone
        station, waiting = self._station.address, list(clients)
        pool = get_reusable_executor(
            self._count, timeout=IDLE_SECONDS, initializer=_begin, initargs=(os.getpid(),)
        )
        under_way: dict[int, Future[Answer | None]] = {}

        def start(client: int) -> None:
            waiting.remove(client)
            given = (self._threads, station, round.address, client, kept_by(federation, client))
            under_way[client] = pool.submit(_visit, *given)

        def visit(client: int) -> Visited:
            if self._serial:
                return alone(client)
            try:
                if client not in under_way:
                    start(client)
                while waiting and len(under_way) < 2 * self._count:
                    start(waiting[0])
                answer = under_way.pop(client).result()
            except BrokenProcessPool as error:
                raise WorkerKilled(_KILLED) from error
            except (KeyboardInterrupt, SystemExit):
                pool.shutdown(wait=False, kill_workers=True)
                raise
            if answer is None:
                self._go_serial("the method's object changes when a client works")
                return alone(client)
            return taken_in(federation, client, number, answer)

        return visit

    def _packed(self, federation: Federation, content: object) -> Parcel | None:
        """Return a round's parcel, the cell's being made; None where something can't be handed."""
        try:
            if self._station is None:
                there = replace(federation, channel=Channel(federation.channel.strict), apart=None)
                there = replace(there, store=ClientStore(Path()), sealing=None, on_client=_unseen)
                self._station = Parcel(there)
            return Parcel(content)
        except Exception as error:
            self._go_serial(f"another process can't be handed its parts ({error})")
            return None

    def _go_serial(self, reason: str) -> None:
        self._serial = True
        self._say(f"clients work one after another, for {reason}.")


def _unseen(done: int, due: int) -> None:
    """Show nobody how far a cohort is."""


def _begin(parent: int) -> None:
    # Whoever started the workers is interrupted, too, and ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    keep_freed_memory()


def _end_with(parent: int) -> None:
    """End this process once it has no parent any more, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@lru_cache(maxsize=1)
def _station(address: Address) -> Federation:
    return cast(Federation, opened(address))


@lru_cache(maxsize=1)
def _round(address: Address) -> tuple[int, Downlink, Work, Groups]:
    return cast(tuple[int, Downlink, Work, Groups], opened(address))


def _visit(
    threads: int, station: Address, round: Address, client: int, kept: bytes | None
) -> Answer | None:
    """Serve a client in this process; None if the method's object is not as it was afterwards."""
    torch.set_num_threads(threads)
    number, downlink, work, handed = _round(round)
    return answered(_station(station), client, number, downlink, work, handed, kept)
