"""A Llama whose every next token is written down, so that its completions are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from distill_lab.models.loading import LanguageModel
from distill_lab.sampling.jobs import Completion
from distill_lab.tasks.prompts import STOP, encode


def scripted(lines: Sequence[Sequence[str]], tokenizer: Any) -> LlamaForCausalLM:
    """A model that follows each token of a line with the next one, whatever came before.

    A token has at most one successor. Its embedding is a direction of its own, the one layer adds
    nothing, and the head's row of its successor points in that direction.
    """
    ids = tokenizer.convert_tokens_to_ids
    after = {ids(one): ids(other) for line in lines for one, other in pairwise(line)}
    used = sorted({*after, *after.values()})
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    lm = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weights in (*lm.model.layers.parameters(), lm.lm_head.weight):
            weights.zero_()
        lm.model.embed_tokens.weight.zero_()
        for place, token in enumerate(used):
            lm.model.embed_tokens.weight[token, place] = 1.0
        for token, following in after.items():
            lm.lm_head.weight[following, used.index(token)] = 4.0
    return lm


# After the line's end of a prompt, or after the `<think>` that a few-shot prompt ends with.
ANSWER = ["Ċ", "<think>", "A", "</think>", "<answer>", *"Rome", "</answer>"]
ANSWERED = "<think>A</think><answer>Rome</answer>"


def save_answering(folder: Path, tokenizer_of: Path, answer: str = "Rome") -> Path:
    """A model that gives this answer, of letters that differ, whatever it is asked."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    line = [*ANSWER[: ANSWER.index("<answer>") + 1], *answer, "</answer>"]
    scripted([line], tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def generated(model: LanguageModel, prompt: str, max_new_tokens: int) -> Completion:
    """The oracle: transformers' own greedy search on this prompt alone."""
    ids = torch.tensor([encode(model.tokenizer, prompt)])
    lm: Any = model.lm
    tokenizer: Any = model.tokenizer
    out = lm.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False,
        stop_strings=[STOP], tokenizer=tokenizer, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    new = out[0, ids.shape[1] :].tolist()
    text = tokenizer.decode(new, skip_special_tokens=True)
    ends = lm.generation_config.eos_token_id
    ended = STOP in text or new[-1] in (ends if isinstance(ends, list) else [ends])
    text = text.partition(STOP)[0] + STOP if STOP in text else text
    return Completion(text, len(new), "stop" if ended else "length")
