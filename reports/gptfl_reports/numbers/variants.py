"""What variants of one method are called: by the settings that are not the same in all."""

from collections.abc import Mapping, Sequence

_CALLED = {
    "public.source": "public data",
    "synthetic.real": "real samples",
    "sealed": "secure aggregation",
}
"""Settings whose last word alone does not say what they are."""
_UNNAMED = {"sealed": "no"}
"""Values that need no word: a method is called the same as on tasks that have it only so."""


def labels(variants: Sequence[Mapping[str, str]], commands: Sequence[str]) -> list[str]:
    """Return for each variant what sets it apart, in a line.

    Where only one variant's command gave none of the settings that differ, the preset's values are
    its own: it needs no words, and the others are told by what they have instead.

    Args:
        variants: The settings of each variant, by dotted name.
        commands: The command that ran each.
    """
    told = _differing(variants)
    words = [{word for word in command.split() if "=" in word} for command in commands]
    common = set.intersection(*words)
    given = [any(_names(word, told) for word in own - common) for own in words]
    if len(variants) == 1 or given.count(False) != 1:
        return differences(variants)
    plain = variants[given.index(False)]
    pairs = zip(variants, given, strict=True)
    return [differences([plain, one])[1] if named else "" for one, named in pairs]


def _names(word: str, keys: Sequence[str]) -> bool:
    """Return whether a word of a command gives one of some settings, or may do so.

    A record's ``method.inner.plan.lr`` is ``warm.fedavg.plan.lr`` or ``plan.lr`` in a command, so
    the last part counts; ``sealed`` is ``secure_aggregation`` and all parts of ``secure``.
    """
    name = word.lstrip("+").partition("=")[0]
    last = {key.rpartition(".")[2] for key in keys}
    return name.rpartition(".")[2] in last or ("sealed" in last and name.startswith("secure"))


def differences(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Return for each variant its settings that are not the same in all, in a line.

    What only some have because others do without, as the generator where public data are real, is
    told by the setting that decides it.
    """
    keys = _differing(variants)
    everywhere = [key for key in keys if _section(key) in _everywhere(variants)]
    keys = everywhere if _tells(everywhere, variants) else keys
    short = [_CALLED.get(key, key.rpartition(".")[2]) for key in keys]
    names = [s if short.count(s) == 1 else key for s, key in zip(short, keys, strict=True)]
    return [
        ", ".join(
            f"{name}={variant.get(key, 'unset').strip(chr(34))}"
            for name, key in zip(names, keys, strict=True)
            if key not in _UNNAMED or variant.get(key) != _UNNAMED[key]
        )
        for variant in variants
    ]


def _differing(variants: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of settings that are not the same in all variants."""
    keys = sorted({key for variant in variants for key in variant})
    return [key for key in keys if len({variant.get(key) for variant in variants}) > 1]


def _section(key: str) -> str:
    return key.partition(".")[0]


def _everywhere(variants: Sequence[Mapping[str, str]]) -> set[str]:
    """Return the sections of settings that all variants have."""
    return set.intersection(*({_section(key) for key in variant} for variant in variants))


def _tells(keys: Sequence[str], variants: Sequence[Mapping[str, str]]) -> bool:
    """Return whether some settings are enough to tell all variants apart."""
    return len({tuple(variant.get(key) for key in keys) for variant in variants}) == len(variants)
