"""Named groups of named tensors: the one form of state, payload and checkpoint.

A tree maps parameter names to tensors; groups map names such as ``model``, ``buffers`` or
``control`` to trees. An absent group and an empty one mean the same.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

Tree = dict[str, Tensor]
Groups = dict[str, Tree]

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def combine(function: Callable[..., Tensor], *trees: Mapping[str, Tensor]) -> Tree:
    """Return ``function`` applied to the tensors of the same name in all trees.

    Raises:
        ValueError: If the trees do not hold the same names.
    """
    names, *columns = _side_by_side(*trees)
    return dict(zip(names, map(function, *columns), strict=True))


def add(a: Tree, b: Tree, scale: float = 1.0) -> Tree:
    """Return ``a + scale * b``, rounded after each of the two operations."""
    names, own, others = _side_by_side(a, b)
    if scale != 1.0 or not all(tensor.is_floating_point() for tensor in others):
        others = [scale * tensor for tensor in others]
    return dict(zip(names, torch._foreach_add(own, others) if names else [], strict=True))


def subtract(a: Tree, b: Tree) -> Tree:
    """Return ``a - b``."""
    names, own, others = _side_by_side(a, b)
    return dict(zip(names, torch._foreach_sub(own, others) if names else [], strict=True))


def _side_by_side(*trees: Mapping[str, Tensor]) -> list[Any]:
    """Return the names that all trees hold, and each tree's tensors in that order."""
    first, *rest = trees
    if any(tree.keys() != first.keys() for tree in rest):
        raise ValueError(f"trees differ in their names: {[sorted(tree) for tree in trees]}")
    return [list(first), list(first.values()), *([tree[n] for n in first] for tree in rest)]


def zeros_like(tree: Tree) -> Tree:
    """Return a tree of zeros with the names, shapes and dtypes of ``tree``."""
    return combine(torch.zeros_like, tree)


def squared_norm(tree: Tree) -> float:
    """Return the sum of squares of all scalars."""
    if not tree:
        return 0.0
    norms = torch.stack(torch._foreach_norm(list(tree.values()))).tolist()
    # Exact summation: the order of names must not matter.
    return math.fsum(norm**2 for norm in norms)


def scalars(tree: Tree) -> int:
    """Return the number of scalars."""
    return sum(tensor.numel() for tensor in tree.values())


def nbytes(tree: Tree) -> int:
    """Return the size of the tensors in bytes, without names or headers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tree.values())


def is_finite(tree: Tree) -> bool:
    """Return whether no scalar is infinite or not a number."""
    # The ends of a tensor take one pass; both are NaN if a scalar is.
    ends = [
        end
        for tensor in tree.values()
        if tensor.is_floating_point() and tensor.numel()
        for end in torch.aminmax(tensor)
    ]
    return not ends or bool(torch.isfinite(torch.stack(ends)).all())


def model_groups(model: nn.Module) -> Groups:
    """Return copies of a network's trainable tensors (``model``) and its ``buffers``."""
    return {"model": combine(copy, trainable(model)), "buffers": buffers(model)}


def stored(model: nn.Module) -> Groups:
    """Return copies of a network's trainable tensors and buffers as a state holds them."""
    return model_groups(model)


def trainable(model: nn.Module) -> Tree:
    """Return a network's trainable tensors, without a copy: they change as it trains."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def buffers(model: nn.Module) -> Tree:
    """Return copies of a network's buffers."""
    return {name: copy(buffer) for name, buffer in model.named_buffers()}


def to(groups: Mapping[str, Tree], device: torch.device) -> Groups:
    """Return groups with all tensors on a device."""
    return {
        group: {name: tensor.to(device) for name, tensor in tree.items()}
        for group, tree in groups.items()
    }


def part(tree: Mapping[str, Tensor], start: str) -> Tree:
    """Return the tensors whose names begin with ``start``."""
    return {name: tensor for name, tensor in tree.items() if name.startswith(start)}


def rename(groups: Mapping[str, Tree], function: Callable[[str], str]) -> Groups:
    """Return groups of the same tensors under the names that ``function`` makes of theirs."""
    return {
        group: {function(name): tensor for name, tensor in tree.items()}
        for group, tree in groups.items()
    }


@dataclass(frozen=True)
class Layout:
    """How groups lie in a message, which follows from names, shapes and dtypes alone.

    Attributes:
        head: What goes before the data: the header's length and the header.
        order: Group and name of each tensor, in the order of the data.
        arrival: The same in the order in which :func:`decode` yields them.
        scalars: Number of scalars of each group.
        nbytes: Size of each group's tensors in bytes.
    """

    head: bytes
    order: tuple[tuple[str, str], ...]
    arrival: tuple[tuple[str, str], ...]
    scalars: dict[str, int]
    nbytes: dict[str, int]

    @property
    def size(self) -> int:
        """Length of the encoded message in bytes."""
        return len(self.head) + sum(self.nbytes.values())


def layout(groups: Mapping[str, Tree]) -> Layout:
    """Return how :func:`encode` lays groups out, without looking at a single scalar.

    Raises:
        ValueError: If a group's name is empty or holds a slash, which separates it from the
            tensor's name.
    """
    return _layout(
        tuple(
            (group, name, tensor.dtype, tensor.shape)
            for group, tree in groups.items()
            for name, tensor in tree.items()
        ),
        tuple(groups),
    )


@lru_cache(maxsize=256)
def _layout(
    tensors: tuple[tuple[str, str, torch.dtype, torch.Size], ...], names: tuple[str, ...]
) -> Layout:
    for group in names:
        if not group or "/" in group:
            raise ValueError(f"a group can't be called {group!r}: a name without a slash is needed")
    header: dict[str, dict[str, object]] = {}
    scalars: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    end = 0
    # Sorted, so that the same payload has the same bytes whatever order it was put together in.
    ordered = sorted(tensors, key=lambda tensor: tensor[:2])
    for group, name, dtype, shape in ordered:
        count = math.prod(shape)
        start, end = end, end + count * dtype.itemsize
        header[f"{group}/{name}"] = {
            "dtype": _DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        scalars[group] += count
        sizes[group] += end - start
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    order = tuple((group, name) for group, name, _, _ in ordered)
    return Layout(
        len(text).to_bytes(8, "little") + text,
        order,
        tuple(sorted(order, key="/".join)),
        dict(scalars),
        dict(sizes),
    )


def encode(groups: Mapping[str, Tree]) -> bytes:
    """Return groups in the safetensors format.

    Raises:
        ValueError: If a group's name is empty or holds a slash, which separates it from the
            tensor's name.
    """
    return b"".join(pieces(groups))


def pieces(groups: Mapping[str, Tree]) -> list[bytes | memoryview]:
    """Return what :func:`encode` puts together: the head, and where each tensor's bytes lie.

    Raises:
        ValueError: As :func:`encode`.
    """
    # Written here and read by the library: its own writer takes twenty times as long, which every
    # client's kept state would pay.
    form = layout(groups)
    return [form.head, *(_raw(groups[group][name]) for group, name in form.order)]


def _raw(tensor: Tensor) -> memoryview:
    whole = tensor.detach().cpu().contiguous()
    # A view of its own, for the stride of a single entry is whatever it was spread out from.
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8).numpy().data


def copied(groups: Mapping[str, Tree]) -> Groups:
    """Return what :func:`decode` makes of encoded groups, by at most one copy of each tensor.

    Tensors stay on their device.
    """
    return _arriving(groups, lambda tensor: copy(tensor, in_order=True))


def copy(tensor: Tensor, *, in_order: bool = False) -> Tensor:
    """Return a copy of a tensor without a gradient; a large one takes memory when it is written.

    A model that nobody writes is never copied. What reads and writes through PyTorch or NumPy finds
    two tensors; code that writes to an address it asked for before the copy would change both.

    Args:
        tensor: The tensor.
        in_order: Whether its scalars are to lie one after the other, as in a new tensor.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    # CUDA's kernels for many tensors at once write to memory that was promised to another.
    if tensor.nbytes >= _LARGE and tensor.is_cpu and _is_whole(tensor):
        if in_order and 1 in tensor.shape:
            # The stride along a single entry is whatever it was spread out from.
            tensor = tensor.view(-1).view(tensor.shape)
        try:
            return torch._lazy_clone(tensor)
        except RuntimeError:  # The memory is not PyTorch's own, but NumPy's, say.
            pass
    return tensor.clone(
        memory_format=torch.contiguous_format if in_order else torch.preserve_format
    )


_LARGE = 2**16
"""Bytes from which a copy costs more than to promise one."""


def _is_whole(tensor: Tensor) -> bool:
    """Return whether a tensor is all that lies in its memory, for a part would keep the rest."""
    whole = tensor.nbytes == tensor.untyped_storage().nbytes()
    # One number or none has strides of any kind.
    return whole and tensor.is_contiguous() and tensor.numel() > 1


def lent(groups: Mapping[str, Tree]) -> Groups:
    """Return the same as :func:`copied` in the sender's memory, to be read and not to be kept."""
    return _arriving(groups, lambda tensor: tensor.detach().contiguous())


def _arriving(groups: Mapping[str, Tree], function: Callable[[Tensor], Tensor]) -> Groups:
    arrived: Groups = {}
    for group, name in layout(groups).arrival:
        arrived.setdefault(group, {})[name] = function(groups[group][name])
    return arrived


def decode(data: bytes) -> Groups:
    """Return the groups that :func:`encode` turned into ``data``; no memory is shared."""
    groups: Groups = {}
    # The library yields tensors in an order that changes from call to call; sums over names would.
    for key, tensor in sorted(safetensors.torch.load(data).items()):
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups
