"""GPT-FL's workshop at the server: label names, synthetic samples, start weights.

Three steps of the paper's section 3: private label discovery (3.2), generation from prompts (3.1,
3.3) and central training on what was generated (3.4).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from gptfl_bench.architectures.network import models
from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.code.identity import describe, of_program
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.networks import Networks
from gptfl_bench.labels.discovery import LabelSettings, discover_labels
from gptfl_bench.synthesis.source import SyntheticSet, SyntheticSource
from gptfl_bench.training.central import EarlyStop, Watch, from_tensor, to_tensor, train_centrally
from gptfl_bench.training.fit import Plan
from gptfl_reports.records.events import Event, Pretrained


@dataclass
class Synthesis:
    """Makes synthetic samples and start weights for the methods of a cell.

    Attributes:
        seed: The cell's seed.
        federation: The clients, who tell their label names.
        networks: Networks of the task's architecture.
        model_key: What determines the architecture, for cached results.
        settings: Size of the sketch of label discovery, and what it may tell.
        source: Makes the synthetic data set.
        artifacts: Shared results on disk.
        log: Takes an event.
        watch: Looks at networks that are pre-trained; its scores go to the log alone.
        on_epoch: Called with epochs done and due.
        made: The synthetic data set, once there is one.
        held_out: Real samples with labels that no client has; None if there are none.
    """

    seed: int
    federation: Federation
    networks: Networks
    model_key: str
    settings: LabelSettings
    source: SyntheticSource
    artifacts: Artifacts
    log: Callable[[Event], None]
    watch: Watch | None = None
    on_epoch: Callable[[int, int], None] = lambda done, due: None
    made: SyntheticSet | None = None
    held_out: Samples | None = None
    _labels: list[str] | None = None

    def uncounted(self) -> "Synthesis":
        """Return a workshop that makes the same again without counting or logging it twice."""
        federation = replace(self.federation, channel=Channel(self.federation.channel.strict))
        return replace(self, federation=federation, log=_forget)

    def labels(self) -> list[str]:
        """Return the label names that clients tell in a counted exchange, held once in a cell."""
        if self._labels is None:
            self._labels = discover_labels(self.federation, self.settings, self.log)
        return self._labels

    def samples(self, labels: Sequence[str]) -> Samples:
        """Return synthetic samples of ``labels``, and log what they are.

        Raises:
            Refusal: If there is no label, or the generator can't make the task's modality.
        """
        if not labels:
            raise Refusal(
                "label discovery told no name, so there is nothing to generate; set "
                "labels.k_anonymity lower."
            )
        if self.source.settings.real:
            samples = self._real(labels)
        else:
            made = self.made = self.source.samples(labels)
            self.log(made.ready)
            samples = made.samples
        # Several networks may be trained on them, each under a key of what they are.
        known = replace(samples, known=samples.checksum())
        return known.to(self.networks.device)

    def _real(self, labels: Sequence[str]) -> Samples:
        """Return the first real samples of each label, as many as would be generated.

        Raises:
            Refusal: If there are not so many.
        """
        names, each = self.source.task.label_names, self.source.each(labels)
        if self.held_out is None:
            raise Refusal(
                "synthetic.real=true takes real samples that no client gets; set "
                "public.source=held_out."
            )
        chosen = []
        for label in labels:
            rows = (self.held_out.labels == names.index(label)).nonzero().flatten()
            if len(rows) < each:
                raise Refusal(
                    f"{len(rows)} of the samples kept from the clients have the label {label!r}, "
                    f"and {each} are asked for; set a smaller synthetic.multiplier or a larger "
                    "public.share."
                )
            chosen.append(rows[:each])
        return self.held_out.select(torch.cat(chosen))

    def pretrained(
        self,
        data: Samples,
        plan: Plan,
        stop: EarlyStop = EarlyStop(0, None),
        architecture: str = "",
    ) -> Groups:
        """Return the start weights trained centrally on ``data``; cached by what determines them.

        Args:
            data: Labelled samples at the server.
            plan: How long and by which optimizer.
            stop: When to end earlier.
            architecture: A registered network in place of the task's own.
        """
        started = time.perf_counter()
        networks = self.networks.variant(architecture) if architecture else self.networks

        def make() -> Groups:
            model = networks.new(networks.start)
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

        task = self.source.task
        groups, cached = self.artifacts.groups(
            "pretrained",
            {
                "data": digest({"task": [task.name, task.version], "samples": data.checksum()}),
                "form": data.form,
                "plan": asdict(plan),
                "stop": asdict(stop),
                "watch": self.watch.key if self.watch else "",
                "seed": self.seed,
                "model": _named(architecture) if architecture else self.model_key,
                # A method may have changed the architecture.
                "layers": str(networks),
                "classes": task.num_classes,
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


def _named(architecture: str) -> str:
    """Return the name of a registered network, with the code of one from elsewhere."""
    factory = models.get(architecture)
    return architecture if of_program(factory) else f"{architecture} {describe(factory).key()}"


def _forget(event: Event) -> None:
    """Log nothing."""
