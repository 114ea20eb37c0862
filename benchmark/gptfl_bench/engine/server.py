"""What a method has at the server: networks, clients through the federation, synthetic data."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn

from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import Name, isolated_torch_rng, torch_rng
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.networks import Networks
from gptfl_bench.labels.discovery import LabelSettings, discover_labels
from gptfl_bench.synthesis.source import SyntheticSet, SyntheticSource
from gptfl_bench.tasks.task import Samples
from gptfl_bench.training.central import EarlyStop, Watch, from_tensor, to_tensor, train_centrally
from gptfl_bench.training.fit import Plan
from gptfl_reports.records.events import Event, Pretrained


@dataclass
class Server:
    """The server's side of a cell; it has no way to a client but the federation.

    Attributes:
        seed: The cell's seed.
        num_classes: Number of classes C.
        federation: The clients, behind the channel.
        networks: Networks of the task's architecture.
        model_key: What determines the architecture, for cached results.
        synthetic_source: Makes synthetic data; used by methods that need a generator.
        labels: Size of the sketch of label discovery, and what it may tell.
        public_source: Brings public data; used by methods that need them.
        artifacts: Shared results on disk.
        log: Takes an event.
        start: The weights a method starts from: random, or a warm start put there by GPT-FL.
        small_starts: Warm starts of other architectures that clients train, by registered name.
        round: Round from 1; 0 is preparation.
        synthetic_set: The synthetic data set, once there is one.
        watch: Looks at networks that are pre-trained; its scores go to the log alone.
    """

    seed: int
    num_classes: int
    federation: Federation
    networks: Networks
    model_key: str
    synthetic_source: SyntheticSource
    labels: LabelSettings
    public_source: Callable[["Server"], Samples]
    artifacts: Artifacts
    log: Callable[[Event], None]
    start: Groups = field(default_factory=dict)
    small_starts: dict[str, Groups] = field(default_factory=dict)
    round: int = 0
    on_epoch: Callable[[int, int], None] = lambda done, due: None
    watch: Watch | None = None
    synthetic_set: SyntheticSet | None = None
    _public: Samples | None = None
    _label_names: list[str] | None = None

    @property
    def num_clients(self) -> int:
        """Size of the population K."""
        return len(self.federation.clients)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network sees it."""
        return self.synthetic_source.task.input_shape

    def rng(self, *names: Name) -> torch.Generator:
        """Return the server's generator for a purpose in this round."""
        return torch_rng(self.seed, "server", *names, "round", self.round)

    def start_of(self, architecture: str) -> Groups:
        """Return the weights that another registered architecture starts from."""
        known = self.small_starts.get(architecture)
        return known or self.networks.variant(architecture).start

    def new_model(self, groups: Groups) -> nn.Module:
        """Return a network of its own with the given weights."""
        return self.networks.new(groups)

    def predict(self, groups: Groups, x: Tensor) -> Tensor:
        """Return logits (b, C) of the network with the given weights."""
        return self.networks.apply(groups, x)

    def discover_labels(self) -> list[str]:
        """Return the label names that clients tell in a counted exchange, held once in a cell."""
        if self._label_names is None:
            self._label_names = discover_labels(self.federation, self.labels, self.log)
        return self._label_names

    def synthetic(self, labels: Sequence[str]) -> tuple[Samples, str]:
        """Return synthetic samples of ``labels`` and the hash of what they are, and log them.

        Raises:
            Refusal: If there is no label, or the generator can't make the task's modality.
        """
        if not labels:
            raise Refusal(
                "label discovery told no name, so there is nothing to generate; set "
                "labels.k_anonymity lower."
            )
        made = self.synthetic_set = self.synthetic_source(labels)
        self.log(made.ready)
        task = self.synthetic_source.task
        key = digest({"task": [task.name, task.version], "samples": made.samples.checksum()})
        return made.samples.to(self.networks.device), key

    def public(self) -> Samples:
        """Return unlabelled public samples, whose ``y`` is their row (N,).

        They are brought in round 0, where the label discovery they may need is counted and logged;
        a resumed cell brings them again without counting it twice.
        """
        if self._public is None:
            resumed = replace(
                self, federation=replace(self.federation, channel=Channel()), log=_forget, round=0
            )
            self._public = self.public_source(resumed if self.round else self)
        return self._public

    def pretrain(
        self,
        data: Samples,
        data_key: str,
        plan: Plan,
        stop: EarlyStop = EarlyStop(0, None),
        architecture: str = "",
    ) -> Groups:
        """Return the start weights trained centrally on ``data``; cached by what determines them.

        Args:
            data: Labelled samples at the server.
            data_key: Hash of the data.
            plan: How long and by which optimizer.
            stop: When to end earlier.
            architecture: A registered network in place of the task's own.
        """
        started = time.perf_counter()
        networks = self.networks.variant(architecture) if architecture else self.networks
        start = self.start_of(architecture) if architecture else self.start

        def make() -> Groups:
            model = networks.new(start)
            with isolated_torch_rng(self.seed, "pretrain"):
                trained = train_centrally(
                    model, data, plan, stop, self.seed, self.watch, self.on_epoch
                )
            done = trained.result
            about = torch.tensor(
                [done.steps, done.examples, done.loss, trained.kept], dtype=torch.float64
            )
            return {
                **trained.groups,
                "about": {"result": about, "epochs": to_tensor(trained.epochs)},
            }

        groups, cached = self.artifacts.groups(
            "pretrained",
            {
                "data": data_key,
                "form": data.form,
                "plan": asdict(plan),
                "stop": asdict(stop),
                "watch": self.watch.key if self.watch else "",
                "seed": self.seed,
                "model": architecture or self.model_key,
                # A method may have changed the architecture.
                "layers": str(networks),
                "classes": self.num_classes,
            },
            make,
        )
        about = groups.pop("about")
        for event in from_tensor(about["epochs"], architecture):
            self.log(event)
        steps, examples, loss, kept = about["result"].tolist()
        seconds = time.perf_counter() - started
        self.log(Pretrained(int(steps), int(examples), loss, cached, seconds, int(kept)))
        return groups


def _forget(event: Event) -> None:
    """Log nothing."""
