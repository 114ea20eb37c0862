"""Clients, reached only through the channel, and the cohort whose replies the server combines."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from gptfl_bench import groups as g
from gptfl_bench.buffers import BufferPolicy, at_client, outgoing
from gptfl_bench.channel import Channel
from gptfl_bench.checkpoint import ClientStore
from gptfl_bench.errors import Refusal
from gptfl_bench.events import SecureSum
from gptfl_bench.fit import FitResult, Hook, Loss, Plan, cross_entropy, fit
from gptfl_bench.groups import Groups, Tree
from gptfl_bench.networks import Networks
from gptfl_bench.packing import Sums, Weighting
from gptfl_bench.randomness import Name, isolated_torch_rng, torch_rng
from gptfl_bench.task import Samples

if TYPE_CHECKING:
    from gptfl_bench.sealing import Secrecy


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
class _Sums:
    """Running sums of one group, so that memory does not grow with the cohort.

    Counts are kept by name, for clients of other architectures send other names.
    """

    uniform: Tree = field(default_factory=dict)
    by_examples: Tree = field(default_factory=dict)
    clients: Counter[str] = field(default_factory=Counter)
    examples: Counter[str] = field(default_factory=Counter)

    def add(self, tree: Tree, examples: int) -> None:
        for name, tensor in tree.items():
            if name not in self.uniform:
                wide = tensor.dtype if tensor.is_floating_point() else torch.int64
                self.uniform[name] = torch.zeros(tensor.shape, dtype=wide)
                self.by_examples[name] = torch.zeros(tensor.shape, dtype=wide)
            self.uniform[name].add_(tensor)
            self.by_examples[name].add_(tensor, alpha=examples)
            self.clients[name] += 1
            self.examples[name] += examples


@dataclass
class Cohort:
    """The clients of a round and what they sent, seen as sums unless single replies are read.

    Attributes:
        clients: Ids of the clients, ascending.
        examples: Number of samples they hold together.
        saw_clients: Whether single replies were read.
        sealed: What secure aggregation came to; None where it is off.
    """

    clients: list[int]
    examples: int = 0
    saw_clients: bool = False
    sealed: SecureSum | None = None
    steps: int = 0
    drawn: int = 0
    _sums: dict[str, _Sums] = field(default_factory=dict)
    _replies: list[Groups] | None = None
    _loss_sum: float = 0.0
    _update_square: float = 0.0
    _weightings: tuple[Weighting, ...] = ("examples", "uniform")
    _in_truth: "Cohort | None" = None

    def sum(self, group: str) -> Tree:
        """Return the plain sum over clients; integers are summed in 64 bits."""
        self._ask("uniform")
        return dict(self._sums[group].uniform) if group in self._sums else {}

    def mean(self, group: str, weight: Weighting = "examples") -> Tree:
        """Return the mean over the clients that sent a tensor; empty if no one sent the group.

        Args:
            group: Name of the group.
            weight: By number of samples, the senders' total being 1, or all senders alike.
                Integers (counters of batch normalisation) are rounded.
        """
        self._ask(weight)
        if group not in self._sums:
            return {}
        sums = self._sums[group]
        tree, totals = (
            (sums.uniform, sums.clients)
            if weight == "uniform"
            else (sums.by_examples, sums.examples)
        )
        return {
            name: tensor / totals[name]
            if tensor.is_floating_point()
            else (tensor.double() / totals[name]).round().to(tensor.dtype)
            for name, tensor in tree.items()
        }

    @property
    def replies(self) -> list[Groups]:
        """What each client sent, in order of ``clients``; reading it is recorded.

        Raises:
            Refusal: Under secure aggregation.
            RuntimeError: If the method did not declare ``Need.REPLIES``.
        """
        if self.sealed is not None:
            raise Refusal(
                "the server reads single clients' replies, which secure aggregation hides from it; "
                "set secure_aggregation=false."
            )
        if self._replies is None:
            raise RuntimeError("a method that reads single replies must declare Need.REPLIES")
        self.saw_clients = True
        return self._replies

    @property
    def train_loss(self) -> float:
        """Mean loss of the clients' last local pass, by samples drawn; nan if none trained."""
        return self._loss_sum / self.drawn if self.drawn else math.nan

    @property
    def gradient_diversity(self) -> float | None:
        """Sum of squared update norms over the squared norm of the summed update.

        Yin et al. 2018, adapted to client updates (paper section 4.2): 1/m if all updates are
        equal, 1 if they are orthogonal. A diagnostic of the simulation, not seen by the server.
        """
        if self._in_truth is not None:
            return self._in_truth.gradient_diversity
        total = g.squared_norm(self.sum("delta"))
        return self._update_square / total if total > 0 else None

    @classmethod
    def opened(
        cls, truth: "Cohort", clients: list[int], sums: Sums, examples: int, sealed: SecureSum
    ) -> "Cohort":
        """Return what the server learns under secure aggregation: sums, and nothing else.

        Args:
            truth: What the clients would have sent, which the simulation measures with.
            clients: Ids of the clients in the sums, ascending.
            sums: The sums, by how they are weighted.
            examples: Number of samples the clients hold together; 0 if it is not told.
            sealed: What secure aggregation came to.
        """
        cohort = replace(
            truth,
            clients=clients,
            examples=examples,
            sealed=sealed,
            _sums={},
            _weightings=tuple(sums),
            _in_truth=truth,
        )
        for weighting, groups in sums.items():
            for group, tree in groups.items():
                of_group = cohort._sums.setdefault(group, _Sums())
                of_group.clients = Counter(dict.fromkeys(tree, len(clients)))
                of_group.examples = Counter(dict.fromkeys(tree, examples))
                if weighting == "uniform":
                    of_group.uniform = tree
                else:
                    of_group.by_examples = tree
        return cohort

    def _ask(self, weighting: Weighting) -> None:
        if weighting not in self._weightings:
            raise RuntimeError(
                f"a sum weighted by {weighting!r} must be among those of Method.weightings()"
            )

    def add(self, reply: Groups, examples: int, fits: Sequence[FitResult]) -> None:
        """Take in one client's reply; called by the engine in order of client ids."""
        self.examples += examples
        for group, tree in reply.items():
            if group not in self._sums:
                self._sums[group] = _Sums()
            self._sums[group].add(tree, examples)
        self._update_square += g.squared_norm(reply.get("delta", {}))
        for result in fits:
            self.steps += result.steps
            if result.examples:
                self.drawn += result.examples
                self._loss_sum += result.loss * result.examples
        if self._replies is not None:
            self._replies.append(reply)


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
    secrecy: "Secrecy | None" = None
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
        visit = partial(self._serve, round=round, downlink=downlink, work=work, once=once)
        if self.secrecy is not None:
            return self.secrecy.exchange(self, round, sorted(clients), visit, modulus)
        cohort = Cohort(sorted(clients), _replies=[] if self.keep_replies else None)
        for done, client_id in enumerate(cohort.clients, 1):
            # No name is given to what arrives: nothing of a visit must outlive it.
            cohort.add(*self._delivered(*visit(client_id), round))
            self.on_client(done, len(cohort.clients))
        return cohort

    def _delivered(
        self, reply: Groups, examples: int, fits: Sequence[FitResult], round: int
    ) -> tuple[Groups, int, Sequence[FitResult]]:
        """Return what arrives of a client's reply, and the rest as it is."""
        return self.channel.send(reply, "up", round), examples, fits

    def _serve(
        self,
        client_id: int,
        round: int,
        downlink: Callable[[int], Groups],
        work: Callable[[Groups, Client], Groups],
        once: Callable[[], Groups],
    ) -> tuple[Groups, int, list[FitResult]]:
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
