"""NLL, KL, confidence and pass@k of tiny models, against transformers' own loss, log-probabilities
computed whole, and the task's grades of what the sampler gives."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from distill_lab.losses.distillation import Head
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load
from distill_lab.reporting.stats import pass_at_k
from distill_lab.run.records import LabError
from distill_lab.run.settings import (
    Config,
    EvaluateSettings,
    GenerateSettings,
    RuntimeSettings,
)
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.studies.halves import half_of
from distill_lab.studies.held_out import HeldOut, make_held_out
from distill_lab.studies.measures import answer_tokens, confidence, measure
from distill_lab.tasks.prompts import answer_span, answer_text
from distill_lab.tasks.squad.questions import load as load_questions
from distill_lab.tasks.squad.task import SQUAD

N = 7
CONFIG = Config(
    generate=GenerateSettings(temperature=1.0, top_p=1.0, seed=3, max_new_tokens=40),
    evaluate=EvaluateSettings(max_new_tokens=40),
    runtime=RuntimeSettings(device="cpu", sample_batch=3, threads=1),
)


@pytest.fixture(scope="module")
def models():
    backend = choose_backend(CONFIG.runtime)
    return {
        "teacher": load("bundled", backend, "teacher"),
        "student": load("bundled", backend, "base"),
    }


@pytest.fixture(scope="module")
def half():
    return half_of("report", load_questions("bundled", "validation").questions[:N])


@pytest.fixture(scope="module")
def traces(models, half):
    return make_held_out(models["teacher"], models["student"].tokenizer, half, CONFIG)


def log_probabilities(model, example):
    """Of one trace, alone and unpadded: log q (N, V) at its completion's tokens."""
    ids = torch.tensor([example.student_prompt + example.completion])
    with torch.no_grad():
        logits = model.lm(ids).logits[0].float()
    return F.log_softmax(logits[len(example.student_prompt) - 1 : -1], -1)


def test_nll_is_the_loss_of_transformers(models, half, traces):
    made = measure(models["student"], half, ["nll"], CONFIG, traces)["nll"]
    for value, example in zip(made, traces.examples, strict=True):
        ids = torch.tensor([example.student_prompt + example.completion])
        labels = ids.clone()
        labels[:, : len(example.student_prompt)] = -100
        with torch.no_grad():
            expected = models["student"].lm(ids, labels=labels).loss.item()
        assert value == pytest.approx(expected, abs=2e-5)
    assert len(set(made)) == N  # one number a question, not the mean of all


def test_kl_is_the_teachers_from_the_student_over_the_whole_vocabulary(models, half, traces):
    made = measure(models["student"], half, ["kl"], CONFIG, traces)["kl"]
    for value, example in zip(made, traces.examples, strict=True):
        log_p, log_q = (
            log_probabilities(models[role], example).double() for role in ("teacher", "student")
        )
        forward = (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
        reverse = (log_q.exp() * (log_q - log_p)).sum(-1).mean().item()
        assert value == pytest.approx(forward, abs=1e-4)
        assert abs(forward - reverse) > 0.01


def test_the_teacher_is_no_distance_from_itself(models, half, traces):
    made = measure(models["teacher"], half, ["kl", "nll"], CONFIG, traces)
    assert made["kl"] == pytest.approx([0.0] * N, abs=1e-5)
    assert all(nll > 0 for nll in made["nll"])


def test_the_teacher_writes_one_trace_a_question_as_generate_does(models, half, traces):
    sampling = Sampling(n=1, temperature=1.0, top_p=1.0, max_new_tokens=40, seed=3)
    teacher, jobs = models["teacher"], jobs_for(half.questions, models["teacher"].tokenizer)
    alone = [made[0] for job in jobs for _, made in complete(teacher, [job], sampling)]
    texts = [teacher.tokenizer.decode(e.completion) for e in traces.examples]
    ends = [teacher.tokenizer.eos_token * (made.finish == "stop") for made in alone]
    assert texts == [made.text + end for made, end in zip(alone, ends, strict=True)]


def test_a_trace_that_was_cut_does_not_end(models, half):
    config = dataclasses.replace(CONFIG, generate=GenerateSettings(max_new_tokens=4))
    cut = make_held_out(models["teacher"], models["student"].tokenizer, half, config)
    end = models["teacher"].tokenizer.eos_token_id
    assert all(end not in example.completion for example in cut.examples)
    assert len(cut.teacher) == sum(len(example.completion) for example in cut.examples)


def test_held_out_traces_come_back_from_their_file(models, half, traces, tmp_path):
    assert not HeldOut.is_saved(tmp_path / "held")
    traces.save(tmp_path / "held")
    assert HeldOut.is_saved(tmp_path / "held")
    back = HeldOut.load(tmp_path / "held")
    names = ["kl", "nll"]
    made = [measure(models["student"], half, names, CONFIG, each) for each in (traces, back)]
    assert made[0] == made[1]


def test_a_head_without_a_formula_cannot_be_saved(traces, tmp_path):
    opaque = dataclasses.replace(traces.teacher, head=lambda states: states)
    with pytest.raises(LabError, match="4bit"):
        dataclasses.replace(traces, teacher=opaque).save(tmp_path)


def test_a_head_with_bias_scale_and_cap_comes_back(traces, tmp_path):
    weight = torch.randn(5, traces.teacher.states.shape[1])
    head = Head(weight, torch.arange(5.0), scale=0.5, cap=30.0)
    odd = dataclasses.replace(traces.teacher, head=head)
    dataclasses.replace(traces, teacher=odd).save(tmp_path)
    states = traces.teacher.states[:3]
    torch.testing.assert_close(HeldOut.load(tmp_path).teacher.head(states), head(states))


def test_scores_are_those_of_the_greedy_answers_the_deciding_one_first(models, half):
    made = measure(models["teacher"], half, ["f1", "em"], CONFIG)
    assert list(made) == ["em", "f1"]
    jobs = jobs_for(half.questions, models["teacher"].tokenizer)
    greedy = Sampling(max_new_tokens=40)
    texts = [m[0].text for job in jobs for _, m in complete(models["teacher"], [job], greedy)]
    graded = [SQUAD.grade(answer_text(t), q) for t, q in zip(texts, half.questions, strict=True)]
    assert made["em"] == [scores["em"] for scores in graded]
    assert made["f1"] == [scores["f1"] for scores in graded]


def test_pass_at_k_counts_the_right_ones_of_four_samples(models, half):
    hot = dataclasses.replace(CONFIG.generate, temperature=1.5)
    config = dataclasses.replace(CONFIG, generate=hot)
    made = measure(models["teacher"], half, ["pass@1", "pass@3"], config)
    sampling = Sampling(n=4, temperature=1.5, top_p=1.0, max_new_tokens=40, seed=3)
    jobs = jobs_for(half.questions, models["teacher"].tokenizer)
    right = [
        sum(SQUAD.grade(answer_text(each.text), question)["em"] == 100 for each in samples)
        for question, job in zip(half.questions, jobs, strict=True)
        for _, samples in complete(models["teacher"], [job], sampling)
    ]
    assert 0 < sum(right) < 4 * N  # else this shows nothing
    assert made["pass@1"] == [25.0 * c for c in right]
    assert made["pass@3"] == pytest.approx([100 * pass_at_k(4, c, 3) for c in right])


def test_the_confidence_is_the_product_over_the_answers_tokens(models, half):
    student = models["teacher"]
    texts = ["<think>Because.</think> <answer>John Smith</answer>"] * N
    made = confidence(student, half, texts, CONFIG)
    for value, question in zip(made, half.questions, strict=True):
        prompt = jobs_for([question], student.tokenizer)[0].prompt
        tokens = student.tokenizer(texts[0], add_special_tokens=False).input_ids
        ids = student.tokenizer(prompt, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = student.lm(torch.tensor([ids + tokens])).logits[0].float()
        log_q = F.log_softmax(logits, -1)
        # the tokens whose text lies in the answer, found by adding up the texts of the tokens
        at, length = [], 0
        start, end = texts[0].index("John"), texts[0].index("</answer>")
        for n, token in enumerate(tokens):
            text = student.tokenizer.decode([token])
            if length < end and length + len(text) > start:
                at.append(n)
            length += len(text)
        assert length == len(texts[0])
        expected = math.exp(sum(log_q[len(ids) + n - 1, tokens[n]].item() for n in at))
        assert 1 <= len(at) < len(tokens)
        assert value == pytest.approx(100 * expected, rel=1e-3)
    assert len(set(made)) > 1


def test_a_confident_answer_is_near_100_and_none_is_0(models, half):
    made = measure(models["teacher"], half, ["ece"], CONFIG)
    assert list(made) == ["em", "confidence"]
    assert max(made["confidence"]) > 50
    assert confidence(
        models["teacher"], half, ["<think>a</think> <answer></answer>"] * N, CONFIG
    ) == ([0.0] * N)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<think>a b</think> <answer>c d</answer>", "c d"),
        ("<think>a</think><answer> c </answer>\n", "c"),
        ("<think>a</think> <answer></answer>", ""),
        ("<think>a</think> plain words ", "plain words"),
        ("no tags at all", "no tags at all"),
        ("", ""),
    ],
)
def test_where_the_answer_stands(completion, answer, models):
    start, end = answer_span(completion)
    assert completion[start:end] == answer == answer_text(completion)
    tokens = answer_tokens(completion, models["teacher"].tokenizer)
    assert bool(tokens) == bool(answer)


def test_batches_change_nothing_but_rounding(models, half, traces):
    names = ["em", "pass@2", "nll", "kl", "confidence"]
    one_by_one = dataclasses.replace(CONFIG.runtime, sample_batch=1)
    configs = CONFIG, dataclasses.replace(CONFIG, runtime=one_by_one)
    made = [measure(models["student"], half, names, config, traces) for config in configs]
    for name in names:
        assert made[0][name] == pytest.approx(made[1][name], abs=1e-3), name


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_other_architectures(kind, tiny_model, models, half):
    student = load(str(tiny_model(kind)), choose_backend(CONFIG.runtime), "student")
    few = half_of("report", half.questions[:2])
    config = dataclasses.replace(CONFIG, evaluate=EvaluateSettings(max_new_tokens=4))
    traces = make_held_out(models["teacher"], student.tokenizer, few, config)
    made = measure(student, few, ["nll", "kl"], config, traces)
    for value, example in zip(made["nll"], traces.examples, strict=True):
        log_q = log_probabilities(student, example)
        chosen = log_q.gather(1, torch.tensor(example.completion)[:, None])
        assert value == pytest.approx(-chosen.mean().item(), abs=1e-4)


def test_a_teacher_with_worked_examples_has_a_prompt_of_its_own(models, half):
    few = half_of("report", half.questions[:3])
    shots = dataclasses.replace(CONFIG.models, teacher_shots=2)
    config = dataclasses.replace(CONFIG, models=shots)
    traces = make_held_out(models["teacher"], models["student"].tokenizer, few, config)
    assert all(len(e.teacher_prompt) > len(e.student_prompt) for e in traces.examples)
    # the same model without the examples in its prompt is another one
    assert min(measure(models["teacher"], few, ["kl"], config, traces)["kl"]) > 0.001
