"""A silo: it holds the data and the states of its clients, and works when the server asks."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from gptfl_bench.cells.assemble import build_federation
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import ProcessLost
from gptfl_bench.data.access import Access
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.federation import Federation
from gptfl_bench.silos.messages import Ask, Begin, End, Here, Message, Reply, Still, opened, packed
from gptfl_bench.silos.wire import SERVER, Gone, Wire
from gptfl_reports.records.events import EventLog, TrafficCounted, read_events

LEDGER = "ledger.jsonl"
_LOOK = 5.0
"""Seconds after which a server that says nothing is asked whether it is there."""


class Silo:
    """The clients of a process, with their data and states.

    Args:
        access: Where data lie here.
        folder: Where states of clients and the ledger of messages lie.
    """

    def __init__(self, access: Access, folder: Path) -> None:
        self._access, self._folder = access, folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LEDGER).unlink(missing_ok=True)
        self._log = EventLog(folder / LEDGER)
        self._federation: Federation | None = None

    def answer(self, message: Message) -> Reply | None:
        """Do what the server says, and return what it is to be answered, if anything."""
        if isinstance(message, Begin):
            self._take_up(replace(message.spec, access=self._access))
        if isinstance(message, Ask) and self._federation is not None:
            try:
                return self._visit(self._federation, message)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                return Reply(message.token, message.client, error=why)
        return None

    def close(self) -> None:
        """Write no more."""
        self._log.close()

    def _take_up(self, spec: CellSpec) -> None:
        torch.set_num_threads(spec.settings.threads)
        federation = build_federation(spec, build_world(spec), self._folder / spec.run_id)
        # States outlive this process: nothing is held in memory alone.
        self._federation = replace(federation, store=replace(federation.store, memory=0))

    def _visit(self, federation: Federation, ask: Ask) -> Reply:
        store, client = federation.store, ask.client
        saved = {} if ask.last is None else {client: ask.last}
        store.versions.pop(client, None)
        store.versions.update(saved)
        sent, handed = g.decode(ask.payload), g.decode(ask.once)
        reply, examples, fits = federation.serve(
            client, ask.number, {client: sent}.__getitem__, ask.work, lambda: handed
        )
        counted = federation.channel.settle()
        # The server counts what comes up; this end of the channel does, too.
        up = Channel(federation.channel.strict)
        up.lend(federation.networks.constants.part(reply)[0], "up", ask.number)
        for event in [*counted, *up.settle()]:
            self._log.append(event)
        keeps = store.versions.get(client) == ask.number
        store.prune(saved)
        return Reply(ask.token, client, g.encode(reply), examples, fits, counted, keeps)


def serve(wire: Wire, silo: Silo, patience: float) -> None:
    """Work for a server until it needs this silo no more.

    Args:
        wire: Reaches the server.
        silo: What this process holds.
        patience: Seconds to wait for the server at first.

    Raises:
        ProcessLost: If the server is not there, or gone.
    """
    _arrive(wire, patience)
    while True:
        said = wire.receive(_LOOK)
        message = opened(said[1]) if said else None
        if isinstance(message, End):
            return
        answer = silo.answer(message) if message else Still()
        if answer is not None:
            _say(wire, packed(answer))


def in_words(folder: Path) -> str:
    """Return what a silo's ledger comes to."""
    found = [event for event in read_events(folder / LEDGER) if isinstance(event, TrafficCounted)]
    up = sum(event.nbytes for event in found if event.direction == "up")
    down = sum(event.nbytes for event in found if event.direction != "up")
    return f"received {down:,} and sent {up:,} bytes of tensors; {folder / LEDGER} has each round"


def _arrive(wire: Wire, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            wire.send(SERVER, packed(Here()))
            return
        except Gone as error:
            if time.monotonic() > end:
                raise ProcessLost(f"no server has come within {patience:.0f} s") from error
            time.sleep(0.5)


def _say(wire: Wire, data: bytes) -> None:
    try:
        wire.send(SERVER, data)
    except Gone as error:
        raise ProcessLost("the server of the federation is gone") from error
