"""A tokenizer as fields of a GGUF file: byte-level BPE, as of GPT-2, SmolLM2 and the bundled pair.

The fields hold tokens and merges; how a text is split before merging is only named
(`tokenizer.ggml.pre`), and only splitters that llama.cpp knows have a name.
"""

from __future__ import annotations

import json
from typing import Any

from gguf import GGUFWriter, TokenType

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
UNNAMED = "default"  # llama.cpp then splits in a way of its own


def vocabulary_problem(tokenizer: Any) -> str | None:
    """What was expected of the tokenizer and found otherwise; None for byte-level BPE."""
    parts = _parts(tokenizer)
    kind = parts["model"]["type"]
    splits = [step["type"] for step in _steps(parts)]
    if kind != "BPE" or "ByteLevel" not in splits:
        return f"a tokenizer of byte-level BPE, found {kind} after {', '.join(splits) or 'nothing'}"
    return None


def splitter_name(tokenizer: Any) -> str:
    """GGUF's name for how the tokenizer splits a text; `default` where it has none."""
    parts = _parts(tokenizer)
    steps = [
        {key: value for key, value in step.items() if key != "trim_offsets"}
        for step in _steps(parts)
    ]
    if (parts["normalizer"] or {}).get("normalizers", parts["normalizer"]):
        return UNNAMED
    return {
        json.dumps([_BYTE_LEVEL]): "gpt-2",
        json.dumps([_DIGITS, _BYTE_LEVEL]): "smollm",
    }.get(json.dumps(steps), UNNAMED)


def add_vocabulary(writer: GGUFWriter, tokenizer: Any, vocab_size: int) -> None:
    """Writes tokens, their types, merges, special tokens and the chat template.

    Rows of the embedding without a token (`vocab_size` beyond the tokenizer's) are unused tokens.
    """
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter_name(tokenizer))
    tokens, types = _tokens(tokenizer, vocab_size)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(_merges(tokenizer))
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)
    for name in ("bos", "eos", "pad", "unk"):
        token_id = getattr(tokenizer, f"{name}_token_id")
        if token_id is not None:
            getattr(writer, f"add_{name}_token_id")(token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def text_bytes(tokenizer: Any, vocab_size: int) -> int:
    """Bytes of these fields: each text after its length in 8 bytes, each token's type in 4."""
    tokens, types = _tokens(tokenizer, vocab_size)
    texts = [*tokens, *_merges(tokenizer), tokenizer.chat_template or ""]
    return sum(8 + len(text.encode()) for text in texts) + 4 * len(types)


def _tokens(tokenizer: Any, vocab_size: int) -> tuple[list[str], list[int]]:
    """The tokens by id, and their types: control tokens are the special ones, which stand in no
    text; others that were added are found before a text is split."""
    texts = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(vocab_size):
        tokens.append(texts.get(index, f"[PAD{index}]"))
        if index not in texts:
            types.append(int(TokenType.UNUSED))
        elif index in added:
            special = added[index].special
            types.append(int(TokenType.CONTROL if special else TokenType.USER_DEFINED))
        else:
            types.append(int(TokenType.NORMAL))
    return tokens, types


def _merges(tokenizer: Any) -> list[str]:
    """Each merge as its two parts with a space between them."""
    merges = _parts(tokenizer)["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _parts(tokenizer: Any) -> dict[str, Any]:
    """What stands in tokenizer.json."""
    return json.loads(tokenizer.backend_tokenizer.to_str())


def _steps(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """How a text is split, step by step."""
    splitter = parts["pre_tokenizer"] or {"type": "Sequence", "pretokenizers": []}
    return splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
