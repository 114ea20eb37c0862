"""The paper's claims against records: by hand, for each statistic, and where nothing is decided."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gptfl_reports.claims.paper import Claim, Pair, Side, claims, read
from gptfl_reports.claims.table import verdict_csv, verdict_table
from gptfl_reports.claims.verdicts import Outcome, verdicts
from gptfl_reports.numbers.intervals import t_quantile
from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]
CONFIG = {
    "regime": "short",
    "secure_aggregation": False,
    "cohort_size": 10,
    "partition": {"alpha": 0.1},
}


@pytest.fixture
def cell(make_cell: MakeCell) -> Callable[..., Path]:
    """Return a writer of a cell of CIFAR-10 that starts at 30 % and ends at ``end``."""

    def make(method: str, seed: int, end: float, **changes: object) -> Path:
        config = CONFIG | changes.pop("config", {})  # type: ignore[operator]
        values = changes.pop("values", (0.3, end))
        return make_cell(
            method,
            seed,
            values,
            dataset={"name": "cifar10"},
            config=config,
            run_id=f"{method}-{seed}-{len(str(config))}-{config['cohort_size']}",
            **changes,
        )

    return make


def _decided(run_folder: Path, key: str, theirs: str) -> Outcome:
    (claim,) = [claim for claim in claims() if claim.key == key]
    (verdict,) = verdicts(read_cells(run_folder), [claim])
    (outcome,) = [o for o in verdict.outcomes if o.pair.theirs.text == theirs]
    return outcome


def test_a_difference_is_paired_by_seed_and_has_students_interval(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed, (ours, theirs) in enumerate([(0.50, 0.40), (0.62, 0.50), (0.44, 0.30)]):
        cell("gptfl", seed, ours)
        cell("fedavg", seed, theirs)
    outcome = _decided(run_folder, "1a", "fedavg")
    # Differences of 10, 12 and 14 points: mean 12, deviation 2.
    assert outcome.value is not None
    assert outcome.interval is not None
    assert outcome.value.mean == pytest.approx(0.12)
    half = t_quantile(2) * 0.02 / math.sqrt(3)
    assert outcome.interval == pytest.approx((0.12 - half, 0.12 + half))
    assert outcome.decision == "agrees"


@pytest.mark.parametrize(
    ("apart", "decision"),
    [
        ([-0.10, -0.12, -0.14], "does not agree"),
        ([0.10, -0.02, 0.01], "within the noise"),
        ([0.10, 0.12], "not decided"),
    ],
)
def test_a_claim_fails_is_noise_or_is_left_open(
    apart: list[float], decision: str, cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed, difference in enumerate(apart):
        cell("gptfl", seed, 0.4 + difference)
        cell("fedavg", seed, 0.4)
    assert _decided(run_folder, "1a", "fedavg").decision == decision


def test_traffic_is_a_ratio_and_a_bound_where_the_other_never_gets_there(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0, values=(0.3, 0.9, 0.9, 0.9, 0.9))
        cell("fedavg", seed, 0, values=(0.1, 0.5, 0.6, 0.8, 0.9))
        cell("dynafed", seed, 0, values=(0.1, 0.5, 0.6, 0.8, 0.8 + seed / 100))
    reached, never = (_decided(run_folder, "1e", name) for name in ("fedavg", "dynafed"))
    # One round of 1,500 bytes against four, whether the fourth gets there or not.
    for outcome, bound in ((reached, False), (never, True)):
        assert outcome.value is not None
        assert math.exp(outcome.value.mean) == pytest.approx(0.25)
        assert (outcome.bound, outcome.decision) == (bound, "agrees")


def test_a_start_above_the_target_takes_nothing_and_is_no_bound(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0, values=(0.95, 0.9, 0.9))
        cell("fedavg", seed, 0, values=(0.1, 0.5, 0.9))
    outcome = _decided(run_folder, "1e", "fedavg")
    # Two rounds of 1,500 bytes against one byte at most, not against all that GPT-FL sent.
    assert outcome.value is not None
    assert math.exp(outcome.value.mean) == pytest.approx(1 / 3000)
    assert (outcome.bound, outcome.decision) == (False, "agrees")


def test_ones_own_traffic_is_never_a_bound(cell: Callable[..., Path], run_folder: Path) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5)
        cell("fedavg", seed, 0.95)
    outcome = _decided(run_folder, "1e", "fedavg")
    assert outcome.decision == "not decided"
    assert "3 of 3 cells of gptfl missed the target" in outcome.reason


def test_the_start_of_a_cell_can_stand_against_its_end(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.45 + seed / 1000)
    outcome = _decided(run_folder, "3a", "gptfl at start")
    assert outcome.value is not None
    assert outcome.value.mean == pytest.approx(0.151)
    assert outcome.decision == "agrees"


def test_settings_choose_the_cells_and_two_that_fit_are_not_averaged(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5 + seed / 1000, config={"cohort_size": 1})
        cell("gptfl", seed, 0.9)
        cell("fedavg", seed, 0.4)
    outcome = _decided(run_folder, "1f", "fedavg cohort_size=10")
    assert outcome.value is not None
    assert outcome.value.mean == pytest.approx(0.101)
    cell("fedavg", 0, 0.2, config={"plan": {"lr": 7.0}})
    outcome = _decided(run_folder, "1f", "fedavg cohort_size=10")
    assert outcome.decision == "not decided"
    assert "more than one cell of a seed fits" in outcome.reason


def test_another_length_of_pretraining_is_no_second_cell_of_a_claim(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        for epochs, end in ((1, 0.1), (20, 0.5 + seed / 1000)):
            cell("gptfl", seed, end, config={"method": {"pretrain": {"epochs": epochs}}})
        cell("fedavg", seed, 0.4, config={"method": {"plan": {"lr": 0.1}}})
    outcome = _decided(run_folder, "1a", "fedavg")
    assert outcome.value is not None
    assert outcome.value.mean == pytest.approx(0.101)


def test_a_side_means_the_presets_settings_unless_it_names_others(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5 + seed / 1000)
        cell("fedavg", seed, 0.4, config={"method": {"plan": {"lr": 0.1}}})
        given = "gptfl-bench run --methods fedavg methods.fedavg.plan.lr=0.75"
        cell("fedavg", seed, 0.2, config={"method": {"plan": {"lr": 0.75}}}, command=given)
    (claim,) = [claim for claim in claims() if claim.key == "1a"]
    ours, theirs = claim.pairs[0].ours, claim.pairs[0].theirs
    named = replace(theirs, settings={**theirs.settings, "methods.fedavg.plan.lr": "0.75"})
    asked = replace(claim, pairs=(Pair(ours, theirs, None), Pair(ours, named, None)))
    (verdict,) = verdicts(read_cells(run_folder), [asked])
    means = [outcome.value.mean for outcome in verdict.outcomes if outcome.value]
    assert means == pytest.approx([0.101, 0.301])


def test_settings_by_hand_count_where_nothing_else_fits(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5 + seed / 1000)
        given = {"command": "gptfl-bench run methods.fedavg.weighting=examples"} if seed else {}
        cell("fedavg", seed, 0.4, **given)
    outcome = _decided(run_folder, "1a", "fedavg")
    assert outcome.value is not None
    assert (outcome.value.n, outcome.decision) == (3, "agrees")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "diverged", "reason": "the loss was not finite"},
        {"preset": {"quick": True}},
        {"config": {"partition": {"alpha": 0.5}}},
        {"config": {"regime": "long"}},
        {"config": {"lift_conventions": True}},
    ],
)
def test_cells_of_other_settings_and_without_an_end_do_not_count(
    changes: dict[str, object], cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5)
        cell("fedavg", seed, 0.4, **changes)
    assert _decided(run_folder, "1a", "fedavg").decision == "not decided"


def test_the_same_means_within_a_point(cell: Callable[..., Path], run_folder: Path) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5)
        cell("gptfl", seed, 0.5 + seed / 1000, config={"secure_aggregation": True})
    assert _decided(run_folder, "5a", "gptfl secure_aggregation=false").decision == "agrees"


def test_every_finding_of_the_introduction_is_tested_or_says_why_not() -> None:
    assert {claim.key[0] for claim in claims()} == {"1", "2", "3", "4", "5"}
    for claim in claims():
        assert claim.where
        assert bool(claim.pairs) is not bool(claim.untestable)


def test_a_question_of_ones_own_has_no_number_of_the_paper() -> None:
    (question,) = read(
        """
        [common]
        all = ["regime=short"]
        [[claim]]
        key = "alone"
        says = "Do clients that train alone keep the start?"
        dataset = "cifar10"
        ours = "gptfl+local"
        theirs = ["gptfl+local at start", "gptfl"]
        """
    )
    assert [(pair.theirs.text, pair.paper) for pair in question.pairs] == [
        ("gptfl+local at start", None),
        ("gptfl", None),
    ]
    assert question.pairs[0].theirs.settings == {"regime": "short"}


def test_paper_numbers_follow_from_its_tables() -> None:
    """Differences of published means, worked out again from the file of published numbers."""
    from importlib.resources import files

    text = (files("gptfl_reports") / "published" / "results.csv").read_text(encoding="utf-8")
    table2 = {
        row["method"].lower().replace("-", ""): float(row["mean"])
        for row in csv.DictReader(text.splitlines())
        if row["table"] == "table2" and row["dataset"] == "CIFAR-10"
        if row["partition"] == "dir0.1_100clients" and row["model"] == "VGG19"
    }
    (standard, public) = [claim for claim in claims() if claim.key in ("1a", "1b")]
    for pair in (*standard.pairs, *public.pairs):
        if pair.paper is not None:
            expected = table2["gptfl"] - table2[pair.theirs.method]
            assert pair.paper == pytest.approx(expected, abs=0.005), pair.theirs.text


def test_the_table_says_what_was_compared_and_csv_has_the_numbers(
    cell: Callable[..., Path], run_folder: Path
) -> None:
    for seed in range(3):
        cell("gptfl", seed, 0.5 + seed / 100)
        cell("fedavg", seed, 0.4)
    side = (Side.read("gptfl", []), Side.read("fedavg", []))
    claim = Claim("x", "It wins.", "p. 1", "cifar10", "value", "more", (Pair(*side, 9.0),), "")
    found = verdicts(read_cells(run_folder), [claim])
    ((key, says, pair, paper, here, verdict),) = verdict_table(found).rows
    assert [e.text for e in (key, says, paper, verdict)] == ["x", "It wins.", "+9.00", "agrees"]
    assert pair.text == "gptfl against fedavg, cifar10"
    assert (here.text.split()[0], here.detail) == ("+11.00", "n=3")
    (line,) = csv.DictReader(io.StringIO(verdict_csv(found)))
    assert (line["n"], line["decision"]) == ("3", "agrees")
    assert float(line["here"]) == pytest.approx(0.11)
