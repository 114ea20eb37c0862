"""What a method has at the server: networks, clients through the federation, public data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import Name, torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.networks import Networks
from gptfl_reports.records.events import Event

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """The server's side of a cell; it has no way to a client but the federation.

    Attributes:
        seed: The cell's seed.
        num_classes: Number of classes C.
        federation: The clients, behind the channel.
        networks: Networks of the task's architecture.
        public: Brings unlabelled public samples, whose ``y`` is their row (N,).
        log: Takes an event.
        start: The weights that :meth:`Method.prepare` starts from, random or pre-trained; empty
            afterwards, for what a method needs later belongs into its state.
        small_starts: Pre-trained starts of other architectures that clients train, by registered
            name; empty afterwards, too.
        round: Round from 1; 0 is preparation.
        resources: What single methods need besides, by type.
    """

    seed: int
    num_classes: int
    federation: Federation
    networks: Networks
    public: Callable[[], Samples]
    log: Callable[[Event], None]
    start: Groups
    small_starts: Mapping[str, Groups] = field(default_factory=dict)
    round: int = 0
    resources: Mapping[type, object] = field(default_factory=dict)

    @property
    def num_clients(self) -> int:
        """Size of the population K."""
        return len(self.federation.clients)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network sees it."""
        return self.networks.input_shape

    @property
    def device(self) -> torch.device:
        """Where networks and samples live."""
        return self.networks.device

    def resource(self, kind: type[T]) -> T:
        """Return what this server has of a kind, such as ``Synthesis``.

        Raises:
            Refusal: If it has none.
        """
        found = self.resources.get(kind)
        if not isinstance(found, kind):
            raise Refusal(f"the server has no {kind.__name__}, which the method needs.")
        return found

    def rng(self, *names: Name) -> torch.Generator:
        """Return the server's generator for a purpose in this round."""
        return torch_rng(self.seed, "server", *names, "round", self.round)

    def start_of(self, architecture: str) -> Groups:
        """Return the weights that another registered architecture starts from."""
        known = self.small_starts.get(architecture)
        return known or self.networks.variant(architecture).start

    def new_model(self, groups: Groups) -> nn.Module:
        """Return a network of its own with the given weights."""
        return self.networks.new(groups)

    def predict(self, groups: Groups, x: Tensor) -> Tensor:
        """Return logits (b, C) of the network with the given weights."""
        return self.networks.apply(groups, x)
