"""Each kind of bad message is refused by its name, and neither this sum nor the next is harmed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gptfl_bench.core.errors import RoundAbandoned
from gptfl_bench.secure.protocol import bonawitz, errors
from gptfl_bench.secure.protocol.errors import ProtocolError
from gptfl_bench.secure.protocol.messages import (
    MaskedVector,
    Message,
    PublicKeys,
    Roster,
    SealedShares,
    Session,
    Stage,
    Survivors,
    UnmaskShares,
)
from gptfl_bench.secure.protocol.shamir import combine

BAD = 4
"""The client whose messages are tampered with; the others are 1, 7 and 10."""

MODULUS = 97


def put(values: Tensor, value: int) -> Tensor:
    """Return a copy with another first entry."""
    copy = values.clone()
    copy[0] = value
    return copy


REFUSED: list[tuple[str, Stage, type[ProtocolError], Callable[[Any], Message]]] = [
    ("of an earlier round", stage, errors.WrongRoundError, lambda m: replace(m, session=Session(0)))
    for stage in ("advertise_keys", "share_keys", "masked_input", "unmask")
]
REFUSED += [
    (
        "of another sum of the round",
        "masked_input",
        errors.WrongRoundError,
        lambda m: replace(m, session=Session(1, 1)),
    ),
    ("of no client", "share_keys", errors.UnknownSenderError, lambda m: replace(m, sender=5)),
    ("of the server", "unmask", errors.UnknownSenderError, lambda m: replace(m, sender=-1)),
    (
        "one key",
        "advertise_keys",
        errors.MalformedMessageError,
        lambda m: replace(m, keys=m.keys[:1]),
    ),
    (
        "keys of 31 bytes",
        "advertise_keys",
        errors.MalformedMessageError,
        lambda m: replace(m, keys=m.keys[:, :31]),
    ),
    (
        "a roster",
        "advertise_keys",
        errors.MalformedMessageError,
        lambda m: Roster(m.session, m.sender, torch.tensor([BAD]), m.keys[None]),
    ),
    (
        "a vector too soon",
        "advertise_keys",
        errors.WrongStageError,
        lambda m: MaskedVector(m.session, m.sender, torch.zeros(4, dtype=torch.int32)),
    ),
    (
        "keys too late",
        "masked_input",
        errors.WrongStageError,
        lambda m: PublicKeys(m.session, m.sender, torch.zeros(2, 32, dtype=torch.uint8)),
    ),
    (
        "a share too few",
        "share_keys",
        errors.WrongClientsError,
        lambda m: replace(m, clients=m.clients[1:], sealed=m.sealed[1:]),
    ),
    (
        "shares for itself",
        "share_keys",
        errors.WrongClientsError,
        lambda m: replace(m, clients=put(m.clients, BAD)),
    ),
    (
        "two shares for one",
        "share_keys",
        errors.WrongClientsError,
        lambda m: replace(m, clients=put(m.clients, 7)),
    ),
    (
        "shorter seals",
        "share_keys",
        errors.MalformedMessageError,
        lambda m: replace(m, sealed=m.sealed[:, 1:]),
    ),
    (
        "more ids than seals",
        "share_keys",
        errors.MalformedMessageError,
        lambda m: replace(m, sealed=m.sealed[1:]),
    ),
    (
        "a shorter vector",
        "masked_input",
        errors.MalformedMessageError,
        lambda m: replace(m, values=m.values[1:]),
    ),
    (
        "a matrix",
        "masked_input",
        errors.MalformedMessageError,
        lambda m: replace(m, values=m.values[None]),
    ),
    (
        "a wider vector",
        "masked_input",
        errors.MalformedMessageError,
        lambda m: replace(m, values=m.values.long()),
    ),
    (
        "floats",
        "masked_input",
        errors.MalformedMessageError,
        lambda m: replace(m, values=m.values.float()),
    ),
    (
        "an entry of R",
        "masked_input",
        errors.EntryRangeError,
        lambda m: replace(m, values=put(m.values, MODULUS)),
    ),
    (
        "an entry of -1",
        "masked_input",
        errors.EntryRangeError,
        lambda m: replace(m, values=put(m.values, -1)),
    ),
    (
        "a share beyond the field",
        "unmask",
        errors.MalformedShareError,
        lambda m: replace(m, seeds=torch.full_like(m.seeds, 255)),
    ),
    (
        "a survivor less",
        "unmask",
        errors.WrongClientsError,
        lambda m: replace(m, survivors=m.survivors[1:], seeds=m.seeds[1:]),
    ),
    (
        "a survivor called lost",
        "unmask",
        errors.WrongClientsError,
        lambda m: replace(m, lost=m.survivors[:1], keys=m.seeds[:1]),
    ),
    (
        "survivors that the server tells",
        "unmask",
        errors.MalformedMessageError,
        lambda m: Survivors(m.session, m.sender, m.survivors),
    ),
]


@pytest.mark.parametrize(
    ("stage", "error", "change"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_bad_message_is_refused_and_the_sum_goes_on(
    make_cohort: Callable[..., Any],
    make_play: Callable[..., Any],
    stage: Stage,
    error: type[ProtocolError],
    change: Callable[[Any], Message],
) -> None:
    cohort = make_cohort(4, 3, MODULUS)
    play, refused = make_play(cohort), 0
    for message in play.messages():
        if message.sender == BAD and message.stage == stage:
            with pytest.raises(ProtocolError) as caught:
                play.server.receive(change(message))
            assert caught.type is error
            refused += 1
    assert refused == 1
    assert play.server.total().tolist() == cohort.plain(cohort.setting.clients)


def test_a_message_is_taken_once(
    make_cohort: Callable[..., Any], make_play: Callable[..., Any]
) -> None:
    cohort = make_cohort(4, 3, MODULUS)
    play = make_play(cohort)
    last: Message | None = None
    for message in play.messages():
        if last is not None and last.stage == message.stage:
            with pytest.raises(errors.DuplicateMessageError, match="has sent its"):
                play.server.receive(last)
        last = message
    assert play.server.total().tolist() == cohort.plain(cohort.setting.clients)


def test_a_client_that_left_is_not_heard_again(
    make_cohort: Callable[..., Any], make_play: Callable[..., Any]
) -> None:
    cohort = make_cohort(3, 2, MODULUS)
    play = make_play(cohort)
    first, second, third = play.clients.values()
    late = third.advertise()
    play.server.receive(first.advertise())
    play.server.receive(second.advertise())
    play.server.roster()
    with pytest.raises(errors.UnknownSenderError, match="client 7 is not, or no longer,"):
        play.server.receive(late)


def test_stages_are_closed_in_order(make_cohort: Callable[..., Any], make_play: Any) -> None:
    play = make_play(make_cohort(3, 2))
    for close in (play.server.deliveries, play.server.survivors, play.server.total):
        with pytest.raises(errors.WrongStageError, match="can't be closed now"):
            close()
    with pytest.raises(RoundAbandoned, match="0 of 3 clients were left at advertise_keys"):
        play.server.roster()
    with pytest.raises(errors.WrongStageError, match="is not due"):
        play.server.receive(next(play.messages()))


@pytest.mark.parametrize("lost", [False, True])
def test_wrong_shares_cost_their_round_and_no_other(
    make_cohort: Callable[..., Any], make_play: Callable[..., Any], lost: bool
) -> None:
    """Field elements that are no shares are found when they are put together."""
    cohort = make_cohort(4, 3)
    ids = cohort.setting.clients
    if not lost:
        play = make_play(cohort)
        for message in play.messages():
            if isinstance(message, UnmaskShares):
                message.seeds[2] = 1
        with pytest.raises(errors.InconsistentSharesError, match="is wrong"):
            play.server.total()
    else:
        with pytest.raises(errors.InconsistentSharesError, match="is wrong"):
            cohort.sum(dropouts={ids[3]: "masked_input"}, wire=Tampering())
    following = make_cohort(4, 3, session=Session(2))
    assert following.sum().values.tolist() == following.plain(ids)


class Tampering:
    """A network that changes the first share of a lost client's key."""

    def send(self, groups: Any, direction: str) -> Any:
        for tree in groups.values():
            if "lost" in tree and len(tree["lost"]):
                tree["keys"] = tree["keys"].clone()
                tree["keys"][0, 30] ^= 1
        return groups


def test_a_key_that_was_put_together_must_be_the_advertised_one(
    make_cohort: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bonawitz, "combine", lambda *args: combine(*args)[::-1])
    cohort = make_cohort(4, 3)
    with pytest.raises(errors.InconsistentSharesError, match="shares of client 10's key are wrong"):
        cohort.sum(dropouts={10: "masked_input"})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda r: replace(r, session=Session(0)), errors.WrongRoundError),
        (lambda r: replace(r, sender=1), errors.UnknownSenderError),
        (lambda r: replace(r, keys=r.keys[:, :1]), errors.MalformedMessageError),
        (lambda r: replace(r, keys=r.keys.flip(0)), errors.WrongClientsError),
        (lambda r: replace(r, clients=r.clients.flip(0)), errors.WrongClientsError),
        (lambda r: replace(r, clients=r.clients[:2], keys=r.keys[:2]), errors.WrongClientsError),
        (lambda r: replace(r, clients=r.clients + 1), errors.WrongClientsError),
        (
            lambda r: replace(r, keys=r.keys * (r.clients == BAD)[:, None, None]),
            errors.MalformedKeyError,
        ),
    ],
    ids=["old", "of a client", "one key", "other keys", "order", "few", "strangers", "low order"],
)
def test_a_client_stops_at_a_bad_roster(
    make_cohort: Callable[..., Any],
    make_play: Callable[..., Any],
    change: Callable[[Roster], Roster],
    error: type[ProtocolError],
) -> None:
    play = make_play(make_cohort(4, 3))
    for client in play.clients.values():
        play.server.receive(client.advertise())
    with pytest.raises(error):
        play.clients[BAD].share(change(play.server.roster()))


def swap_seals(delivery: SealedShares) -> SealedShares:
    return replace(delivery, sealed=delivery.sealed.flip(0))


def flip_a_bit(delivery: SealedShares) -> SealedShares:
    return replace(delivery, sealed=delivery.sealed ^ 1)


@pytest.mark.parametrize("change", [swap_seals, flip_a_bit])
def test_a_client_opens_what_was_sealed_for_it_alone(
    make_cohort: Callable[..., Any],
    make_play: Callable[..., Any],
    change: Callable[[SealedShares], SealedShares],
) -> None:
    cohort = make_cohort(4, 3)
    play = make_play(cohort)
    for client in play.clients.values():
        play.server.receive(client.advertise())
    roster = play.server.roster()
    for client in play.clients.values():
        play.server.receive(client.share(roster))
    deliveries = dict(play.server.deliveries())
    with pytest.raises(errors.ForgedShareError):
        play.clients[BAD].mask(change(deliveries[BAD]), cohort.vectors[BAD])
    with pytest.raises(errors.ForgedShareError):
        play.clients[1].mask(replace(deliveries[7], clients=deliveries[1].clients), torch.arange(4))


@pytest.mark.parametrize(
    "told",
    [[1, 7, 10], [1, 4], [1, 4, 8], [4, 1, 7], [1, 1, 4, 7]],
    ids=["without it", "too few", "a stranger", "order", "twice"],
)
def test_a_client_reveals_nothing_about_survivors_that_can_not_be(
    make_cohort: Callable[..., Any], make_play: Callable[..., Any], told: list[int]
) -> None:
    play = make_play(make_cohort(4, 3))
    for message in play.messages():
        if isinstance(message, MaskedVector) and message.sender == 10:
            break
    with pytest.raises(errors.WrongClientsError):
        play.clients[BAD].reveal(Survivors(Session(1), -1, torch.tensor(told)))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: {k: v for k, v in p.items() if k != "values"},
        lambda p: {**p, "more": torch.zeros(1)},
        lambda p: {**p, "header": p["header"].int()},
        lambda p: {**p, "header": p["header"][:2]},
        lambda p: {**p, "values": p["values"].double()},
    ],
    ids=["a tensor less", "one more", "narrow header", "short header", "floats"],
)
def test_a_payload_that_is_no_message_is_refused(change: Callable[[Any], Any]) -> None:
    message = MaskedVector(Session(3, 1), 7, torch.arange(4))
    back = MaskedVector.read(message.payload())
    assert (back.session, back.sender, back.values.tolist()) == (Session(3, 1), 7, [0, 1, 2, 3])
    with pytest.raises(errors.MalformedMessageError):
        MaskedVector.read(change(message.payload()))
