"""What a method is: five calls over explicit state, and the registry of methods."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from gptfl_bench.groups import Groups
from gptfl_bench.registry import Registry

if TYPE_CHECKING:
    from gptfl_bench.federation import Client, Cohort
    from gptfl_bench.server import Server


class Need(StrEnum):
    """What a method asks of a task or of the engine."""

    GENERATOR = "a generator for the task's modality"
    PUBLIC = "public data at the server"
    FEATURES = "a network with an encoder and a head"
    IMAGES = "images"
    REPLIES = "single clients' replies kept for the length of a round"


@dataclass(frozen=True)
class Method(ABC):
    """A federated learning method: hyper-parameters are fields, nothing else is kept.

    State goes in as an argument and comes out as a return value, in groups of tensors, so a
    checkpoint is the state and a method can't hide any.

    Attributes:
        needs: What must be there; the method is refused with a sentence otherwise.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def requires(self) -> frozenset[Need]:
        """Return what this instance needs; a wrapper adds what the wrapped method needs."""
        return self.needs

    def network(self, template: nn.Module) -> nn.Module:
        """Return the network to train; the task's own, which may be changed in place."""
        return template

    @abstractmethod
    def prepare(self, server: "Server") -> Groups:
        """Return the state before round 1."""

    @abstractmethod
    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return what the server sends to a client."""

    @abstractmethod
    def client_update(self, received: Groups, client: "Client") -> Groups:
        """Return what a client sends back; it knows what it received, its data and its state."""

    @abstractmethod
    def aggregate(self, state: Groups, cohort: "Cohort", server: "Server") -> Groups:
        """Return the next state from the cohort's replies."""

    def once(self, state: Groups, server: "Server") -> Groups:
        """Return what a client is handed at its first visit and keeps; nothing by default."""
        return {}

    @abstractmethod
    def predict(self, state: Groups, server: "Server", x: Tensor) -> Tensor:
        """Return the logits (b, C) of the model that is evaluated, for inputs (b, ...)."""


methods: Registry[type[Method]] = Registry("method", "gptfl_methods", "gptfl_bench.methods")
"""Method classes by name."""
