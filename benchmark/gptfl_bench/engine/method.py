"""What a method is: five calls over explicit state, and the registry of methods."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from torch import Tensor, nn

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.registry import Registry
from gptfl_bench.training.work import Amounts, Work

if TYPE_CHECKING:
    from gptfl_bench.engine.client import Client
    from gptfl_bench.engine.cohort import Cohort, Weighting
    from gptfl_bench.engine.server import Server


class Need(StrEnum):
    """What a method asks of a task or of the engine."""

    GENERATOR = "a generator for the task's modality"
    PUBLIC = "public data at the server"
    PUBLIC_AT_CLIENTS = "public data at the clients"
    FEATURES = "a network with an encoder and a linear head"
    IMAGES = "images"
    IMAGE_SHAPE = "samples of channels, height and width"
    SMALL_HEADS = "small models whose head fits the server's"
    SMALL_MODEL = "a model small enough to differentiate through its training"
    SAMPLES = "clients' own samples at the server"
    REPLIES = "single clients' replies kept for the length of a round"


@dataclass(frozen=True)
class Generates:
    """Data that a method generates.

    Attributes:
        what: What they are, in words.
        during_fl: Whether federated training makes them, or they are there before round 1.
        at: Where the generator runs; empty if there is none, and samples themselves are trained.
    """

    what: str
    during_fl: bool
    at: Literal["server", "client", ""]


@dataclass(frozen=True)
class Method(ABC):
    """A federated learning method: hyper-parameters are fields, nothing else is kept.

    State goes in as an argument and comes out as a return value, in groups of tensors, so a
    checkpoint is the state and a method can't hide any.

    Attributes:
        wraps: Name of the method that a wrapper wraps where none is named, in a field ``inner``;
            empty for any other method.
        ablation: Values of fields that leave out what sets the method apart (``plan.steps`` is a
            field of a field); empty if none does.
    """

    wraps: ClassVar[str] = ""
    ablation: ClassVar[Mapping[str, object]] = {}

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there, or the method is refused with a sentence; nothing by default.

        A method sets a class variable of this name; a wrapper adds what the wrapped method needs.
        """
        return frozenset()

    @property
    def generates(self) -> tuple[Generates, ...]:
        """Data it generates, if any; a wrapper adds those of the wrapped method."""
        return ()

    def ablated(self) -> Self:
        """Return the method without what sets it apart, all else equal.

        Raises:
            UsageError: If no field leaves it out.
        """
        if not self.ablation:
            raise UsageError(
                f"no setting of {methods.name_of(type(self))!r} leaves out what sets it apart; "
                "compare it with fedavg, and gptfl+X with X."
            )
        changes: dict[str, object] = {}
        for key, value in self.ablation.items():
            field, _, inner = key.partition(".")
            changes[field] = replace(getattr(self, field), **{inner: value}) if inner else value
        return replace(self, **changes)

    def network(self, template: nn.Module) -> nn.Module:
        """Return the network to train; the task's own, which may be changed in place."""
        return template

    def architectures(self) -> tuple[str, ...]:
        """Return the registered networks that clients train in place of the task's own."""
        return ()

    def pictures(self, state: Groups) -> Tree:
        """Return images that the method trained itself, to look at; nothing by default.

        As ``x`` (N, channels, H, W), of any range, and their classes ``labels`` (N,).
        """
        return {}

    def weightings(self) -> tuple["Weighting", ...]:
        """Return how the sums over clients that :meth:`aggregate` asks for are weighted.

        Secure aggregation sends a part for each; one that is not here can't be asked for then.
        """
        return ("examples", "uniform")

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return what it computes in a whole cell, roughly, to tell its time; nothing by default.

        Args:
            amounts: Rounds, visits and samples of the cell.
        """
        return ()

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
"""Method classes by name; references, which are no federated methods, are not listed."""
