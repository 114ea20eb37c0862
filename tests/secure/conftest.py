"""A cohort whose vectors are known, and a channel that remembers what went through it."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.engine.channel import Channel
from gptfl_bench.secure.protocol.aggregate import Protocol, Summed, secure_sum
from gptfl_bench.secure.protocol.bonawitz import BonawitzClient, BonawitzServer
from gptfl_bench.secure.protocol.messages import Message, Session, Stage
from gptfl_bench.secure.protocol.parties import Setting
from gptfl_bench.secure.protocol.ring import Ring
from gptfl_reports.records.events import Direction


@dataclass
class Wire:
    """What a server and its clients said to each other, in order."""

    channel: Channel = field(default_factory=Channel)
    log: list[tuple[Stage, Direction, Tree]] = field(default_factory=list)

    def send(self, groups: Groups, direction: Direction) -> Groups:
        arrived = self.channel.send(groups, direction, 1)
        ((stage, payload),) = arrived.items()
        self.log.append((stage, direction, payload))  # type: ignore[arg-type]
        return arrived

    def said(self, stage: Stage, direction: Direction = "up") -> list[Tree]:
        return [tree for name, way, tree in self.log if (name, way) == (stage, direction)]


@dataclass
class Cohort:
    """Clients with their vectors."""

    setting: Setting
    vectors: Mapping[int, Tensor]

    def sum(
        self,
        protocol: Protocol = "bonawitz",
        dropouts: Mapping[int, Stage] | None = None,
        wire: Wire | None = None,
        seed: int = 0,
    ) -> Summed:
        wire = wire or Wire()
        return secure_sum(
            self.setting, self.vectors.__getitem__, wire.send, seed, protocol, dropouts
        )

    def plain(self, clients: Sequence[int]) -> list[int]:
        """The sum modulo R in Python's own integers."""
        columns = zip(*(self.vectors[k].tolist() for k in clients), strict=True)
        return [sum(column) % self.setting.ring.modulus for column in columns]


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    """Return a maker of cohorts with random vectors."""

    def make(
        size: int = 5,
        threshold: int | None = None,
        modulus: int = 2**31 - 1,
        length: int = 4,
        session: Session = Session(1),  # noqa: B008 - frozen
    ) -> Cohort:
        # Ids have gaps, as those of a sampled cohort.
        ids = tuple(3 * k + 1 for k in range(size))
        setting = Setting(session, ids, threshold or size // 2 + 1, Ring(modulus), length)
        rng = torch.Generator().manual_seed(length)
        vectors = {k: torch.randint(0, modulus, (length,), generator=rng) for k in ids}
        return Cohort(setting, vectors)

    return make


@pytest.fixture
def wire() -> Wire:
    return Wire()


class Play:
    """A run of Bonawitz's protocol that stops before each message a client sends."""

    def __init__(self, cohort: Cohort) -> None:
        self.vectors = cohort.vectors
        self.server = BonawitzServer(cohort.setting)
        self.clients = {
            k: BonawitzClient(k, cohort.setting, bytes([k] * 32)) for k in cohort.vectors
        }

    def messages(self) -> Iterator[Message]:
        """Yield each message, and let the server receive it after that."""
        for message in self._messages():
            yield message
            self.server.receive(message)

    def _messages(self) -> Iterator[Message]:
        yield from (client.advertise() for client in self.clients.values())
        roster = self.server.roster()
        yield from (client.share(roster) for client in self.clients.values())
        for k, delivery in self.server.deliveries():
            yield self.clients[k].mask(delivery, self.vectors[k])
        survivors = self.server.survivors()
        yield from (client.reveal(survivors) for client in self.clients.values())


@pytest.fixture(scope="session")
def make_play() -> Callable[[Cohort], Play]:
    return Play


@pytest.fixture(scope="session", params=["bonawitz", "lightsecagg"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    name: Protocol = request.param
    if name == "lightsecagg" and importlib.util.find_spec("fedml") is None:
        pytest.skip("fedml is not installed")
    return name
