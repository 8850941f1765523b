"""Makes the adapter that turns SmolLM2-135M-Instruct into a teacher of SQuAD, step by step:

    python -m data.squad_teacher.make split train-v1.1.json parts
    python -m data.squad_teacher.make train parts/taught.json work --minutes 90
    python -m data.squad_teacher.make score parts/unseen.json work/adapter
    python -m data.squad_teacher.make ship work/adapter

`train` goes on where it stopped when it is called again. The model learns to quote the sentence
that holds the answer as its thought, then to answer, in the two tags of the course. README.md says
how a second round learns from the model's own right answers (`train --init … --examples …`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from data.squad_teacher import training
from distill_lab.models.adapters import BASE, CONFIG, WEIGHTS
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.sources import SMOLLM2
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import RuntimeSettings
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import answer_text, parse
from distill_lab.tasks.squad import questions as squad
from distill_lab.tasks.squad.files import read_dataset

HERE = Path(__file__).parent
# Articles of SQuAD's training file that the teacher learns from.
TAUGHT = (
    "2008_Sichuan_earthquake", "51st_state", "Adult_contemporary_music", "American_Idol",
    "Beyoncé", "Chinese_characters", "Communications_in_Somalia", "Department_store",
    "Exhibition_game", "Frédéric_Chopin", "Gregorian_calendar", "IPod", "New_York_City",
    "Political_party", "Republic_of_the_Congo", "Sino-Tibetan_relations_during_the_Ming_dynasty",
    "Spectre_(2015_film)", "The_Legend_of_Zelda:_Twilight_Princess", "To_Kill_a_Mockingbird",
    "Translation",
)  # fmt: skip
# Those that it never reads: recipes are chosen on them, and students learn from them.
UNSEEN = (
    "Buckingham_Palace", "John_Kerry", "Modern_history", "Neolithic", "Pain", "Solar_energy",
)  # fmt: skip


def split(file: Path, parts: Path) -> None:
    """Writes parts/taught.json and parts/unseen.json. LabError where an article is missing."""
    articles = read_dataset(file)["data"]
    missing = sorted({*TAUGHT, *UNSEEN} - {article["title"] for article in articles})
    if missing:
        raise LabError(
            f"{file}: expected the articles of SQuAD 1.1's training file, found none with the "
            f"title {', '.join(missing)}. Name that file."
        )
    parts.mkdir(parents=True, exist_ok=True)
    for name, titles in {"taught": TAUGHT, "unseen": UNSEEN}.items():
        part = [article for article in articles if article["title"] in titles]
        text = json.dumps({"data": part}, ensure_ascii=False)
        (parts / f"{name}.json").write_text(text, encoding="utf-8")


def completions_of(run: Path) -> dict[str, list[str]]:
    """The completions in a run's examples, different ones, of each question."""
    kept: dict[str, list[str]] = defaultdict(list)
    for example in RunFolder(run).examples.read():
        if example.completion not in kept[example.question_id]:
            kept[example.question_id].append(example.completion)
    return kept


def ship(adapter: Path, to: Path = HERE / "adapter") -> None:
    """Writes an adapter as it ships: in bfloat16, half the size of what was trained, and on a base
    whose name means the same on every machine."""
    to.mkdir(parents=True, exist_ok=True)
    halves = {name: weight.bfloat16() for name, weight in load_file(adapter / WEIGHTS).items()}
    save_file(halves, to / WEIGHTS, {"format": "pt"})
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    config |= {BASE: SMOLLM2, "target_modules": sorted(config["target_modules"])}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (to / CONFIG).write_text(text, encoding="utf-8")


# -- scores


def score(file: Path, name: str, n_questions: int, n_sampled: int) -> None:
    """Prints what a model reaches on questions of a SQuAD file, drawn with a fixed seed: greedily
    on `n_questions`, and with four samples at T = 1 on the first `n_sampled` of them."""
    questions = list(squad.load(str(file), "validation").questions)
    drawn = random.Random(0).sample(questions, min(n_questions, len(questions)))
    model = load(name, choose_backend(RuntimeSettings(dtype="float32")), "teacher")
    for question_set, n in ((drawn, 1), (drawn[:n_sampled], 4)):
        if question_set:
            print(table(question_set, sampled(model, question_set, n)), flush=True)


def sampled(model: LanguageModel, questions: Sequence[Question], n: int) -> dict[str, list[str]]:
    """`n` completions of each question, by its id: one is greedy, several are drawn at T = 1."""
    jobs = jobs_for(questions, model.tokenizer)
    sampling = Sampling(n, temperature=0.0 if n == 1 else 1.0, max_new_tokens=96)
    done = complete_all(model, jobs, sampling, 32, set(), "score")
    return {job.question_id: [each.text for each in made] for batch in done for job, made in batch}


def table(questions: Sequence[Question], completions: dict[str, list[str]]) -> str:
    """EM and F1 of a sample, the share that is malformed, and for several samples a question how
    many different answers they give."""
    texts = [(q, text) for q in questions for text in completions[q.id]]
    scores = [
        (squad.em(answer_text(text), q.answers), squad.f1(answer_text(text), q.answers))
        for q, text in texts
    ]
    em, f1 = (statistics.mean(column) for column in zip(*scores, strict=True))
    malformed = 100 * statistics.mean(parse(text) is None for _, text in texts)
    n = len(texts) // len(questions)
    line = f"{len(questions)} questions, {n} samples each: EM {em:.1f}, F1 {f1:.1f}, "
    line += f"malformed {malformed:.1f} %"
    return line if n == 1 else f"{line}, {distinct(completions):.2f} different answers of {n}"


def distinct(completions: dict[str, list[str]]) -> float:
    """How many different answers, normalised as SQuAD's scores do it, a question has on average."""
    return statistics.mean(
        len({squad.normalize_answer(answer_text(text)) for text in texts})
        for texts in completions.values()
    )


# -- the command line


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    if given.step == "split":
        split(given.file, given.parts)
    elif given.step == "train":
        articles = read_dataset(given.file)["data"]
        completions = completions_of(given.examples) if given.examples else None
        again = given.init, given.minutes, given.learning_rate, given.epochs
        if not training.train(articles, given.work, completions, *again):
            print("Stopped as its minutes are over. Call it again to go on.")
    elif given.step == "score":
        score(given.file, given.model, given.questions, given.sampled)
    else:
        ship(given.adapter)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.squad_teacher.make")
    steps = parser.add_subparsers(dest="step", required=True)
    step: Any = steps.add_parser("split", help="write the taught and the unseen articles")
    step.add_argument("file", type=Path, help="SQuAD 1.1's training file")
    step.add_argument("parts", type=Path, help="folder for taught.json and unseen.json")
    step = steps.add_parser("train", help="train, or go on with it")
    step.add_argument("file", type=Path, help="taught.json")
    step.add_argument("work", type=Path, help="folder for the checkpoints and the adapter")
    step.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    step.add_argument("--init", default="", help="adapter to begin with")
    step.add_argument("--examples", type=Path, help="run whose examples are learnt, not quotes")
    step.add_argument("--learning-rate", type=float, default=training.LEARNING_RATE)
    step.add_argument("--epochs", type=int, default=training.EPOCHS)
    step = steps.add_parser("score", help="print EM, F1 and how varied the samples are")
    step.add_argument("file", type=Path, help="a SQuAD file")
    step.add_argument("model", help="an adapter's folder, or another model")
    step.add_argument("--questions", type=int, default=200, help="answered greedily")
    step.add_argument("--sampled", type=int, default=50, help="of these with four samples, too")
    step = steps.add_parser("ship", help="write the adapter that ships")
    step.add_argument("adapter", type=Path, help="folder of a trained adapter")
    return parser


if __name__ == "__main__":
    main()
