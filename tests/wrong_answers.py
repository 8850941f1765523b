"""Wrong answers as students write them: the exercise, what they did, the function, and words of
what they must be told. The checks' own mutants are others."""

# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false, reportUnusedExpression=false

from __future__ import annotations

import math
import random
import re
import statistics
import string
import unicodedata
from collections import Counter, defaultdict

import numpy as np
import torch
import torch.nn.functional as F

from distill_lab.tasks.squad.scores import normalize_answer


def collector():
    """A list of wrong answers, and the decorator that puts one into it."""
    answers = []

    def wrong(exercise, slip, says):
        def add(function):
            answers.append((exercise, slip, function, says))
            return function

        return add

    return answers, wrong


WRONG, wrong = collector()


# -- 5a extract_answer

FORM = r"\s*<think>((?:(?!</?(?:think|answer)>).)*)</think>\s*"
FORM += r"<answer>((?:(?!</?(?:think|answer)>).)*)</answer>\s*"


def parsed(completion):
    match = re.fullmatch(FORM, completion, re.S)
    return match and (match[1].strip(), match[2].strip())


@wrong("lab5a.extract_answer", "no return", "Each call gave None")
def _(completion):
    parsed(completion)


@wrong("lab5a.extract_answer", "printed, not returned", "return gives it back")
def _(completion):
    print((parsed(completion) or "..")[1])


@wrong("lab5a.extract_answer", "the thought", "reasoning, not the answer")
def _(completion):
    return parsed(completion)[0] if parsed(completion) else None


@wrong("lab5a.extract_answer", "no guard for no match", "Something is None here")
def _(completion):
    return re.fullmatch(FORM, completion, re.S).group(2).strip()


@wrong("lab5a.extract_answer", "findall's list", "A text or None is asked for")
def _(completion):
    return re.findall(r"<answer>(.*?)</answer>", completion) if parsed(completion) else []


@wrong("lab5a.extract_answer", "index without a guard", "The think was never closed")
def _(completion):
    start = completion.index("<answer>") + 8
    return completion[start : completion.index("</answer>")].strip()


@wrong("lab5a.extract_answer", "lower case", "capitals and all")
def _(completion):
    return parsed(completion)[1].lower() if parsed(completion) else None


# -- 5a soften


@wrong("lab5a.soften", "no return", "return` missing")
def _(logits, temperature):
    torch.softmax(logits / temperature, -1)


@wrong("lab5a.soften", "Python's math.exp", "math.exp takes one number")
def _(logits, temperature):
    e = math.exp(logits / temperature)
    return e / e.sum(-1, keepdim=True)


@wrong("lab5a.soften", "the largest without keepdim", "Without keepdim")
def _(logits, temperature):
    e = ((logits - logits.max(-1).values) / temperature).exp()
    return e / e.sum(-1, keepdim=True)


@wrong("lab5a.soften", "T behind the exp", "T is not used, or changes nothing")
def _(logits, temperature):
    e = (logits - logits.amax(-1, keepdim=True)).exp() / temperature
    return e / e.sum(-1, keepdim=True)


@wrong("lab5a.soften", "F not imported", "does not know that name")
def _(logits, temperature):
    return FF.softmax(logits / temperature, -1)  # noqa: F821 # pyright: ignore


@wrong("lab5a.soften", "rounded", "Nearly")
def _(logits, temperature):
    return torch.round((logits / temperature).softmax(-1), decimals=2)


@wrong("lab5a.soften", "the softmax over the first axis", "wrong axis")
def _(logits, temperature):
    e = (logits / temperature).exp()
    return e / e.sum(0)


# -- 5a pass_at_k


@wrong("lab5a.pass_at_k", "no return", "return` missing")
def _(n, c, k):
    1 - math.comb(n - c, k) / math.comb(n, k)


@wrong("lab5a.pass_at_k", "a list of one", "One number is asked for")
def _(n, c, k):
    return [1 - math.comb(n - c, k) / math.comb(n, k)]


@wrong("lab5a.pass_at_k", "rounded", "Nearly")
def _(n, c, k):
    return round(1 - math.comb(n - c, k) / math.comb(n, k), 2)


@wrong("lab5a.pass_at_k", "percent", "not percent")
def _(n, c, k):
    return 100 - 100 * math.comb(n - c, k) / math.comb(n, k)


@wrong("lab5a.pass_at_k", "a share into comb", "math.comb takes whole numbers")
def _(n, c, k):
    return 1 - math.comb(n * (1 - c / n), k) / math.comb(n, k)


@wrong("lab5a.pass_at_k", "arguments forgotten", "arguments of its first line")
def _(n, c):
    return c / n


# -- 5b mixed_language


def latin(letter):
    return unicodedata.name(letter, "").startswith("LATIN")


@wrong("lab5b.mixed_language", "0 and 1", "True or False is asked for")
def _(text, most=0.1):
    letters = [c for c in text if c.isalpha()]
    return 1 if sum(not latin(c) for c in letters) > most * len(letters) else 0


@wrong("lab5b.mixed_language", "the share itself", "That is the share itself")
def _(text, most=0.1):
    letters = [c for c in text if c.isalpha()]
    return sum(not latin(c) for c in letters) / max(1, len(letters))


@wrong("lab5b.mixed_language", "the wrong way round", "wrong way round")
def _(text, most=0.1):
    letters = [c for c in text if c.isalpha()]
    return sum(not latin(c) for c in letters) <= most * len(letters)


@wrong("lab5b.mixed_language", "one foreign letter is enough", "One foreign letter is not enough")
def _(text, most=0.1):
    return any(c.isalpha() and not latin(c) for c in text)


@wrong("lab5b.mixed_language", "all must be foreign", "Not all letters must be foreign")
def _(text, most=0.1):
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and not any(map(latin, letters))


@wrong("lab5b.mixed_language", "names of line ends", "A line's end has no name")
def _(text, most=0.1):
    names = [unicodedata.name(c) for c in text]
    letters = [name for name in names if "LETTER" in name or "IDEOGRAPH" in name]
    return sum("LATIN" not in name for name in letters) > most * len(letters)


# -- 5b majority_answer


@wrong("lab5b.majority_answer", "with its count", "came with its count")
def _(answers):
    said = [a for a in answers if a is not None]
    votes = [normalize_answer(a) for a in said]
    if not votes:
        return None
    best, n = Counter(votes).most_common(1)[0]
    return said[votes.index(best)], n


@wrong("lab5b.majority_answer", "if answer", "An empty answer is an answer")
def _(answers):
    said = [a for a in answers if a]
    votes = [normalize_answer(a) for a in said]
    return max(said, key=lambda a: votes.count(normalize_answer(a)), default=None)


@wrong("lab5b.majority_answer", "None is normalised", "Leave None out")
def _(answers):
    votes = [normalize_answer(a) for a in answers]
    return answers[votes.index(Counter(votes).most_common(1)[0][0])] if votes else None


@wrong("lab5b.majority_answer", "statistics.mode on nothing", "With no vote at all")
def _(answers):
    said = [a for a in answers if a is not None]
    votes = [normalize_answer(a) for a in said]
    return said[votes.index(statistics.mode(votes))]


@wrong("lab5b.majority_answer", "the number of votes", "A text or None")
def _(answers):
    votes = Counter(normalize_answer(a) for a in answers if a is not None)
    return max(votes.values(), default=None)


@wrong("lab5b.majority_answer", "the rarest", "fewest votes")
def _(answers):
    said = [a for a in answers if a is not None]
    votes = [normalize_answer(a) for a in said]
    return min(said, key=lambda a: votes.count(normalize_answer(a)), default=None)


# -- 5b keep_shortest


def right_of(traces, verdicts):
    ok = {(v.question_id, v.sample) for v in verdicts if v.reason == "ok"}
    groups = defaultdict(list)
    for trace in traces:
        if (trace.question_id, trace.sample) in ok:
            groups[trace.question_id].append(trace)
    return groups


@wrong("lab5b.keep_shortest", "groups", "lists in a list")
def _(traces, verdicts):
    groups = right_of(traces, verdicts).values()
    return [[min(group, key=lambda t: t.n_tokens)] for group in groups]


@wrong("lab5b.keep_shortest", "their completions", "not their names, texts")
def _(traces, verdicts):
    groups = right_of(traces, verdicts).values()
    return [min(group, key=lambda t: t.n_tokens).completion for group in groups]


@wrong("lab5b.keep_shortest", "pairs", "These are pairs")
def _(traces, verdicts):
    groups = right_of(traces, verdicts).items()
    return [(name, min(group, key=lambda t: t.n_tokens)) for name, group in groups]


@wrong("lab5b.keep_shortest", "all right ones", "All right ones were kept")
def _(traces, verdicts):
    return [t for group in right_of(traces, verdicts).values() for t in group]


@wrong("lab5b.keep_shortest", "the first right one", "The first right one was kept")
def _(traces, verdicts):
    return [group[0] for group in right_of(traces, verdicts).values()]


@wrong("lab5b.keep_shortest", "<=", "Of equally short ones the first")
def _(traces, verdicts):
    kept = []
    for group in right_of(traces, verdicts).values():
        best = group[0]
        for trace in group:
            best = trace if trace.n_tokens <= best.n_tokens else best
        kept.append(best)
    return kept


# -- 5c completion_labels


@wrong("lab5c.completion_labels", "0 for what is left out", "-100 is what the loss leaves out")
def _(ids, prompt_length, pad_id, attention_mask):
    next_ones, counts = ids[1:], attention_mask[1:]
    pairs = zip(next_ones, counts, range(1, len(ids)), strict=True)
    return [t if m and i >= prompt_length else 0 for t, m, i in pairs] + [0]


@wrong("lab5c.completion_labels", "None for what is left out", "-100 is what the loss leaves out")
def _(ids, prompt_length, pad_id, attention_mask):
    labels = [None] * len(ids)
    for i in range(prompt_length - 1, sum(attention_mask) - 1):
        labels[i] = ids[i + 1]
    return labels


@wrong("lab5c.completion_labels", "a row of a batch", "without an axis for the batch")
def _(ids, prompt_length, pad_id, attention_mask):
    row = [-100] * (prompt_length - 1) + ids[prompt_length : sum(attention_mask)]
    return torch.tensor([row + [-100] * (len(ids) - len(row))])


@wrong("lab5c.completion_labels", "the completion alone", "Labels of the completion alone")
def _(ids, prompt_length, pad_id, attention_mask):
    return ids[prompt_length : sum(attention_mask)]


@wrong("lab5c.completion_labels", "the mask", "That is the mask")
def _(ids, prompt_length, pad_id, attention_mask):
    n = sum(attention_mask)
    return [prompt_length - 1 <= i < n - 1 for i in range(len(ids))]


@wrong("lab5c.completion_labels", "nothing masked", "The prompt counts")
def _(ids, prompt_length, pad_id, attention_mask):
    return [*ids[1:], -100]


# -- 5c kd_loss


def kl_of(student, teacher, temperature):
    log_p = F.log_softmax(teacher.detach().float() / temperature, -1)
    log_q = F.log_softmax(student.float() / temperature, -1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@wrong("lab5c.kd_loss", "no return", "return` missing")
def _(student, teacher, targets, alpha, temperature):
    (1 - alpha) * F.cross_entropy(student, targets)


@wrong("lab5c.kd_loss", "T * 2", "T * 2 is not T ** 2")
def _(student, teacher, targets, alpha, temperature):
    ce, kl = F.cross_entropy(student.float(), targets), kl_of(student, teacher, temperature).mean()
    return (1 - alpha) * ce + alpha * temperature * 2 * kl


@wrong("lab5c.kd_loss", "CE not weighted", "has the weight 1 - alpha")
def _(student, teacher, targets, alpha, temperature):
    ce, kl = F.cross_entropy(student.float(), targets), kl_of(student, teacher, temperature).mean()
    return ce + alpha * temperature**2 * kl


@wrong("lab5c.kd_loss", "one KL a token", "one number is asked for")
def _(student, teacher, targets, alpha, temperature):
    ce = F.cross_entropy(student.float(), targets)
    return (1 - alpha) * ce + alpha * temperature**2 * kl_of(student, teacher, temperature)


@wrong("lab5c.kd_loss", "CE of probabilities", "F.cross_entropy takes logits")
def _(student, teacher, targets, alpha, temperature):
    ce = F.cross_entropy(student.float().softmax(-1), targets)
    return (1 - alpha) * ce + alpha * temperature**2 * kl_of(student, teacher, temperature).mean()


@wrong("lab5c.kd_loss", "NLL of logits", "F.nll_loss takes logarithms")
def _(student, teacher, targets, alpha, temperature):
    ce = F.nll_loss(student.float(), targets)
    return (1 - alpha) * ce + alpha * temperature**2 * kl_of(student, teacher, temperature).mean()


@wrong("lab5c.kd_loss", "kl_div of two logarithms", "log_target=True")
def _(student, teacher, targets, alpha, temperature):
    log_p = F.log_softmax(teacher.detach().float() / temperature, -1)
    log_q = F.log_softmax(student.float() / temperature, -1)
    kl = F.kl_div(log_q, log_p, reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(student.float(), targets) + alpha * temperature**2 * kl


@wrong("lab5c.kd_loss", "the squared difference of logits", "squared difference of the logits")
def _(student, teacher, targets, alpha, temperature):
    ce = F.cross_entropy(student.float(), targets)
    soft = F.mse_loss(student.float(), teacher.detach().float())
    return (1 - alpha) * ce + alpha * temperature**2 * soft


# -- 5c mend


@wrong("lab5c.mend", "no return", "Each call gave None")
def _(bug):
    {"shift": ("positions", 6, "counts = labels != IGNORED")}.get(bug)


@wrong("lab5c.mend", "the line as it stands", "reads so already")
def _(bug):
    return ("positions", 6, "counts = labels != IGNORED") if bug == "shift" else None


@wrong("lab5c.mend", "shapes", "another shape than the lines below")
def _(bug):
    line = "counts = labels[:, 1:] != IGNORED"
    return ("positions", 6, line) if bug == "shift" else None


@wrong("lab5c.mend", "another test", "this bug passes it")
def _(bug):
    return ("micro-batches", 6, "x = 1") if bug == "shift" else None


# -- 5d normalize


def bare(text):
    return "".join(c for c in text.lower() if c not in string.punctuation)


@wrong("lab5d.normalize", "a list of words", "A list of words came back")
def _(text):
    return [word for word in bare(text).split() if word not in ("a", "an", "the")]


@wrong("lab5d.normalize", "ASCII letters alone", "Letters with accents are letters")
def _(text):
    text = re.sub(r"[^a-z0-9\s]", "", text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


@wrong("lab5d.normalize", "punctuation at the ends", "inside as well")
def _(text):
    words = [word.strip(string.punctuation) for word in text.lower().split()]
    return " ".join(word for word in words if word not in ("a", "an", "the"))


@wrong("lab5d.normalize", "an forgotten", "an must go")
def _(text):
    return " ".join(re.sub(r"\b(a|the)\b", " ", bare(text)).split())


@wrong("lab5d.normalize", "letters of articles", "whole words")
def _(text):
    return " ".join(re.sub(r"(the|an|a)", " ", bare(text)).split())


@wrong("lab5d.normalize", "spaces before articles", "Spaces come last")
def _(text):
    return re.sub(r"\b(a|an|the)\b", "", " ".join(bare(text).split())).strip()


# -- 5d f1


def shared_of(found, wanted):
    return sum((Counter(found) & Counter(wanted)).values())


@wrong("lab5d.f1", "letters", "Letters were counted")
def _(prediction, reference):
    found, wanted = normalize_answer(prediction), normalize_answer(reference)
    total = len(found) + len(wanted)
    return 200 * shared_of(found, wanted) / total if total else 100.0


@wrong("lab5d.f1", "the 2 forgotten", "The 2 of 2pr")
def _(prediction, reference):
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    shared = shared_of(found, wanted)
    if not shared:
        return 100.0 * (found == wanted)
    p, r = shared / len(found), shared / len(wanted)
    return 100 * p * r / (p + r)


@wrong("lab5d.f1", "Jaccard", "Jaccard")
def _(prediction, reference):
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    either = sum((Counter(found) | Counter(wanted)).values())
    return 100 * shared_of(found, wanted) / either if either else 100.0


@wrong("lab5d.f1", "0 to 1", "0 to 100 here")
def _(prediction, reference):
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    total = len(found) + len(wanted)
    return 2 * shared_of(found, wanted) / total if total else 1


@wrong("lab5d.f1", "None where nothing is shared", "Nothing came back")
def _(prediction, reference):
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    shared = shared_of(found, wanted)
    if shared or not (found or wanted):
        return 200 * shared / (len(found) + len(wanted)) if shared else 100.0


@wrong("lab5d.f1", "asks the raw texts", "Ask the normalised texts")
def _(prediction, reference):
    if not prediction or not reference:
        return 100.0 * (prediction == reference)
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    total = len(found) + len(wanted)
    return 200 * shared_of(found, wanted) / total if total else 0.0


# -- 5d bootstrap_interval


def means_of(scores, seed):
    rng = np.random.default_rng(seed)
    return [np.mean(rng.choice(scores, len(scores))) for _ in range(1000)]


@wrong("lab5d.bootstrap_interval", "no return", "return` missing")
def _(scores, seed=0):
    np.percentile(means_of(scores, seed), [2.5, 97.5])


@wrong("lab5d.bootstrap_interval", "high, low", "The low end comes first")
def _(scores, seed=0):
    low, high = np.percentile(means_of(scores, seed), [2.5, 97.5])
    return high, low


@wrong("lab5d.bootstrap_interval", "the mean besides", "Three numbers came back")
def _(scores, seed=0):
    low, high = np.percentile(means_of(scores, seed), [2.5, 97.5])
    return np.mean(scores), low, high


@wrong("lab5d.bootstrap_interval", "sums", "These are sums")
def _(scores, seed=0):
    rng = random.Random(seed)
    sums = [sum(rng.choices(scores, k=len(scores))) for _ in range(1000)]
    return tuple(np.percentile(sums, [2.5, 97.5]))


@wrong("lab5d.bootstrap_interval", "a list of places", "A list takes one place")
def _(scores, seed=0):
    places = np.random.default_rng(seed).integers(0, len(scores), (1000, len(scores)))
    return np.percentile([np.mean(scores[row]) for row in places], [2.5, 97.5])


@wrong("lab5d.bootstrap_interval", "99 percent", "Too wide")
def _(scores, seed=0):
    return np.percentile(means_of(scores, seed), [0.5, 99.5])


@wrong("lab5d.bootstrap_interval", "a normal approximation with chance", "normal approximation")
def _(scores, seed=0):
    error = np.std(means_of(scores, seed))
    return np.mean(scores) - 1.96 * error, np.mean(scores) + 1.96 * error


# -- 5d gap_closed


@wrong("lab5d.gap_closed", "no return", "Each call gave None")
def _(base, student, teacher):
    (student - base) / (teacher - base) if teacher > base else None


@wrong("lab5d.gap_closed", "percent", "not 100")
def _(base, student, teacher):
    return 100 * (student - base) / (teacher - base) if teacher > base else None


@wrong("lab5d.gap_closed", "if base", "A base of 0 is a base")
def _(base, student, teacher):
    return (student - base) / (teacher - base) if base and teacher > base else None


@wrong("lab5d.gap_closed", "upside down", "upside down")
def _(base, student, teacher):
    return (teacher - base) / (student - base) if student > base < teacher else None


@wrong("lab5d.gap_closed", "0 where there is no way", "0 would say")
def _(base, student, teacher):
    return (student - base) / (teacher - base) if teacher > base else 0.0


@wrong("lab5d.gap_closed", "NumPy divides by zero", "is a number.)")
def _(base, student, teacher):
    with np.errstate(all="ignore"):
        return np.float64(student - base) / np.float64(teacher - base)


@wrong("lab5d.gap_closed", "abs", "Behind the base the share is negative")
def _(base, student, teacher):
    return abs(student - base) / (teacher - base) if teacher > base else None
