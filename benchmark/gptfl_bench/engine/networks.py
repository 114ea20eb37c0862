"""Fresh networks of one architecture, all starting from the same addressed weights."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gptfl_bench.architectures.mould import Mould
from gptfl_bench.architectures.network import ModelFactory, has_features, models
from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.constant import Constants
from gptfl_bench.engine.handed import own_copy, plain, settled
from gptfl_bench.training.precision import Precision, lowered, under_autocast


class Networks:
    """Hands out networks; a copy of a template costs no initialisation.

    Args:
        template: A network whose weights are the start of every method.
        device: Where networks live.
        variant: Makes networks of another registered architecture.
        task_size: Parameters and buffer scalars of the task's network, where a method made another
            network of it.
        input_shape: Shape of one sample, where methods ask for it.
        precision: In how many bits networks compute.
    """

    def __init__(
        self,
        template: nn.Module,
        device: torch.device,
        variant: "Callable[[str], Networks] | None" = None,
        task_size: tuple[int, int] | None = None,
        input_shape: tuple[int, ...] = (),
        precision: Precision = "float32",
    ) -> None:
        self._template = template.to(device)
        self._make_variant = variant
        self._variants: dict[str, Networks] = {}
        # The template's own tensors: they never change, and a copy takes memory.
        self.start: Groups = {
            "model": g.trainable(self._template),
            "buffers": g.buffers(self._template),
        }
        self._mould: Mould | None = None
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self.constants = Constants.of(self._template, self.start)
        self.task_size = task_size or _size(self._template)
        self.device = device
        self.input_shape = input_shape
        self.precision: Precision = precision

    @classmethod
    def build(
        cls,
        factory: "ModelFactory | nn.Module",
        input_shape: tuple[int, ...],
        num_classes: int,
        settings: Mapping[str, object],
        seed: int,
        device: torch.device,
        adapt: Callable[[nn.Module], nn.Module] = lambda template: template,
        precision: Precision = "float32",
    ) -> "Networks":
        """Return networks made by ``factory`` with weights at the address ``(seed, "start")``.

        Args:
            factory: A model factory, or a network that serves as the template itself.
            input_shape: Shape of one sample.
            num_classes: Number of classes C.
            settings: Further arguments of the factory.
            seed: The cell's seed.
            device: Where networks live.
            adapt: What a method makes of the network; variants stay as they are.
            precision: In how many bits networks compute.
        """

        def variant(name: str) -> Networks:
            own = models.get(name)
            return cls.build(own, input_shape, num_classes, {}, seed, device, precision=precision)

        if not callable(factory):
            raise TypeError(f"a model must be a network or a factory, not {type(factory).__name__}")
        with isolated_torch_rng(seed, "start"):
            template = settled(
                own_copy(factory)
                if isinstance(factory, nn.Module)
                else plain(factory(input_shape, num_classes, **settings))
            )
            # Taken before a method changes it in place.
            size = _size(template)
            return cls(adapt(template), device, variant, size, input_shape, precision)

    def variant(self, architecture: str) -> "Networks":
        """Return networks of another registered architecture for the same task and seed.

        Raises:
            UsageError: If there is no such architecture, or none for samples of this shape.
        """
        if self._make_variant is None:
            raise TypeError("these networks were made without a way to make others")
        if architecture not in self._variants:
            try:
                self._variants[architecture] = self._make_variant(architecture)
            except (TypeError, ValueError, RuntimeError) as error:
                raise UsageError(
                    f"the model {architecture!r} can't be made for this task: {error}; choose "
                    "another."
                ) from error
        return self._variants[architecture]

    def __getstate__(self) -> dict[str, object]:
        """Return what another process is handed: not the mould, which knows tensors by identity."""
        return {**self.__dict__, "_mould": None, "_tensors": {}, "_variants": {}}

    @property
    def has_features(self) -> bool:
        """Whether networks split into an encoder to features (b, F) and a linear head."""
        return has_features(self._template)

    def __str__(self) -> str:
        """Return the layers, as PyTorch prints them, and the precision if it is an unusual one."""
        usual = self.precision == "float32"
        return str(self._template) if usual else f"{self._template}\n{self.precision}"

    def new(self, groups: Mapping[str, Tree]) -> nn.Module:
        """Return a network of its own with copies of the given ``model`` and ``buffers``.

        Raises:
            ValueError: If a group does not hold exactly the network's names and shapes, or there
                are groups and none is called ``model``.
        """
        _refuse_nameless(groups)
        if self._mould is None:
            self._mould = Mould(self._template)
            self._tensors = {
                "model": dict(self._template.named_parameters()),
                "buffers": dict(self._template.named_buffers()),
            }
        replaced: dict[int, Tensor] = {}
        for group, own in self._tensors.items():
            given = groups.get(group) or own
            if given.keys() != own.keys() or any(
                given[name].shape != tensor.shape for name, tensor in own.items()
            ):
                raise ValueError(f"the group {group!r} does not fit the network: {sorted(given)}")
            for name, tensor in own.items():
                there = given[name]
                copied = g.copy(there if there.device == self.device else there.to(self.device))
                replaced[id(tensor)] = (
                    nn.Parameter(copied, tensor.requires_grad) if group == "model" else copied
                )
        return lowered(self._mould.cast(replaced), self.precision, self.device)

    def apply(self, groups: Mapping[str, Tree], x: Tensor) -> Tensor:
        """Return the logits (b, C) of a network in evaluation mode without copying it.

        Raises:
            ValueError: If there are groups and none is called ``model``.
        """
        _refuse_nameless(groups)
        tensors = {
            name: tensor.to(self.device)
            for group in ("model", "buffers")
            for name, tensor in groups.get(group, {}).items()
        }
        self._template.eval()
        call = torch.func.functional_call
        if self.precision == "bfloat16":
            call = under_autocast(call, self.device)
        out: Tensor = call(self._template, tensors, (x,))
        return out


def _refuse_nameless(groups: Mapping[str, Tree]) -> None:
    """Refuse groups whose weights are misnamed, for the start would be taken in their place."""
    if groups and "model" not in groups:
        came = ", ".join(map(repr, sorted(groups)))
        raise ValueError(f"no group is called 'model'; there are {came}")


def _size(network: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable scalars and of scalars in buffers."""
    return g.scalars(g.trainable(network)), g.scalars(g.buffers(network))
