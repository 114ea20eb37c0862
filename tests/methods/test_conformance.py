"""What every registered method must keep to; a new method is covered by being registered."""

import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gptfl_bench
from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.rounds import Rounds
from gptfl_bench.cells.world import build_world
from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.task import Task
from gptfl_bench.engine.channel import STRICT
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import Method, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.runs import catalogue
from gptfl_bench.testing import checks as testing
from gptfl_bench.training.fit import Plan
from gptfl_methods.feddf import FedDF
from gptfl_methods.parts.matching import Matching

RunCell = Callable[..., Any]
PLAN = Plan(epochs=2, batch_size=4, lr=0.1)
WRAPPERS = [
    n for n in methods.names() if "inner" in {f.name for f in dataclasses.fields(methods.get(n))}
]
NAMES = methods.names() + [
    f"{w}+{n}" for w in WRAPPERS for n in methods.names() if n not in WRAPPERS
]
EVERY = pytest.mark.parametrize("name", NAMES)

SKETCH = 3 * 32 * 6 + 3 * 32
"""Scalars of one label discovery message: a table of 576 and 96 values."""
P, M, R = 16 * 3 + 3, 3, 4
"""Scalars of the model, clients of a cohort and rounds on the tiny task."""
C, OPEN = 3, 30
"""Classes and public samples of the tiny task."""
PROJECTED = (16 * 16 + 16) + (16 * 256 + 256) + (256 * C + C)
"""Scalars of the model with MOON's projection head."""

GENERATOR = ((32 + C) * 256 + 256) + 4 * 256 + (256 * 16 + 16)
"""Scalars of FedGen's generator with the statistics of its normalisation."""


def copies(down: int, up: int) -> Callable[[int], tuple[int, int]]:
    """So many models each way."""
    return lambda round: (down * P, up * P)


TRAFFIC: dict[str, Callable[[int], tuple[int, int]]] = {
    "dsfl": lambda round: (OPEN if round == 1 else OPEN * C + 2 * OPEN, OPEN * C),
    "dynafed": copies(1, 1),
    "fedavg": copies(1, 1),
    "feddf": copies(1, 1),
    "fedet": copies(1, 1),
    "fedftg": lambda round: (P, P + C),
    "fedgen": lambda round: (P + GENERATOR, P + C),
    "fedopt": copies(1, 1),
    "fedprox": copies(1, 1),
    "moon": lambda round: (PROJECTED, PROJECTED),
    "scaffold": copies(2, 2),
}
"""Scalars sent down and up by a client in a round, as the papers say; declare new methods here."""

SMALL: dict[str, dict[str, Any]] = {
    "dynafed": {
        "length": 3,
        "matching": Matching(images_per_class=1, outer_steps=4, inner_steps=2),
    },
    "feddf": {"distillation": replace(FedDF.distillation, steps=8)},
    "fedet": {"client_models": ("linear",), "distillation": Plan(steps=4, lr=0.1)},
    "fedftg": {"width": 4, "iterations": 3},
    "fedgen": {"generator_steps": 5},
}
"""Fields of methods whose published sizes take seconds a round or do not fit the tiny task."""


def make(name: str) -> Method:
    """The method with its defaults but for a plan and sizes that fit the tiny task."""
    outer, _, inner = name.partition("+")
    method = methods.get(outer)()
    fields = {field.name for field in dataclasses.fields(method)}
    changes: dict[str, Any] = {"plan": PLAN} if "plan" in fields else {}
    changes |= SMALL.get(outer, {})
    if outer in WRAPPERS:
        changes = {"inner": make(inner or "fedavg"), "pretrain": Plan(epochs=1, batch_size=8)}
    return dataclasses.replace(method, **changes)


def innermost(name: str) -> str:
    outer, _, inner = name.partition("+")
    return (inner or "fedavg") if outer in WRAPPERS else outer


def discoveries(name: str) -> int:
    """Label discovery visits all six clients before round 1, once."""
    return 6 if {Need.GENERATOR, Need.PUBLIC} & make(name).needs else 0


def same(a: Any, b: Any) -> None:
    """Two outcomes agree bit for bit in all but seconds."""
    assert a.untimed == b.untimed
    assert a.bits == b.bits
    assert {**a.cell.row(), "seconds": 0} == {**b.cell.row(), "seconds": 0}


@pytest.mark.parametrize("name", methods.names())
def test_is_a_frozen_value_in_a_module_of_its_name(name: str) -> None:
    kind = methods.get(name)
    method = make(name)
    assert kind.__module__.rpartition(".")[2] == name
    reference = methods.reference(name)
    assert reference.title
    assert reference.source
    assert 2016 <= reference.year <= 2030
    assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301
    assert hash(method) == hash(make(name))
    for field in [*(f.name for f in dataclasses.fields(method)), "something_new"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field, 1)


@pytest.mark.parametrize("name", methods.names())
def test_a_list_says_what_it_needs(name: str) -> None:
    (entry,) = [entry for entry in catalogue.entries("methods") if entry["name"] == name]
    assert all(need in str(entry["needs"]) for need in make(name).needs)


@pytest.fixture(scope="module")
def _ended() -> dict[str, Any]:
    return {}


@pytest.fixture
def straight(run_cell: RunCell, _ended: dict[str, Any]) -> Callable[[str], Any]:
    """Return what gives a method's undisturbed run of four rounds, which is made once.

    They go through every phase, DynaFed's synthesis and what follows it too.
    """

    def run(name: str) -> Any:
        if name not in _ended:
            _ended[name] = run_cell(make(name), rounds=R)
        return _ended[name]

    return run


Straight = Callable[[str], Any]


@EVERY
def test_rounds_run_and_change_a_finite_model(straight: Straight, name: str) -> None:
    outcome = straight(name)
    assert outcome.cell.ending.status == "finished"
    assert all(g.is_finite(tree) for tree in outcome.state.values())
    losses = [evaluation.loss for evaluation in outcome.cell.evaluations]
    assert len(losses) == R + 1
    assert len(set(losses)) == R + 1
    assert all(np.isfinite(losses))


@EVERY
def test_traffic_is_the_papers(straight: Straight, name: str) -> None:
    assert innermost(name) in TRAFFIC, "declare what the method sends"
    sent = TRAFFIC[innermost(name)]
    row = straight(name)
    events = row.cell.traffic
    sketches = SKETCH * discoveries(name)
    by_round = {
        (r, way): sum(e.scalars for e in events if (e.round, e.direction) == (r, way))
        for r in range(R + 1)
        for way in ("down", "up")
    }
    assert by_round == {
        (r, way): (sketches if way == "up" else 0) if r == 0 else M * scalars
        for r in range(R + 1)
        for way, scalars in zip(("down", "up"), sent(r), strict=True)
    }
    assert all(e.nbytes == 4 * e.scalars for e in events)
    totals = row.cell.row()
    assert totals["scalars_down"] == sum(M * sent(r)[0] for r in range(1, R + 1))
    assert totals["scalars_up"] == sum(M * sent(r)[1] for r in range(1, R + 1)) + sketches
    assert totals["bytes_up"] == 4 * totals["scalars_up"]


@EVERY
@pytest.mark.parametrize(
    "check",
    [
        testing.is_a_value,
        testing.keeps_off_global_randomness,
        testing.keeps_clients_apart,
        testing.changes_nothing_it_was_given,
        testing.starts_warm,
    ],
    ids=lambda check: check.__name__,
)
def test_the_shipped_checks_pass(
    check: Callable[[Method, Path], str], name: str, tmp_path: Path
) -> None:
    """What ``gptfl_bench.check_method`` asks of anybody's method, beside what follows here."""
    assert check(make(name), tmp_path) == ""


@EVERY
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_counting_messages_equals_encoding_them(
    run_cell: RunCell, monkeypatch: pytest.MonkeyPatch, name: str, secure: bool
) -> None:
    """Rows, events with their bytes, and tensors of server and clients."""
    if secure and Need.REPLIES in make(name).needs:
        pytest.skip("secure aggregation hides single replies")
    ended = []
    # The tiny task's tensors are copied when they are written, too, as large ones are.
    monkeypatch.setattr(g, "_LARGE", 0)
    for strict in ("1", "0"):
        monkeypatch.setenv(STRICT, strict)
        ended.append(run_cell(make(name), rounds=2, secure_aggregation=secure))
    assert any(event.wire_bytes > event.nbytes for event in ended[0].cell.traffic)
    same(*ended)


class Kill(Silent):
    """Ends the process, as far as the engine can tell, at the n-th news of a stage."""

    def __init__(self, at: int, stage: str = "") -> None:
        self.left, self.wanted = at, stage

    def stage(self, name: str, done: int, total: int) -> None:
        if self.wanted in ("", name):
            self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@EVERY
@pytest.mark.parametrize("client", [1, 2, 3], ids="client {}".format)
def test_resume_equals_a_straight_run(
    run_cell: RunCell, straight: Straight, tmp_path: Path, name: str, client: int
) -> None:
    """A kill in round 3, after some or all of its clients and before its checkpoint."""
    before = discoveries(name) + 2 * M
    with pytest.raises(KeyboardInterrupt):
        run_cell(
            make(name), rounds=R, out=tmp_path / "b", progress=Kill(before + client, "clients")
        )
    (events,) = (tmp_path / "b").glob("*/events.jsonl")
    with events.open("a") as log:
        log.write('{"event": "RoundAggreg')
    same(run_cell(make(name), rounds=R, out=tmp_path / "b"), straight(name))


@pytest.mark.parametrize("name", ["scaffold", "gptfl+scaffold"])
def test_a_kill_at_any_moment_costs_nothing(run_cell: RunCell, tmp_path: Path, name: str) -> None:
    straight = run_cell(make(name), rounds=2)
    moments = 0
    while True:
        out = tmp_path / f"kill-{moments}"
        try:
            run_cell(make(name), rounds=2, out=out, progress=Kill(moments + 1))
            break
        except KeyboardInterrupt:
            same(run_cell(make(name), rounds=2, out=out), straight)
        moments += 1
    # Two stages of rounds and three clients in each of two rounds; discovery and pre-training.
    assert moments >= 10 if name == "scaffold" else moments >= 18


@pytest.mark.parametrize("name", ["scaffold", "gptfl"])
def test_what_was_logged_after_the_last_checkpoint_is_cut_off(
    run_cell: RunCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A kill when round 2 is in the log and its client states on disk, but not its checkpoint."""
    straight = run_cell(make(name))
    write = Rounds.store

    def dies(self: Rounds, state: Groups, number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt
        write(self, state, number)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "store", dies)
        with pytest.raises(KeyboardInterrupt):
            run_cell(make(name), out=tmp_path / "b")
    same(run_cell(make(name), out=tmp_path / "b"), straight)


@pytest.fixture
def server_of(
    make_spec: Callable[..., Any], fake_generator: str, tmp_path: Path
) -> Callable[[Method], tuple[Server, Groups]]:
    """Return a maker of servers on the tiny task and the method's prepared state."""

    def build(method: Method) -> tuple[Server, Groups]:
        spec = make_spec(method)
        server = build_server(
            spec, build_world(spec), tmp_path, Artifacts(tmp_path), lambda event: None, Silent()
        )
        state = method.prepare(server)
        return replace(server, round=1), state

    return build


ServerOf = Callable[[Method], tuple[Server, Groups]]
Bits = Callable[[Groups], dict[tuple[str, str], object]]


@EVERY
def test_clients_cannot_change_the_servers_state_nor_see_what_was_not_sent(
    server_of: ServerOf, bits: Bits, name: str
) -> None:
    method = make(name)
    server, state = server_of(method)
    state["secret"] = {"key": torch.ones(3)}
    before = bits(state)
    arrived = []

    def vandal(received: Groups, client: Client) -> Groups:
        arrived.append(bits(received))
        with pytest.raises(KeyError):
            received["secret"]
        for tree in received.values():
            for tensor in tree.values():
                tensor.add_(1)
        return {}

    # The state itself is what a thoughtless method sends.
    server.federation.exchange(
        1, [0, 1, 2], lambda k: {**method.downlink(state, k), "model": state["model"]}, vandal
    )
    assert bits(state) == before
    assert arrived[0] == arrived[1] == arrived[2]
    assert "secret" not in method.downlink(state, 0)


@EVERY
def test_only_declared_methods_see_single_clients(straight: Straight, name: str) -> None:
    declared = Need.REPLIES in make(name).needs
    saw = straight(name).cell.row()["server_saw_clients"]
    assert saw is declared
    if name in methods.names():
        known = {row[0]: row[2] for row in catalogue.profiles()}
        assert known[name] is saw, "write what was observed into conf/observed.csv"


def test_methods_of_a_run_do_not_touch_each_other(
    tiny_task: Task, fake_generator: str, tmp_path: Path
) -> None:
    """Neither their order nor leaving some out changes a row."""
    # A head of the same shape as the tiny task's network has.
    heads: dict[str, Any] = {"methods.fedet.client_models": ["linear"]}

    def rows(asked: list[str]) -> dict[str, dict[str, Any]]:
        cache = tmp_path / "-".join(asked)
        frame = gptfl_bench.run(
            asked,
            tiny_task,
            seeds=[0],
            model="linear",
            cache=cache,
            rounds=2,
            num_clients=6,
            cohort_size=3,
            device="cpu",
            partition={"recipe": "group"},
            synthetic={"generator": "fake"},
            **heads,
        )
        kept: list[Any] = frame.rows.drop(columns="seconds").to_dict("records")
        return {row["method"]: row for row in kept}

    every = [*methods.names(), "gptfl+scaffold"]
    together = rows(every)
    assert list(together) == every
    assert {row["status"] for row in together.values()} == {"finished"}
    assert rows(every[::-1]) == together
    assert rows(["scaffold"]) == {"scaffold": together["scaffold"]}
    assert rows(["gptfl+scaffold"]) == {"gptfl+scaffold": together["gptfl+scaffold"]}
