"""A run's settings, typed; the values come from presets and overrides."""

import math
from dataclasses import dataclass, field
from typing import Literal

from gptfl_bench.core.randomness import LARGEST_SEED
from gptfl_bench.data.public import PublicSettings
from gptfl_bench.engine.buffers import BufferPolicy
from gptfl_bench.labels.discovery import LabelSettings
from gptfl_bench.quality.judging import QualitySettings
from gptfl_bench.secure.settings import SecureSettings
from gptfl_bench.synthesis.generator import Plain
from gptfl_bench.synthesis.source import SyntheticSettings
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.precision import Precision

Regime = Literal["short", "long"]
_MOST_ROUNDS = 1_000_000


@dataclass(frozen=True)
class PartitionSettings:
    """How clients share the training data.

    Attributes:
        recipe: Registered partition.
        alpha: Dirichlet concentration; smaller is more skewed.
        min_size: Fewest samples a client may hold.
        seed: Seed of the partition; null takes the cell's, so that seeds differ in it too.
    """

    recipe: str = "dirichlet"
    alpha: float = 0.1
    min_size: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse a seed that is none."""
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed={self.seed} must be from 0 to {LARGEST_SEED}, or null")


@dataclass(frozen=True)
class EvaluationSettings:
    """When and on what the global model is tested.

    Attributes:
        every: Rounds between evaluations; the last round is always tested.
        on: The official test set, or a part held out of the training set, for searches.
        validation_share: Size of that part.
        pretraining: Most of these samples with which each epoch of pre-training on synthetic data
            is looked at, without a say in it; 0 for none, null for all.
    """

    every: int = 1
    on: Literal["test", "validation"] = "test"
    validation_share: float = 0.2
    pretraining: int | None = 2000

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.every < 1:
            raise ValueError(f"every={self.every} must be 1 or more")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must be between 0 and 1")
        if self.pretraining is not None and self.pretraining < 0:
            raise ValueError(f"pretraining={self.pretraining} must be 0 or more, or null")


@dataclass(frozen=True)
class Settings:
    """Everything about a run but its methods and seeds.

    Attributes:
        rounds: Federated rounds.
        regime: Which of a preset's two budgets: ``short`` local training in many rounds, or
            ``long`` training in few, which methods against drift and those with public data are
            made for. It only picks values; rounds and epochs given beside it win.
        data: Options of the data set's loader that differ from its defaults.
        num_clients: Population K; 0 takes all groups of partition ``group``.
        cohort_size: Clients in a round m, or the share C of the clients they are, such as 0.1.
        partition: How clients share the data.
        model: Registered network.
        model_args: Further arguments of the network.
        plan: Local training, which every method starts from.
        buffers: What becomes of normalisation statistics.
        evaluation: When and on what is tested.
        target: Value whose first round and cost are reported; none if null.
        synthetic: How synthetic data are made.
        generators: Fields of generators that differ from their defaults, by name.
        prompts: Fields of prompt writers that do.
        quality: How synthetic data are looked at, for readers alone.
        labels: Size of the sketch that clients send in label discovery, and what it may tell.
        secure_aggregation: Whether the server learns nothing but sums over a cohort's clients;
            methods that read single replies are refused then.
        secure: How.
        public: Where public data come from, for methods that need them.
        lift_conventions: Whether to run methods on modalities they were not published for.
        start: ``warm`` wraps every method in GPT-FL, ``cold`` unwraps it; ``default`` leaves both.
        device: ``auto`` takes a GPU if there is one.
        precision: In how many bits networks compute: ``float32``; ``tf32``, on NVIDIA GPUs from
            Ampere on; ``bfloat16`` by autocast, with weights and losses in float32.
        threads: Intra-op threads; one is fastest for small networks.
        workers: Processes that the clients of a cohort work in, on the CPU; ``auto`` takes the
            cores that are left when fewer cells than cores are.
        quick: Whether results are stamped as not for comparison.
        search: Which search made the rates.
    """

    rounds: int = 50
    regime: Regime = "short"
    data: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    num_clients: int = 20
    cohort_size: int | float = 5
    partition: PartitionSettings = PartitionSettings()
    model: str = "cnn_small"
    model_args: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    plan: Plan = Plan(batch_size=16)
    buffers: BufferPolicy = "mean"
    evaluation: EvaluationSettings = EvaluationSettings()
    target: float | None = None
    synthetic: SyntheticSettings = SyntheticSettings()
    generators: dict[str, dict[str, Plain]] = field(default_factory=dict)
    prompts: dict[str, dict[str, Plain]] = field(default_factory=dict)
    quality: QualitySettings = QualitySettings()
    labels: LabelSettings = LabelSettings()
    secure_aggregation: bool = False
    secure: SecureSettings = SecureSettings()
    public: PublicSettings = PublicSettings()
    lift_conventions: bool = False
    start: Literal["default", "cold", "warm"] = "default"
    device: str = "auto"
    precision: Precision = "float32"
    threads: int = 1
    workers: int | Literal["auto"] = 1
    quick: bool = False
    search: str = ""

    def __post_init__(self) -> None:
        """Refuse values that can't be run.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        # All groups of the data are clients where none is counted.
        clients = 0 if self.partition.recipe == "group" else 1
        for name, least in (
            ("rounds", 0),
            ("num_clients", clients),
            ("threads", 1),
            ("workers", 1),
        ):
            if getattr(self, name) != "auto" and getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be {least} or more")
        if self.rounds > _MOST_ROUNDS:
            raise ValueError(f"rounds={self.rounds} must be at most {_MOST_ROUNDS:,}")
        if isinstance(self.cohort_size, float):
            if not 0 < self.cohort_size <= 1:
                raise ValueError(
                    f"cohort_size={self.cohort_size} must be a whole number of clients, or a share "
                    "of them above 0 and at most 1"
                )
        elif self.cohort_size < 1:
            raise ValueError(f"cohort_size={self.cohort_size} must be 1 or more, or a share")
        elif self.cohort_size > self.num_clients and self.partition.recipe != "group":
            raise ValueError(
                f"cohort_size={self.cohort_size} must be at most num_clients={self.num_clients}"
            )
        if self.target is not None and not (math.isfinite(self.target) and 0 < self.target <= 1):
            raise ValueError(f"target={self.target} must be in (0, 1], or null")

    def cohort_of(self, clients: int) -> int:
        """Return how many of some clients take part in a round: at least one, halves rounded up."""
        if isinstance(self.cohort_size, int):
            return self.cohort_size
        return max(math.floor(self.cohort_size * clients + 0.5), 1)
