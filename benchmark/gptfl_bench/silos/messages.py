"""What server and silos tell each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import cloudpickle

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.engine.federation import Work
from gptfl_bench.training.fit import FitResult
from gptfl_reports.records.events import TrafficCounted


@dataclass(frozen=True)
class Here:
    """A silo is there."""


@dataclass(frozen=True)
class Still:
    """Asks whether the other side is there; no answer is needed, for a wire tells if it is not."""


@dataclass(frozen=True)
class Begin:
    """A cell begins, or goes on.

    Attributes:
        spec: The cell: its data, who holds which, and all seeds follow from it.
    """

    spec: CellSpec


@dataclass(frozen=True)
class Ask:
    """A visit to a client.

    Attributes:
        token: Tells the round from all others.
        client: Whom.
        number: Round from 1, or 0 for preparation.
        work: What it does.
        payload: What is sent to it.
        once: What it is handed at its first visit.
        last: Round of its last visit that counts, whose state it goes on from; None before one.
    """

    token: str
    client: int
    number: int
    work: Work
    payload: bytes
    once: bytes
    last: int | None


@dataclass(frozen=True)
class Reply:
    """What a visit came to.

    Attributes:
        token: The round's.
        client: Who was visited.
        reply: What it sends.
        examples: Number of its samples.
        fits: Its training runs, as sums: no sample is in them.
        counted: What its end of the channel counted.
        keeps: Whether it keeps a state, which never travels.
        error: What went wrong there; empty if nothing did.
    """

    token: str
    client: int
    reply: bytes = b""
    examples: int = 0
    fits: Sequence[FitResult] = ()
    counted: Sequence[TrafficCounted] = ()
    keeps: bool = False
    error: str = ""


@dataclass(frozen=True)
class End:
    """The server needs the silo no more."""


Message = Here | Still | Begin | Ask | Reply | End


def packed(message: Message) -> bytes:
    """Return a message as bytes; functions of this program by name, others by their code."""
    data: bytes = cloudpickle.dumps(message)
    return data


def opened(data: bytes) -> Message:
    """Return a message, of a process that is trusted."""
    message: Message = cloudpickle.loads(data)
    return message
