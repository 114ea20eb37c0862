"""Trying a network on a few samples: whether copies of it train, and what they give."""

from typing import Any

import torch
from torch import Tensor, nn

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.networks import Networks


def try_network(networks: Networks, x: Tensor, num_classes: int, name: str) -> None:
    """Try a copy of a network on a few samples (b, ...), in training and in evaluation.

    Raises:
        UsageError: If it can't take them, gives no logits (b, C), or does not train by its own
            parameters.
    """
    with isolated_torch_rng(0, "check"):
        copied = networks.new(networks.start)
        logits = _logits(copied, x, num_classes, name)
    own, used = {id(parameter) for parameter in copied.parameters()}, _weights(logits)
    strange = used - own
    if strange:
        with isolated_torch_rng(0, "check"):
            again = _weights(_logits(networks.new(networks.start), x, num_classes, name))
        if strange & again:
            raise UsageError(
                f"{name}: all copies of it work with the same weights, so no client could train "
                "its own; let forward use self alone, without a function or compiled code that "
                "holds on to one network."
            )
        raise UsageError(
            f"{name}: it works with weights that are not among its parameters, so they would "
            "neither be sent nor trained; put layers into nn.ModuleList or nn.ModuleDict instead "
            "of a list or dict."
        )
    if not used:
        raise UsageError(
            f"{name}: its output does not depend on any parameter that trains; unfreeze some "
            "(requires_grad_(True)), and let forward run without torch.no_grad or detach."
        )
    with isolated_torch_rng(0, "check"), torch.no_grad():
        _logits(networks.new(networks.start).eval(), x, num_classes, name)


def try_single(networks: Networks, x: Tensor, name: str, where: str) -> None:
    """Refuse a network that can't be trained on one sample, where there will be such a batch.

    Args:
        networks: Networks that take more.
        x: A batch of one sample.
        name: Name of the network.
        where: What makes such a batch, in words.

    Raises:
        UsageError: If it can't, as batch normalisation without height and width.
    """
    try:
        with isolated_torch_rng(0, "check"):
            networks.new(networks.start)(x)
    except ValueError as error:
        raise UsageError(
            f"{name} can't be trained on a batch of one sample ({error}), and {where}; choose "
            "another plan.batch_size or partition, or a network with GroupNorm or LayerNorm."
        ) from error


def _logits(network: nn.Module, x: Tensor, num_classes: int, name: str) -> Tensor:
    """Return what a network makes of samples if it is one logit for each class."""
    try:
        out: Any = network(x)
    except Exception as error:
        raise UsageError(
            f"{name} can't take samples of shape {tuple(x.shape[1:])} ({type(error).__name__}: "
            f"{error}); change the network or the samples' transform."
        ) from error
    if not isinstance(out, Tensor):
        inside = "[0]" if isinstance(out, tuple | list) else ".logits" if out is not None else ""
        raise UsageError(
            f"{name} returns {type(out).__name__}, where one tensor of logits (batch, "
            f"{num_classes}) is needed; return the logits alone"
            f"{f', such as output{inside}' if inside else ''}."
        )
    if tuple(out.shape) != (len(x), num_classes):
        raise UsageError(
            f"{name} gives outputs of shape {tuple(out.shape)} for {len(x)} samples, where "
            f"({len(x)}, {num_classes}) is needed, one for each class; end it with a layer of "
            f"{num_classes} outputs."
        )
    return out


def _weights(out: Tensor) -> set[int]:
    """Return the ids of the parameters that a tensor was computed from and that would train."""
    found, seen, waiting = set(), set(), [out.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(getattr(node, "variable", None), nn.Parameter):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found
