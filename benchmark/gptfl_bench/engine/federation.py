"""Clients, reached only through the channel, each for the length of a visit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import Name, isolated_torch_rng, torch_rng
from gptfl_bench.engine.buffers import BufferPolicy, at_client, outgoing
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.networks import Networks
from gptfl_bench.secure.exchange import Secrecy, Visited
from gptfl_bench.tasks.task import Samples
from gptfl_bench.training.fit import FitResult, Hook, Loss, Plan, cross_entropy, fit


@dataclass
class Client:
    """One client's visit in one round.

    Attributes:
        id: Client id, 0 to K-1.
        round: Round from 1; 0 is preparation.
        data: The client's private samples.
        label_names: Distinct names of the classes it holds, in order.
        num_classes: Number of classes C of the task.
        state: What it keeps between rounds, in groups; never traffic.
        handed: What it was handed at its first visit, in groups; not to be changed.
    """

    id: int
    round: int
    data: Samples
    label_names: tuple[str, ...]
    num_classes: int
    state: Groups
    handed: Groups
    _seed: int
    _networks: Networks
    _fits: list[FitResult] = field(default_factory=list)

    def rng(self, *names: Name) -> torch.Generator:
        """Return the generator for a purpose of this client in this round."""
        return torch_rng(self._seed, *names, "round", self.round, "client", self.id)

    def new_model(self, received: Groups, architecture: str | None = None) -> nn.Module:
        """Return a network of its own with what was received loaded.

        Args:
            received: Groups ``model`` and, where there, ``buffers``.
            architecture: A registered network in place of the task's own.
        """
        networks = self._networks
        return (networks.variant(architecture) if architecture else networks).new(received)

    def fit(
        self,
        model: nn.Module,
        plan: Plan,
        *,
        loss: Loss = cross_entropy,
        after_backward: Hook | None = None,
    ) -> FitResult:
        """Train ``model`` on the client's samples; batch order is the same for all methods."""
        result = fit(
            model,
            self.data,
            plan,
            self.rng("batches"),
            round=self.round,
            loss=loss,
            after_backward=after_backward,
        )
        self._fits.append(result)
        return result


@dataclass
class Federation:
    """All clients of a cell; :meth:`exchange` is the only place that visits them.

    Attributes:
        clients: Each client's samples, by id.
        label_names: Class names by index.
        keep_replies: Whether cohorts hold single replies, which costs memory by cohort size.
        on_client: Called after each visit with the number of visits done and due.
        secrecy: Secure aggregation; None where it is off.
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
    secrecy: Secrecy | None = None
    _handed: Groups = field(default_factory=dict)

    def sample_cohort(self, round: int, size: int) -> list[int]:
        """Return ``size`` client ids drawn uniformly without replacement, ascending."""
        order = torch.randperm(
            len(self.clients), generator=torch_rng(self.seed, "cohort", "round", round)
        )
        return sorted(order[:size].tolist())

    def exchange(
        self,
        round: int,
        clients: Sequence[int],
        downlink: Callable[[int], Groups],
        work: Callable[[Groups, Client], Groups],
        once: Callable[[], Groups] = dict,
        modulus: int | None = None,
    ) -> Cohort:
        """Send to each client, let it work, and return the cohort of what came back.

        Args:
            round: Round from 1, or 0 for preparation.
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

        def visit(client_id: int) -> Visited:
            nonlocal done
            visited = self._serve(client_id, round, downlink, work, once)
            done += 1
            self.on_client(done, len(clients))
            return visited

        if self.secrecy is not None:
            sizes = {client_id: len(self.clients[client_id]) for client_id in sorted(clients)}
            send = partial(self.channel.send, round=round)
            return self.secrecy.exchange(round, sizes, visit, send, self.store, modulus)
        cohort = Cohort(sorted(clients), _replies=[] if self.keep_replies else None)
        for client_id in cohort.clients:
            # No name is given to what arrives: nothing of a visit must outlive it.
            cohort.add(*self._delivered(*visit(client_id), round))
        return cohort

    def _delivered(
        self, reply: Groups, examples: int, fits: Sequence[FitResult], round: int
    ) -> Visited:
        """Return what arrives of a client's reply, and the rest as it is."""
        return self.channel.send(reply, "up", round), examples, fits

    def _serve(
        self,
        client_id: int,
        round: int,
        downlink: Callable[[int], Groups],
        work: Callable[[Groups, Client], Groups],
        once: Callable[[], Groups],
    ) -> Visited:
        """Return a client's reply, its number of samples and its training runs."""
        first = client_id not in self.store.versions
        client = self._visit(client_id, round, self._hand_over(once(), first, round))
        kept = {group: dict(tree) for group, tree in client.state.items()}

        def receive() -> Groups:
            payload = outgoing(downlink(client_id), self.buffers)
            received = g.to(self.channel.send(payload, "down", round), self.networks.device)
            return at_client(received, client.state, self.buffers)

        with isolated_torch_rng(self.seed, "client", client_id, "round", round):
            reply = work(receive(), client)
        if self.buffers == "local" and reply.get("buffers"):
            client.state["buffers"] = reply["buffers"]
        # An empty state still tells that the client was here.
        if client.state or kept or client.handed:
            self.store.write(client_id, client.state, round)
        return outgoing(reply, self.buffers), len(client.data), client._fits

    def _hand_over(self, payload: Groups, first: bool, round: int) -> Groups:
        """Return what clients were handed; counted at a first visit, decoded once for all."""
        if payload and first:
            self._handed = self.channel.send(payload, "once", round)
        elif payload and not self._handed:
            self._handed = g.decode(g.encode(payload))
        return g.to(self._handed, self.networks.device) if payload else {}

    def _visit(self, client_id: int, round: int, handed: Groups) -> Client:
        data = self.clients[client_id]
        held = sorted(set(data.labels.tolist()))
        return Client(
            client_id,
            round,
            data,
            tuple(self.label_names[index] for index in held),
            len(self.label_names),
            g.to(self.store.read(client_id), self.networks.device),
            handed,
            self.seed,
            self.networks,
        )
