"""One secure sum from the first key to the result, each message through a channel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gptfl_bench.engine.federation import Send
from gptfl_bench.secure.protocol.bonawitz import BonawitzClient, BonawitzServer
from gptfl_bench.secure.protocol.keys import simulated_secret
from gptfl_bench.secure.protocol.lightsecagg import LightSecAggClient, LightSecAggServer
from gptfl_bench.secure.protocol.messages import STAGES, Message, Stage
from gptfl_bench.secure.protocol.parties import Client, Server, Setting

Protocol = Literal["bonawitz", "lightsecagg"]
_PARTIES: dict[Protocol, tuple[type[Client], type[Server]]] = {
    "bonawitz": (BonawitzClient, BonawitzServer),
    "lightsecagg": (LightSecAggClient, LightSecAggServer),
}


@dataclass(frozen=True)
class Summed:
    """What the server learns.

    Attributes:
        values: (d,), int64 in [0, R): the sum of the survivors' vectors modulo R.
        survivors: Ids of the clients in the sum, ascending.
    """

    values: Tensor
    survivors: tuple[int, ...]


def secure_sum(
    setting: Setting,
    vector: Callable[[int], Tensor],
    send: Send,
    seed: int,
    protocol: Protocol = "bonawitz",
    dropouts: Mapping[int, Stage] | None = None,
) -> Summed:
    """Run a protocol over a cohort, and return the sum of the survivors' vectors.

    Args:
        setting: Cohort, threshold, ring and length of the vectors.
        vector: A client's vector, (d,) int64 in [0, R); called for one client after the other,
            and only for those that come to send it.
        send: Carries a message.
        seed: The cell's seed; all secrets are derived from it, the session and the client's id.
        protocol: Its name.
        dropouts: From which stage on a client is silent. One that is from ``unmask`` on is still
            in the sum.

    Raises:
        RoundAbandoned: If fewer clients than the threshold are left at a stage.
        ProtocolError: If a message did not arrive as it was sent.
        UsageError: If the protocol needs a package that is not installed.
    """
    silent_from = {k: STAGES.index(stage) for k, stage in (dropouts or {}).items()}
    make_client, make_server = _PARTIES[protocol]
    server = make_server(setting)
    clients = {k: make_client(k, setting, _root(seed, setting, k)) for k in setting.clients}

    def speaks(client: int, stage: Stage) -> bool:
        return STAGES.index(stage) < silent_from.get(client, len(STAGES))

    def to_server(message: Message) -> None:
        server.receive(message.read(send(message.groups(), "up")[message.stage]))

    for client in setting.clients:
        if speaks(client, "advertise_keys"):
            to_server(clients[client].advertise())
    roster = server.roster()
    payload = roster.groups()
    for client in roster.clients.tolist():
        received = roster.read(send(payload, "down")[roster.stage])
        if speaks(client, "share_keys"):
            to_server(clients[client].share(received))
    for client, shares in server.deliveries():
        delivery = shares.read(send(shares.groups(), "down")[shares.stage])
        if speaks(client, "masked_input"):
            to_server(clients[client].mask(delivery, vector(client)))
    survivors = server.survivors()
    payload = survivors.groups()
    for client in survivors.clients.tolist():
        told = survivors.read(send(payload, "down")[survivors.stage])
        if speaks(client, "unmask"):
            to_server(clients[client].reveal(told))
    return Summed(server.total(), tuple(survivors.clients.tolist()))


def _root(seed: int, setting: Setting, client: int) -> bytes:
    session = setting.session
    return simulated_secret(
        seed, "secure sum", "round", session.round, "number", session.number, "client", client
    )
