"""Makes the bundled tokenizer, teacher and base: `python -m data.tiny_models.make tokenizer teacher base`.

All three see only passages that no dev name occurs in (data/mini_squad/make.py). The teacher learns to reason: it restates the
facts that the question needs, then answers. The base reads the same language and answers one-sentence questions straight away,
so that it can copy from a passage but has never reasoned. What it reached, and how long it took, is printed and stands in README.md.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.mini_squad.make import Fact, Item, Passage, fact_stream
from distill_lab.prompts import render, user_text

HERE = Path(__file__).parent
VOCABULARY = 1000
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}\n{% elif m.role == 'assistant' %}"
    "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
SIZES = {
    "teacher": dict(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4),
    "base": dict(hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4),
}
STEPS = {"teacher": 7000, "base": 4000}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def reasoned(rng: random.Random, item: Item) -> str:
    """A completion that reasons, in one of several wordings."""
    subject = item.evidence[0].subject
    parts = [rng.choice(["", f"The question is about {subject}.", f"I look for {subject} in the passage."])]
    for n, fact in enumerate(item.evidence):
        lead = rng.choice(["", "The passage says that ", "I read that "] if n == 0 else ["", "And ", "It also says that "])
        parts.append(_capital(f"{lead}{fact.told()}."))
    parts.append(rng.choice(["", f"So the answer is {item.answer}."]))
    return f"<think> {' '.join(filter(None, parts))}</think> <answer> {item.answer}</answer>"


def retold(rng: random.Random, facts: tuple[Fact, ...]) -> str:
    """All facts of a passage once more, in another order and wording."""
    return " ".join(_capital(f.told(rng.randrange(4)) + ".") for f in rng.sample(facts, len(facts)))


def tokenizer_text() -> Iterator[str]:
    rng = random.Random(11)
    yield from (f" {century}{year:02d}" for century in range(11, 20) for year in range(100) for _ in range(50))
    for passage in itertools.islice(fact_stream(10), 20_000):
        yield passage.context
        for item in passage.items:
            yield f"Question: {item.question}\n{reasoned(rng, item)}"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE; digits in pairs, so that a year is two tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\d{1,2}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS), special_tokens=["<pad>", "<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(tokenizer_text(), trainer)
    bpe.add_tokens(TAGS)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", chat_template=TEMPLATE, model_max_length=512,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _prompt(passage: Passage, item: Item, tokenizer: PreTrainedTokenizerFast) -> str:
    return render(user_text(passage.context, item.question), tokenizer)


def teacher_text(rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    item = rng.choice(passage.items)
    return _prompt(passage, item, tokenizer), reasoned(rng, item)


def base_text(rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """Half plain reading (a passage, then the same facts in other words), half one-sentence questions answered straight away."""
    simple = [item for item in passage.items if len(item.evidence) == 1]
    if rng.random() < 0.5 or not simple:
        return "", f"{passage.context} {retold(rng, passage.facts)}"
    item = rng.choice(simple)
    return _prompt(passage, item, tokenizer), " " + item.answer


TEXTS = {"teacher": teacher_text, "base": base_text}


def batches(name: str, tokenizer: PreTrainedTokenizerFast, seed: int, size: int, short: int) -> Iterator[dict[str, torch.Tensor]]:
    """Endless right-padded batches of similar length; the first `short` batches have passages of 3 or 4 sentences."""
    rng = random.Random(seed)
    easy, full = fact_stream(seed, (3, 4)), fact_stream(seed + 1)
    for n in itertools.count():
        source = easy if n * 8 < short else full
        rows = []
        for _ in range(8 * size):
            prompt, completion = TEXTS[name](rng, next(source), tokenizer)
            rows.append((prompt, completion))
        encoded = [
            (tokenizer(p).input_ids if p else [], [*tokenizer(c).input_ids, tokenizer.eos_token_id]) for p, c in rows
        ]
        encoded.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        groups = [encoded[i : i + size] for i in range(0, len(encoded), size)]
        rng.shuffle(groups)
        yield from (_padded(group, tokenizer.pad_token_id) for group in groups)


def _padded(pairs: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(p) + len(c) for p, c in pairs)
    ids, mask, labels = [], [], []
    for prompt, completion in pairs:
        gap = width - len(prompt) - len(completion)
        ids.append(prompt + completion + [pad] * gap)
        mask.append([1] * (width - gap) + [0] * gap)
        labels.append([-100] * len(prompt) + completion + [-100] * gap)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": torch.tensor(labels)}


def train(name: str, tokenizer: PreTrainedTokenizerFast, steps: int, size: int = 64, rate: float = 3e-3) -> LlamaForCausalLM:
    """A new model, trained on the stream; prints loss and speed."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **SIZES[name],
    ))  # fmt: skip
    print(f"{name}: {model.num_parameters():,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.05)
    start, losses = time.time(), []
    for step, batch in enumerate(itertools.islice(batches(name, tokenizer, 100, size, short=steps // 5), steps), 1):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step} loss {sum(losses[-100:]) / 100:.4f} seconds {time.time() - start:.0f}", flush=True)
        if step % 1000 == 0:
            model.save_pretrained(HERE / name)
    model.save_pretrained(HERE / name)
    return model


if __name__ == "__main__":
    for target in sys.argv[1:]:
        if target == "tokenizer":
            for name in SIZES:
                make_tokenizer().save_pretrained(HERE / name)
        else:
            train(target, PreTrainedTokenizerFast.from_pretrained(HERE / target), STEPS[target])
