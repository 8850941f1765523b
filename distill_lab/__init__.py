"""Reasoning distillation on SQuAD, as in DeepSeek-R1 section 2.4.

Notebooks import the parts of the pipeline from here (`from distill_lab import Sampling`), and from
`distill_lab.notebook`, `.checks`, `.install` and `.squad_scores`. These names do not change, so a
notebook that was handed out still works after a module has moved.

Importing this loads neither torch nor transformers; each part is loaded when it is first used.
"""

import os  # loaded before any program starts, so no file named os.py can take its place

__version__ = "0.1.0"

_PARTS = {
    "run.records": "Trace Verdict",
    "run.settings": "RejectSettings profile",
    "models.backend": "choose_backend",
    "planning.doctor": "prediction",
    "tasks.prompts": "encode parse",
    "losses": "distillation",
    "sampling.jobs": "jobs_for",
    "sampling.nucleus": "Sampling",
    "sampling.decode": "complete complete_all",
    "sampling.shared_prefix": "next_logits",
    "training.batches": "encode_examples",
    "training.teacher_cache.build": "measure",
    "training.teacher_cache.forward": "completion_logits",
    "training.teacher_cache.rows": "RowFormat row_dtype",
    "pipeline.generate": "teacher_sampling",
    "pipeline.reject": "all_reasons choose_examples summary",
    "pipeline.languages": "foreign_words",
    "pipeline.ablation": "student_of",
    "reporting": "page paper plots",
    "studies": "results",
    "reporting.page": "comparisons percent refused",
    "reporting.stats": "bootstrap_interval",
    "course.asking": "TRAPS",
    "course.plots.lab5a": "lengths next_token passes",
    "course.plots.lab5b_5d": "bootstrap_means compared in_order kept_by_votes retention_by_size "
    "yield_against_n",
    "course.plots.lab5c": "gradient_norms hesitations likeliest_tokens loss_surface softened",
    "course.plots.lab5e": "clipped_losses fitted live_steps reward_groups",
    "course.own_samples_demos": "blamed_tokens fitted_bump grpo_with own_samples warmed_up",
    "course.plots.lab6": "decode_times kept_by_input",
    "course.plots.lab7": "clipped kl_of_sharing layer_training rounded_row",
    "course.plots.shipped": "bundled_sizes study_means study_pictures",
    "course.pruning_demos": "batches_of decode_milliseconds generated layer_inputs perplexity "
    "saved_and_loaded sparse_products states_of train_with wanda_draws with_merged_lora "
    "zipped_bytes",
    "course.pruning_lab": "begin_pruning",
    "course.quantization_demos.activations": "rounded_inputs values_to_round",
    "course.quantization_demos.chain": "short_chain",
    "course.quantization_demos.costs": "product_times times_beside_dense",
    "course.quantization_demos.files": "apart as_gguf_rounds bytes_on_disk packing_of shapes_of",
    "course.quantization_demos.layers": "clip_errors layer_errors trained_layer with_outlier "
    "without_gradient",
    "course.quantization_demos.meters": "kl_by_sharing kl_to_dense measured round_trip",
    "course.quantization_lab": "begin_quantizing",
    "models.pruning.layout": "prunable",
    "models.pruning.ledger": "ledger",
    "models.pruning.patterns": "nm_violations",
    "models.pruning.prune": "prune_weights",
    "models.quantization.apply": "quantize_linears",
    "models.quantization.scheme": "Scheme",
    "sampling.label_logits": "label_logits",
    "tasks.sst2": "scores",
    "tasks.sst2.reviews": "Review",
}
_MODULE_OF = {name: module for module, names in _PARTS.items() for name in names.split()}


def __getattr__(name: str):  # noqa: ANN202 (typing may not be imported here)
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    if not hasattr(module, name):  # a module of that folder
        import_module(f"{module.__name__}.{name}")
    return getattr(module, name)


# How long the threads of OpenMP (libgomp) spin before they sleep; libgomp reads it when torch is
# loaded. By default they spin so long that training beside one busy program (a browser, another
# submission) takes about three times as long; `python -m benchmarks busy` measures that. The user's
# own choice stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
