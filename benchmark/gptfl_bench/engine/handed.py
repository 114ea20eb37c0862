"""Taking a network that a user hands over: an object, a class or a function that makes one."""

import copy
import inspect
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gptfl_bench.core.errors import UsageError

Handed = nn.Module | Callable[..., nn.Module]
"""A network whose weights are the start, or what makes one: a class or a function."""


def accepted(model: object) -> Handed:
    """Return a copy of a network, or what makes one.

    Raises:
        UsageError: If it is neither, or can't be copied.
    """
    if isinstance(model, nn.Module):
        settled(uncompiled(model))
        try:
            return own_copy(model)
        except Exception as error:
            raise UsageError(
                f"{name_of(model)} can't be copied ({type(error).__name__}: {error}), and each "
                "client trains a copy; keep nothing in it that copy.deepcopy can't copy."
            ) from error
    if callable(model):
        return model
    words = repr(model) if len(repr(model)) < 40 else f"a value of type {type(model).__name__}"
    raise UsageError(
        f"model={words} is neither the name of a network nor a torch.nn.Module nor a class or "
        "function that makes one; hand over one of these (gptfl-bench list models)."
    )


def name_of(model: Handed) -> str:
    """Return what tables call a network that was handed over."""
    if isinstance(model, nn.Module):
        return type(uncompiled(model)).__name__
    return str(getattr(model, "__name__", type(model).__name__))


def uncompiled(network: nn.Module) -> nn.Module:
    """Return what ``torch.compile`` wrapped; any other network is returned as it is."""
    inside = getattr(network, "_orig_mod", None)
    return uncompiled(inside) if isinstance(inside, nn.Module) else network


def own_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network that is not compiled."""
    return plain(copy.deepcopy(uncompiled(network)))


def plain(network: nn.Module) -> nn.Module:
    """Return a network without what ``torch.compile`` made of it and, in place, of its parts.

    Compiled code keeps the weights it was compiled with, so a copy of it would never train.
    """
    network = uncompiled(network)
    for part in list(network.modules()):
        if part._compiled_call_impl is not None:
            part._compiled_call_impl = None
        for name, child in list(part._modules.items()):
            if child is not None and uncompiled(child) is not child:
                part._modules[name] = uncompiled(child)
    return network


def make(
    factory: Callable[..., object],
    input_shape: tuple[int, ...],
    num_classes: int,
    settings: Mapping[str, object],
) -> nn.Module:
    """Return the network that a class or function makes.

    It is handed ``input_shape`` and ``num_classes`` if it takes arguments of these names, or two
    that it can't do without.

    Raises:
        UsageError: If it needs others, or makes something else.
    """
    name = str(getattr(factory, "__name__", factory))
    offered = {"input_shape": input_shape, "num_classes": num_classes}
    takes = inspect.signature(factory).parameters
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {n for n, p in takes.items() if p.default is p.empty and p.kind not in rest}
    named = {n: v for n, v in offered.items() if n in takes and n not in settings}
    needed -= settings.keys()
    if needed <= named.keys():
        made = factory(**named, **settings)
    elif len(needed) == len(offered):
        made = factory(input_shape, num_classes, **settings)
    else:
        lacking = ", ".join(sorted(needed - named.keys()))
        raise UsageError(
            f"{name} can't be made without {lacking}; hand over a network, or a function of "
            "input_shape and num_classes that returns one."
        )
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{name} makes {type(made).__name__}, not a torch.nn.Module; hand over a network or "
            "what makes one."
        )
    # The next call may return the same network.
    return own_copy(made)


def settled(network: nn.Module) -> nn.Module:
    """Return a network if its tensors are there and can be sent.

    Raises:
        UsageError: If it has lazy layers, or numbers of another type than float32.
    """
    name = type(network).__name__
    for key, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise UsageError(
                f"{name}: the weights {key!r} of a lazy layer have no shape yet; call the network "
                "once on a batch, network(torch.zeros(2, *shape)), before you hand it over."
            )
        fits = not tensor.is_floating_point() and not tensor.is_complex()
        if tensor.dtype != torch.float32 and not fits:
            raise UsageError(
                f"{name}: {key!r} is {tensor.dtype}, where samples are torch.float32; write "
                "network.float()."
            )
    return network
