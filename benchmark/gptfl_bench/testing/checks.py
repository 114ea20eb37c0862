"""Conformance checks for methods, those of this repository and anybody's.

``check_method(MyMethod)`` puts a method through them on a task of 60 tiny images, in seconds, and
raises with one sentence at the first that fails. Each check is a function of a method and an empty
folder that returns what is wrong, or nothing.
"""

import dataclasses
import pickle
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import Method, Need, methods
from gptfl_bench.runs import config
from gptfl_bench.testing.tiny import (
    Bits,
    Kill,
    Killed,
    aggregated,
    bits_of,
    callers_randomness,
    global_states,
    run,
    server_in_round_1,
)


def check_method(method: str | Method | type[Method]) -> None:
    """Put a method through all conformance checks.

    Args:
        method: A registered name, a class whose fields have defaults, or an object.

    Raises:
        AssertionError: At the first check that fails, with what was found and what to do.
        UsageError: If there is no method of that name.
    """
    kind = methods.get(method) if isinstance(method, str) else method
    name = method if isinstance(method, str) else getattr(kind, "__name__", type(kind).__name__)
    try:
        made = kind() if isinstance(kind, type) else kind
    except TypeError as error:
        raise AssertionError(f"{name}: {error}; give every field a default value.") from error
    for check in CHECKS:
        with tempfile.TemporaryDirectory(prefix="gptfl-bench-") as folder:
            fault = check(made, Path(folder))
        if fault:
            raise AssertionError(f"{name}: {fault}")


def is_a_value(method: Method, folder: Path) -> str:
    """A method keeps nothing but its fields, so that a checkpoint is the whole state."""
    if not dataclasses.is_dataclass(method):
        return "it is no dataclass; decorate the class with @dataclass(frozen=True)."
    if not type(method).__dict__.get("__dataclass_params__", None):
        return "its class is no dataclass itself; decorate it with @dataclass(frozen=True)."
    try:
        method.something_new = 1  # type: ignore[attr-defined]
    except dataclasses.FrozenInstanceError:
        pass
    else:
        return "it can be changed; decorate the class with @dataclass(frozen=True)."
    try:
        hash(method)
    except TypeError as error:
        return f"it has no hash ({error}); give fields values that can't be changed."
    try:
        again = pickle.loads(pickle.dumps(method))  # noqa: S301 - its own bytes
    except Exception as error:
        return f"other processes can't be handed it ({error}); define the class in a module."
    return "" if again == method else "a copy of it in another process is not equal to it."


def finishes(method: Method, folder: Path) -> str:
    """It runs to its end on a plain task."""
    return run(method, folder).fault


def repeats(method: Method, folder: Path) -> str:
    """The same cell gives the same events and tensors, bit for bit."""
    first, second = (run(method, folder / part) for part in ("a", "b"))
    if first.fault:
        return first.fault
    if first != second:
        return "two runs differ; draw randomness from client.rng and server.rng alone."
    return ""


def keeps_off_global_randomness(method: Method, folder: Path) -> str:
    """Neither do global generators matter to it, nor does it move them."""
    found = []
    with callers_randomness():
        for number in (1, 2):
            torch.manual_seed(number)
            np.random.seed(number)  # noqa: NPY002 - what is checked
            random.seed(number)
            before = global_states()
            found.append(run(method, folder / str(number)))
            if global_states() != before:
                return "it moves a global generator; draw from client.rng and server.rng alone."
    if found[0] != found[1]:
        return "a global generator changes its numbers; draw from client.rng and server.rng alone."
    return ""


def resumes(method: Method, folder: Path) -> str:
    """Killed in round 2, it ends as if undisturbed."""
    straight = run(method, folder / "straight")
    try:
        run(method, folder / "killed", progress=Kill())
    except Killed:
        pass
    else:
        return "it could not be killed in round 2, for no client was visited; visit the cohort."
    # A new process would not remember; here another cell in between must not matter.
    run(method, folder / "between")
    if run(method, folder / "killed") != straight:
        return (
            "killed in round 2 and resumed it ends otherwise; keep what it needs later in the "
            "state that it returns, or in client.state."
        )
    return ""


def keeps_clients_apart(method: Method, folder: Path) -> str:
    """A client sends the same in any cohort and order."""
    replies: dict[str, dict[int, Bits]] = {}
    states = {}
    for order in ([0, 2, 5], [5, 0, 2], [2], [5], [0]):
        server, state = server_in_round_1(method, folder)
        sent: dict[int, Bits] = {}

        def work(received: Groups, client: Client, sent: dict[int, Bits] = sent) -> Groups:
            reply = method.client_update(received, client)
            sent[client.id] = bits_of(reply)
            return reply

        cohort = server.federation.exchange(
            1, order, partial(method.downlink, state), work, partial(method.once, state, server)
        )
        replies[str(order)] = sent
        states[str(order)] = bits_of(aggregated(method, state, cohort, server))
    together = replies.pop("[0, 2, 5]")
    if together[0] == together[2] or together[2] == together[5]:
        return "clients with other samples send the same; train on client.data."
    for sent in replies.values():
        for client, reply in sent.items():
            if together[client] != reply:
                return (
                    f"client {client} sends something else in other company; keep nothing outside "
                    "client.state."
                )
    if states["[0, 2, 5]"] != states["[5, 0, 2]"]:
        return "the order of clients changes its state; keep nothing between client visits."
    return ""


def changes_nothing_it_was_given(method: Method, folder: Path) -> str:
    """The last state and the start weights stay as they are."""
    server, state = server_in_round_1(method, folder)
    before, start = bits_of(state), bits_of(server.networks.start)
    cohort = server.federation.exchange(
        1,
        [0, 1],
        partial(method.downlink, state),
        method.client_update,
        partial(method.once, state, server),
    )
    following = aggregated(method, state, cohort, server)
    if bits_of(following).keys() != before.keys():
        return "the names of its state change from round to round; return the same ones always."
    x, _ = server.federation.clients[5].batch(torch.arange(19))
    logits = method.predict(following, server, x)
    if tuple(logits.shape) != (19, 3):
        return f"predict gives {tuple(logits.shape)} for 19 samples of 3 classes, not (19, 3)."
    if not torch.equal(logits, method.predict(following, server, x)):
        return "predict gives other logits the second time; it must not train or draw."
    alone = method.predict(following, server, x[4:5])
    if not torch.allclose(alone, logits[4:5], rtol=1.3e-6, atol=1e-5):
        return "predict gives a sample other logits alone than among others."
    if bits_of(state) != before:
        return "aggregate changes the last state; return new tensors instead."
    if bits_of(server.networks.start) != start:
        return "it changes the start weights of all methods; copy them first."
    return ""


def says_what_the_server_reads(method: Method, folder: Path) -> str:
    """Single replies are read if and only if that is declared."""
    declared = Need.REPLIES in method.needs
    ended = run(method, folder, rounds=4)
    if ended.saw and not declared:
        return "its server reads single replies; declare Need.REPLIES in needs."
    if declared and not ended.saw:
        return "its server reads no single replies; take Need.REPLIES out of needs."
    return ""


def works_on_sums(method: Method, folder: Path) -> str:
    """A method that needs sums alone runs under secure aggregation."""
    if Need.REPLIES in method.needs:
        return ""
    fault = run(method, folder, secure_aggregation=True).fault
    return f"under secure aggregation {fault}" if fault else ""


def starts_warm(method: Method, folder: Path) -> str:
    """It can be wrapped, as ``gptfl+X`` does, and a wrapper forwards every hook."""
    if type(method).wraps:
        hooks = {name for name, hook in vars(Method).items() if _is_hook(name, hook)}
        lacking = sorted(hooks - {n for k in _own(type(method)) for n in vars(k)})
        if lacking:
            return f"it wraps another method and does not forward {lacking[0]}; pass it on."
        return ""
    for name in config.wrappers():
        wrapped = dataclasses.replace(methods.get(name)(), inner=method)  # type: ignore[call-arg]
        fault = run(wrapped, folder / name).fault
        if fault:
            return f"as {name}+X {fault}"
    return ""


CHECKS: tuple[Callable[[Method, Path], str], ...] = (
    is_a_value,
    finishes,
    repeats,
    keeps_off_global_randomness,
    resumes,
    keeps_clients_apart,
    changes_nothing_it_was_given,
    says_what_the_server_reads,
    works_on_sums,
    starts_warm,
)
"""All checks, in the order in which they tell most."""


def _is_hook(name: str, hook: object) -> bool:
    return not name.startswith("_") and (callable(hook) or isinstance(hook, property))


def _own(kind: type) -> list[type]:
    """Return a class and its bases below ``Method``."""
    return [part for part in kind.__mro__ if issubclass(part, Method) and part is not Method]
