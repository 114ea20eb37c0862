"""From names and overrides to settings and methods, in Hydra's syntax.

The base is made from the dataclasses' own defaults, so a default lives in one place and a new
method needs no YAML. A preset (``conf/presets/<data set>/<preset>.yaml``) changes it, then the
user's ``key=value`` overrides do. What a preset holds under ``regimes.R`` counts under
``regime=R`` alone, after everything else of the preset. ``methods.X`` holds a method's fields and
``warm.X`` those it takes inside ``gptfl+X``; both fall back, field by field, on the level above.

Hydra reads the overrides. Its ``compose`` would keep its state in the process, where a caller's
own ``@hydra.main``, configuration store or second thread meets it, so presets are merged here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass, replace
from functools import cache, reduce
from importlib.resources import files
from operator import getitem

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gptfl_bench.cells.settings import Settings
from gptfl_bench.core.device import pick_device
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.data import loaders
from gptfl_bench.data.task import tasks
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import spellings
from gptfl_bench.synthesis.generator import generators, plain_fields, prompt_writers
from gptfl_reports.records.schema import ABLATED
from gptfl_reports.records.typed import build

Tree = dict[str, object]
PRESETS = ("quick", "default", "cpu", "paper")
AUTO = "auto"
"""Stands for the preset that fits the machine; no record holds it."""
_PRESETS = files("gptfl_bench.conf") / "presets"
_PATH = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Config:
    """A resolved configuration.

    Attributes:
        preset: Name of the preset it started from.
        tree: All values, plain.
    """

    preset: str
    tree: Tree

    @property
    def settings(self) -> Settings:
        """The settings, typed.

        Raises:
            UsageError: If a value does not fit.
        """
        own = {item.name for item in fields(Settings)}
        return build(Settings, {k: v for k, v in self.tree.items() if k in own}, "")

    def method(self, name: str) -> Method:
        """Return the method called ``name``, or ``wrapper+inner``; either may end in ``-ablated``.

        Raises:
            UsageError: If there is none, or a value does not fit.
        """
        if name.endswith(ABLATED):
            return self.method(name.removesuffix(ABLATED)).ablated()
        outer, _, inner = name.partition("+")
        kind = methods.get(outer)
        values = self._values("methods", outer)
        if not kind.wraps:
            if inner:
                right = " or ".join(f"{wrapper}+{outer}" for wrapper in wrappers())
                raise UsageError(
                    f"{name!r} can't be run: {outer!r} wraps no other method; write {right}."
                )
            return build(kind, values, f"methods.{outer}")
        inner = inner or kind.wraps
        if methods.get(inner).wraps:
            raise UsageError(f"{name!r} can't be run: {inner!r} is a wrapper itself; wrap another.")
        wrapped = build(methods.get(inner), self._values("warm", inner), f"warm.{inner}")
        outside = build(kind, values, f"methods.{outer}")
        changed: Method = replace(outside, inner=wrapped)  # type: ignore[call-arg]
        return changed

    def _values(self, section: str, name: str) -> Tree:
        branch = self.tree[section]
        assert isinstance(branch, dict)
        return dict(branch[name])


def load(dataset: str, preset: str, overrides: Sequence[str]) -> Config:
    """Return the configuration for a data set.

    Args:
        dataset: Name of the data set; one without presets of its own takes those for any.
        preset: Name of the preset; ``auto`` for the one that fits the machine.
        overrides: ``key=value`` in Hydra's syntax, one value each.

    Raises:
        UsageError: If a preset, a key or a value does not exist or does not fit.
    """
    base = _base(dataset)
    parsed = _check(base, overrides)
    if preset == AUTO:
        preset, _ = fitting_preset(dataset, overrides)
    folder = dataset if (_PRESETS / dataset / f"{preset}.yaml").is_file() else "any"
    if not (_PRESETS / folder / f"{preset}.yaml").is_file():
        raise unknown("preset", preset, [AUTO, *PRESETS])
    for override in parsed:
        options = override.value()
        if override.key_or_group == "data" and isinstance(options, dict):
            for name in sorted(map(str, options.keys() - loaders.options(dataset).keys())):
                raise spellings.unknown_setting(f"data.{name}", _keys(base))
    try:
        tree = base
        for layer in _preset(f"{folder}/{preset}", _regime(parsed)):
            tree = _merged(tree, layer)
        given = {override.key_or_group: override.value() for override in parsed}
        for key, value in [*given.items(), *_spread_plan(tree, given)]:
            tree = _merged(tree, _at(key, value))
        plain = _resolved(tree)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"the settings can't be read ({reason.rstrip('.')}); gptfl-bench run --cfg prints all."
        ) from error
    config = Config(preset, plain)
    settings = config.settings
    if settings.num_clients:
        # A share and the number it comes to are one setting, so one cell.
        config.tree["cohort_size"] = settings.cohort_of(settings.num_clients)
    return config


def fitting_preset(dataset: str, overrides: Sequence[str] = ()) -> tuple[str, str]:
    """Return the preset that ``auto`` stands for here, and why.

    Args:
        dataset: Name of the data set; one that nobody registered was handed over.
        overrides: ``key=value`` settings, of which ``device`` counts.

    Raises:
        UsageError: If the device is not there.
    """
    given = [text.partition("=")[2] for text in overrides if text.startswith("device=")]
    # Several devices are a sweep, which has one preset.
    names = given[-1].split(",") if given else ["auto"]
    if all(pick_device(name.strip("'\" ")).type != "cpu" for name in names):
        return "default", "there is a GPU"
    if dataset not in tasks.names() or not loaders.reads_files(dataset):
        return "default", "the data are small"
    return "cpu", "there is no GPU" if not given else "no GPU is to be used"


def defaults(dataset: str) -> Config:
    """Return what a data set's settings are without any preset."""
    return Config("", _resolved(_base(dataset)))


def wrappers() -> list[str]:
    """Return the names of the methods that wrap another one."""
    return [name for name in methods.names() if methods.get(name).wraps]


def as_yaml(config: Config, names: Sequence[str]) -> str:
    """Return the configuration as YAML with the given methods only."""
    tree = dict(config.tree)
    tree["methods"] = {name: asdict(config.method(name)) for name in names}
    del tree["warm"]
    return OmegaConf.to_yaml(OmegaConf.create(tree))


def _regime(overrides: Sequence[Override]) -> str:
    """Return the regime that is asked for, the last one counting as for any setting."""
    asked = [o.value() for o in overrides if o.key_or_group == "regime"]
    return str(asked[-1]) if asked else Settings.regime


@cache
def _preset(name: str, regime: str) -> tuple[Tree, ...]:
    """Return what a preset sets, layer by layer: in any regime, then in this one."""
    layers = _layers(name)
    own = [layer.pop("regimes", {}).get(regime, {}) for layer in layers]  # type: ignore[attr-defined]
    return (*layers, *own)


def _layers(name: str) -> tuple[Tree, ...]:
    """Return what a preset's list ``defaults`` names, layer by layer, and then its own values."""
    folder = name.partition("/")[0]
    text = (_PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    plain = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(plain, dict)
    own = {str(key): value for key, value in plain.items()}
    above = [other if "/" in other else f"{folder}/{other}" for other in own.pop("defaults", [])]
    layers: list[Tree] = [layer for other in above for layer in _layers(other)]
    return (*layers, own)


def _resolved(tree: Tree) -> Tree:
    """Return all values with what references lead to in their place.

    OmegaConf reads each reference by its grammar, which takes longer than all else together. One
    that is a mere path, as ours are, needs none.
    """
    try:
        resolved = _followed(tree, tree)
    except (LookupError, TypeError, RecursionError):
        resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    assert isinstance(resolved, dict)
    return resolved


def _followed(value: object, top: object) -> object:
    """Return a value with its references followed from the top.

    Raises:
        LookupError: If one is no path, or leads nowhere.
        TypeError: If one leads into a value.
        RecursionError: If some lead in a circle.
    """
    if isinstance(value, dict):
        return {str(key): _followed(part, top) for key, part in value.items()}
    if isinstance(value, list):
        return [_followed(part, top) for part in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    path = _PATH.fullmatch(value)
    if path is None:
        raise LookupError(value)
    return _followed(reduce(getitem, path[1].split("."), top), top)  # type: ignore[arg-type]


def _base(dataset: str) -> Tree:
    tree: Tree = asdict(Settings())
    if dataset in tasks.names():
        tree["data"] = loaders.options(dataset)
    for section, registry in (("generators", generators), ("prompts", prompt_writers)):
        fields_of = {name: plain_fields(registry.get(name)) for name in registry.names()}
        tree[section] = {name: values for name, values in fields_of.items() if values}
    names = [*methods.names(), *methods.unlisted()]
    inner = [name for name in names if not methods.get(name).wraps]
    tree["methods"] = {name: _node(methods.get(name), "") for name in names}
    tree["warm"] = {name: _node(methods.get(name), f"methods.{name}") for name in inner}
    return tree


def _node(kind: type[Method], parent: str) -> Tree:
    """Return a method's fields with their defaults, or with references to ``parent``'s fields."""
    node: Tree = {}
    for item in fields(kind):
        if item.name == "inner":
            continue
        above = f"{parent}.{item.name}" if parent else ""
        value = _default(item)
        if item.name == "plan":
            above = above or "plan"
        if is_dataclass(value) and not isinstance(value, type):
            node[item.name] = {
                part.name: f"${{{above}.{part.name}}}" if above else getattr(value, part.name)
                for part in fields(value)
            }
        else:
            node[item.name] = f"${{{above}}}" if above else value
    return node


def _default(item: "Field[object]") -> object:
    if item.default is not MISSING:
        return item.default
    if item.default_factory is not MISSING:
        return item.default_factory()
    raise UsageError(f"the method field {item.name!r} needs a default value.")


def quoted(text: str) -> str:
    """Return an override with its value in quotes if Hydra can't read it otherwise.

    Hydra's grammar has no place for ``~``, ``(`` or ``é``, but paths and patterns do.
    """
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        key, _, value = text.partition("=")
        # Backslashes count double before a quote, and only there.
        escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + ('\\"' if m[2] else ""), value)
        return f'{key}="{escaped}"' if value else text
    return text


def _check(base: Tree, overrides: Sequence[str]) -> list[Override]:
    """Return the overrides as Hydra reads them, after refusing those of no setting."""
    parser = OverridesParser.create()
    parsed = []
    for given in overrides:
        try:
            if given.startswith("="):
                raise spellings.no_setting(given, methods.names())
            parsed.append(parser.parse_override(quoted(given)))
        except HydraException as error:
            raise spellings.no_setting(given, methods.names()) from error
    keys = _keys(base)
    for override in parsed:
        key = override.key_or_group
        if override.is_sweep_override() or override.is_delete() or override.package:
            raise UsageError(
                f"{override.input_line!r} is no plain setting; write key=value with one value, or, "
                "for run and reproduce, with several that are listed with commas."
            )
        new_argument = override.is_add() and key.startswith("model_args.")
        if not new_argument and key not in keys:
            raise spellings.unknown_setting(key, keys)
        spellings.check_epochs(key, override.value())
    return parsed


def _keys(tree: Mapping[str, object], prefix: str = "") -> list[str]:
    keys = []
    for name, node in tree.items():
        path = f"{prefix}{name}"
        keys += _keys(node, f"{path}.") if isinstance(node, Mapping) and node else [path]
    return keys


def _merged(under: Tree, over: Tree) -> Tree:
    """Return a tree with the values of another one laid over it, both left as they are.

    OmegaConf would do the same in thirty times the time, most of a command's start.
    """
    tree = dict(under)
    for key, value in over.items():
        before = tree.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        tree[key] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return tree


def _at(key: str, value: object) -> Tree:
    """Return a tree that holds one value at a path such as ``plan.lr``."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _spread_plan(tree: Tree, given: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return what lets a plan given on the command line win over rates a preset gives to methods.

    Args:
        tree: The settings without what was given.
        given: The values that were, by key.
    """
    return [
        (f"{section}.{name}.{key}", value)
        for key, value in given.items()
        if key.startswith("plan.")
        for section in ("methods", "warm")
        for name, fields_of in tree[section].items()  # type: ignore[attr-defined]
        if "plan" in fields_of and f"{section}.{name}.{key}" not in given
    ]
