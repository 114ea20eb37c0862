"""What clients and servers of both protocols have in common: who may say what, and when."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gptfl_bench.core.errors import RoundAbandoned
from gptfl_bench.secure.protocol.errors import (
    DuplicateMessageError,
    EntryRangeError,
    MalformedMessageError,
    UnknownSenderError,
    WrongClientsError,
    WrongRoundError,
    WrongStageError,
)
from gptfl_bench.secure.protocol.keys import KeyPair, derive, seal, unseal
from gptfl_bench.secure.protocol.messages import (
    SERVER,
    STAGES,
    MaskedVector,
    Message,
    PublicKeys,
    Roster,
    SealedShares,
    Session,
    Stage,
    Survivors,
)
from gptfl_bench.secure.protocol.ring import Ring


@dataclass(frozen=True)
class Setting:
    """What all parties know before a sum.

    Attributes:
        session: Its address; never used twice.
        clients: Ids of the cohort of m clients, ascending.
        threshold: Clients t that must stay to the end, m/2 < t <= m: were it fewer, the server
            could tell one half another list of survivors than the other half.
        ring: Where vectors are summed.
        length: Entries d of a vector.
    """

    session: Session
    clients: tuple[int, ...]
    threshold: int
    ring: Ring
    length: int

    def __post_init__(self) -> None:
        """Refuse a cohort in which nothing is hidden.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if len(self.clients) < 2 or self.clients[0] < 0:
            raise ValueError(f"clients={self.clients} must be two or more ids from 0")
        if any(a >= b for a, b in zip(self.clients, self.clients[1:], strict=False)):
            raise ValueError(f"clients={self.clients} must be distinct and ascending")
        if not len(self.clients) < 2 * self.threshold <= 2 * len(self.clients):
            raise ValueError(
                f"threshold={self.threshold} must be more than half of the {len(self.clients)} "
                "clients, and no more than all"
            )
        if self.length < 1:
            raise ValueError(f"length={self.length} must be 1 or more")

    def point(self, client: int) -> int:
        """Return the point of a client's shares, 1 to m."""
        return self.clients.index(client) + 1


@dataclass
class Client(ABC):
    """One client in one sum; its four steps are called in order, each once.

    A client that hears something wrong stops: it does not take the step again.

    Attributes:
        id: Client id.
        setting: What all parties know.
        root: 32 secret random bytes, from which all its secrets of this sum are derived.
    """

    protocol: ClassVar[str]
    key_pairs: ClassVar[int]

    id: int
    setting: Setting
    root: bytes = field(repr=False)
    _step: int = 0
    _own: list[KeyPair] = field(default_factory=list, repr=False)
    _keys: dict[int, list[bytes]] = field(default_factory=dict, repr=False)
    _sealing: dict[int, bytes] = field(default_factory=dict, repr=False)
    _received: dict[int, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make the key pairs."""
        self._own = [KeyPair(derive(self.root, f"pair {n}")) for n in range(self.key_pairs)]

    def advertise(self) -> PublicKeys:
        """Return the client's public keys."""
        self._enter("advertise_keys")
        return PublicKeys(self.setting.session, self.id, as_rows(self._public()))

    def share(self, roster: Roster) -> SealedShares:
        """Return shares of the client's secrets, each sealed for one of the others.

        Raises:
            WrongClientsError: If the roster is not of this cohort.
            MalformedMessageError: If it holds another number of keys.
        """
        self._enter("share_keys", roster)
        ids = _ids(roster.clients, self.setting.clients, self.setting.threshold)
        if roster.keys.shape[1] != self.key_pairs:
            raise MalformedMessageError(f"{self.key_pairs} keys a client are needed")
        self._keys = {k: as_bytes(keys) for k, keys in zip(ids, roster.keys, strict=True)}
        if self._keys.get(self.id) != self._public():
            raise WrongClientsError(f"client {self.id} is not in the roster as it is")
        shares = self._shares(ids)
        self._received[self.id] = shares[self.id]
        others = [other for other in ids if other != self.id]
        self._sealing = {other: self._sealing_secret(other) for other in others}
        sealed = [seal(derive(self._sealing[k], f"from {self.id}"), shares[k]) for k in others]
        return SealedShares(self.setting.session, self.id, torch.tensor(others), as_rows(sealed))

    def mask(self, delivery: SealedShares, vector: Tensor) -> MaskedVector:
        """Return the vector under the client's masks.

        Args:
            delivery: What the others sealed for this client.
            vector: (d,) int64 in [0, R).

        Raises:
            WrongClientsError: If the delivery is not from this roster.
            ForgedShareError: If a share was not sealed for this client in this session.
            ValueError: If the vector is not as the setting says.
        """
        self._enter("masked_input", delivery)
        ring, length = self.setting.ring, self.setting.length
        if vector.dtype != torch.int64 or vector.shape != (length,) or not ring.holds(vector):
            raise ValueError(f"a vector must be ({length},) int64 in [0, {ring.modulus})")
        others = tuple(other for other in self._keys if other != self.id)
        senders = _ids(delivery.clients, others, self.setting.threshold - 1)
        for sender, sealed in zip(senders, as_bytes(delivery.sealed), strict=True):
            key = derive(self._sealing[sender], f"from {sender}")
            self._received[sender] = unseal(key, sealed)
        total = vector.clone()
        self._add_masks(total)
        return MaskedVector(self.setting.session, self.id, ring.reduce(total).to(ring.dtype))

    def reveal(self, survivors: Survivors) -> Message:
        """Return what lets the server unmask the survivors' sum, and nothing else.

        Raises:
            WrongClientsError: If these clients can't be the survivors.
        """
        self._enter("unmask", survivors)
        known = tuple(sorted(self._received))
        ids = _ids(survivors.clients, known, self.setting.threshold)
        if self.id not in ids:
            raise WrongClientsError(f"client {self.id} sent its vector but is no survivor")
        return self._revealed(ids)

    @abstractmethod
    def _shares(self, clients: Sequence[int]) -> dict[int, bytes]:
        """Return what each of the clients, this one too, is to keep for the last stage."""

    @abstractmethod
    def _add_masks(self, total: Tensor) -> None:
        """Add the client's masks to its vector in place."""

    @abstractmethod
    def _revealed(self, survivors: Sequence[int]) -> Message:
        """Return the message of the last stage."""

    def _public(self) -> list[bytes]:
        return [pair.public for pair in self._own]

    def _sealing_secret(self, other: int) -> bytes:
        purpose = pair_purpose(self.protocol, self.setting.session, "seal", self.id, other)
        return self._own[0].agree(self._keys[other][0], purpose)

    def _enter(self, stage: Stage, message: Message | None = None) -> None:
        if STAGES.index(stage) != self._step:
            raise WrongStageError(f"client {self.id} takes the step {stage} once, and in its turn")
        if message is not None and message.session != self.setting.session:
            raise WrongRoundError(f"a message of {message.session} in {self.setting.session}")
        if message is not None and message.sender != SERVER:
            raise UnknownSenderError(f"clients hear the server alone, not {message.sender}")
        self._step += 1


@dataclass
class Server(ABC):
    """The server in one sum: takes messages in, and closes one stage after the other.

    A message that is refused changes nothing: the sum goes on as if it had not come.

    Attributes:
        setting: What all parties know.
    """

    protocol: ClassVar[str]
    key_pairs: ClassVar[int]

    setting: Setting
    _stage: int = 0
    _arrived: set[int] = field(default_factory=set)
    _present: tuple[int, ...] = ()
    _shared: tuple[int, ...] = ()
    _keys: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _sealed: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _sum: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Await the whole cohort."""
        self._present = self.setting.clients
        self._sum = torch.zeros(self.setting.length, dtype=torch.int64)

    def receive(self, message: Message) -> None:
        """Take in a client's message.

        Raises:
            ProtocolError: By the name of what is wrong with it.
        """
        sender = message.sender
        if message.session != self.setting.session:
            raise WrongRoundError(f"a message of {message.session} in {self.setting.session}")
        if sender not in self._present:
            raise UnknownSenderError(f"client {sender} is not, or no longer, in the cohort")
        if self._stage == len(STAGES) or message.stage != STAGES[self._stage]:
            raise WrongStageError(f"{message.stage} of client {sender} is not due")
        if sender in self._arrived:
            raise DuplicateMessageError(f"client {sender} has sent its {message.stage} already")
        match message:
            case PublicKeys():
                self._take_keys(message)
            case SealedShares():
                self._take_sealed(message)
            case MaskedVector():
                self._take_vector(message)
            case _:
                self._take_revealed(message)
        self._arrived.add(sender)

    def roster(self) -> Roster:
        """Close the first stage, and return all public keys.

        Raises:
            RoundAbandoned: If too few clients are left, here and below.
            WrongStageError: If the stage is not open, here and below.
        """
        ids = self._close("advertise_keys")
        keys = torch.stack([self._keys[k] for k in ids])
        return Roster(self.setting.session, SERVER, torch.tensor(ids), keys)

    def deliveries(self) -> Iterator[tuple[int, SealedShares]]:
        """Close the second stage, and return each client's shares of the others, one by one."""
        self._shared = ids = self._close("share_keys")
        return ((receiver, self._delivery(receiver, ids)) for receiver in ids)

    def survivors(self) -> Survivors:
        """Close the third stage, and return the clients whose vectors are in the sum."""
        ids = self._close("masked_input")
        self._sealed.clear()
        return Survivors(self.setting.session, SERVER, torch.tensor(ids))

    def total(self) -> Tensor:
        """Close the last stage, and return the survivors' sum, (d,) int64 in [0, R).

        Raises:
            InconsistentSharesError: If shares are wrong and it shows; the sum is lost.
        """
        survivors = self._present
        self._remove_masks(survivors, self._close("unmask"))
        return self.setting.ring.reduce(self._sum)

    @property
    @abstractmethod
    def sealed_bytes(self) -> int:
        """Length of a sealed share."""

    @abstractmethod
    def _take_revealed(self, message: Message) -> None:
        """Check and keep a message of the last stage."""

    @abstractmethod
    def _remove_masks(self, survivors: Sequence[int], answered: Sequence[int]) -> None:
        """Subtract the survivors' masks from the sum, from what those who answered revealed."""

    def _take_keys(self, message: PublicKeys) -> None:
        if message.keys.shape[0] != self.key_pairs:
            raise MalformedMessageError(f"{self.key_pairs} keys a client are needed")
        self._keys[message.sender] = message.keys

    def _take_sealed(self, message: SealedShares) -> None:
        expect(message.clients, (k for k in self._present if k != message.sender))
        if message.sealed.shape[1] != self.sealed_bytes:
            raise MalformedMessageError(f"a sealed share must have {self.sealed_bytes} bytes")
        self._sealed[message.sender] = message.sealed

    def _take_vector(self, message: MaskedVector) -> None:
        values, ring = message.values, self.setting.ring
        if values.dtype != ring.dtype or values.shape != (self.setting.length,):
            raise MalformedMessageError(
                f"a masked vector must be ({self.setting.length},) {ring.dtype}, not "
                f"{tuple(values.shape)} {values.dtype}"
            )
        check_entries(values, ring)
        self._sum += values

    def _delivery(self, receiver: int, clients: Sequence[int]) -> SealedShares:
        senders = [k for k in clients if k != receiver]
        # A sender's rows are for all of the roster but itself.
        roster = sorted(self._keys)
        place = roster.index(receiver)
        rows = [self._sealed[k][place - (k < receiver)] for k in senders]
        return SealedShares(self.setting.session, SERVER, torch.tensor(senders), torch.stack(rows))

    def _close(self, stage: Stage) -> tuple[int, ...]:
        if self._stage == len(STAGES) or STAGES[self._stage] != stage:
            raise WrongStageError(f"the stage {stage} can't be closed now")
        ids = tuple(sorted(self._arrived))
        if len(ids) < self.setting.threshold:
            self._stage = len(STAGES)
            raise RoundAbandoned(
                f"round {self.setting.session.round} is abandoned: {len(ids)} of "
                f"{len(self.setting.clients)} clients were left at {stage}, and "
                f"{self.setting.threshold} are needed."
            )
        self._stage, self._present, self._arrived = self._stage + 1, ids, set()
        return ids


def pair_purpose(protocol: str, session: Session, what: str, a: int, b: int) -> str:
    """Return what tells a key of a pair of clients, in either order, from all other keys."""
    low, high = sorted((a, b))
    return f"gptfl-bench {protocol} {session.round} {session.number} {what} {low} {high}"


def check_entries(values: Tensor, ring: Ring) -> None:
    """Refuse entries outside the ring.

    Raises:
        EntryRangeError: Naming the range.
    """
    if not ring.holds(values):
        raise EntryRangeError(f"entries must be in [0, {ring.modulus})")


def expect(clients: Tensor, expected: Iterable[int]) -> None:
    """Refuse a message about other clients than the expected ones.

    Raises:
        WrongClientsError: Naming both.
    """
    wanted = list(expected)
    if clients.tolist() != wanted:
        raise WrongClientsError(f"clients {clients.tolist()} in place of {wanted}")


def _ids(clients: Tensor, among: Sequence[int], least: int) -> tuple[int, ...]:
    """Return ids of a message if they are ascending, among others, and enough."""
    ids = tuple(clients.tolist())
    if ids != tuple(sorted(set(ids) & set(among))) or len(ids) < least:
        raise WrongClientsError(f"clients {ids} are not {least} or more of {tuple(among)}")
    return ids


def as_rows(rows: Sequence[bytes]) -> Tensor:
    """Return texts of one length as a tensor, (n, length) uint8."""
    return torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).reshape(len(rows), -1)


def as_bytes(rows: Tensor) -> list[bytes]:
    """Return the rows of a tensor, (n, length) uint8."""
    return [row.numpy().tobytes() for row in rows]
