"""A thousand texts of all kinds, the same each time, and a byte-level tokenizer made of them."""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

WORDS = "the of Rome lived years who's they'll don't answer question THE Anna xylophone".split()
ACCENTS = "é ü ñ ß œ Ż ğ ÿ naïve Łódź São À Ω λόγος мир 東京 서울 עברית العربية ไทย".split()
EMOJI = ["😀", "👩‍👩‍👧", "🇫🇷", "👍🏽", "🏳️‍🌈", "☕️"]
CODE = ["def f(x):", "\treturn x**2", "a[i] += 1;", "//", "{}", "<br/>", "==", "->", "x_1", "'''"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u00a0", "\u2009", ""]
TAGS = ["<|im_start|>", "<|im_end|>", "<think>", "</answer>", "<|", "|>", "<"]


def texts(n: int = 1000) -> list[str]:
    """Words, numbers, code, accents, emoji and special tokens, with all kinds of space between."""
    chance = random.Random(7)

    def piece() -> str:
        number = str(chance.randrange(10 ** chance.randrange(1, 9)))
        numbers = [number, f"{number}.5", f"{int(number):,}", f"1{number}e-3", f"x{number}"]
        kinds = (WORDS, WORDS, numbers, ACCENTS, EMOJI, CODE, TAGS)
        return chance.choice(chance.choice(kinds))

    made = []
    for _ in range(n):
        parts = [piece() + chance.choice(SPACES) for _ in range(chance.randrange(1, 30))]
        made.append(chance.choice(SPACES) + "".join(parts))
    return made


def byte_level_tokenizer(*before: Any, **named: Any) -> PreTrainedTokenizerFast:
    """A small tokenizer that is laid out as SmolLM2's, with these steps before its bytes."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, last]) if before else last  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(200), trainer)
    ends = {"bos_token": special[1], "eos_token": special[2], "pad_token": special[2]}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{**ends, "unk_token": special[0], **named}
    )
