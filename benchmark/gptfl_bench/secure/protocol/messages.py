"""What travels in a run of a protocol: frozen messages that turn into tensors and back.

A message has a header, (3,) int64: round, number of the session within the round, and sender. What
arrives is checked for its form when the message is built, and for its sense by who receives it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self, get_origin, get_type_hints

import torch
from torch import Tensor

from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.secure.protocol.errors import MalformedMessageError
from gptfl_bench.secure.protocol.keys import BYTES
from gptfl_bench.secure.protocol.shamir import SHARE_BYTES

Stage = Literal["advertise_keys", "share_keys", "masked_input", "unmask"]
STAGES: tuple[Stage, ...] = ("advertise_keys", "share_keys", "masked_input", "unmask")
"""The rounds of both protocols, in order."""

SERVER = -1
"""The server's id as a sender."""


@dataclass(frozen=True)
class Session:
    """One secure sum. Masks hide nothing if a client uses them for two vectors.

    Attributes:
        round: Round of the federation, from 0.
        number: Number of the sum within the round, from 0.
    """

    round: int
    number: int = 0


@dataclass(frozen=True)
class _Form:
    """Form of a tensor; a letter in its shape is the same size wherever it stands."""

    shape: tuple[int | str, ...]
    dtypes: tuple[torch.dtype, ...]


_Ids = Annotated[Tensor, _Form(("n",), (torch.int64,))]


@dataclass(frozen=True, eq=False)
class Message:
    """What every message has.

    Attributes:
        session: The sum it belongs to.
        sender: Client id, or :data:`SERVER`.
    """

    stage: ClassVar[Stage]

    session: Session
    sender: int

    def __post_init__(self) -> None:
        """Refuse tensors of a type or shape that the message does not have.

        Raises:
            MalformedMessageError: Naming the tensor.
        """
        sizes: dict[str, int] = {}
        for name, form in _forms(type(self)).items():
            tensor: Tensor = getattr(self, name)
            fits = tensor.dtype in form.dtypes and tensor.ndim == len(form.shape)
            for size, wanted in zip(tensor.shape, form.shape, strict=False):
                fits &= size == (
                    sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
                )
            if not fits:
                raise MalformedMessageError(
                    f"{name} of a {type(self).__name__} from {self.sender} can't be "
                    f"{tensor.dtype} {tuple(tensor.shape)}"
                )

    def payload(self) -> Tree:
        """Return the message as tensors."""
        header = torch.tensor([self.session.round, self.session.number, self.sender])
        return {"header": header, **{name: getattr(self, name) for name in _forms(type(self))}}

    def groups(self) -> Groups:
        """Return the message as it goes through the channel: one group, named by the stage."""
        return {self.stage: self.payload()}

    @classmethod
    def read(cls, payload: Mapping[str, Tensor]) -> Self:
        """Return the message that a payload holds.

        Raises:
            MalformedMessageError: If it holds no such message.
        """
        names = _forms(cls).keys()
        if payload.keys() != names | {"header"}:
            raise MalformedMessageError(
                f"a {cls.__name__} has the tensors {sorted(names)} and a header, not "
                f"{sorted(payload)}"
            )
        header = payload["header"]
        if header.dtype != torch.int64 or header.shape != (3,):
            raise MalformedMessageError(f"a header of {header.dtype} {tuple(header.shape)}")
        round, number, sender = header.tolist()
        return cls(Session(round, number), sender, **{name: payload[name] for name in names})


def _forms(message: type[Message]) -> dict[str, _Form]:
    """Return the form of each of a message's tensors, by name."""
    hints = get_type_hints(message, include_extras=True)
    return {
        name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated
    }


@dataclass(frozen=True, eq=False)
class PublicKeys(Message):
    """A client's public keys, to the server.

    Attributes:
        keys: (k, 32) uint8: for sealing, and with Bonawitz for masks.
    """

    stage: ClassVar[Stage] = "advertise_keys"

    keys: Annotated[Tensor, _Form(("k", BYTES), (torch.uint8,))]


@dataclass(frozen=True, eq=False)
class Roster(Message):
    """All clients' public keys, from the server.

    Attributes:
        clients: (n,) int64, ascending.
        keys: (n, k, 32) uint8.
    """

    stage: ClassVar[Stage] = "advertise_keys"

    clients: _Ids
    keys: Annotated[Tensor, _Form(("n", "k", BYTES), (torch.uint8,))]


@dataclass(frozen=True, eq=False)
class SealedShares(Message):
    """Sealed shares: a client's for all others, or from the server all others' for a client.

    Attributes:
        clients: (n,) int64, ascending: who can open each, or who sealed it.
        sealed: (n, L) uint8.
    """

    stage: ClassVar[Stage] = "share_keys"

    clients: _Ids
    sealed: Annotated[Tensor, _Form(("n", "L"), (torch.uint8,))]


@dataclass(frozen=True, eq=False)
class MaskedVector(Message):
    """A client's vector under its masks, to the server.

    Attributes:
        values: (d,) in [0, R), in the ring's narrowest type.
    """

    stage: ClassVar[Stage] = "masked_input"

    values: Annotated[Tensor, _Form(("d",), (torch.int32, torch.int64))]


@dataclass(frozen=True, eq=False)
class Survivors(Message):
    """The clients whose vectors are in the sum, from the server.

    Attributes:
        clients: (n,) int64, ascending.
    """

    stage: ClassVar[Stage] = "unmask"

    clients: _Ids


@dataclass(frozen=True, eq=False)
class UnmaskShares(Message):
    """Bonawitz: a client's shares of what removes the masks, to the server.

    Attributes:
        survivors: (n,) int64: clients in the sum.
        seeds: (n, 66) uint8: shares of their own masks' seeds.
        lost: (l,) int64: clients that were lost before they sent their vector.
        keys: (l, 66) uint8: shares of the private keys of their masks in pairs.
    """

    stage: ClassVar[Stage] = "unmask"

    survivors: _Ids
    seeds: Annotated[Tensor, _Form(("n", SHARE_BYTES), (torch.uint8,))]
    lost: Annotated[Tensor, _Form(("l",), (torch.int64,))]
    keys: Annotated[Tensor, _Form(("l", SHARE_BYTES), (torch.uint8,))]


@dataclass(frozen=True, eq=False)
class MaskSumShare(Message):
    """LightSecAgg: a client's share of the sum of the survivors' masks, to the server.

    Attributes:
        values: (s,) int32, in [0, 2**31 - 1).
    """

    stage: ClassVar[Stage] = "unmask"

    values: Annotated[Tensor, _Form(("s",), (torch.int32,))]
