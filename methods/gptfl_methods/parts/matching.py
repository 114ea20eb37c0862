"""Trajectory matching: images that train a network along a course it once took.

Cazenavette, Wang, Torralba, Efros, Zhu, "Dataset Distillation by Matching Training Trajectories",
CVPR 2022, arXiv 2203.11932, in the form DynaFed gives it (arXiv 2211.10878). A trajectory holds
models w_0 .. w_{L-1} of one network; minimised over images X, label logits Y and step size a is

    ||theta - w'||^2 / ||w_s - w'||^2

with s drawn, w' the mean of two or three draws from the models right after w_s, and theta what some
steps theta <- theta - a * grad of the soft-label loss on all of A(X) lead to from w_s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gptfl_bench.core.device import bring
from gptfl_bench.core.groups import Tree
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_methods.parts.augment import Augmentation

_LEAST_STEP = 1e-6
_TINY = 1e-30
_HORIZON = 3
"""How far after w_s the models of a target lie at most."""
_LATEST_START = 50
_WEIGHT_COPIES, _OUTPUT_COPIES = 5, 1
"""What an inner step keeps for second derivatives; measured on convolutional networks, CPU."""


@dataclass(frozen=True)
class Matching:
    """How images are made from a trajectory.

    The defaults take a quarter of a minute of a CPU on ``digits``; DynaFed has 15 images a class
    and 3,000 outer steps.

    Attributes:
        images_per_class: Images, as a multiple of the number of classes C.
        outer_steps: Steps of Adam on images, labels and step size.
        inner_steps: Steps of theta.
        lr_images: Step size of Adam on X.
        lr_labels: Step size of Adam on Y.
        lr_step: Step size of Adam on a, which never falls below a small bound.
        step_size: a at the start.
        augmentations: Families one is drawn from in each inner step: ``color``, ``crop``,
            ``cutout``, ``flip``, ``rotate``, ``scale``. Mirroring makes another thing of a digit,
            so ``flip`` is for photographs.
    """

    images_per_class: int = 5
    outer_steps: int = 150
    inner_steps: int = 20
    lr_images: float = 0.05
    lr_labels: float = 0.01
    lr_step: float = 1e-5
    step_size: float = 0.04
    augmentations: tuple[str, ...] = ("color", "crop", "cutout", "rotate", "scale")

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        at_least(self, {"images_per_class": 1, "outer_steps": 0, "inner_steps": 1})
        at_least(self, {"lr_images": 0, "lr_labels": 0, "lr_step": 0})
        above_zero(self, "step_size")
        Augmentation(self.augmentations)

    def start(self, shape: tuple[int, ...], num_classes: int, rng: torch.Generator) -> Tree:
        """Return noise ``x`` (N, *shape), even label logits ``y`` (N, C) and the ``step`` size."""
        images = self.images_per_class * num_classes
        return {
            "x": torch.randn(images, *shape, generator=rng),
            "y": torch.zeros(images, num_classes),
            "step": torch.tensor(self.step_size),
        }

    def memory(self, model: nn.Module, x: Tensor) -> float:
        """Return a rough estimate, in GiB, of what :meth:`synthesise` holds at its peak.

        Args:
            model: The network.
            x: The images (N, ...).
        """
        outputs: list[int] = []
        leaves = [part for part in model.modules() if not list(part.children())]
        hooks = [
            leaf.register_forward_hook(lambda part, given, out: outputs.append(out[0].numel()))
            for leaf in leaves
        ]
        with torch.no_grad():
            model.eval()(x[:2])
        for hook in hooks:
            hook.remove()
        weights = sum(parameter.numel() for parameter in model.parameters())
        kept = _WEIGHT_COPIES * weights + _OUTPUT_COPIES * len(x) * sum(outputs)
        return self.inner_steps * 4 * kept / 2**30

    def synthesise(
        self, model: nn.Module, trajectory: Tree, start: Tree, rng: torch.Generator
    ) -> Tree:
        """Return images, label logits and step size after all outer steps.

        Args:
            model: The network, whose own weights play no part.
            trajectory: The models by parameter, (L, ...) each, L at least 2.
            start: What :meth:`start` gave, on any device.
            rng: Draws starts, targets and augmentations.
        """
        device = next(model.parameters()).device
        data = {name: t.to(device, copy=True).requires_grad_() for name, t in start.items()}
        rates = {"x": self.lr_images, "y": self.lr_labels, "step": self.lr_step}
        optimizer = torch.optim.Adam(
            [{"params": [data[name]], "lr": rates[name]} for name in rates]
        )
        model.train()
        for _ in range(self.outer_steps):
            first, target = _segment(trajectory, rng, device)
            loss = self.outer_loss(model, first, target, data, rng)
            # Not backward(): the weights of the network would gather gradients that none reads.
            gradients = torch.autograd.grad(loss, list(data.values()))
            for tensor, gradient in zip(data.values(), gradients, strict=True):
                tensor.grad = gradient
            optimizer.step()
            with torch.no_grad():
                data["step"].clamp_(min=_LEAST_STEP)
        return {name: tensor.detach().cpu() for name, tensor in data.items()}

    def outer_loss(
        self, model: nn.Module, first: Tree, target: Tree, data: Tree, rng: torch.Generator
    ) -> Tensor:
        """Return how far from ``target`` the inner steps end, relative to where they began."""
        reached = self.train(model, first, data, rng)
        return _distance(reached, target) / _distance(first, target).clamp(min=_TINY)

    def train(self, model: nn.Module, weights: Tree, data: Tree, rng: torch.Generator) -> Tree:
        """Return the weights after the inner steps, differentiable in the tensors of ``data``."""
        augment = Augmentation(self.augmentations)
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        for _ in range(self.inner_steps):
            logits = functional_call(model, weights, (augment(data["x"], rng),))
            # The mean is over classes, too, as in DynaFed's code.
            loss = -(F.softmax(data["y"], 1) * F.log_softmax(logits, 1)).mean()
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - data["step"] * gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
        return weights


def _segment(trajectory: Tree, rng: torch.Generator, device: torch.device) -> tuple[Tree, Tree]:
    """Return a model of the trajectory and the mean of a few draws from those right after it."""
    length = len(next(iter(trajectory.values())))
    horizon = min(_HORIZON, length - 1)
    latest = min(_LATEST_START, length - 1 - horizon)
    first = int(torch.randint(latest + 1, (), generator=rng))
    draws = int(torch.randint(2, 4, (), generator=rng))
    later = first + 1 + torch.randint(horizon, (draws,), generator=rng)
    later = bring(later, next(iter(trajectory.values())).device)
    return (
        {name: past[first].to(device) for name, past in trajectory.items()},
        {name: past[later].mean(0).to(device) for name, past in trajectory.items()},
    )


def _distance(a: Tree, b: Tree) -> Tensor:
    return torch.stack([(a[name] - b[name]).square().sum() for name in a]).sum()
