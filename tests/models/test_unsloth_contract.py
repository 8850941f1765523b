"""What we rely on of Unsloth, held against the source that it was released with: read, never run.

The GPU half of Unsloth cannot be imported without a GPU. Our calls are found in our own source, so
that a keyword that is added there is checked here.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

pytestmark = pytest.mark.unsloth

OURS = ROOT / "distill_lab"
GPU, CPU = "unsloth/models", "unsloth_zoo/cpu"  # Unsloth's two backends
Function = ast.FunctionDef


@cache
def site_packages() -> Path:
    """The folder that `unsloth` and `unsloth_zoo` are installed in: this environment's, or
    .venv-unsloth's.
    """
    spec = importlib.util.find_spec("unsloth")
    found = [Path(place).parent for place in (spec and spec.submodule_search_locations) or ()]
    found += sorted((ROOT / ".venv-unsloth").glob("lib/python*/site-packages"))
    for folder in found:
        if (folder / "unsloth").is_dir() and (folder / "unsloth_zoo").is_dir():
            return folder
    pytest.skip("no Unsloth, here or in .venv-unsloth: make test-unsloth")


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((site_packages() / file).read_text(encoding="utf-8"))


def files(folder: str) -> list[str]:
    return sorted(f"{folder}/{p.name}" for p in (site_packages() / folder).glob("*.py"))


@cache
def classes(folder: str) -> dict[str, ast.ClassDef]:
    """The classes of a backend; where two files have one of a name, the loader's."""
    order = sorted(files(folder), key=lambda file: file.endswith("loader.py"))
    found = [node for file in order for node in tree(file).body if isinstance(node, ast.ClassDef)]
    return {node.name: node for node in found}


@cache
def functions(file: str) -> dict[str, Function]:
    """All functions of a file, nested ones too."""
    return {node.name: node for node in ast.walk(tree(file)) if isinstance(node, Function)}


@pytest.fixture(params=[GPU, CPU])
def folder(request: pytest.FixtureRequest) -> str:
    """The source of each of Unsloth's two backends; the second came with 2026.10.9."""
    if not (site_packages() / request.param).is_dir():
        pytest.skip(f"this release of Unsloth has no {request.param}")
    return request.param


def source(node: ast.AST) -> str:
    return ast.unparse(node)


# --- what we pass ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class OurCall:
    """A call of ours of a method of a class of Unsloth's."""

    kind: str
    method: str
    positional: int
    keywords: tuple[str, ...]


def our_calls() -> list[OurCall]:
    """`FastLanguageModel.method(…)`, in every module that imports the class from Unsloth."""
    found = []
    for file in sorted(OURS.rglob("*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        imported = {
            alias.name
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unsloth")
            for alias in node.names
        }
        for node in ast.walk(module):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in imported:
                keywords = tuple(word.arg or "**" for word in node.keywords)
                found.append(OurCall(owner.id, node.func.attr, len(node.args), keywords))
    return found


OUR_CALLS = our_calls()


def test_our_calls_are_found():
    methods = {(call.kind, call.method) for call in OUR_CALLS}
    wanted = ("from_pretrained", "get_peft_model", "for_inference", "for_training")
    assert {("FastLanguageModel", method) for method in wanted} <= methods
    assert all("**" not in call.keywords for call in OUR_CALLS)
    assert max(len(call.keywords) for call in OUR_CALLS) > 5


def method_of(folder: str, kind: str, method: str) -> Function:
    """A method of a class or of one that it inherits from."""
    node = classes(folder)[kind]
    for item in node.body:
        if isinstance(item, Function) and item.name == method:
            return item
    for base in node.bases:
        if source(base) in classes(folder):
            return method_of(folder, source(base), method)
    raise AssertionError(f"{kind} has no {method} any more")


def named(function: Function) -> set[str]:
    arguments = function.args
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def taken_out(function: Function) -> set[str]:
    """Names that a function takes out of its **kwargs by name."""
    rest = function.args.kwarg.arg if function.args.kwarg else None
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and source(node.func) in (f"{rest}.pop", f"{rest}.get"):
            names |= {str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)}
        if isinstance(node, ast.For) and f"{rest}.pop({source(node.target)}" in source(node):
            names |= {str(e.value) for e in ast.walk(node.iter) if isinstance(e, ast.Constant)}
    return names


def handed_on(folder: str, function: Function) -> Iterator[Function]:
    """The methods that a wrapper hands all its **kwargs on to."""
    rest = function.args.kwarg.arg if function.args.kwarg else None
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            whole = any(word.arg is None and source(word.value) == rest for word in node.keywords)
            if whole and source(node.func.value) in classes(folder):
                yield method_of(folder, source(node.func.value), node.func.attr)


def known(folder: str, function: Function) -> set[str]:
    """Every keyword that a function itself has a use for."""
    names = named(function) | taken_out(function)
    is_wrapper = function.args.vararg and function.args.kwarg and len(named(function)) <= 1
    for receiver in handed_on(folder, function) if is_wrapper else ():
        names |= known(folder, receiver)
    return names


@pytest.mark.parametrize("call", OUR_CALLS, ids=lambda call: call.method)
def test_every_keyword_that_we_pass_is_a_parameter_of_the_function_that_receives_it(call, folder):
    kind = {GPU: call.kind, CPU: "FastCPUModel"}[folder]
    receiver = method_of(folder, kind, call.method)
    unknown = sorted(set(call.keywords) - known(folder, receiver))
    assert not unknown, f"{kind}.{call.method} has no {', '.join(unknown)}"


def test_every_keyword_of_the_export_is_one_of_both_of_its_functions(folder):
    """`save_pretrained_gguf` is a method that it puts on the models which it loads."""
    export = {GPU: ("unsloth/save.py", "unsloth_"), CPU: ("unsloth_zoo/cpu/loader.py", "")}
    file, prefix = export[folder]
    receiver = functions(file)[f"{prefix}save_pretrained_gguf"]
    calls = [
        node for place in OURS.rglob("*.py")
        for node in ast.walk(ast.parse(place.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and source(node.func).endswith(".save_pretrained_gguf")
    ]  # fmt: skip
    assert calls
    assert {word.arg for call in calls for word in call.keywords} <= named(receiver)


def test_on_its_cpu_backend_the_class_is_that_of_unsloth_zoo():
    if not (site_packages() / CPU).is_dir():
        pytest.skip("this release of Unsloth has no CPU backend")
    kinds = {n.name: n for n in tree("unsloth/_cpu_init.py").body if isinstance(n, ast.ClassDef)}
    assert [source(base) for base in kinds["FastLanguageModel"].bases] == ["FastCPUModel"]


@pytest.mark.parametrize("method", ["from_pretrained", "get_peft_model"])
def test_the_rule_itself(method, folder):
    """A keyword that nothing receives is found, though every function there takes **kwargs."""
    kind = {GPU: "FastLanguageModel", CPU: "FastCPUModel"}[folder]
    names = known(folder, method_of(folder, kind, method))
    assert not names & {"lora_rank", "exact_model_name", "max_length", "kwargs"}
    assert len(names) > 10


def test_every_variable_of_theirs_that_we_set_is_read_there():
    ours = {
        str(node.value)
        for file in OURS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and re.fullmatch(r"UNSLOTH_\w+", str(node.value))
    }
    assert len(ours) >= 4
    texts = [p.read_text(encoding="utf-8") for p in site_packages().glob("unsloth*/**/*.py")]
    unread = {name for name in ours if not any(name in text for text in texts)}
    assert not unread


# --- what we rely on ------------------------------------------------------------------------------

LLAMA = "unsloth/models/llama.py"


def ifs(function: Function) -> list[ast.If]:
    return [node for node in ast.walk(function) if isinstance(node, ast.If)]


def test_with_labels_there_are_no_logits_and_their_stand_in_is_no_tensor():
    """Hence the check with isinstance in models; without labels they are made."""
    branches = [
        node for node in ifs(functions(LLAMA)["_CausalLM_fast_forward"])
        if "labels is not None" in source(node.test) and "EMPTY_LOGITS" in source(node)
    ]  # fmt: skip
    assert branches
    assert all("not RETURN_LOGITS and" in source(node.test) for node in branches)
    utilities = tree("unsloth/models/_utils.py").body
    stand_in = next(n for n in utilities if isinstance(n, ast.ClassDef) and n.name == "EmptyLogits")
    assert not stand_in.bases


def test_hidden_states_take_the_place_of_logits_where_it_is_told_so():
    text = source(functions(LLAMA)["_CausalLM_fast_forward"])
    assert "os.environ.get('UNSLOTH_RETURN_HIDDEN_STATES', '0') == '1'" in text
    assert "logits=hidden_states" in text


def test_in_training_the_mask_is_dropped():
    """Right for rows that are padded on the right, as ours are (`batches.collate`)."""
    dropping = [
        node for node in ifs(functions(LLAMA)["LlamaModel_fast_forward"])
        if "self.training" in source(node.test)
        and any(source(line) == "attention_mask = None" for line in node.body)
    ]  # fmt: skip
    assert dropping
    assert all("_is_left_padded" in source(node.test) for node in dropping)


@pytest.mark.parametrize(("method", "side"), [("for_inference", "left"), ("for_training", "right")])
def test_its_modes_turn_over_the_padding_of_its_own_tokenizer(method, side):
    """Of the one that it returned, which we do not use."""
    flips = [
        source(node) for node in ast.walk(method_of(GPU, "FastLlamaModel", method))
        if isinstance(node, ast.Assign) and "padding_side" in source(node.targets[0])
    ]  # fmt: skip
    assert flips
    assert all(f"_saved_temp_tokenizer.padding_side = '{side}'" in flip for flip in flips)


def test_rows_beyond_its_max_seq_length_are_cut():
    """Hence we give it all the positions that the model has."""
    text = source(functions(LLAMA)["LlamaModel_fast_forward"])
    assert "input_ids = input_ids[:, :self.max_seq_length]" in text


def test_the_path_of_a_single_token_keeps_its_keys_on_the_model():
    """Hence `unsloth_backend.read` goes round it: it copies the cache that it is given only where
    there is none from before.
    """
    forward = source(functions(LLAMA)["_CausalLM_fast_forward"])
    assert "input_ids is not None and (input_ids.shape[1] == 1)" in forward
    step = source(functions(LLAMA)["LlamaModel_fast_forward_inference_custom"])
    assert "do_prefill=not hasattr(decoder_layer.self_attn, 'paged_attention')" in step


def test_the_decoder_takes_and_returns_keys_and_values_a_layer():
    """As `unsloth_backend.read` has them: those before, then those of this step, in one tensor."""
    names = named(functions(LLAMA)["LlamaModel_fast_forward"])
    assert {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache"} <= names
    decoder = source(functions(LLAMA)["LlamaModel_fast_forward"])
    assert "past_key_values[idx]" in decoder
    assert "past_key_values=next_cache" in decoder
    attention = source(functions(LLAMA)["LlamaAttention_fast_forward"])
    assert "K = torch.cat([past_key_value[0], K], dim=2)" in attention
    assert "V = torch.cat([past_key_value[1], V], dim=2)" in attention
    assert "past_key_value = (K, V) if use_cache else None" in attention


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_the_decoders_of_our_profiles_are_those(family):
    """`unsloth_backend.reads_itself` knows them by the module of their forward."""
    text = source(method_of(GPU, f"Fast{family.capitalize()}Model", "pre_patch"))
    assert f"{family.capitalize()}Model.forward = LlamaModel_fast_forward" in text
    assert functions(LLAMA)["LlamaModel_fast_forward"] in tree(LLAMA).body


def test_lora_depends_on_how_the_last_model_was_loaded():
    """Hence `unsloth_backend.with_lora` says how this one was."""
    text = source(method_of(GPU, "FastLlamaModel", "get_peft_model"))
    for name in ("UNSLOTH_USE_NEW_MODEL", "UNSLOTH_ENABLE_FULL_FINETUNING"):
        assert f"os.environ.get('{name}', '0') == '1'" in text


# --- what pruning relies on (Lab 6) ---------------------------------------------------------------


def test_an_adapter_is_merged_by_peft_and_not_in_another_way():
    """`adapt` merges LoRA before the model is pruned, in float32 and through peft's own method."""
    for place in site_packages().glob("unsloth*/**/*.py"):
        text = place.read_text(encoding="utf-8")
        assert not re.search(r"def merge_and_unload|\.merge_and_unload *= *[^=]", text), place


def test_a_layer_without_lora_is_multiplied_by_its_own_weight():
    """`recover` trains all weights: what a mask holds at 0 is what the kernels multiply by."""
    for name in ("get_lora_parameters", "get_lora_parameters_bias"):
        text = source(functions("unsloth/kernels/utils.py")[name])
        assert "base_layer = getattr(proj, 'base_layer', proj)" in text
        assert "W = base_layer.weight" in text


def test_blocks_are_those_that_are_there_and_widths_are_asked_of_the_config_for_one_token_alone():
    """A model without some blocks or neurons is saved with its config mended, and loaded again:
    nothing else may say how many there are."""
    decoder = source(functions(LLAMA)["LlamaModel_fast_forward"])
    assert "enumerate(self.layers)" in decoder
    assert "num_hidden_layers" not in decoder
    readers = {
        name for name, function in functions(LLAMA).items()
        if "config.intermediate_size" in source(function)
    }  # fmt: skip
    assert readers
    assert all("inference" in name for name in readers)  # the path that `read` goes round


def test_pruning_reaches_unsloth_through_the_backend_alone():
    """Its calls are then those that are checked above."""
    for file in (*(OURS / "pipeline" / "pruning").rglob("*.py"), *OURS.glob("models/pruning/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert not any((module or "").startswith("unsloth") for module in modules), file


# --- versions -------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    """name -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"([\w.-]+)==([^ ;]+)", line) for line in lines]
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def required() -> list[Requirement]:
    """What both packages ask for on this system, extras aside."""
    found = []
    for place in site_packages().glob("unsloth*.dist-info/METADATA"):
        for text in re.findall(r"^Requires-Dist: (.*)$", place.read_text(encoding="utf-8"), re.M):
            requirement = Requirement(text)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                found.append(requirement)
    return found


def caps(specifier: SpecifierSet) -> SpecifierSet:
    """What it forbids from above, and the versions that it forbids one by one."""
    return SpecifierSet(",".join(str(part) for part in specifier if part.operator[0] != ">"))


def test_its_caps_admit_our_pins():
    ours, seen = pins(), set()
    for requirement in required():
        name = requirement.name.lower().replace("_", "-")
        if name in ours:
            seen.add(name)
            cap = caps(requirement.specifier)
            assert cap.contains(ours[name]), f"{name} {ours[name]}: Unsloth allows {cap}"
    assert {"torch", "transformers", "trl", "peft", "datasets", "accelerate"} <= seen


def test_the_caps_of_our_gpu_extra_are_its_own():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^gpu = \[(.*?)^\]", text, re.M | re.S)
    assert block
    extra = {r.name: r.specifier for r in map(Requirement, re.findall(r'"([^"]+)"', block[1]))}
    for name in ("transformers", "trl"):
        theirs = {str(p) for r in required() if r.name == name for p in r.specifier}
        above = {str(part) for part in extra[name] if part.operator[0] == "<"}
        assert above
        assert above <= theirs
    tested = dict(
        line.split("==")
        for line in (ROOT / "tests/requirements-unsloth.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    for name, version in tested.items():
        assert extra[name].contains(version), f"{name} {version}"
