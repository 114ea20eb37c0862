"""DynaFed: uniform FedAvg at first, then a synthesis that is transcribed here, and its traps."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gptfl_bench.architectures.network import models
from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.progress import Silent
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.dynafed import DynaFed
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts.augment import Augmentation
from gptfl_methods.parts.matching import Matching

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
PLAN = Plan(epochs=1, batch_size=4, lr=0.1)
MATCHING = Matching(images_per_class=2, outer_steps=5, inner_steps=3, step_size=0.5)
METHOD = DynaFed(plan=PLAN, length=3, matching=MATCHING, finetune=Plan(steps=0))


def test_is_uniform_fedavg_before_the_synthesis(run_cell: RunCell, bits: Bits) -> None:
    """And after it with no step of fine-tuning; with one, it differs from round L on."""
    settings = {"model": "cnn_small", "model_args": {"width": 2, "hidden": 4, "norm": "batch"}}
    expected = run_cell(FedAvg(plan=PLAN, weighting="uniform"), rounds=4, **settings)
    found = run_cell(METHOD, rounds=4, **settings)
    for group in ("model", "buffers"):
        assert bits({group: found.state[group]}) == bits({group: expected.state[group]})
    tuned = run_cell(
        dataclasses.replace(METHOD, finetune=Plan(epochs=2, lr=0.01, optimizer="adamw")),
        rounds=4,
        **settings,
    )
    losses, plain = ([e.loss for e in o.cell.evaluations] for o in (tuned, expected))
    assert losses[:3] == plain[:3]
    assert losses[3] != plain[3]
    assert tuned.cell.row()["server_saw_clients"] is False


def test_snapshots_are_the_global_models_and_no_views(
    server_for: Callable[..., Server], rounds: Callable[..., Groups]
) -> None:
    """The released code kept the live weights, so that all snapshots were the last one."""
    method = dataclasses.replace(METHOD, length=9)
    fedavg = FedAvg(plan=PLAN, weighting="uniform")
    course = [rounds(fedavg, server_for(fedavg), r)["model"]["head.weight"] for r in range(4)]
    state = rounds(method, server_for(method), 3)
    assert torch.equal(state["trajectory"]["head.weight"], torch.stack(course))
    assert not torch.equal(course[0], course[1])
    state["model"]["head.weight"].zero_()
    assert torch.equal(state["trajectory"]["head.weight"][-1], course[-1])


def test_synthesis_happens_once(
    server_for: Callable[..., Server], rounds: Callable[..., Groups], bits: Bits
) -> None:
    states = [rounds(METHOD, server_for(METHOD), r) for r in (1, 2, 4)]
    noise, made, later = (bits({"": state["synthetic"]}) for state in states)
    assert noise != made
    assert made == later
    assert [len(state["trajectory"]["head.weight"]) for state in states] == [2, 0, 0]
    assert states[1]["synthetic"]["x"].shape == (6, 1, 4, 4)
    assert states[1]["synthetic"]["y"].shape == (6, 3)


def course(length: int) -> Tree:
    """Models of a linear network that go one way, and wander a little."""
    rng = torch.Generator().manual_seed(3)
    shapes = {"head.bias": (3,), "head.weight": (3, 16)}
    tree = {}
    for name, shape in shapes.items():
        way = 0.1 * torch.randn(shape, generator=rng)
        steps = [i * way + 0.01 * torch.randn(shape, generator=rng) for i in range(length)]
        tree[name] = torch.stack(steps)
    return tree


def test_the_synthesis_is_the_papers() -> None:
    """A linear network in 64 bits with gradients of the inner loop written out by hand.

    With p = softmax(F theta) on features F of N images and q = softmax(Y), the loss's mean over
    classes, too, gives a gradient of (p - q)^T F / (N C).
    """
    matching = dataclasses.replace(MATCHING, augmentations=())
    past = course(6)
    start = matching.start((1, 4, 4), 3, torch_rng(1))
    made = matching.synthesise(models.get("linear")((1, 4, 4), 3), past, start, torch_rng(2))

    whole = torch.cat([past["head.weight"], past["head.bias"][:, :, None]], 2).double()
    x, y, a = (start[name].double().requires_grad_() for name in ("x", "y", "step"))
    adams = [torch.optim.Adam([t], lr) for t, lr in ((x, 0.05), (y, 0.01), (a, 1e-5))]
    rng = torch_rng(2)
    for _ in range(5):
        # L = 6: starts 0, 1, 2; two or three draws out of the three models after it.
        s = int(torch.randint(3, (), generator=rng))
        k = int(torch.randint(2, 4, (), generator=rng))
        target = whole[s + 1 + torch.randint(3, (k,), generator=rng)].mean(0)
        theta = whole[s]
        for _ in range(3):
            f = torch.cat([x.flatten(1), torch.ones(6, 1)], 1)
            theta = theta - a * ((f @ theta.T).softmax(1) - y.softmax(1)).T @ f / (6 * 3)
        loss = (theta - target).square().sum() / (whole[s] - target).square().sum()
        for adam in adams:
            adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for adam in adams:
            adam.step()
    for name, tensor in (("x", x), ("y", y), ("step", a)):
        torch.testing.assert_close(made[name].double(), tensor.detach(), atol=1e-5, rtol=0)
        assert (made[name] - start[name]).abs().max() > 4e-5


def test_the_outer_loss_on_a_quadratic(parabola: Callable[..., Server]) -> None:
    """The loss for class 0 is 1 + (w - x)^2 / 2, halved by the mean over two classes.

    So a step goes w - a (w - x) / 2. From w = 0 with x = 4 and a = 1, two steps end at 4 - 4 / 4
    = 3. The target is 2, so the outer loss is (3 - 2)^2 / (0 - 2)^2 = 1/4. With theta = x - x (1 -
    a/2)^2 it grows by 2 (3 - 2) / 4 = 1/2 a unit of theta, which is 3/4 a unit of x and x (1 - a/2)
    = 2 a unit of a: gradients of 3/8 and 1.
    """
    model = parabola([[4.0]]).new_model({})
    first, target = ({"w": torch.tensor([w])} for w in (0.0, 2.0))
    data = {
        "x": torch.tensor([[4.0]], requires_grad=True),
        "y": torch.tensor([[99.0, 0.0]]),
        "step": torch.tensor(1.0, requires_grad=True),
    }
    matching = Matching(inner_steps=2, augmentations=())
    loss = matching.outer_loss(model, first, target, data, torch_rng(0))
    assert loss.item() == pytest.approx(1 / 4)
    by_x, by_step = torch.autograd.grad(loss, [data["x"], data["step"]])
    assert by_x.item() == pytest.approx(3 / 8)
    assert by_step.item() == pytest.approx(1.0)


def test_images_lead_along_the_course() -> None:
    """From w_0 steps on the images get nearer to w_2 than steps on the noise they started as."""
    matching = Matching(
        images_per_class=4,
        outer_steps=150,
        inner_steps=5,
        lr_labels=0.1,
        step_size=2.0,
        augmentations=(),
    )
    past = course(4)
    model = models.get("linear")((1, 4, 4), 3)
    start = matching.start((1, 4, 4), 3, torch_rng(1))
    made = matching.synthesise(model, past, start, torch_rng(2))
    first, target = ({name: t[i] for name, t in past.items()} for i in (0, 2))

    def distance(data: Tree) -> float:
        reached = matching.train(model, first, data, torch_rng(3))
        left = g.squared_norm(g.subtract({n: t.detach() for n, t in reached.items()}, target))
        return left / g.squared_norm(g.subtract(first, target))

    assert distance(made) < 0.5 < distance(start)


def test_the_step_size_stays_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even labels pull the weights to zero, against the course, and ask for steps backwards."""
    matching = Matching(
        images_per_class=2, outer_steps=1, lr_step=10.0, lr_images=0.0, lr_labels=0.0
    )
    start = matching.start((1, 4, 4), 3, torch_rng(1))

    def step(seed: int) -> float:
        model = models.get("linear")((1, 4, 4), 3)
        made = matching.synthesise(model, course(5), start, torch_rng(seed))
        assert torch.equal(made["x"], start["x"])
        return made["step"].item()

    assert min(step(seed) for seed in range(4)) > 0
    monkeypatch.setattr("gptfl_methods.parts.matching._LEAST_STEP", -1e9)
    assert min(step(seed) for seed in range(4)) < 0


class Kill(Silent):
    """Ends the process, as far as the engine can tell, after a round."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "rounds" and done == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3], ids="round {}".format)
def test_a_resumed_run_is_near_the_straight_one(
    run_cell: RunCell, tmp_path: Path, after: int
) -> None:
    """Killed before and after the synthesis of round 2; second derivatives may differ by rounding.

    They have been bit for bit the same on CPUs tried so far, which the conformance tests ask for.
    """
    method = dataclasses.replace(METHOD, finetune=Plan(epochs=2, lr=1e-3, optimizer="adamw"))
    straight = run_cell(method, rounds=4)
    with pytest.raises(KeyboardInterrupt):
        run_cell(method, rounds=4, out=tmp_path / "b", progress=Kill(after))
    again = run_cell(method, rounds=4, out=tmp_path / "b")
    assert again.cell.ending.status == "finished"
    for group, tree in straight.state.items():
        for name, tensor in tree.items():
            torch.testing.assert_close(again.state[group][name], tensor, atol=1e-5, rtol=0)


def test_refuses_what_it_cannot_differentiate(
    server_for: Callable[..., Server], run_cell: RunCell
) -> None:
    """Weights of the linear network: 3 inner steps * 4 bytes * (5 * 51 + images * outputs)."""
    small = dataclasses.replace(METHOD, memory_limit_gib=1e-6)
    with pytest.raises(Refusal, match=r"memory_limit_gib=1e-06; choose a smaller model"):
        small.prepare(server_for(small))
    assert run_cell(small).cell.ending.status == "refused"
    # Outputs of the layers: 16 by the flattening one, 3 by the head, for each of 6 images.
    gib = MATCHING.memory(models.get("linear")((1, 4, 4), 3), torch.zeros(6, 1, 4, 4))
    assert gib * 2**30 == pytest.approx(3 * 4 * (5 * 51 + 6 * 19))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (DynaFed, "length", 1),
        (DynaFed, "memory_limit_gib", 0.0),
        (Matching, "step_size", 0.0),
        (Matching, "inner_steps", 0),
        (Matching, "lr_images", -1.0),
        (Matching, "augmentations", ("blur",)),
    ],
)
def test_refuses_values_outside_their_range(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        kind(**{field: value})


def image() -> Tensor:
    return torch.arange(1.0, 129.0).reshape(2, 1, 8, 8).requires_grad_()


@pytest.mark.parametrize("family", ["color", "crop", "cutout", "flip", "rotate", "scale"])
def test_augmentations_let_gradients_through_and_are_addressed(family: str) -> None:
    x, augment = image(), Augmentation((family,))
    first, second = (augment(x, torch_rng(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == x.shape
    assert any(not torch.allclose(augment(x, torch_rng(n)), x) for n in range(4))
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert gradient.abs().sum() > 0
    assert augment(x) is x


def test_augmentations_do_what_they_are_called() -> None:
    x = image().detach()
    flips = [Augmentation(("flip",))(x, torch_rng(n)) for n in range(8)]
    for one in torch.cat(flips):
        original = x[0] if one.min() < 65 else x[1]
        kept, mirrored = (torch.allclose(one, o) for o in (original, original.flip(2)))
        assert kept or mirrored
    for n in range(8):
        holes = Augmentation(("cutout",))(x, torch_rng(n)) == 0
        rows, columns = holes.any(3).sum(2), holes.any(2).sum(2)
        assert torch.equal(holes.sum((1, 2, 3)), (rows * columns)[:, 0])
        assert 2 <= int(rows.min()) <= int(rows.max()) <= 4
        moved = Augmentation(("crop",))(x, torch_rng(n))[0, 0]
        shifts = {(i, j): x[0, 0].roll((i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        assert any(torch.allclose(moved[1:7, 1:7], s[1:7, 1:7], atol=1e-3) for s in shifts.values())


def test_its_images_are_kept_once_they_are_trained(run_cell: RunCell) -> None:
    """The paper's Figure 6 shows them; a class is what an image's trained label says most."""
    assert not (run_cell(METHOD, rounds=1).cell.folder / "pictures").exists()
    outcome = run_cell(METHOD, rounds=2)
    classes = sorted(set(outcome.state["synthetic"]["y"].argmax(1).tolist()))
    kept = sorted(path.name for path in (outcome.cell.folder / "pictures").iterdir())
    assert kept == [
        *(f"{number:03}.png" for number in classes),
        "checksums.json",
        "classes.json",
    ]
