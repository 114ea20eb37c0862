"""FedFTG: FedAvg without iterations, a plain transcription of its code with them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedftg import FedFtg
from gptfl_methods.parts.image_generator import ImageGenerator, sample_labels
from gptfl_methods.parts.server_generator import kept

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SEED, CLASSES = 5, 3
PLAN = Plan(epochs=2, batch_size=4, lr=0.1)
STUDENT = Plan(steps=3, batch_size=10, lr=0.5, weight_decay=1e-2, round_decay=0.9)
SMALL: dict[str, Any] = {
    "plan": PLAN,
    "student": STUDENT,
    "iterations": 2,
    "passes": 2,
    "noise": 5,
    "width": 3,
    "label_weight": 0.8,
    "diversity_weight": 0.6,
}


@pytest.mark.parametrize("model", ["linear", "cnn_small"])
def test_is_fedavg_without_iterations(run_cell: RunCell, bits: Bits, model: str) -> None:
    args = {"norm": "batch", "width": 2, "hidden": 4} if model == "cnn_small" else {}
    keywords = {"model": model, "model_args": args}
    expected = run_cell(FedAvg(plan=PLAN), **keywords)
    found = run_cell(FedFtg(**{**SMALL, "iterations": 0}), **keywords)
    for group in ("model", "buffers"):
        assert bits({"": found.state.get(group, {})}) == bits({"": expected.state.get(group, {})})
    tuned = run_cell(FedFtg(**SMALL), **keywords)
    assert bits({"": tuned.state["model"]}) != bits({"": expected.state["model"]})


def test_statistics_that_do_not_travel_stay_the_servers(run_cell: RunCell, bits: Bits) -> None:
    """The student's passes over made images must not leak into untouched statistics."""
    keywords = {"model": "cnn_small", "model_args": {"norm": "batch", "width": 2, "hidden": 4}}
    for policy, equal in (("none", True), ("mean", False)):
        before, after = (
            run_cell(FedFtg(**SMALL), rounds=rounds, buffers=policy, **keywords).state["buffers"]
            for rounds in (0, 1)
        )
        assert (bits({"": before}) == bits({"": after})) is equal


@pytest.mark.parametrize(
    ("noise", "classes", "scalars"), [(100, 10, 682_499), (256, 100, 1_690_115)]
)
def test_generator_has_the_published_size(noise: int, classes: int, scalars: int) -> None:
    generator = ImageGenerator(noise, 64, classes, (3, 32, 32))
    assert sum(weight.numel() for weight in generator.parameters()) == scalars


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 5, 7), (1, 3, 1)])
def test_images_have_the_tasks_shape(shape: tuple[int, ...]) -> None:
    x = ImageGenerator(4, 2, 3, shape)(torch.randn(6, 4), torch.arange(6) % 3)
    assert x.shape == (6, *shape)
    # Without its own scale and shift the last normalisation leaves mean 0.
    assert x.mean((0, 2, 3)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("counts", "number", "expected"),
    [([1, 0, 3], 8, [2, 0, 6]), ([1, 2, 0], 50, [16, 34, 0]), ([5, 5, 5], 10, [3, 3, 4])],
)
def test_labels_follow_the_cohorts(counts: list[int], number: int, expected: list[int]) -> None:
    """Cuts at the floor of the running share: 50 / 3 = 16.7 gives 16 of the first class."""
    labels = sample_labels(torch.tensor(counts), number, torch.Generator().manual_seed(0))
    assert torch.bincount(labels, minlength=3).tolist() == expected
    assert labels.tolist() != sorted(labels.tolist())


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    st.integers(0, 60),
    st.integers(0, 9),
)
def test_labels_nobody_holds_are_not_made(counts: list[int], number: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    found = torch.bincount(sample_labels(torch.tensor(counts), number, rng), minlength=len(counts))
    assert found.sum() == number
    for made, held in zip(found.tolist(), counts, strict=True):
        assert abs(made - number * held / sum(counts)) < 1
        assert made == 0 or held > 0


class MeanOfWeights(FedFtg):
    """The released code: the batch's mean cross-entropy times its mean weight."""

    def _pull(self, student: Tensor, teacher: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        gap = (student - teacher.detach()).abs().mean(1)
        return (
            self.label_weight * F.cross_entropy(teacher, y) * weight.mean() - (weight * gap).mean()
        )


class ClosesTheGap(FedFtg):
    """The generator makes what student and teacher agree on."""

    def _pull(self, student: Tensor, teacher: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        right = F.cross_entropy(teacher, y, reduction="none")
        gap = (student - teacher.detach()).abs().mean(1)
        return (weight * (self.label_weight * right + gap)).mean()


class GapThroughBoth(FedFtg):
    """The gap is widened through the teacher's logits too."""

    def _pull(self, student: Tensor, teacher: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        right = F.cross_entropy(teacher, y, reduction="none")
        gap = (student - teacher).abs().mean(1)
        return (weight * (self.label_weight * right - gap)).mean()


class ClientsAlike(FedFtg):
    """Clients weigh alike for every class."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        held = cohort.mean("labels", "uniform")
        cohort._replies = [{**reply, "labels": held} for reply in cohort.replies]
        return super().aggregate(state, cohort, server)


class ForgetsTheGenerator(FedFtg):
    """The generator starts anew in each round."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        blank = self.prepare(server)["generator"]
        return super().aggregate({**state, "generator": blank}, cohort, server)


def test_the_generators_loss() -> None:
    """Two samples of class 0, uniform teacher: cross-entropy ln 2 and gaps 1/2 and 3/2.

    With weights 1 and 1/2: (1 * (0.8 ln 2 - 1/2) + 1/2 * (0.8 ln 2 - 3/2)) / 2.
    The second sample's teacher is [ln 3, 0]: its cross-entropy is -ln(3/4).
    """
    method, y, weight = FedFtg(**SMALL), torch.zeros(2, dtype=torch.int64), torch.tensor([1.0, 0.5])
    student = torch.tensor([[1.0, 0.0], [math.log(3) + 1, 2.0]])
    teacher = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    expected = (0.8 * math.log(2) - 0.5 + 0.5 * (-0.8 * math.log(0.75) - 1.5)) / 2
    assert method._pull(student, teacher, y, weight).item() == pytest.approx(expected, rel=1e-6)
    wrong = MeanOfWeights(**SMALL)._pull(student, teacher, y, weight).item()
    assert wrong != pytest.approx(expected, rel=1e-2)


class PlainGenerator(nn.Module):
    """Without layers whose bias the next normalisation removes.

    The true gradient of such a bias is 0, and Adam's first step makes a whole step of its rounding.
    """

    def __init__(self, noise: int, width: int, num_classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.layer = shape, nn.Linear(noise + num_classes, math.prod(shape))
        self.last = nn.BatchNorm2d(shape[0], affine=False)

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        flat = self.layer(torch.cat([noise, F.one_hot(y, CLASSES).float()], 1)).tanh()
        made: Tensor = self.last(flat.reshape(len(y), *self.shape))
        return made


def transcription(start: Groups, method: FedFtg, task: Task, rounds: int) -> tuple[Tensor, Groups]:
    """The authors' loop on a linear model: its head after so many rounds, and the generator."""
    shape = tuple(task.train.x.shape[1:])
    generator = PlainGenerator(method.noise, method.width, CLASSES, shape)
    generator.load_state_dict(start["generator"])
    student = nn.Linear(16, CLASSES)
    with torch.no_grad():
        student.weight.copy_(start["model"]["head.weight"])
        student.bias.copy_(start["model"]["head.bias"])
    x, authors = task.train.x.reshape(60, 16), task.groups or ()
    for t in range(rounds):
        order = torch.randperm(6, generator=torch_rng(SEED, "cohort", "round", t + 1))
        clients, counts = [], []
        for k in sorted(order[:3].tolist()):
            rows = torch.tensor([i for i, author in enumerate(authors) if author[-1] == str(k)])
            batches = torch_rng(SEED, "batches", "round", t + 1, "client", k)
            client = nn.Linear(16, CLASSES)
            client.load_state_dict(student.state_dict())
            sgd = torch.optim.SGD(client.parameters(), PLAN.lr)
            for _ in range(PLAN.epochs):
                for chosen in torch.split(torch.randperm(len(rows), generator=batches), 4):
                    sgd.zero_grad()
                    loss = F.cross_entropy(client(x[rows[chosen]]), task.train.y[rows[chosen]])
                    loss.backward()  # type: ignore[no-untyped-call]
                    sgd.step()
            clients.append(client.requires_grad_(False))
            counts.append(F.one_hot(task.train.y[rows], CLASSES).sum(0))
        table = torch.stack(counts)
        share = table / (table.sum(0) + 1e-6)
        sizes = table.sum(1) / table.sum()
        with torch.no_grad():
            for name, weight in student.named_parameters():
                parts = [s * c.get_parameter(name) for s, c in zip(sizes, clients, strict=True)]
                weight.copy_(torch.stack(parts).sum(0))
        rng = torch_rng(SEED, "server", "generator", "round", t + 1)
        adam = torch.optim.Adam(generator.parameters(), method.generator_lr * 0.998**t)
        rate = STUDENT.lr * STUDENT.round_decay**t
        sgd = torch.optim.SGD(student.parameters(), rate, weight_decay=STUDENT.weight_decay)
        number = 10 * method.iterations
        cuts = (table.sum(0).cumsum(0) / table.sum() * number).int().tolist()
        laid = [sum(i >= cut for cut in cuts[:-1]) for i in range(number)]
        labels = torch.tensor(laid)[torch.randperm(number, generator=rng)]
        for y in torch.split(labels, 10):
            z = torch.randn(10, method.noise, generator=rng)
            for _ in range(method.passes):
                for k, client in enumerate(clients):
                    made = generator.train()(z, y)
                    flat = made.flatten(1)
                    ours, theirs = student(flat), client(flat)
                    loss = torch.zeros(())
                    for i in range(10):
                        gap = (ours[i] - theirs[i].detach()).abs().mean()
                        right = -theirs[i].log_softmax(0)[y[i]]
                        a = share[k, y[i]]
                        loss = loss + (-a * gap + method.label_weight * a * right) / 10
                    apart = (z[:, None] - z).square().mean(2)
                    apart = apart * (flat[:, None] - flat).abs().mean(2)
                    loss = loss + method.diversity_weight * torch.exp(-apart.mean()) / 3
                    adam.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    adam.step()
            made = generator.eval()(z, y).detach().flatten(1)
            for _ in range(3):
                merged = sum(
                    share[k, y][:, None] * client(made).softmax(1)
                    for k, client in enumerate(clients)
                )
                sgd.zero_grad()
                loss = torch.mean(-student(made).log_softmax(1) * merged)
                loss.backward()  # type: ignore[no-untyped-call]
                sgd.step()
                # What a new batch's order would be drawn from.
                torch.randperm(10, generator=rng)
    return torch.cat([student.weight, student.bias[:, None]], 1).detach(), {"": kept(generator)}


def test_three_rounds_are_the_transcription(
    run_cell: RunCell, tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptfl_methods.fedftg.ImageGenerator", PlainGenerator)
    start = run_cell(FedFtg(**SMALL), seed=SEED, rounds=0).state
    head, generator = transcription(start, FedFtg(**SMALL), tiny_task, 3)

    def gap(method: FedFtg) -> tuple[float, float]:
        state = run_cell(method, seed=SEED, rounds=3).state
        model = state["model"]
        found = torch.cat([model["head.weight"], model["head.bias"][:, None]], 1)
        apart = g.subtract(state["generator"], generator[""])
        return (found - head).abs().max().item(), max(d.abs().max().item() for d in apart.values())

    assert max(gap(FedFtg(**SMALL))) < 1e-5
    wrong = (MeanOfWeights, ClosesTheGap, GapThroughBoth, ClientsAlike, ForgetsTheGenerator)
    for kind in wrong:
        assert max(gap(kind(**SMALL))) > 1e-3, kind.__doc__
    undecayed = dataclasses.replace(STUDENT, round_decay=1.0)
    assert gap(FedFtg(**{**SMALL, "student": undecayed}))[0] > 1e-4


def test_clients_send_what_they_hold(run_cell: RunCell, tiny_task: Task) -> None:
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Spied(FedFtg):
        def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
            seen.append(torch.stack([reply["labels"]["held"] for reply in cohort.replies]))
            return super().aggregate(state, cohort, server)

    run_cell(Spied(**SMALL), rounds=2, cohort_size=6)
    assert torch.equal(seen[0], seen[1])
    assert seen[0].sum(1).tolist() == [3, 5, 8, 11, 14, 19]
    assert seen[0].sum(0).tolist() == torch.bincount(tiny_task.train.y).tolist()


def test_refuses_samples_that_are_no_images(run_cell: RunCell, tiny_task: Task) -> None:
    """Its generator makes channels, height and width; no option lifts that."""

    def flat(samples: Samples) -> Samples:
        return Samples(samples.x.flatten(1), samples.y)

    task = dataclasses.replace(tiny_task, train=flat(tiny_task.train), test=flat(tiny_task.test))
    for lifted in (False, True):
        ending = run_cell(FedFtg(**SMALL), task=task, lift_conventions=lifted).cell.ending
        assert ending.status == "refused"
        assert "not of shape (16,)" in ending.reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", -1),
        ("passes", -1),
        ("noise", 0),
        ("width", 0),
        ("label_weight", -1.0),
        ("diversity_weight", math.nan),
        ("generator_lr", 0.0),
    ],
)
def test_refuses_values_outside_their_range(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field}={value} must be"):
        FedFtg(**{field: value})
