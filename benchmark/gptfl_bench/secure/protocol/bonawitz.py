"""Secure aggregation with masks in pairs, which cancel in the sum.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS,
figure 4, for semi-honest parties: without signatures and the consistency check, which are for a
server that lies about who survived. Client i sends modulo R::

    y_i = x_i + PRG(b_i) + sum_{j > i} PRG(s_ij) - sum_{j < i} PRG(s_ij)

Its own seed b_i and the key behind its pairs' seeds s_ij are shared among all clients. From those
that are left, the server learns b_i of survivors or the key of lost clients, never both of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gptfl_bench.secure.protocol.errors import InconsistentSharesError, MalformedMessageError
from gptfl_bench.secure.protocol.keys import SEAL_BYTES, KeyPair, derive
from gptfl_bench.secure.protocol.masks import add_mask
from gptfl_bench.secure.protocol.messages import Message, Session, UnmaskShares
from gptfl_bench.secure.protocol.parties import (
    Client,
    Server,
    as_bytes,
    as_rows,
    expect,
    pair_purpose,
)
from gptfl_bench.secure.protocol.shamir import SHARE_BYTES, check, combine, split

NAME = "bonawitz"


@dataclass
class BonawitzClient(Client):
    """A client: one key pair seals shares, another agrees on masks."""

    protocol: ClassVar[str] = NAME
    key_pairs: ClassVar[int] = 2

    def _shares(self, clients: Sequence[int]) -> dict[int, bytes]:
        points = [self.setting.point(k) for k in clients]
        seeds = self._split(self._own_seed(), points, "seed polynomial")
        keys = self._split(self._own[1].private, points, "key polynomial")
        return {k: seeds[p] + keys[p] for k, p in zip(clients, points, strict=True)}

    def _split(self, secret: bytes, points: Sequence[int], purpose: str) -> dict[int, bytes]:
        return split(secret, self.setting.threshold, points, derive(self.root, purpose))

    def _add_masks(self, total: Tensor) -> None:
        ring = self.setting.ring
        add_mask(total, self._own_seed(), ring)
        for other in self._received:
            if other != self.id:
                purpose = _mask_purpose(self.setting.session, self.id, other)
                seed = self._own[1].agree(self._keys[other][1], purpose)
                add_mask(total, seed, ring, _sign(self.id, other))

    def _revealed(self, survivors: Sequence[int]) -> UnmaskShares:
        lost = [k for k in sorted(self._received) if k not in survivors]
        seeds = [self._received[k][:SHARE_BYTES] for k in survivors]
        keys = [self._received[k][SHARE_BYTES:] for k in lost]
        return UnmaskShares(
            self.setting.session,
            self.id,
            torch.tensor(survivors),
            as_rows(seeds),
            torch.tensor(lost, dtype=torch.int64),
            as_rows(keys) if keys else torch.zeros(0, SHARE_BYTES, dtype=torch.uint8),
        )

    def _own_seed(self) -> bytes:
        return derive(self.root, "own mask")


@dataclass
class BonawitzServer(Server):
    """The server: sums what arrives and takes off the masks that did not cancel."""

    protocol: ClassVar[str] = NAME
    key_pairs: ClassVar[int] = 2

    _revealed: dict[int, UnmaskShares] = field(default_factory=dict, repr=False)

    @property
    def sealed_bytes(self) -> int:
        """Length of a sealed pair of shares."""
        return 2 * SHARE_BYTES + SEAL_BYTES

    def _take_revealed(self, message: Message) -> None:
        if not isinstance(message, UnmaskShares):
            raise MalformedMessageError(f"a {type(message).__name__} is not for the server")
        expect(message.survivors, self._present)
        expect(message.lost, self._lost(self._present))
        for share in as_bytes(message.seeds) + as_bytes(message.keys):
            check(share)
        self._revealed[message.sender] = message

    def _remove_masks(self, survivors: Sequence[int], answered: Sequence[int]) -> None:
        ring = self.setting.ring
        points = [self.setting.point(k) for k in answered]
        seeds = [as_bytes(self._revealed[k].seeds) for k in answered]
        for of_one in zip(*seeds, strict=True):
            shares = zip(points, of_one, strict=True)
            add_mask(self._sum, combine(shares, self.setting.threshold), ring, -1)
        keys = [as_bytes(self._revealed[k].keys) for k in answered]
        for lost, of_one in zip(self._lost(survivors), zip(*keys, strict=True), strict=True):
            private = combine(zip(points, of_one, strict=True), self.setting.threshold)
            pair = KeyPair(private)
            if pair.public != as_bytes(self._keys[lost])[1]:
                raise InconsistentSharesError(f"the shares of client {lost}'s key are wrong")
            for k in survivors:
                purpose = _mask_purpose(self.setting.session, k, lost)
                seed = pair.agree(as_bytes(self._keys[k])[1], purpose)
                add_mask(self._sum, seed, ring, -_sign(k, lost))

    def _lost(self, survivors: Sequence[int]) -> list[int]:
        return [k for k in self._shared if k not in survivors]


def _mask_purpose(session: Session, client: int, other: int) -> str:
    return pair_purpose(NAME, session, "mask", client, other)


def _sign(client: int, other: int) -> int:
    """Return the sign with which a client adds the mask it shares with another."""
    return 1 if client < other else -1
