"""The cohort of a round: clients' replies as the server may see them, as sums unless it looks."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.training.fit import FitResult
from gptfl_reports.records.events import SecureSum

Weighting = Literal["examples", "uniform"]
"""By number of samples, or all clients alike."""

Sums = dict[Weighting, Groups]
"""Sums over clients by how they are weighted."""


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
        for name in [name for name in tree if name not in self.uniform]:
            tensor = tree[name]
            wide = tensor if tensor.is_floating_point() else tensor.long()
            # Added to nothing, so that a sum never shares memory with what is added.
            zero = torch.zeros((), dtype=wide.dtype, device=wide.device)
            self.uniform[name] = zero + wide
            self.by_examples[name] = torch.add(zero, wide, alpha=examples)
        known = [name for name in tree if self.clients[name]]
        if known:
            added = [tree[name] for name in known]
            torch._foreach_add_([self.uniform[name] for name in known], added)
            torch._foreach_add_([self.by_examples[name] for name in known], added, alpha=examples)
        self.clients.update(tree.keys())
        self.examples.update(dict.fromkeys(tree, examples))


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

    def sum(self, group: str, weight: Weighting = "uniform") -> Tree:
        """Return the sum over clients; empty if no one sent anything, or no ``buffers``.

        Args:
            group: Name of the group.
            weight: Plain, or each client's tensors times its number of samples. Integers are summed
                in 64 bits.

        Raises:
            ValueError: If others were sent, and the group was not.
        """
        sums = self._sums_of(group, weight)
        return dict(sums.uniform if weight == "uniform" else sums.by_examples)

    def mean(self, group: str, weight: Weighting = "examples") -> Tree:
        """Return the mean over the clients that sent a tensor.

        Empty if no one sent anything, or no ``buffers``, which a policy may keep at the clients.

        Args:
            group: Name of the group.
            weight: By number of samples, the senders' total being 1, or all senders alike.
                Integers (counters of batch normalisation) are rounded.

        Raises:
            ValueError: If others were sent, and the group was not.
        """
        sums = self._sums_of(group, weight)
        tree, totals = (
            (sums.uniform, sums.clients)
            if weight == "uniform"
            else (sums.by_examples, sums.examples)
        )
        floats = [name for name, tensor in tree.items() if tensor.is_floating_point()]
        means: Tree = {}
        if floats:
            divided = torch._foreach_div([tree[n] for n in floats], [totals[n] for n in floats])
            means = dict(zip(floats, divided, strict=True))
        return {
            name: means[name]
            if name in means
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
        total = g.squared_norm(self.sum("delta")) if "delta" in self._sums else 0.0
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
                # Opened on the CPU, where masks are; back to where the networks are.
                there = truth._sums[group].uniform
                tree = {name: tensor.to(there[name].device) for name, tensor in tree.items()}
                of_group.clients = Counter(dict.fromkeys(tree, len(clients)))
                of_group.examples = Counter(dict.fromkeys(tree, examples))
                if weighting == "uniform":
                    of_group.uniform = tree
                else:
                    of_group.by_examples = tree
        return cohort

    def _sums_of(self, group: str, weighting: Weighting) -> _Sums:
        if weighting not in self._weightings:
            raise RuntimeError(
                f"a sum weighted by {weighting!r} must be among those of Method.weightings()"
            )
        if group not in self._sums and self._sums and group != "buffers":
            came = ", ".join(map(repr, sorted(self._sums)))
            raise ValueError(f"no client sent a group {group!r}; what came: {came}")
        return self._sums.get(group, _Sums())

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
