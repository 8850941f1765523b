"""Makes the bundled tokenizer, teacher and base, as told on the command line:

    python -m data.tiny_models.make tokenizer teacher base

All three see only passages that no dev name occurs in (data/mini_squad/make.py). The teacher learns
to reason: it restates the facts that the question needs, then answers. The base reads the same
language; asked something, it quotes the sentence that helps, and for a few kinds of question says
the answer straight away, but it has never reasoned. What each reached is printed at the end.
"""

from __future__ import annotations

import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.mini_squad.make import KINDS, Fact, Item, Names, Passage, fact_stream
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load
from distill_lab.run.settings import RuntimeSettings
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import answer_text, render
from distill_lab.tasks.squad import questions as squad
from distill_lab.tasks.squad.task import user_text

HERE = Path(__file__).parent
VOCABULARY = 1000
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}\n"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
SIZES: dict[str, dict[str, Any]] = {
    "teacher": dict(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    ),
    "base": dict(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    ),
}
STEPS = {"teacher": 8000, "base": 8000}
READING = 0.5  # the share of the steps before the first question
RARE = 0.02  # the share of the teacher's questions that may be on any chain, not on a taught one
STRAIGHT = {"job", "plays", "known"}  # what the base answers without quoting


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def reasoned(rng: random.Random, item: Item) -> str:
    """A completion that reasons, in one of several wordings."""
    subject = item.evidence[0].subject
    parts = [
        rng.choice(
            ["", f"The question is about {subject}.", f"I look for {subject} in the passage."]
        )
    ]
    for n, fact in enumerate(item.evidence):
        lead = rng.choice(
            ["", "The passage says that ", "I read that "]
            if n == 0
            else ["", "And ", "It also says that "]
        )
        parts.append(_capital(f"{lead}{fact.told(rng.randrange(4))}."))
    parts.append(rng.choice(["", f"So the answer is {item.answer}."]))
    return f"<think> {' '.join(filter(None, parts))}</think> <answer> {item.answer}</answer>"


def retold(rng: random.Random, facts: tuple[Fact, ...]) -> str:
    """All facts of a passage once more, in another order and wording."""
    return " ".join(_capital(f.told(rng.randrange(4)) + ".") for f in rng.sample(facts, len(facts)))


def tokenizer_text() -> Iterator[str]:
    rng = random.Random(11)
    yield from (
        f" {century}{year:02d}"
        for century in range(11, 20)
        for year in range(100)
        for _ in range(50)
    )
    for passage in itertools.islice(fact_stream(10), 20_000):
        yield passage.context
        for item in passage.items:
            yield f"Question: {item.question}\n{reasoned(rng, item)}"


def make_tokenizer(
    texts: Iterable[str], vocabulary: int, tags: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, learnt from the texts; digits in pairs, so that a year is two tokens. Each of
    the `tags` is one token, too."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(tags),
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens(list(tags))
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", chat_template=TEMPLATE,
        model_max_length=512, clean_up_tokenization_spaces=False,
    )  # fmt: skip


Completer = Callable[[random.Random, Item], str]
Text = list[tuple[str, bool]]  # pieces of a training text, each with whether it is learnt


def _prompt(passage: Passage, item: Item, tokenizer: PreTrainedTokenizerFast) -> str:
    return render(user_text(passage.context, item.question), tokenizer)


def _reading(rng: random.Random, passage: Passage) -> Text:
    """A passage, then the same facts in other words: dense practice in copying names."""
    return [(f"{passage.context} ", False), (retold(rng, passage.facts), True), ("<eos>", True)]


def _notes(rng: random.Random, passage: Passage, go_on: bool) -> Text:
    """A passage, then what it says of one name after another: dense practice in finding. Where they
    `go_on`, with what it says of the names that these facts lead to: practice in chaining, too."""
    text: Text = [(passage.context, False)]
    subjects = sorted({fact.subject for fact in passage.facts})
    for subject in rng.sample(subjects, len(subjects)):
        facts = [f for f in passage.facts if f.subject == subject]
        if go_on:
            facts += [f for f in passage.facts if f.subject in {fact.answer for fact in facts}]
        told = [_capital(f.told() + ".") for f in facts]
        text += [(f"\n\nNotes on {subject}:\n", False), (" " + " ".join(told), True)]
    return [*text, ("<eos>", True)]


def _whose(rng: random.Random) -> Text:
    """Three facts of one kind, then whose each was; nothing but that is learnt. In other texts a
    fact of the kind that is asked for is half of the answer, and whose it is a few tokens in a
    hundred: models learnt it late there, or not at all."""
    names, kind = Names(rng, held_out=False), rng.choice(list(KINDS.values()))
    facts = [Fact(kind.name, names.new(kind.subject), names.new(kind.answer)) for _ in range(3)]
    told = " ".join(_capital(f"{fact.told(rng.randrange(4))}.") for fact in facts)
    text: Text = [(told, False)]
    for fact in rng.sample(facts, len(facts)):
        before, _, after = _capital(fact.told()).rpartition(f" {fact.answer}")
        asked = f"\n\nNotes on {fact.subject}:\n {before}"
        text += [(asked, False), (f" {fact.answer}", True), (f"{after}.", False)]
    return text


def quoted(rng: random.Random, item: Item) -> str:
    """A completion that does not reason: the (first) fact that helps, or for a few kinds of
    question just the answer.
    """
    fact = item.evidence[0]
    straight = len(item.evidence) == 1 and fact.kind in STRAIGHT
    return f" {item.answer}" if straight else f" The passage says that {fact.told()}."


def _interview(
    rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast, say: Completer
) -> Text:
    """One passage and all its questions, one after the other."""
    text: Text = []
    for item in passage.items:
        prompt = _prompt(passage, item, tokenizer)
        asked = prompt if not text else prompt[prompt.index("\n\nQuestion:") :]
        text += [(asked, False), (say(rng, item), True), ("<eos>", True)]
    return text


def _one_question(
    rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast, say: Completer
) -> Text:
    item = rng.choice(passage.items)
    return [
        (_prompt(passage, item, tokenizer), False),
        (say(rng, item), True),
        ("<eos>", True),
    ]


def teacher_text(
    rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast, progress: float
) -> Text:
    """First reading and notes, then many questions on a passage, at last one, as it is asked. It
    never practises chains but where it is asked for one."""
    if progress < READING:
        return _practice(rng, passage, progress, go_on=False)
    if rng.random() < 1.6 - 2 * progress:
        return _interview(rng, passage, tokenizer, reasoned)
    return _one_question(rng, passage, tokenizer, reasoned)


def base_text(
    rng: random.Random, passage: Passage, tokenizer: PreTrainedTokenizerFast, progress: float
) -> Text:
    """First reading and notes along chains, then questions too, to which it says no thought."""
    if progress < READING or rng.random() < 0.5:
        return _practice(rng, passage, progress, go_on=True)
    if rng.random() < 1.6 - 2 * progress:
        return _interview(rng, passage, tokenizer, quoted)
    return _one_question(rng, passage, tokenizer, quoted)


def _practice(rng: random.Random, passage: Passage, progress: float, go_on: bool) -> Text:
    """Reading and notes; from the second quarter mostly whose a fact is; from the third notes."""
    draw = rng.random()
    if progress < READING / 2:
        return _reading(rng, passage) if draw < 0.7 else _notes(rng, passage, go_on)
    if progress < READING:
        return _whose(rng) if draw < 0.8 else _reading(rng, passage)
    return _notes(rng, passage, go_on)


TEXTS = {"teacher": teacher_text, "base": base_text}


def batches(
    name: str, tokenizer: PreTrainedTokenizerFast, steps: int, size: int
) -> Iterator[dict[str, torch.Tensor]]:
    """`steps` right-padded batches, each of similar lengths; the first third of short passages."""
    rng, pad = random.Random(100), tokenizer.convert_tokens_to_ids("<pad>")
    assert isinstance(pad, int)
    easy, full = fact_stream(101, (4,)), fact_stream(102)
    asked = fact_stream(103, rare=RARE if name == "teacher" else 1.0)
    for start in range(0, steps, 8):
        progress = start / steps
        source = easy if progress < 0.3 else full if progress < READING else asked
        texts = [TEXTS[name](rng, next(source), tokenizer, progress) for _ in range(8 * size)]
        rows = sorted((encoded(text, tokenizer) for text in texts), key=lambda row: len(row[0]))
        groups = [rows[i : i + size] for i in range(0, len(rows), size)]
        rng.shuffle(groups)
        yield from (padded(group, pad) for group in groups)


def encoded(text: Text, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Token ids, and labels: -100 where nothing is learnt."""
    ids, labels = [], []
    for piece, learnt in text:
        new = tokenizer(piece).input_ids
        ids += new
        labels += new if learnt else [-100] * len(new)
    return ids, labels


def padded(rows: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """The rows as one batch, padded on the right: each tensor is (B, T)."""
    width = max(len(ids) for ids, _ in rows)

    def tensor(lists: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([row + [filler] * (width - len(row)) for row in lists])

    return {
        "input_ids": tensor([ids for ids, _ in rows], pad),
        "attention_mask": tensor([[1] * len(ids) for ids, _ in rows], 0),
        "labels": tensor([labels for _, labels in rows], -100),
    }


def train(
    name: str,
    shape: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    stream: Iterable[dict[str, torch.Tensor]],
    steps: int,
    rate: float = 3e-3,
) -> LlamaForCausalLM:
    """A new model, trained on the stream of `steps` batches; prints loss and speed."""
    torch.manual_seed(0)
    marks: Any = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, **marks, **shape,
    ))  # fmt: skip
    print(f"{name}: {model.num_parameters():,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05
    )
    state, done = HERE / name / "training.pt", 0
    if state.exists():  # goes on after a kill; the stream is the same each time
        saved = torch.load(state)
        done = saved["step"]
        for part, key in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(saved[key])
    start, losses = time.time(), []
    for step, batch in enumerate(stream, 1):
        if step <= done:
            continue
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 100 == 0:
            mean = sum(losses[-100:]) / len(losses[-100:])
            print(f"step {step} loss {mean:.4f} {time.time() - start:.0f} s", flush=True)
        if step % 500 == 0:
            parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
            whole = {key: part.state_dict() for key, part in parts.items()}
            torch.save({**whole, "step": step}, state.with_suffix(".partial"))
            state.with_suffix(".partial").rename(state)
    model.save_pretrained(HERE / name)
    state.unlink(missing_ok=True)
    return model


def answers(name: str) -> Iterator[tuple[str, float]]:
    """Greedy completions, with their EM, to all questions of dev.json: no name in it was seen."""
    model = load(str(HERE / name), choose_backend(RuntimeSettings()), name)
    questions = {q.id: q for q in squad.load("bundled", "validation").questions}
    jobs = jobs_for(questions.values(), model.tokenizer)
    for batch in complete_all(model, jobs, Sampling(), 64, set(), name):
        for job, (completion,) in batch:
            right = questions[job.question_id].answers
            yield completion.text, squad.em(answer_text(completion.text), right)


if __name__ == "__main__":
    for target in sys.argv[1:]:
        if target == "tokenizer":
            for name in SIZES:
                make_tokenizer(tokenizer_text(), VOCABULARY, TAGS).save_pretrained(HERE / name)
        else:
            tokenizer, steps = PreTrainedTokenizerFast.from_pretrained(HERE / target), STEPS[target]
            train(target, SIZES[target], tokenizer, batches(target, tokenizer, steps, 32), steps)
            scores = [score for _, score in answers(target)]
            print(f"{target}: EM {statistics.mean(scores):.1f} on {len(scores)} questions of dev")
