import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptfl_reports.figures.curves import panels, styles, svg
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import Standing
from gptfl_reports.records.cells import read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.leaderboard import (
    leaderboard_tables,
    to_csv,
    to_latex,
    to_markdown,
    to_terminal,
)
from gptfl_reports.tables.rounds import rounds_markdown
from gptfl_reports.tables.table import Column, Entry, Table, latex_text, markdown, markdown_text

MakeCell = Callable[..., Path]


def only(board: Leaderboard) -> dict[str, Standing]:
    (ranking,) = board.rankings
    return {standing.entrant.label: standing for standing in ranking.standings}


def lines(board: Leaderboard) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(board))))


def is_near(found: Spread | None, n: int, mean: float, sd: float | None) -> bool:
    return (
        found is not None
        and found.n == n
        and found.mean == pytest.approx(mean)
        and (found.sd is sd if sd is None else found.sd == pytest.approx(sd))
    )


@pytest.fixture
def two_methods(make_cell: MakeCell, run_folder: Path) -> Leaderboard:
    # Three evaluations each, so the mean of the last ten is their mean.
    make_cell("fedavg", 0, (0.1, 0.5, 0.9), saw=False)
    make_cell("fedavg", 1, (0.1, 0.8, 0.6))
    make_cell("fedavg", 2, (0.1, 0.2, 0.3))
    make_cell("scaffold", 0, (0.1, 0.8, 0.9), up=1000, saw=True)
    make_cell("scaffold", 1, (0.1, 0.9, 0.8), up=1000, saw=True)
    make_cell("scaffold", 2, (0.1, 0.6, 0.8), up=1000, saw=True)
    return leaderboard(read_cells(run_folder))


def test_means_and_spreads_are_those_computed_by_hand(two_methods: Leaderboard) -> None:
    fedavg = only(two_methods)["fedavg"]
    assert fedavg.last is not None
    assert fedavg.best is not None
    assert fedavg.mean_last is not None
    assert fedavg.last.n == 3
    assert fedavg.last.mean == pytest.approx(0.6)  # 0.9 0.6 0.3
    assert fedavg.last.sd == pytest.approx(0.3)  # sqrt((0.09 + 0 + 0.09) / 2)
    assert fedavg.best.mean == pytest.approx((0.9 + 0.8 + 0.3) / 3)
    assert fedavg.mean_last.mean == pytest.approx(0.55)  # 0.7 0.7 0.25, round 0 left out
    assert fedavg.mean_last.sd == pytest.approx(0.0675**0.5)  # 0.0225 + 0.0225 + 0.09, over 2
    assert is_near(fedavg.start, 3, 0.1, 0.0)


def test_costs_are_means_over_seeds(two_methods: Leaderboard) -> None:
    rows = {line["method"]: line for line in lines(two_methods)}
    assert rows["fedavg"]["bytes_down"] == "2000"
    assert rows["fedavg"]["bytes_up"] == "1000"
    assert rows["scaffold"]["scalars_up"] == "500"
    assert rows["fedavg"]["seconds"] == "4.5"  # 2 rounds of 1.5 s, 3 evaluations of 0.5 s
    assert rows["fedavg"]["server_saw_clients"] == "false"
    assert rows["scaffold"]["server_saw_clients"] == "true"


def test_target_counts_only_seeds_that_reached_it_and_says_how_many(
    two_methods: Leaderboard,
) -> None:
    rows = {line["method"]: line for line in lines(two_methods)}
    assert rows["scaffold"]["n_to_target"] == "2"
    assert rows["scaffold"]["rounds_to_target"] == "1.5"  # rounds 2 and 1
    assert rows["scaffold"]["bytes_to_target"] == "3000"  # 4000 and 2000
    assert "1.5 rounds, 3.00 kB (2 of 3 reached)" in to_markdown(two_methods)
    assert "scaffold: 2 of 3 reached the target" in to_terminal(two_methods)


def test_target_that_no_seed_reached_is_said_in_words(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.2))
    board = leaderboard(read_cells(run_folder))
    assert "not reached" in to_markdown(board)
    assert lines(board)[0]["rounds_to_target"] == ""


def test_rows_are_ranked_by_mean_of_last_and_the_best_is_bold(two_methods: Leaderboard) -> None:
    assert list(only(two_methods)) == ["scaffold", "fedavg"]
    assert "**scaffold**" in to_markdown(two_methods)
    assert "**fedavg**" not in to_markdown(two_methods)
    assert [s.mark for s in only(two_methods).values()] == ["best", ""]


def test_ties_are_within_one_standard_deviation_of_the_best(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for seed, value in enumerate((0.7, 0.8, 0.9)):  # mean 0.8, sd 0.1
        make_cell("moon", seed, (0.1, value))
    for seed in range(3):
        make_cell("fedprox", seed, (0.1, 0.71))
        make_cell("fedopt", seed, (0.1, 0.69))
    marks = {k: s.mark for k, s in only(leaderboard(read_cells(run_folder))).items()}
    assert marks == {"moon": "best", "fedprox": "tied", "fedopt": ""}
    assert "71.00 ± 0.00†" in to_markdown(leaderboard(read_cells(run_folder)))


def test_difference_from_fedavg_is_paired_by_seed(two_methods: Leaderboard) -> None:
    # mean of last: 0.85 0.85 0.7 against 0.7 0.7 0.25
    versus = only(two_methods)["scaffold"].versus
    assert versus is not None
    assert versus.n == 3
    assert versus.mean == pytest.approx((0.15 + 0.15 + 0.45) / 3)
    assert versus.sd == pytest.approx(0.03**0.5)
    assert only(two_methods)["fedavg"].versus is None
    assert "vs FedAvg (paired)" in to_markdown(two_methods)


def test_seeds_only_one_method_has_are_not_paired(make_cell: MakeCell, run_folder: Path) -> None:
    for seed in (0, 1):
        make_cell("fedavg", seed, (0.1, 0.5))
    for seed in (1, 2):
        make_cell("moon", seed, (0.1, 0.8))
    versus = only(leaderboard(read_cells(run_folder)))["moon"].versus
    assert is_near(versus, 1, 0.3, None)


def test_cells_of_one_seed_on_different_partitions_are_neither_paired_nor_passed_over(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.5))
    make_cell("moon", 0, (0.1, 0.8), partition={"sha256": "d" * 64})
    board = leaderboard(read_cells(run_folder))
    assert only(board)["moon"].versus is None
    assert "can't be compared" in to_markdown(board)


def test_without_the_baseline_there_is_no_column(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("moon", 0)
    assert "paired" not in to_markdown(leaderboard(read_cells(run_folder)))


def test_spread_of_one_seed_is_not_a_zero(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.5))
    board = leaderboard(read_cells(run_folder))
    assert "50.00 ± n/a" in to_markdown(board)
    assert lines(board)[0]["value_last_sd"] == ""
    assert lines(board)[0]["n"] == "1"


def test_diverged_seed_enters_no_mean_and_stays_with_its_sentence(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.5))
    make_cell("fedavg", 1, (0.1, 0.7))
    make_cell(
        "fedavg", 2, (0.1, 0.0), status="diverged", reason="the loss was not finite in round 3."
    )
    board = leaderboard(read_cells(run_folder))
    standing = only(board)["fedavg"]
    assert is_near(standing.last, 2, 0.6, 0.02**0.5)
    sentence = "2 of 3 converged; seed 2: not converged: the loss was not finite in round 3."
    for text in (to_markdown(board), to_csv(board), to_latex(board)):
        assert sentence in text
    assert "not converged: the loss" in to_terminal(board)
    assert standing.mark == ""  # not called the best on the seeds it survived


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ("refused", "needs public data.", "refused: needs public data."),
        ("failed", "OSError: disk full", "failed: OSError: disk full"),
        ("diverged", "not converged: loss.", "not converged: loss."),
        ("running", "", "running"),
    ],
)
def test_methods_without_a_finished_cell_keep_their_row(
    make_cell: MakeCell, run_folder: Path, status: str, reason: str, said: str
) -> None:
    make_cell("fedavg", 0)
    make_cell("dsfl", 0, (0.1, 0.99), status=status, reason=reason, rounds=2)
    board = leaderboard(read_cells(run_folder))
    assert list(only(board)) == ["fedavg", "dsfl"]
    assert only(board)["dsfl"].last is None
    line = lines(board)[1]
    assert (line["status"], line["n"], line["value_last_mean"]) == (said, "0", "")
    assert "99.00" not in to_markdown(board)


def test_one_method_with_two_settings_has_two_rows(make_cell: MakeCell, run_folder: Path) -> None:
    for lr in (0.1, 0.01):
        config = {"plan": {"epochs": 1, "lr": lr}, "method": {"mu": 0.5}}
        make_cell("fedprox", 0, (0.1, lr), run_id=f"fedprox-{lr}", config=config)
    assert set(only(leaderboard(read_cells(run_folder)))) == {
        "fedprox (lr=0.1)",
        "fedprox (lr=0.01)",
    }


def test_cells_that_differ_only_by_seed_are_one_row(make_cell: MakeCell, run_folder: Path) -> None:
    for seed in range(3):
        make_cell("fedavg", seed, config={"plan": {"lr": 0.1}, "seed": seed})
    assert [s.n for s in only(leaderboard(read_cells(run_folder))).values()] == [3]


def test_same_seed_and_settings_twice_is_not_two_repetitions(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, run_id="one")
    make_cell("fedavg", 0, run_id="two")
    found = only(leaderboard(read_cells(run_folder)))
    assert {k: s.n for k, s in found.items()} == {"fedavg (run one)": 1, "fedavg (run two)": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"name": "mnist5k"}},
        {"dataset": {"note": "lossy copy"}},
        {"dataset": {"evaluated_on": "validation"}},
        {"partition": {"recipe": "iid"}},
        {"partition": {"settings": {"alpha": 0.5}}},
        {"model": {"name": "mlp"}},
        {"rounds": 99},
        {"cohort_size": 6},
        {"num_clients": 21},
        {"target": 0.8},
        {"metric": "macro_f1"},
        {"preset": {"quick": True}},
        {"config": {"plan": {"epochs": 5, "batch_size": 16, "lr": 0.1}}},
    ],
)
def test_what_a_fair_comparison_needs_equal_splits_tasks(
    make_cell: MakeCell, run_folder: Path, change: dict[str, object]
) -> None:
    make_cell("fedavg", 0)
    make_cell("moon", 0, **change)
    board = leaderboard(read_cells(run_folder))
    assert len(board.rankings) == 2
    assert len({ranking.task.title for ranking in board.rankings}) == 2


def test_metric_of_the_record_is_the_one_shown(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.4), metric="macro_f1")  # the factory's macro F1 is half
    assert "20.00 ± n/a" in to_markdown(leaderboard(read_cells(run_folder)))


def test_accuracy_stands_beside_macro_f1_in_every_rendering(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    """The factory's macro F1 is half: last 20 and 30, accuracy 40 and 60, mean 50, sd 14.14."""
    make_cell("fedavg", 0, (0.1, 0.9, 0.4), metric="macro_f1")
    make_cell("fedavg", 1, (0.1, 0.9, 0.6), metric="macro_f1")
    make_cell("fedavg", 2, (0.1, 0.9), metric="macro_f1", rounds=2, status="failed", reason="no.")
    board = leaderboard(read_cells(run_folder))
    (table,) = leaderboard_tables(board)
    titles = [column.title for column in table.columns]
    row = dict(zip(titles, (entry.text for entry in table.rows[0]), strict=True))
    assert (row["last"], row["last accuracy"]) == ("25.00 ± 7.07", "50.00 ± 14.14")
    write_report(run_folder, tmp_path / "out")
    for text in (
        to_markdown(board),
        to_latex(board).replace(r"\ensuremath{\pm}", "±"),
        to_terminal(board),
        (tmp_path / "out" / "index.html").read_text(),
    ):
        assert "last accuracy" in text
        assert "50.00 ± 14.14" in text
        assert "macro F1" in text
        assert "macro_f1" not in text
    (line,) = lines(board)
    assert (line["metric"], line["accuracy_last_mean"]) == ("macro_f1", "0.5")
    assert float(line["accuracy_last_sd"]) == pytest.approx(0.02**0.5)
    assert max(map(len, to_terminal(board).splitlines())) <= 120


def test_the_metric_is_named_beside_its_numbers(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, metric="macro_f1")
    board = leaderboard(read_cells(run_folder))
    drawn = panels(board)
    assert "metric macro F1 in percent" in to_markdown(board)
    assert "- macro F1 in percent" in rounds_markdown(board)
    assert "macro F1, mean and" in svg(drawn, styles(drawn))


def test_accuracy_has_a_second_column_only_beside_another_metric(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.4))
    alone = leaderboard(read_cells(run_folder))
    assert "last accuracy" not in to_markdown(alone) + to_latex(alone) + to_terminal(alone)
    assert "accuracy_last_mean" not in lines(alone)[0]
    make_cell("fedavg", 0, (0.1, 0.4), run_id="f1", dataset={"name": "esc50"}, metric="macro_f1")
    both = leaderboard(read_cells(run_folder))
    assert leaderboard_tables(both)[0] == leaderboard_tables(alone)[0]
    assert [(line["value_last_mean"], line["accuracy_last_mean"]) for line in lines(both)] == [
        ("0.4", "0.4"),
        ("0.2", "0.4"),
    ]


def test_quick_runs_are_stamped_in_every_rendering(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, preset={"name": "quick", "quick": True})
    board = leaderboard(read_cells(run_folder))
    for text in (to_markdown(board), to_latex(board), to_terminal(board)):
        assert "QUICK RUN - not for comparison" in text
    assert lines(board)[0]["quick"] == "true"


def test_bytes_handed_out_once_have_a_column_only_where_there_are_any(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0)
    assert not re.search(r"\| +once \|", to_markdown(leaderboard(read_cells(run_folder))))
    make_cell("dynafed", 0, once=3_400_000)
    board = leaderboard(read_cells(run_folder))
    assert re.search(r"\| +once \|", to_markdown(board))
    assert {line["client_bytes_once"] for line in lines(board)} == {"0", "3400000"}


def test_terminal_table_keeps_to_its_width(make_cell: MakeCell, run_folder: Path) -> None:
    for method in ("fedavg", "gptfl+scaffold"):
        for seed in range(3):
            make_cell(method, seed, (0.1, 0.95), down=123_456_789)
    text = to_terminal(leaderboard(read_cells(run_folder)))
    assert max(map(len, text.splitlines())) <= 120
    assert "gptfl+scaffold" in text
    assert "…" not in text


def test_latex_escapes_its_special_characters_and_balances_braces(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("a_b%c&d#e{f$g", 0, run_id="odd", dataset={"note": r"50% \input{x} [y]"})
    text = to_latex(leaderboard(read_cells(run_folder)))
    assert r"a\_b\%c\&d\#e\{f\$g" in text
    bare = text.replace(r"\{", "").replace(r"\}", "")
    depths = [bare[:i].count("{") - bare[:i].count("}") for i in range(len(bare) + 1)]
    assert min(depths) == 0
    assert depths[-1] == 0
    assert r"\input{" not in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    separators = {line.replace(r"\&", "").count("&") for line in rows}
    assert len(separators) == 1


@given(st.text(alphabet=r"ab\{}_%&#$~^[]<>|", max_size=12))
def test_no_text_leaves_a_special_character_of_latex_bare(text: str) -> None:
    escaped = latex_text(text)
    for command in (
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "textless",
        "textgreater",
        "textbar",
    ):
        escaped = escaped.replace(f"\\{command}{{}}", "")
    for char in r"{}_%&#$":
        escaped = escaped.replace(f"\\{char}", "")
    assert not set(escaped.replace("{[}", "").replace("{]}", "")) & set(r"\{}_%&#$~^[]<>|")


def test_markup_does_not_pass_into_markdown() -> None:
    assert markdown_text("a|b <i>*x*</i>\n`y`") == r"a\|b \<i\>\*x\*\</i\> \`y\`"
    assert markdown_text("value_mean_last _x_") == r"value_mean_last \_x\_"
    table = Table("t", (Column("a", "a", "left"), Column("b", "b")), ((Entry("x|y"), Entry("1")),))
    row = markdown(table).splitlines()[-1]
    assert row.replace(r"\|", "").count("|") == 3


def test_caption_gives_the_rates_methods_really_used(make_cell: MakeCell, run_folder: Path) -> None:
    """The run's plan is where methods start from; a preset or a warm start may change it."""
    plan = {"batch_size": 16, "lr": 0.1}
    own = {"plan": plan, "method": {"mu": 1.0, "plan": plan | {"lr": 0.3}}}
    wrapped = {"plan": plan, "method": {"inner": {"plan": plan | {"lr": 1.2}}}}
    make_cell("fedprox", 0, config=own)
    make_cell("gptfl", 0, config=wrapped)
    text = to_markdown(leaderboard(read_cells(run_folder)))
    assert "Local plan: batch_size=16. Differs: lr 0.3 (fedprox), 1.2 (gptfl)." in text
