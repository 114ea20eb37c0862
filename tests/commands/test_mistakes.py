"""A mistake is answered by one sentence that names it and what was meant; nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cli import COMMANDS

MISTAKES = [
    ("rnu", "'rnu'", "run"),
    ("run --metods fedavg", "'--metods'", "--methods"),
    ("run --methods fedagv", "'fedagv'", "fedavg"),
    ("run --methods fedavg,scafold", "'scafold'", "scaffold"),
    ("run --methods gptfl+fedagv", "'fedagv'", "fedavg"),
    ("run --methods fedavg+fedprox", "'fedavg+fedprox'", "gptfl+fedavg"),
    ("run --methods gptfl+gptfl", "'gptfl+gptfl'", "wrap another"),
    ("run --methods moon-ablatd", "'moon-ablatd'", "moon"),
    ("run --methods scaffold-ablated", "'scaffold'", "fedavg"),
    ("run --methods gptfl-ablated", "'fedavg'", "gptfl+X with X"),
    ("run --methods dsfl methods.dsfl.temperature=0", "temperature=0", "more than 0"),
    ("run methods.fedet.client_models=[cnn_tny]", "'cnn_tny'", "cnn_tiny"),
    ("run methods.fedet.client_models=[]", "client_models", "one registered model or more"),
    ("run public.source=non", "'non'", "'held_out'"),
    ("run --methods ,", "no method", "fedavg"),
    ("run --dataset digts", "'digts'", "digits"),
    ("run --preset quik", "'quik'", "quick"),
    ("run --preset ../../secret", "'../../secret'", "quick"),
    ("run --launcher jolib", "'jolib'", "joblib"),
    ("run --seeds a", "'a'", "0,1,2"),
    ("run --seeds 0,0", "[0, 0]", "distinct"),
    ("run --seeds ,", "[]", "whole numbers"),
    ("run --seeds=-1", "-1", "0 or more"),
    ("run --seeds 0-4", "'0-4'", "such as 0,1,2,3,4."),
    ("run --seeds 0..2", "'0..2'", "such as 0,1,2."),
    ("run --seeds 0.0", "'0.0'", "whole numbers"),
    ("run --seeds 0 1 2", "'1'", "--seeds 0,1,2"),
    ("run --methods fedavg gptfl", "'gptfl'", "--methods fedavg,gptfl"),
    ("run --methods fedavg gptfl+moon", "'gptfl+moon'", "--methods fedavg,gptfl+moon"),
    ("run --methods fedavg, scaffold-ablated", "'scaffold-ablated'", "with commas"),
    ("run lr=0.1", "'lr'", "plan.lr="),
    ("run learning_rate=0.1", "'learning_rate'", "plan.lr="),
    ("run seed=1", "'seed'", "--seeds"),
    ("run fraction=0.1", "'fraction'", "cohort_size=, a number of clients or a share"),
    ("run epochs=5", "'epochs'", "plan.epochs="),
    ("run epochs=0.5", "'epochs'", "plan.steps="),
    ("run plan.epochs=0.5", "plan.epochs=0.5", "plan.steps=N"),
    ("run methods.moon.plan.epochs=0.5", "epochs=0.5", "methods.moon.plan.steps=N"),
    ("run alpha=0.5", "'alpha'", "partition.alpha="),
    ("run mu=0.5", "'mu'", "methods.fedprox.mu="),
    ("run out=x", "'out'", "--out"),
    ("run Batch_Size=8", "'Batch_Size'", "plan.batch_size="),
    ("run --seeds", "--seeds", "--help"),
    ("run roundz=3", "'roundz'", "rounds"),
    ("run plan.lrr=1", "'plan.lrr'", "plan.lr"),
    ("run methods.fedprox.muu=1", "'methods.fedprox.muu'", "methods.fedprox.mu"),
    ("run +roundz=3", "'roundz'", "rounds"),
    ("run plan=3", "'plan'", "plan.lr"),
    ("run rounds", "rounds", "key=value"),
    ("run rounds=three", "'three'", "integer"),
    ("run rounds=2.5", "2.5", "integer"),
    ("run rounds=-1", "rounds=-1", "0 or more"),
    ("run rounds=1,two", "'two'", "integer"),
    ("run rounds=1,2 cohort_size=5,99", "99", "num_clients=20"),
    ("run rounds=range(0,2000)", "1,000 combinations", "fewer values"),
    ("run plan.lr=interval(0,1)", "'plan.lr=interval(0,1)'", "with commas"),
    ("run --methods fedavg --cell fedavg-s0", "'fedavg-s0'", "fedavg-digits-s0-"),
    ("run ~rounds", "'~rounds'", "key=value"),
    ("run rounds=${nothing}", "nothing", ""),
    ("run threads=0", "threads=0", "1 or more"),
    ("run threads=4096", "threads=4096", "cores of this machine"),
    ("run target=90", "target=90", "(0, 1]"),
    ("run start=hot", "'hot'", "'warm'"),
    ("run evaluation.on=tst", "'tst'", "'test'"),
    ("run plan.optimizer=sdg", "'sdg'", "'sgd'"),
    ("run plan.lr=-1", "-1", "0 or more"),
    ("run cohort_size=50", "50", "num_clients=20"),
    ("run cohort_size=0", "cohort_size=0", "1 or more, or a share"),
    ("run cohort_size=0.0", "cohort_size=0.0", "above 0"),
    ("run cohort_size=1.5", "cohort_size=1.5", "share of them above 0"),
    ("run cohort_size=true", "cohort_size", ""),
    ("run methods.fedprox.mu=nan", "nan", "0 or more"),
    ("run --methods scaffold plan.momentum=0.9", "momentum=0.9", "option='I'"),
    ("run model=cnn_smal", "'cnn_smal'", "cnn_small"),
    ("run --methods fedavg +model_args.wdth=1", "wdth", "cnn_small"),
    ("run partition.recipe=dirichlt", "'dirichlt'", "dirichlet"),
    ("run partition.recipe=group --methods fedavg", "'group'", "dirichlet"),
    ("run partition.alpha=-1 --methods fedavg", "-1", "above 0"),
    ("run partition.min_size=100 --methods fedavg", "100", "57"),
    ("run synthetic.generator=rendrer", "'rendrer'", "renderer"),
    ("run synthetic.prompts=gramar", "'gramar'", "grammar"),
    ("run synthetic.multiplier=0", "multiplier=0", "above 0"),
    ("run device=cudda --methods fedavg", "'cudda'", "cpu"),
    ("run --out FILE", "FILE", "folder"),
    ("run --cache FILE", "FILE", "folder"),
    ("results", "DIR", "--help"),
    ("results nowhere", "'nowhere'", "--out"),
    ("results EMPTY", "EMPTY", "--out"),
    ("results EMPTY --format jsn", "'jsn'", "json"),
    ("report nowhere", "'nowhere'", "--out"),
    ("report EMPTY", "EMPTY", "--out"),
    ("list", "KIND", "--help"),
    ("list methdos", "'methdos'", "methods"),
    ("data digts", "'digts'", "digits"),
    ("data digits --verify --prepare", "--prepare", "--verify"),
    ("doctor now", "now", "--help"),
]


@pytest.mark.parametrize(("words", "named", "meant"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_one_sentence_and_nothing_written(
    words: str,
    named: str,
    meant: str,
    bench: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPTFL_BENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    (tmp_path / "FILE").write_text("")
    (tmp_path / "EMPTY").mkdir()
    answer = bench(*words.split())
    assert answer.code == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("gptfl-bench: ")
    assert named in answer.err
    assert meant in answer.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["EMPTY", "FILE"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_there_for_every_command(command: str, bench: Callable[..., Any]) -> None:
    if command:
        with pytest.raises(SystemExit) as stopped:
            bench(command, "--help")
        assert stopped.value.code == 0
    else:
        answer = bench("--help")
        assert answer.code == 0
        assert all(name in answer.out for name in COMMANDS)


def test_help_says_what_a_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    from gptfl_bench.cli import main

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for option in ("--methods", "--dataset", "--preset", "--seeds", "--out", "--launcher", "--cfg"):
        assert option in text


def test_without_words_it_says_what_there_is(bench: Callable[..., Any]) -> None:
    assert bench() == bench("--help")


def test_the_version_is_the_packages(bench: Callable[..., Any]) -> None:
    import gptfl_bench

    assert bench("--version").out == f"gptfl-bench {gptfl_bench.__version__}\n"
