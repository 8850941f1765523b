"""One prompt's completion as it is written, piece by piece: the sampler's own, for people to watch.

python -m distill_lab.sampling.stream prints an answer of the bundled teacher so.
"""

from __future__ import annotations

from collections.abc import Generator

from distill_lab.models.loading import LanguageModel
from distill_lab.sampling.decode import complete_stepwise, ends_of
from distill_lab.sampling.jobs import Completion, Job, completion_of, encoded, require_room
from distill_lab.sampling.nucleus import Sampling

_UNFINISHED = "\ufffd"  # what the bytes of a character are read as until all of them are there


def stream(model: LanguageModel, job: Job, sampling: Sampling) -> Generator[str, None, Completion]:
    """Yields the completion's text as its tokens come, and returns what `complete` gives: the
    pieces together are its text. LabError where the prompt leaves the model no room to answer.

    A character whose bytes are spread over several tokens comes whole, with the last of them.
    """
    assert sampling.n == 1, "a reader follows one completion"
    ids, ends = encoded([job], model.tokenizer), ends_of(model)
    require_room(model.positions, model.name, [job], ids, sampling.max_new_tokens)
    completion, shown = Completion(job.begun, 0, "length"), ""
    for (row,) in complete_stepwise(model, [job], sampling, ids):
        completion = completion_of(job.begun, row, model.tokenizer, ends)
        text = completion.text.rstrip(_UNFINISHED)
        if len(text) > len(shown):
            yield text[len(shown) :]
            shown = text
    if completion.text != shown:  # bytes that never became a character
        yield completion.text[len(shown) :]
    return completion


if __name__ == "__main__":
    from distill_lab.models.backend import choose_backend
    from distill_lab.models.loading import load
    from distill_lab.run.settings import BUNDLED, RuntimeSettings
    from distill_lab.sampling.jobs import jobs_for
    from distill_lab.tasks.squad.task import SQUAD

    teacher = load(BUNDLED, choose_backend(RuntimeSettings()), "teacher")
    question = SQUAD.load(BUNDLED, "validation", False).questions[0]
    print(SQUAD.user_text(question))
    for piece in stream(teacher, jobs_for([question], teacher.tokenizer)[0], Sampling()):
        print(piece, end="", flush=True)
    print()
