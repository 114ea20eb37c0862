"""FedGen: equal to FedAvg without its terms, and to a plain transcription of its code with them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedgen import FedGen
from gptfl_methods.parts.feature_generator import FeatureGenerator, label_weights, no_moments, train
from gptfl_methods.parts.server_generator import diversity_loss, fresh

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SEED, CLASSES, BATCH, LR, MADE = 5, 3, 4, 0.2, 8
PLAN = Plan(epochs=2, batch_size=BATCH, lr=LR)
SMALL: dict[str, Any] = {
    "plan": PLAN,
    "noise": 5,
    "hidden": 7,
    "batch_size": MADE,
    "generator_steps": 6,
    "generator_lr": 0.02,
    "guided_steps": 3,
    "alpha": 0.7,
    "beta": 0.4,
}


@pytest.mark.parametrize("model", ["linear", "cnn_small"])
def test_is_fedavg_without_its_terms(run_cell: RunCell, bits: Bits, model: str) -> None:
    args = {"norm": "batch", "width": 2, "hidden": 4} if model == "cnn_small" else {}
    keywords = {"model": model, "model_args": args}
    expected = run_cell(FedAvg(plan=PLAN), **keywords)
    for changes in ({"alpha": 0.0, "beta": 0.0}, {"guided_steps": 0}):
        found = run_cell(FedGen(**{**SMALL, **changes}), **keywords)
        for group in ("model", "buffers"):
            assert bits({"": found.state.get(group, {})}) == bits(
                {"": expected.state.get(group, {})}
            )


def test_the_terms_start_in_round_two(run_cell: RunCell, bits: Bits) -> None:
    for rounds, equal in ((1, True), (2, False)):
        expected = run_cell(FedAvg(plan=PLAN), rounds=rounds)
        for off in ({}, {"alpha": 0.0}, {"beta": 0.0}):
            found = run_cell(FedGen(**{**SMALL, **off}), rounds=rounds)
            assert (
                bits({"": found.state["model"]}) == bits({"": expected.state["model"]})
            ) is equal


@pytest.mark.parametrize(
    ("noise", "hidden", "classes", "features", "scalars"),
    [(32, 256, 10, 32, 19_744), (32, 256, 26, 32, 23_840), (64, 512, 10, 2048, 1_090_048)],
    ids=["MNIST", "EMNIST", "CIFAR with 2,048 features"],
)
def test_generator_has_the_published_size(
    noise: int, hidden: int, classes: int, features: int, scalars: int
) -> None:
    generator = FeatureGenerator(noise, hidden, classes, features)
    assert sum(weight.numel() for weight in generator.parameters()) == scalars


def test_diversity() -> None:
    """Two samples: squared noise distance 1, mean distance (2 + 4) / 2 = 3; two of four pairs.

    exp(-(3 + 3) / 4) = exp(-1.5); equal samples give exp(0) = 1, whatever the noise.
    """
    noise = torch.tensor([[0.0], [1.0]])
    apart = torch.tensor([[[0.0, 0.0]], [[2.0, 4.0]]])
    assert diversity_loss(noise, apart).item() == pytest.approx(math.exp(-1.5), rel=1e-6)
    assert diversity_loss(noise, torch.ones(2, 3)).item() == 1.0


class Recorder(FeatureGenerator):
    """Remembers the labels it was asked for."""

    def sample(self, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        self.asked = [*getattr(self, "asked", []), *y.tolist()]
        return super().sample(y, rng)


def test_label_weights_by_hand() -> None:
    """Client 0 drew label 0 three times, client 1 once: (1 + 3) / (4 + 2) and (1 + 1) / 6.

    Label 1 was drawn by client 1 alone, five times: 1 / 7 and 6 / 7. Nobody drew label 2, whose
    weights are equal, for counts start at one.
    """
    weights = label_weights(torch.tensor([[3, 0, 0], [1, 5, 0]]))
    expected = torch.tensor([[4 / 6, 1 / 7, 1 / 2], [2 / 6, 6 / 7, 1 / 2]])
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(weights.sum(0), torch.ones(3))


def test_only_drawn_labels_are_made() -> None:
    generator = fresh(lambda: Recorder(2, 4, 4, 3), 0)
    drawn = torch.tensor([[3, 0, 1, 0], [0, 0, 2, 0]], dtype=torch.int32)
    heads = [torch.nn.Linear(3, 4) for _ in drawn]
    moments = train(
        generator,
        no_moments(generator),
        heads,
        drawn,
        steps=5,
        batch_size=8,
        lr=0.1,
        rng=torch.Generator().manual_seed(0),
    )
    assert len(generator.asked) == 40
    assert set(generator.asked) == {0, 2}
    assert {moments[name].item() for name in moments if name.endswith(".step")} == {5.0}


def test_counts_are_of_what_was_drawn(run_cell: RunCell) -> None:
    """Two passes draw every sample twice; three steps of four draw twelve, from larger clients."""
    seen: dict[int, Tensor] = {}

    @dataclasses.dataclass(frozen=True)
    class Spied(FedGen):
        def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
            for client, reply in zip(cohort.clients, cohort.replies, strict=True):
                held = torch.bincount(server.federation.clients[client].labels, minlength=3)
                seen[client] = reply["labels"]["drawn"]
                if self.plan.steps is None:
                    assert torch.equal(seen[client], 2 * held.int())
            return super().aggregate(state, cohort, server)

    run_cell(Spied(**SMALL), rounds=1, cohort_size=6)
    assert len(seen) == 6
    run_cell(Spied(**{**SMALL, "plan": Plan(steps=3, batch_size=4)}), rounds=1, cohort_size=6)
    assert seen[5].sum().item() == 12


def test_nothing_drawn_leaves_the_generator_alone(run_cell: RunCell, bits: Bits) -> None:
    idle = {**SMALL, "plan": Plan(steps=0)}
    before, after = (run_cell(FedGen(**idle), rounds=rounds).state for rounds in (0, 2))
    for group in ("model", "generator", "generator_adam"):
        assert bits({"": before[group]}) == bits({"": after[group]})


def make_features(tree: Tree, noise: Tensor, y: Tensor, training: bool) -> Tensor:
    """The generator by its formulas; in training it moves its statistics in place."""
    x = torch.cat([noise, F.one_hot(y, CLASSES).float()], 1)
    h = x @ tree["layers.0.weight"].T + tree["layers.0.bias"]
    mean, var = tree["layers.1.running_mean"], tree["layers.1.running_var"]
    if training:
        now, n = h.detach(), len(h)
        mean.mul_(0.9).add_(0.1 * now.mean(0))
        var.mul_(0.9).add_(0.1 * now.var(0, correction=0) * n / (n - 1))
        mean, var = h.mean(0), h.var(0, correction=0)
    h = (h - mean) / (var + 1e-5).sqrt() * tree["layers.1.weight"] + tree["layers.1.bias"]
    return h.relu() @ tree["layers.3.weight"].T + tree["layers.3.bias"]


def transcription(start: Groups, task: Task, rounds: int) -> tuple[Tensor, Tensor, Tree]:
    """The authors' loop on a linear model: head, bias and generator after so many rounds."""
    w, b = start["model"]["head.weight"].clone(), start["model"]["head.bias"].clone()
    tree = {name: tensor.clone() for name, tensor in start["generator"].items()}
    learned = [name for name in tree if "running" not in name and "tracked" not in name]
    first = {name: torch.zeros_like(tree[name]) for name in learned}
    second = {name: torch.zeros_like(tree[name]) for name in learned}
    x = task.train.x.reshape(60, 16)
    for t in range(rounds):
        order = torch.randperm(6, generator=torch_rng(SEED, "cohort", "round", t + 1))
        locals_, counts, sizes = [], [], []
        for k in sorted(order[:3].tolist()):
            rows = torch.tensor(
                [i for i, author in enumerate(task.groups or ()) if author[-1] == str(k)]
            )
            batches = torch_rng(SEED, "batches", "round", t + 1, "client", k)
            made = torch_rng(SEED, "generated", "round", t + 1, "client", k)
            wk, bk = w.clone().requires_grad_(), b.clone().requires_grad_()
            count, step = torch.ones(CLASSES), 0
            for _ in range(2):
                for chosen in torch.split(torch.randperm(len(rows), generator=batches), BATCH):
                    xs, y = x[rows[chosen]], task.train.y[rows[chosen]]
                    count += F.one_hot(y, CLASSES).sum(0)
                    log_p = (xs @ wk.T + bk).log_softmax(1)
                    loss = -log_p[range(len(y)), y].mean()
                    if t > 0 and step < 3:
                        any_y = torch.randint(CLASSES, (MADE,), generator=made)
                        z = make_features(tree, torch.rand(len(y), 5, generator=made), y, False)
                        p = (z @ wk.T + bk).softmax(1).detach()
                        kl = (p * (p.log() - log_p)).sum(1).mean()
                        z = make_features(tree, torch.rand(MADE, 5, generator=made), any_y, False)
                        ce = -(z @ wk.T + bk).log_softmax(1)[range(MADE), any_y].mean()
                        decay = 0.98**t
                        loss = loss + MADE / BATCH * max(1e-4, 0.7 * decay) * ce
                        loss = loss + max(1e-4, 0.4 * decay) * kl
                    grads = torch.autograd.grad(loss, [wk, bk])
                    with torch.no_grad():
                        wk -= LR * grads[0]
                        bk -= LR * grads[1]
                    step += 1
            locals_.append((wk.detach(), bk.detach()))
            counts.append(count)
            sizes.append(len(rows))
        table = torch.stack(counts)
        share, qualified = (
            table / table.sum(0),
            [c for c in range(CLASSES) if table[:, c].max() > 1],
        )
        rng = torch_rng(SEED, "server", "generator", "round", t + 1)
        for step in range(6):
            y = torch.tensor(qualified)[torch.randint(len(qualified), (MADE,), generator=rng)]
            noise = torch.rand(MADE, 5, generator=rng)
            own = {n: tree[n].detach().requires_grad_() if n in learned else tree[n] for n in tree}
            z = make_features(own, noise, y, True)
            loss = torch.zeros(())
            for k, (wk, bk) in enumerate(locals_):
                log_p = (z @ wk.T + bk).log_softmax(1)
                loss = loss - (share[k, y] * log_p[range(MADE), y]).mean()
            pairs = [
                (noise[i] - noise[j]).square().mean() * (z[i] - z[j]).abs().mean()
                for i in range(MADE)
                for j in range(MADE)
            ]
            loss = loss + torch.exp(-torch.stack(pairs).mean())
            grads = torch.autograd.grad(loss, [own[n] for n in learned])
            number = 6 * t + step + 1
            for name, grad in zip(learned, grads, strict=True):
                grad = grad + 1e-2 * tree[name]
                first[name] = 0.9 * first[name] + 0.1 * grad
                second[name] = 0.999 * second[name] + 0.001 * grad**2
                m, v = first[name] / (1 - 0.9**number), second[name] / (1 - 0.999**number)
                tree[name] = tree[name] - 0.02 * 0.98**t * m / (v.sqrt() + 1e-8)
        shares = [size / sum(sizes) for size in sizes]
        w = torch.stack([s * wk for s, (wk, _) in zip(shares, locals_, strict=True)]).sum(0)
        b = torch.stack([s * bk for s, (_, bk) in zip(shares, locals_, strict=True)]).sum(0)
    return w, b, tree


class ForgetsAdam(FedGen):
    """The generator's optimizer is made anew in each round."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        blank = g.zeros_like(state["generator_adam"])
        return super().aggregate({**state, "generator_adam": blank}, cohort, server)


class AveragesFirst(FedGen):
    """The generator learns from the average instead of the clients' models."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        mean = {**cohort.replies[0], "delta": cohort.mean("delta")}
        alike = Cohort(cohort.clients, cohort.examples, _sums=cohort._sums)
        alike._replies = [{**mean, "labels": reply["labels"]} for reply in cohort.replies]
        return super().aggregate(state, alike, server)


class CountsHeads(FedGen):
    """All clients weigh alike for every label."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        reply = super().client_update(received, client)
        return {**reply, "labels": {"drawn": torch.ones(CLASSES, dtype=torch.int32)}}


class GuidesEveryStep(FedGen):
    """The terms stay for the whole local training."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        return FedGen.client_update(dataclasses.replace(self, guided_steps=1000), received, client)


def test_three_rounds_are_the_transcription(run_cell: RunCell, tiny_task: Task) -> None:
    start = run_cell(FedGen(**SMALL), seed=SEED, rounds=0).state
    w, b, tree = transcription(start, tiny_task, 3)

    def gaps(method: FedGen) -> list[float]:
        state = run_cell(method, seed=SEED, rounds=3).state
        found = [state["model"]["head.weight"] - w, state["model"]["head.bias"] - b]
        # Normalisation takes the first bias out again, so that nothing but rounding, which hangs on
        # the processor, and weight decay moves it: Adam makes that as large as any other gradient.
        names = [name for name in tree if "tracked" not in name and name != "layers.0.bias"]
        found += [state["generator"][name] - tree[name] for name in names]
        return [gap.abs().max().item() for gap in found]

    assert max(gaps(FedGen(**SMALL))) < 1e-5
    for wrong in (ForgetsAdam, AveragesFirst, CountsHeads, GuidesEveryStep):
        assert max(gaps(wrong(**SMALL))) > 1e-4, wrong.__doc__


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", -1.0),
        ("beta", math.nan),
        ("guided_steps", -1),
        ("noise", 0),
        ("hidden", 0),
        ("batch_size", 1),
        ("generator_steps", -1),
        ("generator_lr", 0.0),
    ],
)
def test_refuses_values_outside_their_range(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field}={value} must be"):
        FedGen(**{field: value})
