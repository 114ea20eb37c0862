"""Copies of one network, made from a plan: each visit of a client gets one of its own.

A copy is never used again for another client, for a method may have hooked or frozen its layers;
instead making one costs next to nothing. ``copy.deepcopy`` would walk a dozen empty dictionaries of
hooks in every layer, which a small network pays more for than for a step.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_FIXED = (int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device, torch.Size)


class Mould:
    """Makes copies of a network that hold other tensors.

    Args:
        template: The network; it is neither changed nor kept from changing.
    """

    def __init__(self, template: nn.Module) -> None:
        self._template = template
        modules = list(template.modules())
        # Modules that know how to be copied, such as compiled ones, may hold anything.
        self._plain = not any(hasattr(module, "__deepcopy__") for module in modules)
        self._parts = [_Part(module) for module in modules]
        # A network may keep layers in evaluation mode by a ``train`` of its own.
        self._own_train = any(type(module).train is not nn.Module.train for module in modules)

    def cast(self, tensors: Mapping[int, Tensor]) -> nn.Module:
        """Return a copy in training mode.

        Args:
            tensors: What takes the place of the template's tensors, by their ``id``.
        """
        memo: dict[int, object] = {id(None): None, **tensors}
        if not self._plain:
            return copy.deepcopy(self._template, memo).train()
        twins = [part.kind.__new__(part.kind) for part in self._parts]
        for part, twin in zip(self._parts, twins, strict=True):
            memo[part.origin] = twin
        for part, twin in zip(self._parts, twins, strict=True):
            part.fill(twin.__dict__, memo)
        root = twins[0]
        return root.train() if self._own_train else root


class _Part:
    """What a module's copy is made of: values that never change, empty dictionaries, and others."""

    def __init__(self, module: nn.Module) -> None:
        self.kind, self.origin = type(module), id(module)
        self._fixed: dict[str, object] = {}
        self._empty: list[tuple[str, type]] = []
        self._held: list[tuple[str, list[tuple[str, int]]]] = []
        self._others: dict[str, object] = {}
        for name, value in vars(module).items():
            if isinstance(value, dict | set) and not value:
                self._empty.append((name, type(value)))
            elif name in ("_modules", "_parameters", "_buffers"):
                self._held.append((name, [(key, id(held)) for key, held in value.items()]))
            elif _is_fixed(value):
                self._fixed[name] = value
            else:
                self._others[name] = value
        self._fixed["training"] = True

    def fill(self, own: dict[str, object], memo: dict[int, object]) -> None:
        """Give a twin its attributes."""
        own.update(self._fixed)
        for name, kind in self._empty:
            own[name] = kind()
        for name, held in self._held:
            own[name] = {key: memo[origin] for key, origin in held}
        for name, value in self._others.items():
            own[name] = copy.deepcopy(value, memo)


def _is_fixed(value: object) -> bool:
    return isinstance(value, _FIXED) or (type(value) is tuple and all(map(_is_fixed, value)))
