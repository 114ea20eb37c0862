"""Numbers as people read them: percent, decimal byte units, minutes. CSV files hold exact ones."""

from gptfl_reports.numbers.spread import Spread

NONE = "\N{EN DASH}"
"""Stands where there is no value."""


def percent(value: Spread | None, *, signed: bool = False) -> str:
    """Return fractions as percent with their spread: ``52.10 ± 1.20``, ``52.10 ± n/a`` for n = 1.

    Args:
        value: Mean and spread of fractions in [0, 1], or of differences of them.
        signed: Write a plus before what is not negative.
    """
    if value is None:
        return NONE
    mean = f"{100 * value.mean:{'+' if signed else ''}z.2f}".replace("-", "\N{MINUS SIGN}")
    return f"{mean} ± {'n/a' if value.sd is None else f'{100 * value.sd:.2f}'}"


def fraction(value: float | None) -> str:
    """Return one fraction as percent with two decimals."""
    return NONE if value is None else f"{100 * value:.2f}"


def scaled(value: float, unit: str = "") -> str:
    """Return a count with three digits and a decimal prefix: ``12.3 M``, ``980 B``."""
    for prefix in ("", "k", "M", "G", "T"):
        # 999.5 would be written with four digits.
        if abs(value) < 999.5 or prefix == "T":
            break
        value /= 1000
    if not prefix and value == int(value):
        digits = 0
    else:
        digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {prefix}{unit}".rstrip()


def power(value: float, unit: str = "") -> str:
    """Return a round count as people say it, on an axis: ``10 MB``, ``500 k``."""
    number, _, name = scaled(value, unit).partition(" ")
    return f"{float(number):g} {name}".rstrip()


def duration(seconds: float) -> str:
    """Return seconds as seconds, minutes or hours with at most one decimal."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    if seconds < 5997:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def exact(value: float | None) -> str:
    """Return a number so that it reads back as itself; None is empty."""
    return "" if value is None else repr(float(value))


def exact_count(value: float | None) -> str:
    """Return a count, or a mean of counts, which has a point only if it isn't whole."""
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
