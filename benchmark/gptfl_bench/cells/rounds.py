"""The rounds of a cell, from its preparation or its checkpoint to its last evaluation."""

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from gptfl_bench.cells.checkpoint import CHECKPOINT, Checkpoint, Keeper
from gptfl_bench.cells.preparation import prepare
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World
from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import Diverged, NothingLearnt, RoundAbandoned, WorkerKilled
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Progress
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.buffers import recompute
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.pictures import write_pictures
from gptfl_bench.training.evaluate import evaluate
from gptfl_reports.records.cells import EVENTS
from gptfl_reports.records.events import (
    ClientsSkipped,
    EventLog,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
    read_events,
)


@dataclass(frozen=True)
class Rounds:
    """A cell under way.

    Attributes:
        spec: The cell.
        world: What it works with.
        server: Its server in round 0.
        log: Its events.
        folder: Its folder.
        progress: Shown to a person.
    """

    spec: CellSpec
    world: World
    server: Server
    log: EventLog
    folder: Path
    progress: Progress

    def run(self, checkpoint: Checkpoint | None) -> None:
        """Run all rounds that are left.

        Raises:
            Refusal: If the method can't run on the task.
            Diverged: If a loss or a weight is not finite.
            NothingLearnt: If every round was abandoned.
            WorkerKilled: If a process that clients work in is gone.
        """
        if checkpoint is None:
            state, done = self.prepare(), 0
        else:
            state, done = g.to(checkpoint.state, self.world.device), checkpoint.round
            self.server.federation.store.versions = dict(checkpoint.clients)
            self.keeper.written = checkpoint.clients
        try:
            state = self.train(state, done)
        except (Diverged, WorkerKilled, KeyboardInterrupt):
            self.keeper.write()
            raise
        self._check_learnt()
        trained = self.spec.method.pictures(state)
        if trained:
            write_pictures(self.folder, trained, self.world.task.label_names)

    def train(self, state: Groups, done: int) -> Groups:
        """Return the state after all rounds that follow on the one that is done."""
        rounds, every = self.spec.settings.rounds, self.spec.settings.evaluation.every
        # A resumed cell has no start weights any more, so no method may count on them.
        server = replace(self.server, start={}, small_starts={})
        for number in range(done + 1, rounds + 1):
            self.progress.stage("rounds", number - 1, rounds)
            server = replace(server, round=number)
            state = self.step(state, server)
            if number % every == 0 or number == rounds:
                self.evaluate(state, server)
            self.store(state, number)
            self.progress.stage("rounds", number, rounds)
        return state

    @cached_property
    def keeper(self) -> Keeper:
        """What keeps finished rounds."""
        return Keeper(self.folder / CHECKPOINT, self.server.federation.store, self.log)

    def prepare(self) -> Groups:
        """Return the state before round 1, evaluated and stored."""
        state = prepare(self.spec, self.world, self.server, self.folder.parent, self.progress)
        state = g.to(state, self.world.device)
        self.evaluate(state, self.server)
        self.store(state, 0)
        return state

    def step(self, state: Groups, server: Server) -> Groups:
        """Return the state after a round; as it was if it was abandoned or nobody held a sample.

        Raises:
            Diverged: If a loss or a weight is not finite.
        """
        started = time.perf_counter()
        method, federation, number = self.spec.method, server.federation, server.round
        size = self.spec.settings.cohort_of(len(federation.clients))
        asked = federation.sample_cohort(number, size)
        clients = [client for client in asked if len(federation.clients[client])]
        if len(clients) < len(asked):
            self.log.append(ClientsSkipped(number, sorted(set(asked) - set(clients))))
        if not clients:
            seconds = time.perf_counter() - started
            self.log.append(self._aggregated(Cohort([]), number, seconds))
            return state
        try:
            cohort = federation.exchange(
                number,
                clients,
                lambda client_id: method.downlink(state, client_id),
                method.client_update,
                lambda: method.once(state, server),
            )
        except RoundAbandoned as reason:
            self._log_traffic()
            self.log.append(RoundLost(number, str(reason), time.perf_counter() - started))
            return state
        if cohort.sealed:
            self.log.append(cohort.sealed)
        with isolated_torch_rng(self.spec.seed, "server", "round", number):
            # All that follows meets a state on the networks' device, made there or not.
            following = g.to(method.aggregate(state, cohort, server), self.world.device)
        if federation.buffers == "recompute" and following.get("buffers"):
            following = recompute(following, self.world.networks, server.public())
        self._log_traffic()
        self.log.append(self._aggregated(cohort, number, time.perf_counter() - started))
        # A cohort without a single training step has no loss; that is no divergence.
        bad_loss = cohort.drawn > 0 and not math.isfinite(cohort.train_loss)
        if bad_loss or not all(g.is_finite(tree) for tree in following.values()):
            raise Diverged(f"not converged: a loss or weight was not finite in round {number}.")
        return following

    def evaluate(self, state: Groups, server: Server) -> None:
        """Test the model of a state, and log its score.

        Raises:
            Diverged: If the loss is not finite.
        """
        started = time.perf_counter()
        with isolated_torch_rng(self.spec.seed, "evaluate"):
            score = evaluate(
                lambda x: self.spec.method.predict(state, server, x), self.world.evaluation
            )
        self.log.append(
            RoundEvaluated(
                server.round,
                score.accuracy,
                score.macro_f1,
                score.loss,
                score.examples,
                time.perf_counter() - started,
            )
        )
        if not math.isfinite(score.loss):
            raise Diverged(f"not converged: the test loss was not finite in round {server.round}.")

    def store(self, state: Groups, number: int) -> None:
        """Keep a finished round; the last one is on disk afterwards."""
        clients = dict(self.server.federation.store.versions)
        log = self.log.checksum
        checkpoint = Checkpoint(number, state, log.nbytes, clients, log.crc32)
        self.keeper.keep(checkpoint, number == self.spec.settings.rounds)

    def _check_learnt(self) -> None:
        events = list(read_events(self.folder / EVENTS))
        lost = [event for event in events if isinstance(event, RoundLost)]
        if lost and not any(isinstance(event, RoundAggregated) for event in events):
            raise NothingLearnt(
                f"nothing was learnt, for all {len(lost)} rounds were abandoned: {lost[-1].reason}"
            )

    def _log_traffic(self) -> None:
        for traffic in self.server.federation.channel.settle():
            self.log.append(traffic)

    def _aggregated(self, cohort: Cohort, number: int, seconds: float) -> RoundAggregated:
        return RoundAggregated(
            number,
            cohort.clients,
            cohort.examples,
            cohort.steps,
            cohort.train_loss,
            cohort.gradient_diversity,
            cohort.saw_clients,
            self.server.federation.store.nbytes,
            seconds,
        )
