"""What is passed to vLLM and made of what comes back, with real tokenizers; the names against its
source, where it is installed. No test runs its engine: where a whole pass is needed, a stand-in
for the package answers from our own sampler.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from scripted import ANSWERED, save_answering
from transformers import AutoTokenizer

from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel
from distill_lab.run import saved_settings
from distill_lab.run.records import LabError, Question, Trace, read_records, write_records
from distill_lab.run.settings import GenerateSettings, ModelSettings, RuntimeSettings, profile
from distill_lab.sampling import decode
from distill_lab.sampling.jobs import Completion, Job, encoded
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.vllm_sampling import (
    RELEASE,
    VllmSampler,
    completions,
    engine_arguments,
    open_teacher,
    sampling_arguments,
)
from distill_lab.tasks.prompts import BEGUN

CUDA = Backend("transformers", "cuda", "bfloat16", 1, "a test")
SAMPLED = Sampling(4, 0.6, 0.95, 24, seed=3, top_k=7)


@pytest.fixture
def teacher(tiny_model) -> VllmSampler:
    return open_teacher(ModelSettings(str(tiny_model("qwen2"))), CUDA)


# -- what goes in


def test_the_teacher_is_known_without_its_weights(teacher, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("qwen2"))
    assert teacher.location == str(tiny_model("qwen2"))
    assert teacher.ends == {tokenizer.eos_token_id}
    assert teacher.positions == 1024
    assert teacher.dtype == "bfloat16"
    assert 2 % teacher.gpus == 0  # two key heads


def test_ends_are_the_models_own_too(tiny_model, tmp_path):
    lm = sampling_model(tiny_model("llama"))
    lm.generation_config.eos_token_id = [1, 7]
    lm.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model("llama")).save_pretrained(tmp_path)
    assert open_teacher(ModelSettings(str(tmp_path)), CUDA).ends == {1, 7}
    (tmp_path / "generation_config.json").unlink()
    assert open_teacher(ModelSettings(str(tmp_path)), CUDA).ends == {1}


def sampling_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def test_every_setting_reaches_vllm():
    made = sampling_arguments(Job("q", "Why?"), SAMPLED, {9, 1})
    assert made == {
        "n": 4, "temperature": 0.6, "top_p": 0.95, "top_k": 7, "max_tokens": 24,
        "seed": made["seed"], "stop": ["</answer>"], "include_stop_str_in_output": True,
        "stop_token_ids": [1, 9], "skip_special_tokens": True,
    }  # fmt: skip


def test_a_seed_hangs_on_run_and_question_and_leaves_room_for_the_samples():
    def seed(number: int, question: str, **changes: Any) -> int:
        how = replace(SAMPLED, seed=number, **changes)
        return sampling_arguments(Job(question, "Why?"), how, ())["seed"]

    assert seed(3, "q") == seed(3, "q", n=1, temperature=1.0)
    found = [seed(number, f"q{question}") for number in range(9) for question in range(99)]
    assert all(0 <= each < 2**62 for each in found)
    # vLLM adds the sample's number: no two questions have a sample's random numbers in common
    assert len({each + sample for each in found for sample in range(16)}) == 16 * len(found)


def test_greedy_is_asked_for_once():
    assert sampling_arguments(Job("q", "Why?"), Sampling(n=4), ())["n"] == 1


def test_the_engine_has_room_for_the_longest_and_no_more(teacher):
    made = engine_arguments(teacher, 300, seed=5)
    assert made["max_model_len"] == 300
    assert made["model"] == teacher.location
    assert made["seed"] == 5
    assert made["trust_remote_code"] is False
    assert made["enable_prefix_caching"] is True


# -- what comes out


@pytest.fixture(scope="module")
def tokenizer(tiny_model) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def output(index: int, ids: list[int], reason: str | None) -> SimpleNamespace:
    """What is used of vLLM's CompletionOutput."""
    return SimpleNamespace(index=index, token_ids=ids, finish_reason=reason)


CASES = [  # tokens, why vLLM says it ended, what it is
    ([*"Rome", "</answer>"], "stop", Completion("Rome</answer>", 5, "stop")),
    ([*"Rome", "<eos>"], "stop", Completion("Rome", 5, "stop")),
    ([*"Rom"], "length", Completion("Rom", 3, "length")),
    # the tag ends in the last token that was allowed
    ([*"Rome", "</answer>"], "length", Completion("Rome</answer>", 5, "stop")),
    # another end token than ours is vLLM's word
    ([*"Rome"], "stop", Completion("Rome", 4, "stop")),
]


@pytest.mark.parametrize(("tokens", "reason", "expected"), CASES)
@pytest.mark.parametrize("begun", ["", BEGUN])
def test_a_completion_by_hand(tokens, reason, expected, begun, tokenizer):
    ids = tokenizer.convert_tokens_to_ids(tokens)
    job = Job("q", f"Why?{begun}")
    made = completions(
        job, [output(0, ids, reason)], 1, tokenizer, frozenset({tokenizer.eos_token_id})
    )
    assert made == [replace(expected, text=begun + expected.text)]


def test_samples_come_in_their_order(tokenizer):
    ids = [tokenizer.convert_tokens_to_ids([letter]) for letter in "ABC"]
    outputs = [output(n, ids[n], "length") for n in (2, 0, 1)]
    made = completions(Job("q", "Why?"), outputs, 3, tokenizer, frozenset())
    assert [each.text for each in made] == ["A", "B", "C"]


def test_one_greedy_sample_stands_for_all(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["A"])
    made = completions(Job("q", "Why?"), [output(0, ids, "length")], 3, tokenizer, frozenset())
    assert made == [Completion("A", 1, "length")] * 3


@pytest.mark.parametrize("reason", ["abort", "error", "repetition", None])
def test_another_end_is_said(reason, tokenizer):
    with pytest.raises(LabError, match=f"Question q7: .*found {reason}"):
        completions(Job("q7", "Why?"), [output(0, [5], reason)], 1, tokenizer, frozenset())


# -- a whole pass, with a stand-in for the package


@dataclass
class StandIn:
    """What of vLLM is used, answered by our own sampler; notes what it is given."""

    model: LanguageModel
    arguments: dict[str, Any] = field(default_factory=dict)
    prompts: list[list[int]] = field(default_factory=list)
    calls: int = 0
    closed: int = 0

    def LLM(self, **arguments: Any) -> Any:
        self.arguments = arguments
        core = SimpleNamespace(shutdown=self.shutdown)
        return SimpleNamespace(generate=self.generate, llm_engine=SimpleNamespace(engine_core=core))

    def shutdown(self) -> None:
        self.closed += 1

    def generate(self, prompts: Any, sampling_params: Any, use_tqdm: bool) -> list[Any]:
        assert use_tqdm is False
        self.calls += 1
        made = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            self.prompts.append(prompt["prompt_token_ids"])
            made.append(SimpleNamespace(outputs=self._outputs(prompt, params)))
        return made

    def _outputs(self, prompt: Any, params: Any) -> list[Any]:
        lm: Any = self.model.lm
        ids = torch.tensor([prompt["prompt_token_ids"]])
        out = lm.generate(
            ids, max_new_tokens=params.max_tokens, do_sample=False, stop_strings=params.stop,
            tokenizer=self.model.tokenizer, pad_token_id=0, attention_mask=torch.ones_like(ids),
        )  # fmt: skip
        new = out[0, ids.shape[1] :].tolist()
        reason = "length" if len(new) == params.max_tokens else "stop"
        return [output(n, new, reason) for n in reversed(range(params.n))]


@pytest.fixture
def vllm(tiny_model, tmp_path, monkeypatch) -> StandIn:
    """The stand-in, with a model that answers Rome whatever it is asked."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    folder = save_answering(tmp_path / "answering", tiny_model("llama"))
    stand_in = StandIn(LanguageModel(sampling_model(folder), tokenizer, str(folder)))
    module: Any = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = stand_in.LLM, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    return stand_in


JOBS = [Job(f"q{n}", f"{'Why? ' * n}Where?\n") for n in range(5)]


def passed(vllm: StandIn, have: set[tuple[str, int]], how: Sampling = SAMPLED) -> list[Any]:
    teacher = open_teacher(ModelSettings(vllm.model.name), CUDA)
    return list(teacher.complete_all(JOBS, how, 8, have, "a test"))


def test_batches_are_our_own_samplers_in_its_order(vllm):
    made = passed(vllm, set())
    ours = list(
        decode.complete_all(vllm.model, JOBS, replace(SAMPLED, temperature=0.0), 8, set(), "")
    )
    assert [[job for job, _ in batch] for batch in made] == [
        [job for job, _ in batch] for batch in ours
    ]
    assert made == ours  # the model is so sure that its samples are greedy's
    assert {c.text for batch in made for _, done in batch for c in done} == {ANSWERED}
    assert vllm.closed == 1


def test_prompts_are_our_ids_and_the_engine_has_room_for_them(vllm):
    passed(vllm, set())
    ids = encoded(JOBS, vllm.model.tokenizer)
    assert sorted(vllm.prompts) == sorted(ids.values())
    assert vllm.arguments["max_model_len"] == max(map(len, ids.values())) + 24


def test_what_is_there_is_not_sampled_again(vllm):
    whole = passed(vllm, set())
    done = {(job.question_id, n) for job, _ in whole[0] for n in range(4)}
    before = vllm.calls
    assert passed(vllm, done) == whole[1:]
    assert vllm.calls == before + len(whole) - 1


def test_the_engine_is_closed_when_the_work_is_broken_off(vllm):
    teacher = open_teacher(ModelSettings(vllm.model.name), CUDA)
    with closing(teacher.complete_all(JOBS, SAMPLED, 8, set(), "")) as made:
        next(made)
        assert vllm.closed == 0
    assert vllm.closed == 1


def test_too_hot_and_too_long_are_said_before_the_engine_starts(vllm):
    with pytest.raises(LabError, match=r"--generate.temperature: expected at most 2"):
        passed(vllm, set(), replace(SAMPLED, temperature=2.5))
    with pytest.raises(LabError, match="room for 5000 new tokens in the"):
        passed(vllm, set(), replace(SAMPLED, max_new_tokens=5000))
    assert vllm.arguments == {}


def test_a_run_goes_on_with_the_traces_it_has(vllm, tmp_path, monkeypatch):
    """The stage itself, as on a machine with CUDA: its traces, and that nothing is made twice."""
    from distill_lab.pipeline import generate

    config = replace(
        profile("tiny"),
        models=ModelSettings(vllm.model.name),
        generate=GenerateSettings(n_samples=2, max_new_tokens=24),
        runtime=RuntimeSettings(sampler="vllm", sample_batch=4),
    )
    # there is no CUDA here to be chosen
    monkeypatch.setattr(generate, "start", lambda config, out: CUDA)
    out = tmp_path / "run"
    saved_settings.claim_run_folder(config, out)
    questions = [Question(f"q{n}", "t", "Ann is in Rome.", "Where?", ("Rome",)) for n in range(5)]
    write_records(out / "questions.train.jsonl", questions)
    assert generate.run(config, out)
    whole = read_records(out / "traces.jsonl", Trace)
    assert [t.completion for t in whole] == [ANSWERED] * 10
    assert {t.finish for t in whole} == {"stop"}
    assert saved_settings.sampler_of(out) == "vllm"
    write_records(out / "traces.jsonl", whole[:5])
    assert generate.run(config, out)
    assert sorted(map(repr, read_records(out / "traces.jsonl", Trace))) == sorted(map(repr, whole))
    assert generate.run(config, out) is False


# -- the contract with vLLM's own source


@pytest.fixture(scope="module")
def source() -> Path:
    """vLLM's folder, read and not imported."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed: its source cannot be read")
    return Path(next(iter(spec.submodule_search_locations)))


def a_class(path: Path, name: str) -> ast.ClassDef:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name)


def fields(kind: ast.ClassDef) -> set[str]:
    return {
        n.target.id
        for n in kind.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def parameters(kind: ast.ClassDef, name: str) -> set[str]:
    function = next(n for n in kind.body if isinstance(n, ast.FunctionDef) and n.name == name)
    return {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}


def test_every_argument_of_the_engine_is_one_that_it_receives(source, teacher):
    named = parameters(a_class(source / "entrypoints" / "llm.py", "LLM"), "__init__")
    through = fields(a_class(source / "engine" / "arg_utils.py", "EngineArgs"))  # by **kwargs
    assert set(engine_arguments(teacher, 9, 0)) <= named | through


def test_every_sampling_argument_is_a_field(source):
    known = fields(a_class(source / "sampling_params.py", "SamplingParams"))
    assert set(sampling_arguments(Job("q", ""), SAMPLED, ())) <= known


def test_generate_takes_and_gives_what_we_rely_on(source):
    llm = a_class(source / "entrypoints" / "llm.py", "LLM")
    assert {"prompts", "sampling_params", "use_tqdm"} <= parameters(llm, "generate")
    prompts = "\n".join(p.read_text(encoding="utf-8") for p in (source / "inputs").glob("*.py"))
    assert "prompt_token_ids: list[int]" in prompts
    output = fields(a_class(source / "outputs.py", "CompletionOutput"))
    assert {"index", "token_ids", "finish_reason"} <= output
    core = a_class(source / "v1" / "engine" / "core_client.py", "InprocClient")
    assert "shutdown" in {n.name for n in core.body if isinstance(n, ast.FunctionDef)}
    reasons = (source / "v1" / "engine" / "__init__.py").read_text(encoding="utf-8")
    assert '"stop", "length"' in reasons


def test_a_samples_seed_is_the_prompts_and_its_number(source):
    text = (source / "v1" / "engine" / "parallel_sampling.py").read_text(encoding="utf-8")
    assert "child_sampling_params.seed = seed + index" in text


def test_greedy_of_more_than_one_and_hot_temperatures_are_refused(source):
    text = (source / "sampling_params.py").read_text(encoding="utf-8")
    assert "n must be 1 when using greedy sampling" in text
    assert "if self.temperature > 2.0:" in text


# -- the same for TRL, which calls vLLM for us where GRPO samples on the GPU that it trains on


def trl_file(name: str) -> ast.Module:
    spec = importlib.util.find_spec("trl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("TRL is not installed: its source cannot be read")
    folder = Path(next(iter(spec.submodule_search_locations)))
    return ast.parse((folder / name).read_text(encoding="utf-8"))


def the_call(tree: ast.AST, name: str) -> ast.Call:
    """The only call of that name."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == name]
    assert len(calls) == 1
    return calls[0]


def colocated() -> ast.If:
    """The branch of TRL's generation that samples on the same GPU."""
    tree = trl_file("generation/vllm_generation.py")
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    return next(
        n for n in tests
        if ast.unparse(n.test) == "self.mode == 'colocate'" and "SamplingParams(" in ast.unparse(n)
    )  # fmt: skip


def test_the_release_that_we_name_is_one_that_trl_knows():
    """So that one environment serves both: our sampler, and GRPO on the GPU that it trains on."""
    needed = [Requirement(each) for each in importlib.metadata.requires("trl") or ()]
    (vllm,) = [each for each in needed if each.name == "vllm"]
    assert RELEASE in vllm.specifier


def test_trl_reads_the_model_from_where_its_name_says():
    """Hence `trl_grpo` names the student for a copy of its weights while TRL's trainer is made."""
    call = the_call(trl_file("generation/vllm_generation.py"), "LLM")
    words = {word.arg: ast.unparse(word.value) for word in call.keywords}
    assert words["model"] == "model.name_or_path"


def test_trl_draws_from_all_tokens_at_our_temperature_and_ends_at_end_tokens_alone():
    """As without vLLM: no stop string, so what follows `</answer>` is part of a completion."""
    said = ast.unparse(colocated())
    assert "'temperature': temperature" in said
    assert "'stop'" not in said
    trainer = ast.unparse(trl_file("trainer/grpo_trainer.py"))
    for name in ("temperature", "top_p", "top_k", "min_p", "max_completion_length"):
        assert f"{name}=self.{name}" in trainer


def test_every_argument_that_trl_passes_is_one_that_vllm_receives(source):
    tree = trl_file("generation/vllm_generation.py")
    engine = {word.arg for word in the_call(tree, "LLM").keywords}
    named = parameters(a_class(source / "entrypoints" / "llm.py", "LLM"), "__init__")
    assert engine <= named | fields(a_class(source / "engine" / "arg_utils.py", "EngineArgs"))
    (table,) = [
        n.value for n in ast.walk(colocated())
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "generation_kwargs"
    ]  # fmt: skip
    assert isinstance(table, ast.Dict)
    sampling = {str(key.value) for key in table.keys if isinstance(key, ast.Constant)}
    assert {"n", "max_tokens", "logprobs"} <= sampling
    assert sampling <= fields(a_class(source / "sampling_params.py", "SamplingParams"))
