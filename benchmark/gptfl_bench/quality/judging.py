"""Measures of a synthetic data set, each beside the same measure of real samples.

The judge is the task's network, trained centrally on the real training samples. The features that
distances are taken in are those before its last layer, in units of the real training samples' root
mean square, or Inception's as they are.

Letters in shapes: N samples, F features, C classes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.networks import Networks
from gptfl_bench.quality.inception import inception
from gptfl_bench.quality.similarity import (
    ALIKE,
    class_diversity,
    exact_duplicates,
    kernel_distance,
    near_duplicates,
)
from gptfl_bench.synthesis.source import SyntheticSet
from gptfl_bench.training.fit import Plan, fit
from gptfl_reports.records.quality import (
    SCHEMA,
    ClassQuality,
    Feature,
    Judge,
    LookedAt,
    Numbers,
    Quality,
    Shares,
)

_BATCH = 250
Kind = Literal["synthetic", "train", "test"]


@dataclass(frozen=True)
class QualitySettings:
    """How synthetic data are looked at; none of this has a part in any result.

    Attributes:
        samples: Most synthetic, real training and real test samples that are measured, a fixed
            random part of each; 0 to look at nothing.
        judge_steps: Optimizer steps of the judge; 0 leaves out what needs one.
        judge_lr: Its step size at the start.
        feature: What distances are taken in: the judge's features, or, for pictures, Inception's.
        weights: The file of Inception's weights.
    """

    samples: int = 2000
    judge_steps: int = 500
    judge_lr: float = 3e-3
    feature: Literal["judge", "inception"] = "judge"
    weights: str | None = None

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        at_least(self, {"samples": 0, "judge_steps": 0})
        above_zero(self, "judge_lr")

    @property
    def plan(self) -> Plan:
        """How the judge is trained."""
        return Plan(
            steps=self.judge_steps,
            batch_size=64,
            lr=self.judge_lr,
            optimizer="adamw",
            weight_decay=0.01,
            clip_norm=1.0,
            schedule="cosine",
        )


@dataclass(frozen=True)
class Subject:
    """A synthetic data set and what it is held against.

    Attributes:
        made: The synthetic data set.
        task: The task, its training samples where networks are.
        model: Name of the task's network.
        model_key: What determines the network.
        networks: Makes networks of its architecture, with the start of seed 0.
    """

    made: SyntheticSet
    task: Task
    model: str
    model_key: str
    networks: Callable[[], Networks]


@dataclass(frozen=True)
class _Sight:
    """What networks make of samples, by kind of samples.

    Attributes:
        judge: How good the judge is; None without one.
        feature: What the features are; None without any.
        features: Features (N, F) of each kind.
        right: Of which samples the judge gives the label, (N,), for each kind.
    """

    judge: Judge | None
    feature: Feature | None
    features: dict[Kind, Tensor]
    right: dict[Kind, Tensor]


def measure(subject: Subject, settings: QualitySettings, artifacts: Artifacts) -> Quality:
    """Return the measures; there is no sheet, and no time, in them yet.

    Raises:
        UsageError: If Inception is asked for and its weights or the samples don't fit.
    """
    task, ready = subject.task, subject.made.ready
    device, count = task.train.x.device, task.num_classes
    whole = subject.made.samples.to(device)
    rows = {
        "synthetic": _drawn(len(whole), settings.samples),
        "train": _drawn(len(task.train), settings.samples),
    }
    parts: dict[Kind, Samples] = {
        "synthetic": whole.select(rows["synthetic"]),
        "train": task.train.select(rows["train"]),
        "test": _moved(task.test.select(_drawn(len(task.test), settings.samples)), device),
    }
    labels = {kind: part.labels.cpu() for kind, part in parts.items()}
    sight = _look(subject, settings, artifacts, parts)
    agreement, accuracy = (
        _shares(sight.right.get(kind), labels[kind], count) for kind in ("synthetic", "test")
    )
    diversity, real_diversity = (
        _diversity(sight.features.get(kind), labels[kind], count) for kind in ("synthetic", "train")
    )
    return Quality(
        schema=SCHEMA,
        dataset=task.name,
        dataset_sha256=task.train.checksum(),
        model=subject.model,
        generator=ready.generator,
        prompts=ready.prompts,
        sha256=ready.sha256,
        samples=len(whole),
        looked_at=LookedAt(*(len(parts[kind]) for kind in ("synthetic", "train", "test"))),
        judge=sight.judge,
        feature=sight.feature,
        agreement=Shares(_share(sight.right.get("synthetic")), _share(sight.right.get("test"))),
        distance=Numbers(_distance(sight.features, "synthetic"), _distance(sight.features, "test")),
        diversity=Numbers(_mean(diversity), _mean(real_diversity)),
        alike=ALIKE,
        near_duplicates=Shares(
            near_duplicates(whole, rows["synthetic"]), near_duplicates(task.train, rows["train"])
        ),
        exact_duplicates=Shares(exact_duplicates(whole), exact_duplicates(task.train)),
        classes=tuple(
            ClassQuality(
                name,
                int((whole.labels == number).sum()),
                Shares(agreement[number], accuracy[number]),
                Numbers(diversity[number], real_diversity[number]),
            )
            for number, name in enumerate(task.label_names)
        ),
        seconds=0.0,
    )


def _drawn(examples: int, most: int) -> Tensor:
    """Return the places of a fixed random part, ascending."""
    order = torch.randperm(examples, generator=torch_rng(0, "quality"))
    return order[:most].sort().values


def _moved(part: Samples, device: torch.device) -> Samples:
    """Return a view's samples on a device, and no others."""
    own = part.x if part.indices is None else part.x[part.indices]
    return Samples(own.to(device), part.labels.to(device), transform=part.transform)


def _look(
    subject: Subject, settings: QualitySettings, artifacts: Artifacts, parts: dict[Kind, Samples]
) -> _Sight:
    sight = _Sight(None, None, {}, {})
    if settings.judge_steps:
        sight = _judged(subject, settings, artifacts, parts)
    if settings.feature == "inception":
        network = inception(settings.weights, subject.task.train.x.device)
        features = {kind: _stored(part, network) for kind, part in parts.items()}
        size = features["train"].shape[1]
        return replace(sight, feature=Feature("inception", size), features=features)
    return sight


def _judged(
    subject: Subject, settings: QualitySettings, artifacts: Artifacts, parts: dict[Kind, Samples]
) -> _Sight:
    """Return what the judge makes of samples; nothing if its training diverged."""
    train, networks = subject.task.train, subject.networks()

    def make() -> Groups:
        model = networks.new(networks.start)
        fit(model, train, settings.plan, torch_rng(0, "quality", "judge"))
        return g.model_groups(model)

    groups, _ = artifacts.groups(
        "judge",
        {
            "task": subject.task.fingerprint,
            "form": train.form,
            "model": subject.model_key,
            "layers": str(networks),
            "plan": asdict(settings.plan),
        },
        make,
    )
    model = networks.new(groups).eval()
    seen = {kind: _outputs(model, networks.has_features, part) for kind, part in parts.items()}
    if not all(bool(torch.isfinite(one).all()) for both in seen.values() for one in both):
        return _Sight(None, None, {}, {})
    right = {
        kind: logits.argmax(1) == parts[kind].labels.cpu() for kind, (_, logits) in seen.items()
    }
    # A layer's scale is the network's whim, of which a cubic kernel would make much.
    scale = seen["train"][0].square().mean().sqrt().clamp_min(1e-12)
    features = {kind: found / scale for kind, (found, _) in seen.items()}
    return _Sight(
        Judge(settings.judge_steps, float(right["test"].double().mean())),
        Feature("penultimate" if networks.has_features else "logits", features["train"].shape[1]),
        features,
        right,
    )


def _outputs(model: nn.Module, has_features: bool, part: Samples) -> tuple[Tensor, Tensor]:
    """Return the features (N, F), or else logits, and the logits (N, C) of samples."""
    encoder = model.get_submodule("encoder") if has_features else model
    head = model.get_submodule("head") if has_features else nn.Identity()
    made = []
    for block in torch.split(torch.arange(len(part)), _BATCH):
        with torch.no_grad():
            features = encoder(part.batch(block)[0])
            made.append((features.flatten(1).cpu(), head(features).cpu()))
    features, logits = (torch.cat(both) for both in zip(*made, strict=True))
    return features, logits


def _stored(part: Samples, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Return features of samples as they are stored."""
    rows = torch.arange(len(part)) if part.indices is None else part.indices
    return torch.cat([network(part.x[block]).cpu() for block in torch.split(rows, _BATCH)])


def _share(right: Tensor | None) -> float | None:
    return float(right.double().mean()) if right is not None and len(right) else None


def _shares(right: Tensor | None, labels: Tensor, count: int) -> list[float | None]:
    """Return the share of right samples of each class; None for a class without any."""
    return [_share(None if right is None else right[labels == n]) for n in range(count)]


def _diversity(features: Tensor | None, labels: Tensor, count: int) -> list[float | None]:
    return [None] * count if features is None else class_diversity(features, labels, count)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _distance(features: dict[Kind, Tensor], kind: Kind) -> float | None:
    """Return the distance of some samples to real training samples."""
    if not features or min(len(features[kind]), len(features["train"])) < 2:
        return None
    return kernel_distance(features[kind], features["train"])
