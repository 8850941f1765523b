"""How large a model is, from its config.json or from a table: nothing is downloaded or loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.models.adapters import whole_model
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED, data_folder


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder with Llama's architecture: each layer has four attention matrices, the three of a
    gated MLP and two norms. `extras` counts a layer's biases and head norms, in parameters."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    extras: int = 0

    @property
    def queries(self) -> int:
        """Width of the queries of a token, all heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of the keys of a token; the values have the same."""
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of each matrix of a layer."""
        h, q, k, i = self.hidden, self.queries, self.keys, self.intermediate
        return (h, q), (h, k), (h, k), (q, h), (h, i), (h, i), (i, h)

    @property
    def matrices(self) -> int:
        """Parameters in the layers' matrices: those that 4 bits are for, and that each token is
        multiplied with."""
        return self.layers * sum(a * b for a, b in self.linears)

    @property
    def embedding(self) -> int:
        """Parameters of the embedding; the head has as many, its own unless they are tied."""
        return self.vocab_size * self.hidden

    @property
    def parameters(self) -> int:
        norms = self.layers * (2 * self.hidden + self.extras) + self.hidden
        return self.matrices + norms + self.embedding * (1 if self.tied else 2)

    def lora(self, rank: int) -> int:
        """Parameters of LoRA of that rank on all matrices of all layers."""
        return self.layers * rank * sum(a + b for a, b in self.linears)


_KNOWN = Path(__file__).with_name("known_models.json")


def shape_of(name: str, role: str) -> Shape:
    """The shape of a model named as in the settings, of an adapter that of its base, to which it
    adds next to nothing; `role` (teacher or base) chooses between the two bundled ones. LabError
    where it is neither known nor here."""
    name = whole_model(name)
    folder = data_folder() / "tiny_models" / role if name == BUNDLED else Path(name)
    short = name.rpartition("/")[2].lower().removesuffix("-bnb-4bit").removesuffix("-unsloth")
    # what the config.json of each of these says on the hub
    known: dict[str, Any] = json.loads(_KNOWN.read_text(encoding="utf-8"))
    in_folder = (folder / "config.json").is_file()
    if not in_folder and short in known:
        return from_config(known[short], name)
    file = folder / "config.json" if in_folder else _cached(name)
    if file:
        return from_config(json.loads(file.read_text(encoding="utf-8")), name)
    raise LabError(
        f"Model {name!r}: expected one whose shape is known or whose config.json is here, found "
        f"neither. Known are {', '.join(known)}."
    )


def _cached(name: str) -> Path | None:
    """config.json of a model that was fetched from the hub before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path is no name of the hub
        return None
    return Path(file) if isinstance(file, str) else None


def from_config(config: dict[str, Any], name: str) -> Shape:
    """From the contents of a config.json; LabError for an architecture that is none of Llama's."""
    make = config.get("model_type")
    if make not in ("llama", "mistral", "qwen2", "qwen3"):
        raise LabError(
            f"Model {name!r}: expected a Llama, Mistral, Qwen2 or Qwen3, found {make!r}, whose "
            "memory is not worked out here."
        )
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    extras = 2 * head_dim if make == "qwen3" else 0  # norms of queries and keys
    if make == "qwen2" or config.get("attention_bias"):
        extras += (heads + 2 * kv_heads) * head_dim
    if make != "qwen2" and config.get("attention_bias"):
        extras += hidden
    if config.get("mlp_bias"):
        extras += 2 * intermediate + hidden
    return Shape(
        config["num_hidden_layers"],
        hidden,
        intermediate,
        heads,
        kv_heads,
        head_dim,
        config["vocab_size"],
        bool(config.get("tie_word_embeddings", False)),
        extras,
    )
