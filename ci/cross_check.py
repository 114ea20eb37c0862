"""Train FedAvg by FedML's own simulator, too, on the same partition, start and test set.

    python ci/cross_check.py [key=value ...]        needs the extra fedml; prints a table

Only the order of batches differs, which FedML draws by itself. So accuracies differ by noise: the
last column is the difference of the means over seeds, with its standard error.
"""

import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from statistics import mean, stdev

import fedml
import torch
from fedml.simulation.sp.fedavg import FedAvgAPI
from torch.utils.data import DataLoader, TensorDataset

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import buffers, trainable
from gptfl_bench.data.samples import Samples
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.training.evaluate import evaluate

SEEDS = (0, 1, 2, 3, 4)
SETTINGS = (
    *("num_clients=5", "cohort_size=5", "rounds=20", "partition.alpha=0.5"),
    *("plan.epochs=1", "plan.batch_size=32", "plan.lr=0.1", "plan.clip_norm=null"),
)


def batches(samples: Samples, size: int, seed: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Return a client's samples as FedML wants them, in another order each epoch."""
    rows = torch.arange(len(samples))
    order = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(*samples.batch(rows)), size, shuffle=True, generator=order)


def by_fedml(spec: CellSpec) -> float:
    """Return the accuracy after FedML's simulator has trained a cell's network."""
    world, plan = build_world(spec), spec.settings.plan
    clients = [world.train.select(torch.tensor(rows)) for rows in world.partition.clients]
    torch.manual_seed(spec.seed)
    args = Namespace(
        training_type="simulation", backend="sp", federated_optimizer="FedAvg", role="server",
        dataset=world.task.name, model=spec.model_name, random_seed=spec.seed, rank=0, run_id="0",
        client_num_in_total=len(clients), client_num_per_round=len(clients),
        comm_round=spec.settings.rounds, frequency_of_the_test=10**6, epochs=plan.epochs,
        batch_size=plan.batch_size, client_optimizer="sgd", learning_rate=plan.lr,
        weight_decay=0.0, enable_wandb=False, using_mlops=False,
    )  # fmt: skip
    # Unlike fedml.init, this looks up nothing.
    fedml.mlops.pre_setup(args)
    loaders = {
        number: batches(samples, plan.batch_size, 100 * spec.seed + number)
        for number, samples in enumerate(clients)
    }
    sizes = {number: len(samples) for number, samples in enumerate(clients)}
    network = world.networks.new(world.networks.start)
    data = [sum(sizes.values()), 0, None, None, sizes, loaders, loaders, world.task.num_classes]
    api = FedAvgAPI(args, torch.device("cpu"), data, network)
    api.train()
    trained = api.model_trainer.model
    groups = {"model": trainable(trained), "buffers": buffers(trained)}
    return evaluate(lambda x: world.networks.apply(groups, x), world.evaluation).accuracy


def main() -> None:
    """Print accuracies of both engines, seed by seed."""
    settings = [*SETTINGS, *sys.argv[1:]]
    cells = experiment.plan(["fedavg"], "digits", "quick", SEEDS, settings).cells
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Path(folder), Artifacts(Path(folder) / "cache"))
        ours = [cell.row()["value_last"] or 0.0 for cell in launchers.execute(cells, context)]
    theirs = [by_fedml(spec) for spec in cells]
    print("\n| seed | gptfl-bench | FedML |\n| --- | --- | --- |")
    for seed, a, b in zip(SEEDS, ours, theirs, strict=True):
        print(f"| {seed} | {100 * a:.2f} | {100 * b:.2f} |")
    apart = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
    error = stdev(apart) / len(apart) ** 0.5
    print(f"\nmean difference {mean(apart):+.2f}, standard error {error:.2f} points of accuracy")


if __name__ == "__main__":
    main()
