"""Seconds of a training step, a prediction and a visit on this machine, measured once and kept.

Each takes a fixed time and a time for each sample: measured at two batch sizes, any other lies on
the straight line through them.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import StorageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import isolated_torch_rng, torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.evaluate import evaluate
from gptfl_bench.training.fit import Plan, fit
from gptfl_bench.training.work import Work
from gptfl_reports.records import checksums

Kind = Literal["train", "predict", "visit"]
SIZES: dict[Kind, tuple[int, ...]] = {"train": (8, 64), "predict": (16, 64), "visit": (1,)}
"""Batch sizes at which is measured."""
MOST = max(max(sizes) for sizes in SIZES.values())
"""Samples of a task that are enough to measure with."""
_ENOUGH = 0.1
"""Seconds of one measurement; a batch that takes longer is timed once."""
_TIMES = 3
_BATCHES = 4


@dataclass(frozen=True)
class Pace:
    """What a batch takes.

    Attributes:
        fixed: Seconds whatever its size.
        each: Seconds a sample.
    """

    fixed: float
    each: float

    def seconds(self, batch_size: int) -> float:
        """Return the seconds of a batch."""
        return self.fixed + self.each * batch_size

    @classmethod
    def through(cls, points: Sequence[tuple[int, float]]) -> "Pace":
        """Return the line through one or two measurements of size and seconds."""
        (small, low), (large, high) = points[0], points[-1]
        each = max(high - low, 0.0) / (large - small) if large > small else 0.0
        return cls(max(low - each * small, 0.0), each)


@dataclass(frozen=True)
class Calibration:
    """Measures networks of one task.

    Attributes:
        artifacts: The cache.
        samples: Training samples of the task, where networks are.
        plan: Local training, whose optimizer and bound on gradients cost time, too.
        threads: Intra-op threads.
    """

    artifacts: Artifacts
    samples: Samples
    plan: Plan
    threads: int
    _known: dict[tuple[Kind, str], Pace] = field(default_factory=dict)

    def seconds(self, work: Work, networks: Networks) -> float:
        """Return the seconds of some work in networks of a cell."""
        if not work.batches:
            return 0.0
        of = networks.variant(work.network) if work.network else networks
        return work.batches * self.pace(work.kind, of).seconds(work.batch_size)

    def pace(self, kind: Kind, networks: Networks) -> Pace:
        """Return what a batch takes in a network; measured in less than a second, then kept."""
        if (kind, str(networks)) in self._known:
            return self._known[kind, str(networks)]
        about = {
            "kind": kind,
            "sizes": SIZES[kind],
            "layers": str(networks),
            "shape": list(self.samples.x.shape[1:]),
            "form": self.samples.form,
            "plan": [self.plan.optimizer, self.plan.momentum > 0, self.plan.clip_norm is not None],
            "threads": self.threads,
            "torch": torch.__version__,
            "machine": _machine(networks.device),
        }
        key = digest(about)
        points = _kept(self.artifacts.place("calibrations", key) / "seconds.json")
        if not points:
            torch.set_num_threads(self.threads)
            with isolated_torch_rng(0, "calibration"):
                points = [(size, self._time(kind, networks, size)) for size in SIZES[kind]]
            # A cache that can't be written to is no hindrance.
            text = json.dumps({**about, "seconds": points})
            with suppress(StorageError), self.artifacts.claim("calibrations", key) as place:
                checksums.write(place / "seconds.json", text.encode())
        return self._known.setdefault((kind, str(networks)), Pace.through(points))

    def _time(self, kind: Kind, networks: Networks, size: int) -> float:
        # As in a client's visit, several batches to a pass.
        count = _BATCHES * size if kind == "train" else size
        data = self.samples.select(torch.arange(count) % len(self.samples))
        work = {"train": self._train, "predict": _predict, "visit": _visit}[kind]
        return _fastest(work(networks, data, size), _clock(networks.device, self.threads))

    def _train(self, networks: Networks, data: Samples, size: int) -> Callable[[int], None]:
        model, rng = networks.new(networks.start), torch_rng(0, "calibration")
        # At a step size of 0 weights stay as they are, and so does what a step takes.
        plan = replace(self.plan, batch_size=size, lr=0.0, schedule="constant")

        def work(times: int) -> None:
            fit(model, data, replace(plan, steps=times), rng)

        return work


def _predict(networks: Networks, data: Samples, size: int) -> Callable[[int], None]:
    def work(times: int) -> None:
        for _ in range(times):
            evaluate(partial(networks.apply, networks.start), data, size)

    return work


def _visit(networks: Networks, data: Samples, size: int) -> Callable[[int], None]:
    names = ("",) * (int(data.y.max()) + 1)
    federation = Federation([data], names, Channel(), ClientStore(Path()), networks, 0)

    def update(received: Groups, client: Client) -> Groups:
        model = client.new_model(received)
        delta = g.subtract(g.trainable(model), received["model"])
        return {"delta": delta, "buffers": g.buffers(model)}

    def work(times: int) -> None:
        for number in range(times):
            cohort = federation.exchange(number, [0], lambda _: networks.start, update)
            cohort.mean("delta", "examples")

    return work


def _fastest(work: Callable[[int], None], clock: Callable[[], float]) -> float:
    """Return the seconds of one repetition; a first one, which loads and warms up, is left out."""

    def seconds(times: int) -> float:
        started = clock()
        work(times)
        return (clock() - started) / times

    seconds(1)
    once = seconds(1)
    if once > _ENOUGH:
        return once
    times = max(int(_ENOUGH / _TIMES / max(once, 1e-6)), 1)
    return min(seconds(times) for _ in range(_TIMES))


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    """Return what tells seconds of work: those of a processor, whatever else runs on it.

    Where several threads or another device do the work, seconds on the wall.
    """
    if device.type == "cpu" and threads == 1:
        return time.process_time

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return wall


def free_share(seconds: float = 0.3) -> float:
    """Return the part of a core that a process gets here now, in (0, 1]; less on a busy machine."""
    started, used = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - started) < seconds:
        pass
    return min(max((time.process_time() - used) / passed, 0.05), 1.0)


def _machine(device: torch.device) -> str:
    """Return what tells this machine from others, hashed, for it holds the host's name."""
    words = [platform.node(), platform.machine(), str(os.cpu_count()), str(device)]
    if device.type == "cuda":
        words.append(torch.cuda.get_device_name(device))
    return digest({"machine": words})[:12]


def _kept(path: Path) -> list[tuple[int, float]]:
    """Return what was measured before; nothing if there is nothing, or it is damaged."""
    try:
        found = json.loads(checksums.read(path))["seconds"]
        points = [(int(size), float(seconds)) for size, seconds in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return points if all(0 < seconds < 1e6 for _, seconds in points) else []
