"""What never trains travels once: frozen parameters, and buffers that are no statistics.

Both sides know the network, so both know which tensors these are and how it started. Such a tensor
is left out of a message while it is what it was at the start, and put back where it arrives; in
groups other than ``model`` and ``buffers``, such as updates, it is zero then. A tensor that did
change is sent like any other. The values are handed to a client at its first visit (``once``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gptfl_bench.core.groups import Groups, Tree, layout

_VALUES = ("model", "buffers")


@dataclass(frozen=True)
class Constants:
    """The tensors of a network that never train, as they are at the start, by group and name."""

    start: Mapping[str, Tree]

    @classmethod
    def of(cls, network: nn.Module, start: Mapping[str, Tree]) -> "Constants":
        """Return the constants of a network that starts from ``start``."""
        frozen = {n for n, weight in network.named_parameters() if not weight.requires_grad}
        fixed = {
            f"{prefix}.{name}".lstrip(".")
            for prefix, module in network.named_modules()
            # Statistics change with every batch, those of frozen layers too.
            if not isinstance(module, _NormBase)
            for name, _ in module.named_buffers(recurse=False)
        }
        names = {"model": frozen, "buffers": fixed}
        return cls(
            {
                group: {n: tensor for n, tensor in start[group].items() if n in names[group]}
                for group in _VALUES
            }
        )

    def part(self, payload: Mapping[str, Tree]) -> tuple[Groups, Groups]:
        """Return what must travel of a payload, and what the other side knows, as it is there."""
        if not any(self.start.values()):
            return dict(payload), {}
        travels: Groups = {}
        known: Groups = {}
        for group, tree in payload.items():
            for name, tensor in tree.items():
                value = self._value(group, name)
                same = value is not None and torch.equal(tensor.detach().to(value.device), value)
                side = known if same else travels
                side.setdefault(group, {})[name] = tensor
        return travels, known

    @staticmethod
    def whole(arrived: Groups, known: Groups, payload: Mapping[str, Tree]) -> Groups:
        """Return what arrived and what was known as one, in the order of the whole payload."""
        if not known:
            return arrived
        groups: Groups = {}
        for group, name in layout(payload).arrival:
            side = arrived if name in arrived.get(group, {}) else known
            groups.setdefault(group, {})[name] = side[group][name]
        return groups

    def values(self, known: Groups) -> Groups:
        """Return those of the known tensors that are more than zeros."""
        return {group: tree for group, tree in known.items() if group in _VALUES}

    def _value(self, group: str, name: str) -> Tensor | None:
        if group in _VALUES:
            return self.start[group].get(name)
        frozen = self.start["model"].get(name)
        return None if frozen is None else torch.zeros_like(frozen)
