"""An exchange under secure aggregation: clients' replies go in, only their sum comes out."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gptfl_bench.core.errors import Refusal, RoundAbandoned
from gptfl_bench.core.groups import Tree
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.cohort import Cohort, Sums, Weighting
from gptfl_bench.engine.federation import Sealing, Send, Visit
from gptfl_bench.secure.packing import FieldPacking, FixedPointPacking, Packing
from gptfl_bench.secure.protocol.aggregate import secure_sum
from gptfl_bench.secure.protocol.messages import Session
from gptfl_bench.secure.protocol.parties import Setting
from gptfl_bench.secure.protocol.quantise import Quantiser
from gptfl_bench.secure.protocol.ring import MERSENNE, Ring
from gptfl_bench.secure.settings import SecureSettings
from gptfl_reports.records.events import SecureSum


@dataclass
class SecureExchange(Sealing):
    """Secure aggregation of a cell's exchanges.

    Attributes:
        settings: How sums are taken.
        weightings: Which sums the method asks for.
        seed: The cell's seed, from which the simulation derives all secrets.
    """

    settings: SecureSettings
    weightings: tuple[Weighting, ...]
    seed: int
    _sums_in: Counter[int] = field(default_factory=Counter)

    def exchange(
        self,
        number: int,
        sizes: Mapping[int, int],
        visit: Visit,
        send: Send,
        store: ClientStore,
        modulus: int | None,
    ) -> Cohort:
        """Return sums over the clients that stayed; see :class:`Sealing`."""
        clients = list(sizes)
        if len(clients) < 2:
            raise Refusal(
                f"secure aggregation of {len(clients)} client hides nothing; set cohort_size to 2 "
                "or more."
            )
        started, working = time.perf_counter(), 0.0
        packing = self._packing(sizes, modulus)
        lost = self.settings.lost(self.seed, number, clients)
        truth, kept = Cohort(clients), dict(store.versions)

        def vector(client: int) -> Tensor:
            nonlocal working
            began = time.perf_counter()
            reply, examples, fits = visit(client)
            truth.add(reply, examples, fits)
            working += time.perf_counter() - began
            return packing.encode(reply, examples)

        # One client works before keys are exchanged, for its vector tells how long all are.
        first = next((client for client in clients if lost.get(client) != "masked_input"), None)
        ready = {} if first is None else {first: vector(first)}
        setting = Setting(
            Session(number, self._sums_in[number]),
            tuple(clients),
            self.settings.least(len(clients)),
            packing.ring,
            len(ready[first]) if first is not None else 1,
        )
        self._sums_in[number] += 1
        try:
            summed = secure_sum(
                setting,
                lambda client: ready.pop(client) if client in ready else vector(client),
                send,
                self.seed,
                self.settings.protocol,
                lost,
            )
        except RoundAbandoned:
            store.versions = kept
            raise
        sums, examples = packing.decode(summed.values)
        event = SecureSum(
            number,
            self.settings.protocol,
            len(clients),
            len(summed.survivors),
            setting.length,
            packing.ring.bits,
            packing.clipped,
            packing.bound,
            _error(sums, examples, truth, len(summed.survivors)),
            time.perf_counter() - started - working,
        )
        return Cohort.opened(truth, list(summed.survivors), sums, examples, event)

    def _packing(self, sizes: Mapping[int, int], modulus: int | None) -> Packing:
        if modulus is not None:
            return FieldPacking(modulus)
        # Every client knows it: weights must not make the sum wrap number.
        samples = sum(sizes.values()) if "examples" in self.weightings else 0
        weight = max(samples, len(sizes))
        clip, bits = self.settings.clip, self.settings.bits
        if self.settings.protocol == "bonawitz":
            return FixedPointPacking(Quantiser.narrowest(clip, bits, weight), self.weightings)
        try:
            quantiser = Quantiser(clip, bits, Ring(MERSENNE), weight)
        except ValueError as error:
            raise Refusal(
                f"secure.protocol=lightsecagg: {error}; set secure.bits lower."
            ) from error
        return FixedPointPacking(quantiser, self.weightings)


def _error(sums: Sums, examples: int, truth: Cohort, clients: int) -> float:
    """Return the largest difference of a coordinate of a mean from what it would have been."""
    apart = [
        _largest_difference(tree, truth.sum(group, weighting)) / total
        for weighting, groups in sums.items()
        for total in [examples if weighting == "examples" else clients]
        for group, tree in groups.items()
        if total
    ]
    return max(apart, default=0.0)


def _largest_difference(ours: Tree, theirs: Tree) -> float:
    apart = [
        float((tensor.double() - theirs[name].cpu().double()).abs().max())
        for name, tensor in ours.items()
        if tensor.is_floating_point() and tensor.numel()
    ]
    return max(apart, default=0.0)
