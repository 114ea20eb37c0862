"""A network of one's own trains as itself in every copy, or a sentence says why it can't."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gptfl_bench as gb
from gptfl_bench.core import groups as g
from gptfl_bench.data.task import Task
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.networks import Networks

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "preset": "quick",
    "seeds": [0],
    "rounds": 2,
    "num_clients": 4,
    "cohort_size": 4,
    "partition": {"recipe": "iid"},
    "plan": {"batch_size": 15},
    "progress": False,
}


class Net(nn.Module):
    """Two layers."""

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, hidden), nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x.flatten(1)).relu())


class Closed(Net):
    """Computes by a function that holds on to this very network."""

    def __init__(self) -> None:
        super().__init__()
        self.compute: Any = lambda x: self.second(self.first(x.flatten(1)).relu())

    def forward(self, x: Tensor) -> Any:
        return self.compute(x)


class HalfClosed(Closed):
    """Holds on to one layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.compute: Any = lambda x: self.first(x.flatten(1))

    def forward(self, x: Tensor) -> Any:
        return self.second(self.compute(x))


class Listed(Net):
    """Keeps a layer in a list, where PyTorch does not find it."""

    def __init__(self) -> None:
        super().__init__()
        self.more = [nn.Linear(16, 16)]

    def forward(self, x: Tensor) -> Any:
        return super().forward(self.more[0](x.flatten(1)))


class Detached(Net):
    """Cuts the gradient off."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


class Returning(Net):
    """Returns what a function makes of its logits."""

    def __init__(self, change: Callable[[Tensor, bool], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(super().forward(x), self.training)


def _frozen() -> nn.Module:
    return Net().requires_grad_(False)


def _half() -> nn.Module:
    network = Net()
    network.second.half()
    return network


def _flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers)


class Uncopyable(Net):
    """Keeps a tensor with a history, which can't be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = self.first.weight * 2


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "a closure over itself": (Closed, "all copies of it work with the same weights"),
    "a closure over a layer": (HalfClosed, "all copies of it work with the same weights"),
    "a list of layers": (Listed, r"not among its parameters.*nn\.ModuleList"),
    "no gradient": (Detached, "does not depend on any parameter that trains"),
    "frozen": (_frozen, r"does not depend on any parameter that trains.*requires_grad_\(True\)"),
    "no weights": (lambda: _flat(nn.AvgPool1d(4), nn.AvgPool1d(1)), "outputs of shape|parameter"),
    "can't be copied": (Uncopyable, "Uncopyable can't be copied"),
    "ten outputs": (lambda: _flat(nn.Linear(16, 10)), r"shape \(2, 10\).*a layer of 3 outputs"),
    "two outputs": (lambda: _flat(nn.Linear(16, 2)), r"shape \(2, 2\).*a layer of 3 outputs"),
    "no row for each": (lambda: Returning(lambda z, t: z.mean(0)), r"shape \(3,\) for 2 samples"),
    "a map for each": (lambda: Returning(lambda z, t: z[..., None]), r"shape \(2, 3, 1\)"),
    "a tuple": (lambda: Returning(lambda z, t: (z, z)), r"returns tuple.*output\[0\]"),
    "a tuple to train": (lambda: Returning(lambda z, t: (z, z) if t else z), "returns tuple"),
    "a tuple to test": (lambda: Returning(lambda z, t: z if t else (z, z)), "returns tuple"),
    "a dict": (lambda: Returning(lambda z, t: {"logits": z}), r"returns dict.*output\.logits"),
    "nothing": (lambda: Returning(lambda z, t: None), "returns NoneType"),
    "float64": (lambda: Net().double(), r"is torch\.float64.*write network\.float\(\)"),
    "a part in float16": (_half, r"'second.weight' is torch\.float16.*network\.float\(\)"),
    "lazy layers": (lambda: _flat(nn.LazyLinear(3)), "lazy layer.*call the network once"),
    "lazy statistics": (lambda: _flat(nn.LazyBatchNorm1d(), nn.Linear(16, 3)), "lazy layer"),
    "another input": (lambda: nn.Linear(7, 3), r"can't take samples of shape \(1, 4, 4\)"),
    "a number": (lambda: 3, "model=3 is neither the name of a network nor"),
    "weights alone": (lambda: Net().state_dict(), "model=a value of type OrderedDict is neither"),
    "a list": (lambda: [Net()], "is neither the name of a network nor"),
    "a function of no network": (lambda: lambda: 3, "<lambda> makes int, not a torch.nn.Module"),
    "another class": (lambda: Path, "can't be made|makes|makes .*Path"),
    "a class that needs more": (lambda: lambda a, b, c: Net(), "can't be made without a, b, c"),
    "a class that fails": (lambda: lambda: dict[str, nn.Module]()["lost"], "KeyError: 'lost'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_can_not_train_is_said_before_anything_is_written(
    fault: str, tiny_task: Task, tmp_path: Path
) -> None:
    make, words = FAULTS[fault]
    model: Any = make()
    with pytest.raises(gb.UsageError, match=f"(?s){words}") as said:
        gb.run("fedavg", tiny_task, out=tmp_path / "out", model=model, **SMALL)
    assert str(said.value).endswith(".")
    assert not (tmp_path / "out").exists()


def test_batch_normalisation_of_a_single_last_sample_is_said_at_once(
    tiny_task: Task, tmp_path: Path
) -> None:
    network = _flat(nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    settings = {**SMALL, "plan": {"batch_size": 7}}
    with pytest.raises(gb.UsageError, match=r"batch of one sample.*client 0, who holds 15, has"):
        gb.run("gptfl", tiny_task, out=tmp_path / "out", model=network, **settings)
    assert not (tmp_path / "out").exists()
    # No client has such a batch, or gets as far as it.
    for plan in ({"batch_size": 15}, {"batch_size": 7, "steps": 2}):
        ran = gb.run("fedavg", tiny_task, model=network, **{**SMALL, "plan": plan})
        assert list(ran.rows["status"]) == ["finished"]


def _shape_first(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _flat(nn.Linear(shape[1] * shape[2], classes))


def _by_name(num_classes: int, *, bias: bool = True) -> nn.Module:
    return _flat(nn.Linear(16, num_classes, bias=bias))


MADE: dict[str, tuple[object, dict[str, Any], int, str]] = {
    "a class": (Net, {}, 16 * 5 + 5 + 5 * 3 + 3, "Net"),
    "a class with an argument": (Net, {"hidden": 7}, 16 * 7 + 7 + 7 * 3 + 3, "Net"),
    "a function": (lambda: Net(2), {}, 16 * 2 + 2 + 2 * 3 + 3, "<lambda>"),
    "a function of the shape": (_shape_first, {}, 51, "_shape_first"),
    "a function of the classes": (_by_name, {"bias": False}, 48, "_by_name"),
}


@pytest.mark.parametrize("made", MADE)
def test_a_class_or_function_trains_the_network_that_it_makes(made: str, tiny_task: Task) -> None:
    model: Any
    model, arguments, scalars, name = MADE[made]
    settings = {**SMALL, "seeds": [0, 1]}
    ran = gb.run("fedavg", tiny_task, model=model, model_args=arguments, **settings)
    for cell in ran.cells:
        assert cell.record["model"]["parameters"] == scalars
        assert cell.record["model"]["name"] == name
    first, second = (cell.evaluations[0].loss for cell in ran.cells)
    assert first != second, "each seed starts from weights of its own"


def test_arguments_for_a_network_that_is_made_are_refused(tiny_task: Task) -> None:
    with pytest.raises(gb.UsageError, match="the network Net is made; hand over its class"):
        gb.run("fedavg", tiny_task, model=Net(), model_args={"hidden": 7}, **SMALL)


def test_a_presets_arguments_are_for_its_own_network(tiny_task: Task) -> None:
    from gptfl_bench.runs import experiment

    (spec,) = experiment.plan(["fedavg"], "cifar10", "cpu", [0], network=Net).cells
    assert spec.settings.model_args == {}


def _compiled_whole() -> nn.Module:
    return torch.compile(Net())  # type: ignore[return-value]


def _compiled_in_place() -> nn.Module:
    network = Net()
    network.compile()
    return network


def _compiled_part() -> nn.Module:
    network = Net()
    network.first = torch.compile(network.first)  # type: ignore[assignment]
    network.second.compile()
    return network


@pytest.mark.parametrize("compiled", [_compiled_whole, _compiled_in_place, _compiled_part])
def test_compiled_networks_train_as_what_was_compiled(
    compiled: Callable[[], nn.Module], tiny_task: Task
) -> None:
    def losses(model: nn.Module) -> list[float]:
        # The very same start.
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.1)
        ran = gb.run("fedavg", tiny_task, model=model, **SMALL)
        return [event.loss for event in ran.cells[0].evaluations]

    plain = losses(Net())
    assert len(set(plain)) == 3
    assert losses(compiled()) == plain


def test_misnamed_groups_are_not_taken_for_the_start() -> None:
    networks = Networks(Net(), CPU)
    with pytest.raises(
        ValueError, match="no group is called 'model'; there are 'buffers', 'modle'"
    ):
        networks.new({"modle": networks.start["model"], "buffers": {}})
    with pytest.raises(ValueError, match="there are 'modle'"):
        networks.apply({"modle": networks.start["model"]}, torch.zeros(2, 16))


@pytest.mark.parametrize("ask", [Cohort.mean, Cohort.sum])
def test_a_misspelt_group_is_an_error_that_lists_those_that_came(
    ask: Callable[[Cohort, str], g.Tree],
) -> None:
    cohort = Cohort([0])
    cohort.add({"delta": {"w": torch.ones(2)}, "control_delta": {}}, 3, [])
    with pytest.raises(ValueError, match="no client sent a group 'detla'; what came: ") as said:
        ask(cohort, "detla")
    assert "'control_delta', 'delta'" in str(said.value)
    assert ask(cohort, "control_delta") == {}
    # Nobody came, or a policy keeps statistics at the clients.
    assert ask(Cohort([]), "delta") == {}
    assert ask(cohort, "buffers") == {}


def test_a_sealed_cohort_lists_them_too() -> None:
    truth = Cohort([0])
    truth.add({"delta": {}}, 3, [])
    sealed = Cohort.opened(truth, [0], {"uniform": {"delta": {}}}, 3, object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no client sent a group 'detla'; what came: 'delta'"):
        sealed.sum("detla", "uniform")
