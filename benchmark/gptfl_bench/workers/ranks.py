"""Processes that ``torchrun`` started, on one machine or several: each serves some of a cohort.

Rank 0 is the program. All other ranks build the cell's world for themselves, on a GPU of their own
where there are any, and wait for rounds. Client ``i`` of a cohort is served by rank ``i`` modulo
their number, with the code that serves it in one process; rank 0 adds replies in the clients' order
and alone writes, so the numbers are the same bit for bit, which those of an all-reduce are not.

Messages are bytes over gloo, whatever the device: a reply leaves a client in the codec's form.
"""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import cloudpickle
import torch
import torch.distributed as dist
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import ProcessLost
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.federation import Apart, Downlink, Federation, Visit, Visited, Work
from gptfl_bench.workers.visiting import Answer, answered, kept_by, taken_in

_EVER = timedelta(days=365)
"""A rank waits for as long as the others live: a client may train for hours."""
_DONE = "done"

Answered = tuple[str, int, Answer | Exception | None]
"""The round's token, the client, and what its visit came to."""


@dataclass(frozen=True)
class Part:
    """What a rank is to do in a round.

    Attributes:
        token: Tells the round from all others, of other cells too.
        cell: What the cell's clients are made of; None once it is known.
        number: Round from 1.
        work: What a client does.
        payloads: What is sent down, each different one once.
        once: What a client is handed at its first visit.
        clients: Each client with the place of its payload and what it keeps.
    """

    token: str
    cell: object | None
    number: int
    work: Work
    payloads: list[bytes]
    once: bytes
    clients: list[tuple[int, int, bytes | None]]


def count() -> int:
    """Return how many ranks there are; 1 without ``torchrun``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def device_here(name: str) -> str:
    """Return the device of this rank where a cell's is ``name``: each has a GPU of its own."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus or name not in ("auto", "cuda"):
        return name
    return f"cuda:{int(os.environ['LOCAL_RANK']) % gpus}"


@contextmanager
def together() -> Iterator[int]:
    """Join the other ranks, yield the number of this one, and part from them in the end.

    Raises:
        ProcessLost: If one of them is gone.
    """
    with _lost("one"):
        dist.init_process_group("gloo", timeout=_EVER)
    try:
        yield dist.get_rank()
    except ProcessLost:
        raise
    except KeyboardInterrupt as why:
        # torchrun's signal may be here before the loss is noticed.
        raise ProcessLost("interrupted, or one of torchrun's processes is gone") from why
    except Exception:
        _part_ways()
        raise
    _part_ways()
    dist.destroy_process_group()


def serve(federation_of: Callable[[object], Federation]) -> None:
    """Serve clients for rank 0 until it is done; this is all that another rank does.

    Args:
        federation_of: Makes a cell's clients of what :class:`Ranks` was given.

    Raises:
        ProcessLost: If rank 0 is gone.
    """
    federation: Federation | None = None
    while (message := _receive(0)) is not None:
        part = cast(Part, message)
        if part.cell is not None:
            federation = federation_of(part.cell)
        assert federation is not None
        for client, answer in _answers(federation, part):
            _send(_packed((part.token, client, answer)), 0)()
    _send(_packed(_DONE), 0)()


def _answers(federation: Federation, part: Part) -> Iterator[tuple[int, Answer | Exception | None]]:
    sent, handed = [g.decode(data) for data in part.payloads], g.decode(part.once)
    for client, place, kept in part.clients:
        downlink: Downlink = {client: sent[place]}.__getitem__
        given = (client, part.number, downlink, part.work, handed, kept)
        try:
            yield client, answered(federation, *given)
        except Exception as error:
            yield client, error


class Ranks(Apart):
    """The ranks that the clients of a cell work in, this one being rank 0.

    Args:
        cell: What other ranks make the cell's clients of.
        say: Tells a person that clients work one after another after all, and why.
    """

    first = 1

    def __init__(self, cell: object, say: Callable[[str], None]) -> None:
        self._cell: object | None = cell
        self._say = say
        self._serial = False
        self._under_way: list[Callable[[], None]] = []

    def begin(
        self,
        federation: Federation,
        number: int,
        clients: Sequence[int],
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups],
    ) -> Visit:
        """Return what visits the clients of a round; those of other ranks are under way.

        Raises:
            ProcessLost: If a rank is gone.
        """

        def alone(client: int) -> Visited:
            return federation.serve(client, number, downlink, work, once)

        token = secrets.token_hex(8)
        if not self._serial:
            handed = g.encode(once())
            shares = {rank: clients[rank :: count()] for rank in range(1, count())}
            self._start(
                {
                    rank: Part(
                        token,
                        self._cell,
                        number,
                        work,
                        *_payloads(federation, mine, downlink, handed),
                    )
                    for rank, mine in shares.items()
                }
            )
        if self._serial:
            return alone
        early: dict[int, Answer | Exception | None] = {}
        rank_of = {client: rank for rank, mine in shares.items() for client in mine}

        def visit(client: int) -> Visited:
            if self._serial or client not in rank_of:
                return alone(client)
            while client not in early:
                of, who, answer = cast(Answered, _receive(rank_of[client]))
                # Clients of a round that was cut short were served for nothing.
                if of == token:
                    early[who] = answer
            answer = early.pop(client)
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                self._go_serial("the method's object changes when a client works")
                return alone(client)
            return taken_in(federation, client, number, answer)

        return visit

    def _start(self, parts: dict[int, Part]) -> None:
        try:
            packed = {rank: _packed(part) for rank, part in parts.items()}
        except Exception as error:
            self._go_serial(f"another process can't be handed its parts ({error})")
            return
        # A rank takes its part once it is through with the last, whose rest is read meanwhile.
        self._under_way = [_send(data, rank) for rank, data in packed.items()]
        self._cell = None

    def _go_serial(self, reason: str) -> None:
        self._serial = True
        self._say(f"clients work one after another, for {reason}.")


def _payloads(
    federation: Federation, clients: Sequence[int], downlink: Downlink, handed: bytes
) -> tuple[list[bytes], bytes, list[tuple[int, int, bytes | None]]]:
    """Return what goes to some clients, each different message once, and who gets which."""
    places: dict[bytes, int] = {}
    visits = [
        (
            client,
            places.setdefault(g.encode(downlink(client)), len(places)),
            kept_by(federation, client),
        )
        for client in clients
    ]
    return list(places), handed, visits


def _part_ways() -> None:
    """Let other ranks end, whatever they are still at."""
    for rank in range(1, count()) if dist.get_rank() == 0 else ():
        sent = _send(_packed(None), rank)
        while _receive(rank) != _DONE:
            pass
        sent()


@contextmanager
def _lost(who: str) -> Iterator[None]:
    """Say in a sentence that a rank is gone, which PyTorch tells in many ways."""
    try:
        yield
    except RuntimeError as error:
        if threading.current_thread() is threading.main_thread():
            # torchrun ends all others by a signal, which must not cut short what is kept now.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ProcessLost(f"{who} of torchrun's processes is gone") from error


def _packed(message: object) -> Tensor:
    return torch.frombuffer(bytearray(cloudpickle.dumps(message)), dtype=torch.uint8)


def _send(data: Tensor, rank: int) -> Callable[[], None]:
    """Begin to send, and return what waits for the end of it."""
    size = torch.tensor(len(data))
    with _lost(f"rank {rank}"):
        works = [dist.isend(size, rank), dist.isend(data, rank)]

    def wait() -> None:
        with _lost(f"rank {rank}"):
            for part in works:
                assert part is not None
                part.wait()

    return wait


def _receive(rank: int) -> object:
    size = torch.tensor(0)
    with _lost(f"rank {rank}"):
        dist.recv(size, rank)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(data, rank)
    return cloudpickle.loads(data.numpy())
