"""How numbers are written, and what a spread is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptfl_reports.numbers.spread import Spread, paired
from gptfl_reports.tables.units import duration, exact_count, percent, scaled


def test_numbers_are_written_for_people() -> None:
    assert percent(Spread(3, 0.9512, 0.004)) == "95.12 ± 0.40"
    assert percent(Spread(2, -0.00001, 0.0), signed=True) == "+0.00 ± 0.00"
    assert percent(Spread(2, -0.1, 0.0), signed=True) == "\N{MINUS SIGN}10.00 ± 0.00"
    assert [scaled(n, "B") for n in (0, 999, 1000, 12_345, 999_499, 999_500, 3.4e12)] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "12.3 kB",
        "999 kB",
        "1.00 MB",
        "3.40 TB",
    ]
    assert [duration(s) for s in (0.04, 99.9, 120, 7200)] == ["0.0 s", "99.9 s", "2.0 min", "2.0 h"]
    assert [exact_count(v) for v in (3.0, 2.5, None)] == ["3", "2.5", ""]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_spread_agrees_with_numpy(values: list[float]) -> None:

    found = Spread.of(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_nothing_in_common_has_no_difference() -> None:
    assert paired({0: 0.5}, {1: 0.5}) is None
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])
