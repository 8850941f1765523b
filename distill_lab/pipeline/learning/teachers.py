"""The teacher of a training: with which tokenizer it reads, and its targets, from a cache or from
itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill_lab.models.backend import Backend, start
from distill_lab.models.loading import (
    LanguageModel,
    TokenizerOnly,
    load_model,
    load_tokenizer_only,
    require_known_head,
    require_shared_tokenizer,
    tokenizer_difference,
)
from distill_lab.run.distributed import from_main
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import Config
from distill_lab.tasks.all_tasks import task_of
from distill_lab.training.batches import Encoded, encode_examples
from distill_lab.training.teacher_cache.build import RowFormat, TeacherCache, fill

BOTH = "teacher", "base"
_ADVICE = (
    "Name a method, --train.other-tokenizer uld or hybrid (with --train.cache none), or train on "
    "text alone: --train.alpha 0."
)


def check_tokenizers(config: Config) -> None:
    """LabError where the teacher reads other tokens than the student, and the settings do not say
    what is done about it. Loads no weights."""
    reads_other_tokens(config, *(load_tokenizer_only(who, config.models) for who in BOTH))


def reads_other_tokens(
    config: Config, teacher: LanguageModel | TokenizerOnly, student: LanguageModel | TokenizerOnly
) -> bool:
    """Whether the teacher has another tokenizer than the student. LabError where it has, and the
    settings name no method for that, or a cache, which has no use for it."""
    method, cache = config.train.other_tokenizer, config.train.cache
    if method == "refuse":
        require_shared_tokenizer(teacher, student, _ADVICE)
        return False
    other = tokenizer_difference(teacher, student) != ""
    if other and method == "uld" and config.train.alpha == 1:
        raise LabError(
            "--train.other-tokenizer uld: expected --train.alpha below 1, found 1. Sorted "
            "probabilities do not say which token has them: only the text does. Take 0.5."
        )
    if other and cache != "none":
        raise LabError(
            f"--train.other-tokenizer {method}: expected --train.cache none, as the probabilities "
            f"of all tokens are compared, found {cache}. Add it."
        )
    return other


def encode_for(
    config: Config,
    examples: Sequence[Example],
    student: LanguageModel | TokenizerOnly,
    teacher: LanguageModel | TokenizerOnly | None,
    across: bool = False,
) -> list[Encoded]:
    """The examples in the prompts of the run's task: the student's, and the teacher's if any;
    `across`: in its own tokens."""
    return encode_examples(
        examples,
        student.tokenizer,
        config.train.max_length,
        teacher.tokenizer if teacher else None,
        config.models.teacher_shots,
        task_of(config),
        across,
    )


def fill_teacher_cache(config: Config, out: Path, examples: Sequence[Example], cache: Path) -> None:
    """Makes the cache of the teacher's targets for these examples, or what is missing of it, so
    that trainings which share it only read. `out` is where the backend is noted."""
    backend = start(config, out)
    teacher, student = (load_tokenizer_only(who, config.models) for who in BOTH)
    require_shared_tokenizer(teacher, student, _ADVICE)
    encoded = encode_for(config, examples, student, teacher)
    teacher_of(teacher, student, encoded, backend, config, cache)


def teacher_of(
    tokenizer_only: TokenizerOnly,
    base: LanguageModel | TokenizerOnly,
    encoded: Sequence[Encoded],
    backend: Backend,
    config: Config,
    folder: Path,
) -> LanguageModel | TeacherCache:
    """The teacher itself, or the cache of its targets, filled where examples are missing."""
    settings, name = config.train, tokenizer_only.name
    if settings.cache == "none":
        return checked_teacher(config, backend)
    shared = min(tokenizer_only.vocab_size, base.vocab_size)
    row_format = RowFormat(settings.cache, settings.cache_k, (settings.temperature,), shared)

    def is_incomplete() -> bool:
        begun = (folder / "meta.json").exists()
        return not begun or TeacherCache(folder, row_format, name).missing(encoded) > 0

    if from_main(is_incomplete):
        teacher = checked_teacher(config, backend)
        fill(folder, teacher, encoded, row_format, config.runtime.micro_batch)
    return TeacherCache(folder, row_format, name)


def checked_teacher(config: Config, backend: Backend) -> LanguageModel:
    """The teacher itself. LabError where its head does what the loss does not know."""
    teacher = load_model("teacher", config.models, backend)
    require_known_head(teacher)
    return teacher
