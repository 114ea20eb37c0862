"""What references have in common: clients send nothing, the server looks at their samples."""

from dataclasses import dataclass

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import Method, Need
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work


@dataclass(frozen=True)
class Reference(Method):
    """Training that is not federated.

    Attributes:
        plan: Local training of a client, or what takes its place.
    """

    needs = frozenset({Need.SAMPLES})

    plan: Plan = Plan()

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return as much as local training."""
        return amounts.at_clients(self.plan)

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return nothing."""
        return {}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return nothing."""
        return {}
