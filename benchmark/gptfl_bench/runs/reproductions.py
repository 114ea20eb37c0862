"""The cells behind the paper's tables and figures, at the paper's scale or at one for a CPU.

Names of data sets, networks, partitions and methods are the paper's, by which its numbers are found
(GPT-FL, section 4). What the paper leaves open is filled from its released code, in the presets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gptfl_bench.core.errors import UsageError, unknown

Scale = Literal["cpu", "paper"]
"""``paper`` is its setting; ``cpu`` keeps data and partition, and has the CPU presets' networks,
rounds and amounts."""

_NAMES = {
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "Flowers102": "flowers102",
    "GoogleSpeechCommands": "speech_commands",
    "ESC-50": "esc50",
}
_GRU = "FedAudio_Conv-GRU"
_CLIENTS = {"CIFAR-10": 100, "CIFAR-100": 100, "Flowers102": 50}


@dataclass(frozen=True)
class Arm:
    """What one number of the paper is measured by.

    Attributes:
        published: The method's name in the paper.
        method: Its name here.
        overrides: Settings at both scales.
        at_start: Whether the number is that before the first round, after central training.
    """

    published: str
    method: str
    overrides: tuple[str, ...] = ()
    at_start: bool = False


@dataclass(frozen=True)
class Block:
    """One data set, network and partition, with the methods compared on it.

    Attributes:
        dataset: The data set's name in the paper.
        model: The network's.
        partition: The partition's, as in the file of published numbers.
        arms: The methods.
        overrides: Settings at both scales.
        paper_overrides: Settings at the paper's scale alone, such as the network.
    """

    dataset: str
    model: str
    partition: str
    arms: tuple[Arm, ...]
    overrides: tuple[str, ...] = ()
    paper_overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The data set's name here."""
        return _NAMES[self.dataset]

    def settings(self, arm: Arm, scale: Scale) -> list[str]:
        """Return the settings of an arm."""
        paper = self.paper_overrides if scale == "paper" else ()
        return [*self.overrides, *paper, *arm.overrides]


_FEDERATED = (Arm("FedAvg", "fedavg"), Arm("FedOpt", "fedopt"))
_WARM = (Arm("GPT-FL w/ FedAvg", "gptfl"), Arm("GPT-FL w/ FedOpt", "gptfl+fedopt"))


def _synthetic(*amounts: int) -> tuple[Arm, ...]:
    return tuple(
        Arm(
            f"{amount}x Synthetic (centralised)",
            "gptfl",
            ("rounds=0", f"synthetic.multiplier={amount}"),
            at_start=True,
        )
        for amount in amounts
    )


def _network(dataset: str) -> tuple[str, tuple[str, ...]]:
    """Return the network of Tables 3, 5 and 6, and how it is set."""
    if dataset in ("GoogleSpeechCommands", "ESC-50"):
        return _GRU, ("model=conv_gru",)
    name = "ResNet50" if dataset == "CIFAR-100" else "ResNet18"
    return name, (f"model={name.lower()}",)


def _sharing(dataset: str) -> str:
    if dataset == "GoogleSpeechCommands":
        return "by_speaker_2112_train_speakers"
    if dataset == "ESC-50":
        return "dir0.1_100clients"
    return f"dirichlet_alpha_not_stated_{_CLIENTS[dataset]}clients"


def _table2() -> Iterator[Block]:
    large = ("FedAvg", "FedProx", "SCAFFOLD", "MOON", "FedDF", "DS-FL", "Fed-ET", "GPT-FL")
    for model, names in (("VGG19", large), ("ConvNet", ("FedGen", "DynaFed", "GPT-FL"))):
        arms = tuple(
            Arm(name, "gptfl" if name == "GPT-FL" else name.lower().replace("-", ""))
            for name in names
        )
        for dataset, clients in _CLIENTS.items():
            for alpha in (0.1, 0.5):
                yield Block(
                    dataset,
                    model,
                    f"dir{alpha}_{clients}clients",
                    arms,
                    (f"partition.alpha={alpha}",),
                    (f"model={model.lower()}",),
                )


def _central_and_federated(
    datasets: tuple[str, ...],
    central: tuple[Arm, ...],
    federated: tuple[Arm, ...],
    extra: tuple[str, ...] = (),
) -> Iterator[Block]:
    for dataset in datasets:
        model, paper = _network(dataset)
        yield Block(dataset, model, "centralised", central, extra, paper)
        yield Block(dataset, model, _sharing(dataset), federated, extra, paper)


def _table4() -> Iterator[Block]:
    # Ten seeds are ten random clients, each alone for 500 epochs from the synthetic model.
    alone = Arm(
        "Locally fine-tune in isolation",
        "gptfl",
        ("rounds=1", "cohort_size=1", "warm.fedavg.plan.epochs=500", "partition.seed=0"),
    )
    arms = (alone, Arm("GPT-FL w/ FedAvg", "gptfl"))
    yield Block(
        "CIFAR-100", "VGG19", "dir0.1_100clients", arms, ("partition.alpha=0.1",), ("model=vgg19",)
    )
    yield Block("GoogleSpeechCommands", _GRU, "by_speaker", arms, (), ("model=conv_gru",))


def _table6() -> Iterator[Block]:
    for block in _central_and_federated(tuple(_CLIENTS), _synthetic(3), (*_FEDERATED, *_WARM)):
        model = f"model={block.model.lower()}"
        yield Block(
            block.dataset,
            block.model,
            block.partition,
            block.arms,
            (model, "++model_args.weights=imagenet"),
        )


def _figure(dataset: str, model: str, *arms: Arm, partition: str = "") -> Block:
    setting = "conv_gru" if model == _GRU else model.lower()
    return Block(dataset, model, partition, arms, (), (f"model={setting}",))


def _figures_2_and_3(model: str, other: str) -> Iterator[Block]:
    for dataset in ("CIFAR-10", "CIFAR-100"):
        yield _figure(dataset, model, Arm("GPT-FL", "gptfl"), Arm(other, other.lower()))


def _figure4() -> Iterator[Block]:
    for dataset in ("CIFAR-10", "CIFAR-100"):
        arms = [
            Arm(f"GPT-FL, {clients} clients", "gptfl", (f"cohort_size={clients}",))
            for clients in (1, 10, 50)
        ]
        yield _figure(dataset, "VGG19", *arms)


def _figure7() -> Iterator[Block]:
    yield _figure("Flowers102", "ResNet18", *_synthetic(1, 2, 3, 5, 10))


def _figures_8_and_9() -> Iterator[Block]:
    yield _figure("GoogleSpeechCommands", _GRU, Arm("FedAvg", "fedavg"), _WARM[0])


_FIVE = tuple(_NAMES)
TARGETS: dict[str, Callable[[], Iterator[Block]]] = {
    "table2": _table2,
    "table3": lambda: _central_and_federated(_FIVE, _synthetic(1, 2, 3), _FEDERATED),
    "table4": _table4,
    "table5": lambda: _central_and_federated(_FIVE, _synthetic(3), (*_FEDERATED, *_WARM)),
    "table6": _table6,
    "figure2": lambda: _figures_2_and_3("VGG19", "FedET"),
    "figure3": lambda: _figures_2_and_3("ConvNet", "DynaFed"),
    "figure4": _figure4,
    "figure7": _figure7,
    "figure8": _figures_8_and_9,
    "figure9": _figures_8_and_9,
}
"""What can be reproduced, by name."""


def blocks(name: str, scale: Scale, datasets: Sequence[str] = ()) -> list[Block]:
    """Return the cells behind a table or figure.

    Args:
        name: The table or figure.
        scale: How large.
        datasets: The data sets' names here; all of them if there are none.

    Raises:
        UsageError: If there is no such table or figure, none at this scale, or none with these
            data sets.
    """
    if name not in TARGETS:
        raise unknown("table or figure", name, [*TARGETS, "claims"])
    if name == "table6" and scale == "cpu":
        raise UsageError(
            "table6 starts ResNets from ImageNet's weights, of which there is no smaller kind; "
            "give --scale paper."
        )
    every = list(TARGETS[name]())
    for dataset in datasets:
        if dataset not in {block.name for block in every}:
            raise unknown(f"data set of {name}", dataset, {block.name for block in every})
    return [block for block in every if not datasets or block.name in datasets]
