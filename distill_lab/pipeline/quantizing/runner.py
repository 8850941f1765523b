"""The stages of quantization, one at a time. Each imports what it needs as it starts, so that a
help text loads neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.pipeline.runner import Stage, prepare_and_run


def _adapt(config: QuantizationConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import adapt
    from distill_lab.pipeline.quantizing.records import QuantizationFolder

    return adapt.adapt(config, QuantizationFolder(out))


def _quantize(config: QuantizationConfig, out: Path) -> object:
    from distill_lab.pipeline.quantizing import make

    return make.run(config, out)


def _qat(config: QuantizationConfig, out: Path) -> object:
    from distill_lab.pipeline.quantizing import qat

    return qat.run(config, out)


def _evaluate(config: QuantizationConfig, out: Path) -> object:
    from distill_lab.pipeline.quantizing import evaluate

    return evaluate.run(config, out)


def _report(config: QuantizationConfig, out: Path) -> object:
    from distill_lab.pipeline.quantizing import report

    return report.build(config, out)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("adapt", "fine-tune the model on the task, where it has not learnt it", _adapt,
              slow=True),
        Stage("quantize", "keep the dense model in fewer bits, in each of the ways", _quantize,
              slow=True),
        Stage("qat", "train models that round well, with the dense one as teacher and without",
              _qat, slow=True),
        Stage("evaluate", "score and time all models, and count their bytes", _evaluate, slow=True),
        Stage("report", "write what each bit costs and buys", _report),
    )
}  # fmt: skip


def run_stage(name: str, config: QuantizationConfig, out: Path) -> None:
    """Runs one stage and notes its seconds."""
    prepare_and_run(STAGES[name], config, config.runtime.as_of_a_run(), out)
