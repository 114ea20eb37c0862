"""Secure aggregation with one mask a client, whose sum the clients decode together.

So et al. 2022, "LightSecAgg: a Lightweight and Versatile Design for Secure Aggregation in
Federated Learning", MLSys, algorithm 1, with Lagrange coding as in FedML (its version 0.9.6). In
the field of 2**31 - 1, client i sends ``y_i = x_i + z_i`` with a mask z_i of its own. It cuts z_i
into U - T pieces, adds T random ones, and sends each client one coded piece, which is the value at
the client's point of the polynomial through all U pieces. Coding is linear: of the sums of coded
pieces that any U of the clients send, the server decodes the sum of the survivors' masks.

U is the threshold; T, the clients that learn nothing if they put together what they hold, is half
of the cohort as in the paper's experiments. Shares go through the server, sealed.

Differs from FedML: only the coefficients are its own. Its matrix products exceed 64 bits at
this prime and come out wrong; its random pieces are drawn from NumPy's global stream.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.secure.protocol.errors import MalformedMessageError
from gptfl_bench.secure.protocol.keys import SEAL_BYTES, derive
from gptfl_bench.secure.protocol.masks import mask
from gptfl_bench.secure.protocol.messages import MaskSumShare, Message
from gptfl_bench.secure.protocol.parties import Client, Server, Setting, check_entries
from gptfl_bench.secure.protocol.ring import MERSENNE, Ring

NAME = "lightsecagg"
FIELD = Ring(MERSENNE)
"""The field of all entries, whose products fit into 64 bits."""

_Points = NDArray[np.int64]
_Coefficients = Callable[[_Points, _Points, int], _Points]


@dataclass(frozen=True)
class Code:
    """How a mask is cut and coded.

    Attributes:
        clients: N, the cohort size; client points are 1 to N, pieces sit at N + 1 to N + U.
        needed: U, the clients whose answers are decoded.
        hidden: T, the random pieces.
        length: d, entries of a mask.
    """

    clients: int
    needed: int
    hidden: int
    length: int

    @classmethod
    def of(cls, setting: Setting) -> "Code":
        """Return the code of a setting.

        Raises:
            ValueError: If its ring is another field.
            UsageError: If FedML is not installed.
        """
        if setting.ring != FIELD:
            raise ValueError(f"{NAME} sums modulo {MERSENNE}, not {setting.ring.modulus}")
        fedml_coefficients()
        cohort = len(setting.clients)
        return cls(cohort, setting.threshold, cohort // 2, setting.length)

    @property
    def piece(self) -> int:
        """Entries of a piece."""
        return -(-self.length // (self.needed - self.hidden))

    def encode(self, pieces: Tensor) -> Tensor:
        """Return all clients' coded pieces, (N, piece), of (U, piece) pieces."""
        points = tuple(range(1, self.clients + 1))
        return times(_coefficients(points, self._places(self.needed)), pieces)

    def decode(self, points: Sequence[int], coded: Tensor) -> Tensor:
        """Return a mask, (d,), of (U, piece) coded pieces at U points."""
        matrix = _coefficients(self._places(self.needed - self.hidden), tuple(points))
        return times(matrix, coded).reshape(-1)[: self.length]

    def _places(self, pieces: int) -> tuple[int, ...]:
        return tuple(range(self.clients + 1, self.clients + 1 + pieces))


@dataclass
class LightSecAggClient(Client):
    """A client: its one key pair seals coded pieces."""

    protocol: ClassVar[str] = NAME
    key_pairs: ClassVar[int] = 1

    def _shares(self, clients: Sequence[int]) -> dict[int, bytes]:
        code = Code.of(self.setting)
        drawn = mask(self._seed(), code.needed * code.piece, FIELD)
        coded = code.encode(drawn.reshape(code.needed, code.piece)).int().numpy()
        return {k: coded[self.setting.point(k) - 1].tobytes() for k in clients}

    def _add_masks(self, total: Tensor) -> None:
        # The beginning of what was cut into pieces.
        total += mask(self._seed(), self.setting.length, FIELD)

    def _revealed(self, survivors: Sequence[int]) -> MaskSumShare:
        total = torch.zeros(Code.of(self.setting).piece, dtype=torch.int64)
        for client in survivors:
            total += torch.frombuffer(bytearray(self._received[client]), dtype=torch.int32)
        return MaskSumShare(self.setting.session, self.id, FIELD.reduce(total).int())

    def _seed(self) -> bytes:
        return derive(self.root, "mask and random pieces")


@dataclass
class LightSecAggServer(Server):
    """The server: decodes the sum of the survivors' masks and subtracts it."""

    protocol: ClassVar[str] = NAME
    key_pairs: ClassVar[int] = 1

    _revealed: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @property
    def sealed_bytes(self) -> int:
        """Length of a sealed coded piece."""
        return 4 * Code.of(self.setting).piece + SEAL_BYTES

    def _take_revealed(self, message: Message) -> None:
        if not isinstance(message, MaskSumShare):
            raise MalformedMessageError(f"a {type(message).__name__} is not for the server")
        if message.values.shape != (Code.of(self.setting).piece,):
            raise MalformedMessageError(f"a share of {len(message.values)} entries is none")
        check_entries(message.values, FIELD)
        self._revealed[message.sender] = message.values

    def _remove_masks(self, survivors: Sequence[int], answered: Sequence[int]) -> None:
        used = answered[: self.setting.threshold]
        coded = torch.stack([self._revealed[k] for k in used]).long()
        points = [self.setting.point(k) for k in used]
        self._sum -= Code.of(self.setting).decode(points, coded)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """Return the matrix product in the field, exact: x goes in halves of 16 bits.

    Args:
        matrix: (a, b), int64 in [0, p), b up to 2**16.
        x: (b, n), int64 in [0, p).
    """
    low = FIELD.reduce(matrix @ (x & 0xFFFF))
    high = FIELD.reduce(matrix @ (x >> 16))
    return FIELD.reduce(low + (high << 16))


@cache
def fedml_coefficients() -> _Coefficients:
    """Return FedML's ``gen_Lagrange_coeffs`` of ``fedml.core.mpc.lightsecagg``.

    The module is loaded by itself: importing the package takes seconds and hundreds of megabytes.

    Raises:
        UsageError: If FedML is not installed.
    """
    package = importlib.util.find_spec("fedml")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "core" / "mpc" / "lightsecagg.py"
        spec = importlib.util.spec_from_file_location("_fedml_lightsecagg", file)
        if file.is_file() and spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            coefficients: _Coefficients = module.gen_Lagrange_coeffs
            return coefficients
    raise UsageError(
        f"the protocol {NAME} needs FedML, which is not installed: choose bonawitz, or install "
        "gptfl-bench[fedml] under Python 3.11 or 3.12."
    )


@cache
def _coefficients(targets: tuple[int, ...], points: tuple[int, ...]) -> Tensor:
    """Return Lagrange's weights of values at ``points`` in values at ``targets``, as a matrix."""
    compute = fedml_coefficients()
    return torch.from_numpy(compute(np.array(targets), np.array(points), MERSENNE))
