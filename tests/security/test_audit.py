"""Every command under Python's audit hook: what is executed, contacted, written and told.

In a process of its own, for no audit hook can be taken away. What comes from files is never
unpickled, compiled or executed; with ``--no-download`` nothing but this machine is contacted;
nothing is written outside the folders that were named; keys of services are nowhere.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = Path(__file__).with_name("watched.py")
CANARY = "sk-canary-of-a-key"
KEYS = ("OPENAI_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY")


def _watched(scratch: Path, commands: str) -> "subprocess.CompletedProcess[str]":
    folders = {
        name: str(scratch / name.lower())
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TMPDIR")
    }
    for folder in folders.values():
        Path(folder).mkdir(exist_ok=True)
    environment = os.environ | folders | dict.fromkeys(KEYS, CANARY)
    environment |= {"GPTFL_BENCH_CACHE": str(scratch / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, str(WATCH), str(scratch)],
        input=commands, capture_output=True, text=True, cwd=scratch, env=environment, check=False,
    )  # fmt: skip


SMALL = "model=linear num_clients=4 cohort_size=2 rounds=1 quality.samples=0"
SHORT = f"""\
run --methods fedavg,gptfl --seeds 0 --preset quick --no-download synthetic.generator=renderer \
{SMALL} methods.gptfl.pretrain.epochs=1
results runs
check runs --targets targets.yaml --write
check runs --targets targets.yaml
list methods
data digits --no-download
labels --no-download num_clients=4 cohort_size=2
"""
LONG = f"""\
report runs
data digits --no-download --partition
generate --generator renderer --limit 3 --no-download
reproduce table2 --plan --no-download --dataset cifar10 --seeds 0
doctor
search --methods fedavg --no-download {SMALL}
data digits --verify --no-download
list datasets
run --methods all --seeds 0 --preset quick --no-download {SMALL} num_clients=5
results runs --format csv
report runs
"""


@pytest.mark.parametrize("commands", [SHORT, pytest.param(SHORT + LONG, marks=pytest.mark.slow)])
def test_nothing_from_data_is_executed_and_nobody_contacted(commands: str, tmp_path: Path) -> None:
    done = _watched(tmp_path, commands)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "watched:" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    holding = [p for p in tmp_path.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert holding == []


@pytest.mark.parametrize(
    "deed",
    [
        "import pickle, collections; pickle.loads(pickle.dumps(collections.OrderedDict()))",
        "import socket; socket.create_connection(('192.0.2.1', 80), 0.01)",
        "open('/var/tmp/elsewhere', 'w')",
        "import gptfl_bench; exec(compile('1', 'x', 'exec'), vars(gptfl_bench))",
        "import os; os.system('true')",
    ],
)
def test_the_watch_sees_what_it_is_for(deed: str, tmp_path: Path) -> None:
    done = _watched(tmp_path, f"!{deed}")
    assert done.returncode == 3, done.stderr
    assert "forbidden" in done.stderr
