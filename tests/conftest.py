"""What tests share: no hub, real data where it is there, and tiny models of four architectures."""

from __future__ import annotations

import os

# before any test module imports the libraries that read them
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# where tests run side by side, threads that wait must not keep others from their core
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_lab.run.settings import data_folder

ROOT = Path(__file__).parent.parent
CACHE = tempfile.TemporaryDirectory()
os.environ["DISTILL_LAB_CACHE"] = CACHE.name  # what stages take in tests is nothing to learn from
MODEL_KINDS = ("llama", "gpt2", "qwen2", "qwen3")


def pytest_configure(config: pytest.Config) -> None:
    """Unsloth has to be imported before transformers, and so before any test module."""
    if config.getoption("markexpr") == "unsloth":
        import gpu_stand_in

        from distill_lab.models import unsloth_backend

        if gpu_stand_in.ASKED:
            gpu_stand_in.import_unsloth()
        unsloth_backend.problem()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sockets are blocked (pyproject.toml), except for tests that are marked `network`."""
    for item in items:
        if item.get_closest_marker("network"):
            item.add_marker(pytest.mark.enable_socket)


@pytest.fixture(scope="module", autouse=True)
def libraries_are_no_garbage() -> None:
    """Each training collects garbage several times, and most of its time went into walking through
    the objects of imported libraries. What is frozen is passed over, and is never freed."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model("gpt2")`: a folder with a model of that architecture and its tokenizer.

    The weights are random, seeded, about 80,000. All four have the bundled tokenizer's vocabulary
    (transformers reads Qwen2's with its own rule for digits); GPT-2's has no chat template, as the
    real one.
    """
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            _save_tiny_model(kind, made[kind])
        return made[kind]

    return folder


def _save_tiny_model(kind: str, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(data_folder() / "tiny_models" / "teacher")
    if kind == "gpt2":
        tokenizer.chat_template = None
        size = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
    else:
        size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
        size |= {"max_position_embeddings": 1024}
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(MODEL_KINDS.index(kind))
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
