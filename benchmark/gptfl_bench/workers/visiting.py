"""A client's visit in another process: what it takes along, and what it comes to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cloudpickle

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Downlink, Federation, Visited, Work
from gptfl_bench.training.fit import FitResult
from gptfl_reports.records.events import TrafficCounted


@dataclass(frozen=True)
class Answer:
    """What a visit in another process came to."""

    reply: bytes
    examples: int
    fits: Sequence[FitResult]
    counted: list[TrafficCounted]
    kept: bytes | None


def kept_by(federation: Federation, client: int) -> bytes | None:
    """Return what a client keeps, to be taken along; None before its first visit."""
    known = client in federation.store.versions
    return g.encode(federation.store.read(client)) if known else None


def answered(
    federation: Federation,
    client: int,
    number: int,
    downlink: Downlink,
    work: Work,
    handed: Groups,
    kept: bytes | None,
) -> Answer | None:
    """Serve a client in this process; None if the method's object is not as it was afterwards.

    Args:
        federation: A cell's, whose channel and store are of this process alone.
        client: Whom to serve.
        number: Round from 1.
        downlink: What is sent to the client.
        work: What it does.
        handed: What it is handed at its first visit.
        kept: What it keeps; None before its first visit.
    """
    store = federation.store = ClientStore(Path(), memory=sys.maxsize)
    if kept is not None:
        store.write(client, g.decode(kept), number - 1)
    before = cloudpickle.dumps(work)
    reply, examples, fits = federation.serve(client, number, downlink, work, lambda: handed)
    if cloudpickle.dumps(work) != before:
        return None
    written = store.versions.get(client) == number
    return Answer(
        g.encode(reply),
        examples,
        fits,
        federation.channel.settle(),
        g.encode(store.read(client)) if written else None,
    )


def taken_in(federation: Federation, client: int, number: int, answer: Answer) -> Visited:
    """Count what a visit elsewhere sent, keep what the client keeps, and return the rest."""
    federation.channel.take(answer.counted)
    if answer.kept is not None:
        federation.store.write(client, g.decode(answer.kept), number)
    return g.decode(answer.reply), answer.examples, answer.fits
