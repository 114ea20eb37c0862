"""Clients, reached only through the channel, each for the length of a visit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import isolated_torch_rng, torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.buffers import BufferPolicy, at_client, outgoing
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import FitResult
from gptfl_reports.records.events import Direction

Visited = tuple[Groups, int, Sequence[FitResult]]
"""What comes of a client's visit: its reply, its number of samples and its training runs."""

Visit = Callable[[int], Visited]
"""Lets a client work, by id."""

Downlink = Callable[[int], Groups]
"""Gives what is sent to a client, by id."""

Work = Callable[[Groups, Client], Groups]
"""What a client does: received payload and client in, reply out."""

Send = Callable[[Groups, Direction], Groups]
"""Carries a message, and returns what arrives."""


class Sealing(Protocol):
    """Sums clients' replies without showing a single one, as secure aggregation does."""

    def exchange(
        self,
        number: int,
        sizes: Mapping[int, int],
        visit: Visit,
        send: Send,
        store: ClientStore,
        modulus: int | None,
    ) -> Cohort:
        """Return a cohort that knows nothing but sums over the clients that stayed.

        Args:
            number: Round from 0.
            sizes: Number of samples of each client, by id, ascending.
            visit: Lets a client work.
            send: Carries a message of the protocol, one group named by its stage.
            store: What clients keep.
            modulus: What integers are summed modulo; None for floats, which are rounded.

        Raises:
            RoundAbandoned: If too few clients stay; what clients keep is as before.
            Refusal: If the cohort is too small, or numbers don't fit.
        """
        ...


class Apart(Protocol):
    """Lets clients of a round work in other processes, with the numbers of one after another.

    Attributes:
        first: The first round that it serves: 0 is preparation.
    """

    first: int

    def begin(
        self,
        federation: "Federation",
        number: int,
        clients: Sequence[int],
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups],
    ) -> Visit:
        """Return what visits each of the clients, for the rest as :meth:`Federation.serve`.

        Raises:
            WorkerKilled: If a process is gone, and with it this cell alone.
            ProcessLost: If a process is gone, and with it all others.
        """
        ...


def draw_cohort(seed: int, number: int, clients: int, size: int) -> list[int]:
    """Return the ids of a round's cohort: uniform without replacement, ascending.

    Args:
        seed: The cell's seed.
        number: Round from 1.
        clients: Size of the population K.
        size: Clients in the cohort.
    """
    order = torch.randperm(clients, generator=torch_rng(seed, "cohort", "round", number))
    return sorted(order[:size].tolist())


@dataclass
class Federation:
    """All clients of a cell; :meth:`exchange` is the only place that visits them.

    Attributes:
        clients: Each client's samples, by id.
        label_names: Class names by index.
        keep_replies: Whether cohorts hold single replies, which costs memory by cohort size.
        on_client: Called after each visit with the number of visits done and due.
        sealing: Secure aggregation; None where it is off.
        apart: Other processes that clients work in; None for this one alone.
    """

    clients: Sequence[Samples]
    label_names: tuple[str, ...]
    channel: Channel
    store: ClientStore
    networks: Networks
    seed: int
    buffers: BufferPolicy = "mean"
    keep_replies: bool = False
    on_client: Callable[[int, int], None] = lambda done, due: None
    sealing: Sealing | None = None
    apart: Apart | None = None
    _handed: Groups = field(default_factory=dict)
    _held: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def sample_cohort(self, number: int, size: int) -> list[int]:
        """Return ``size`` client ids drawn uniformly without replacement, ascending."""
        return draw_cohort(self.seed, number, len(self.clients), size)

    def exchange(
        self,
        number: int,
        clients: Sequence[int],
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups] = dict,
        modulus: int | None = None,
    ) -> Cohort:
        """Send to each client, let it work, and return the cohort of what came back.

        Args:
            number: Round from 1, or 0 for preparation.
            clients: Client ids; visited in ascending order, whatever order is given.
            downlink: What is sent to a client, by id.
            work: What a client does: received payload and client in, reply out.
            once: What a client is handed at its first visit, before anything else.
            modulus: What integers are to be summed modulo under secure aggregation; None for
                floats, which are rounded then.

        Raises:
            RoundAbandoned: If too few clients stay for secure aggregation; all is as before.
        """
        done = 0
        round = (number, sorted(clients), downlink, work, once)
        apart = None
        if self.apart and number >= self.apart.first:
            apart = self.apart.begin(self, *round)

        def visit(client_id: int) -> Visited:
            nonlocal done
            if apart:
                visited = apart(client_id)
            else:
                visited = self.serve(client_id, number, downlink, work, once)
            done += 1
            self.on_client(done, len(clients))
            return visited

        if self.sealing is not None:
            sizes = {client_id: len(self.clients[client_id]) for client_id in sorted(clients)}
            send = partial(self.channel.send, round=number)
            return self.sealing.exchange(number, sizes, visit, send, self.store, modulus)
        cohort = Cohort(sorted(clients), _replies=[] if self.keep_replies else None)
        for client_id in cohort.clients:
            # No name is given to what arrives: nothing of a visit must outlive it.
            cohort.add(*self._delivered(*visit(client_id), number))
        return cohort

    def _delivered(
        self, reply: Groups, examples: int, fits: Sequence[FitResult], number: int
    ) -> Visited:
        """Return what arrives of a client's reply, and the rest as it is."""
        constants = self.networks.constants
        travels, known = constants.part(reply)
        # A cohort that keeps no reply only adds it up.
        if self.keep_replies:
            arrived, known = self.channel.send(travels, "up", number), g.copied(known)
        else:
            arrived, known = self.channel.lend(travels, "up", number), g.lent(known)
        return constants.whole(arrived, known, reply), examples, fits

    def serve(
        self,
        client_id: int,
        number: int,
        downlink: Downlink,
        work: Work,
        once: Callable[[], Groups],
    ) -> Visited:
        """Return a client's reply, its number of samples and its training runs."""
        first = client_id not in self.store.versions
        client = self._visit(client_id, number, self._hand_over(once(), first, number))
        kept = {group: dict(tree) for group, tree in client.state.items()}
        constants, handed = self.networks.constants, Groups()

        def receive() -> Groups:
            nonlocal handed
            payload = outgoing(downlink(client_id), self.buffers)
            travels, known = constants.part(payload)
            handed = constants.values(known)
            if first and handed:
                self.channel.lend(handed, "once", number)
            arrived = self.channel.send(travels, "down", number)
            whole = constants.whole(arrived, g.copied(known), payload)
            return at_client(g.to(whole, self.networks.device), client.state, self.buffers)

        with isolated_torch_rng(self.seed, "client", client_id, "round", number):
            reply = work(receive(), client)
        if self.buffers == "local" and reply.get("buffers"):
            client.state["buffers"] = reply["buffers"]
        # An empty state still tells that the client was here.
        if client.state or kept or client.handed or handed:
            self.store.write(client_id, client.state, number)
        return outgoing(reply, self.buffers), len(client.data), client.fits

    def _hand_over(self, payload: Groups, first: bool, number: int) -> Groups:
        """Return what clients were handed; counted at a first visit, copied once for all others."""
        if payload and first:
            self._handed = self.channel.send(payload, "once", number)
        elif payload and not self._handed:
            self._handed = g.copied(payload)
        return g.to(self._handed, self.networks.device) if payload else {}

    def _visit(self, client_id: int, number: int, handed: Groups) -> Client:
        data = self.clients[client_id]
        if client_id not in self._held:
            held = sorted(set(data.labels.tolist()))
            self._held[client_id] = tuple(self.label_names[index] for index in held)
        return Client(
            client_id,
            number,
            data,
            self._held[client_id],
            len(self.label_names),
            g.to(self.store.read(client_id), self.networks.device),
            handed,
            self.seed,
            self.networks,
        )
