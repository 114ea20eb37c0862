"""Methods given as objects beside names."""

from gptfl_bench.data.task import Task
from gptfl_bench.runs import experiment
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedprox import FedProx
from gptfl_methods.gptfl import GptFl

PLAN = Plan(epochs=2, batch_size=4, lr=0.1)


def test_method_objects_get_names_of_their_own(tiny_task: Task) -> None:
    plan = experiment.plan(
        [FedAvg(plan=PLAN), "fedavg", GptFl(inner=FedProx(plan=PLAN)), FedAvg(plan=PLAN)],
        tiny_task,
        "quick",
        [0],
        ["model=linear", "num_clients=6"],
    )
    # The same object twice is one method; beside the named one it tells what differs.
    names = ["fedavg", "fedavg(batch_size=4,epochs=2)", "gptfl+fedprox"]
    assert [c.name for c in plan.cells] == names
    assert len({c.run_id for c in plan.cells}) == 3
