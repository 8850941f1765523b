# %% [markdown] id="title"
# # Lab 7. Quantization
#
# {badge}
#
# *How few bits does a weight need, and who notices?*
#
# A weight is stored in {setting:32} bits, and uses few of them. We store the weights of a model that answers questions in {setting:8}, {setting:4} and
# {setting:2} bits, in several ways; we look at what each bit costs and buys; and at the end we have a file that other programs
# read, and ask it something.
#
# **Afterwards you can**
#
# 1. turn weights into whole numbers and back, and say how far off they are;
# 2. choose who shares a scale, and count what that costs in bytes;
# 3. tell a model that is worse from one that only looks so, by KL and by paired differences;
# 4. train a model for its codes, and say what that adds to rounding;
# 5. write a block of a GGUF file byte for byte, and predict the size of a file;
# 6. say why fewer bits are not always faster.
#
# | profile | what it quantizes | time |
# |---|---|---|
# | `tiny` | the bundled model that Lab 5's students learn from | about {times.lab7.minutes} minutes on two idle cores, no network |
# | `cpu` | SmolLM2-135M on SQuAD | `distill-lab quantize run --profile cpu`; needs the data set |
# | `colab` | Qwen2.5-0.5B on SQuAD, with Unsloth and bitsandbytes | never ran |
#
# A student of your own takes the place of the bundled model: `begin_quantizing(model="runs/tiny/students/kd/model")`. The bundled
# model is small, and its questions were written by a program: what is found here is true of them, and larger models may differ.

# %% id="install" role="install"
# the install cell stands here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import torch

from distill_lab import begin_quantizing
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import show, table

lab = begin_quantizing()

# %% [markdown] id="about-meters"
# ## 1. Who would notice?
#
# Four meters, from coarse to fine:
#
# | meter | what it sees |
# |---|---|
# | EM | whether the answer to a question is right; a question counts once, and may go either way by luck |
# | same token | at how many tokens both models would say the same |
# | KL | how far the two *distributions* are apart, at every token, in nats |
# | bytes | of the file on disk, scales and all |
#
# The KL goes from the **dense** model, as it was before, to what became of it, on the dense model's own answers. It is what the
# student of Lab 5 learnt by, and here it is a meter: {setting:0} says that nothing has changed, whatever EM says.
#
# The stage `quantize` writes the model in each of its forms, `evaluate` lets all of them answer the same held-out questions.
# `round-4` has {setting:4} bits for each weight of the blocks' linears, and one scale for each row. **Your guess:** of `bfloat16` and
# `round-8`, `-4`, `-3` and `-2`: which is the first whose EM is worse beyond chance? And the first that KL sees?

# %% id="meters"
# NBVAL_IGNORE_OUTPUT
from distill_lab import measured

lab.run("adapt", "quantize", "evaluate")
dense = lab.model()
names = ("dense", "bfloat16", "round-8", "round-4", "round-3", "round-2")
table(
    measured(lab, names),
    ("", "MB", "bits", "KL", "same token, %", "EM (95 % interval)", "EM minus dense"),
)

# %% [markdown] id="about-scale"
# Read the last column: its interval is over questions, each of which both models answered. An interval that contains zero says
# that the difference may be chance; where EM *rises* with fewer bits, look at it twice. KL rises at each step down
# from `round-8`. (`bfloat16` is further away than that: it also *computes* in fewer bits, and everywhere.) So
# KL tells two ways apart that EM cannot, and EM says whether anybody would mind. (`bits` are those of the whole file: the embedding
# stays as it was, and is a large part of a small model.)
#
# ## 2. A scale and a zero point
#
# A weight of {setting:32} bits becomes a small whole number, its **code** q, and all codes of a row share one step, the
# **scale** s. The **zero point** z is the code that stands for {setting:0} (Jacob et al. 2018, arXiv 1712.05877):
#
# $$w \approx (q - z) \cdot s$$
#
# With b bits there are $2^b$ codes, and so $2^b - 1$ steps between the lowest and the highest. *Symmetric* steps reach from
# $-\max|w|$ to $\max|w|$; z is {setting:0}, and codes run from $-2^{b-1}$ to $2^{b-1} - 1$. (Many libraries take
# $\max|w| / (2^{b-1} - 1)$ for the scale instead; so does `Q8_0` in section 7.) *Asymmetric* steps reach from the least weight
# to the greatest, codes run from {setting:0} to $2^b - 1$, and z is one of them: the range must always hold {setting:0}, also where all weights of
# a row are positive. A row may hold nothing but zeros, and whoever divides by its scale must not get NaN.
#
# {exercise} Write `scale_and_zero_point`.

# %% id="scale-and-zero-point" role="exercise"
import torch


def scale_and_zero_point(
    rows: torch.Tensor, bits: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and the zero point, (G, 1) each, of rows (G, n): the n weights of a row share them.

    Symmetric: the 2^bits - 1 steps reach from -max|w| to max|w|, the zero point is 0. Asymmetric: from the row's least
    weight to its greatest, with 0 in between or at an end; the zero point is a whole number among the codes 0 to
    2^bits - 1. A row of zeros has a positive, finite scale.
    """
    ### BEGIN SOLUTION
    steps, tiny = 2**bits - 1, torch.finfo(torch.float32).tiny
    if symmetric:
        scale = rows.abs().amax(1, keepdim=True) / (steps / 2)
        return scale.clamp(min=tiny), torch.zeros_like(scale)
    low = rows.amin(1, keepdim=True).clamp(max=0)
    high = rows.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / steps).clamp(min=tiny)
    return scale, (-low / scale).round()
    ### END SOLUTION


# %% id="check-scale-and-zero-point" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.scale_and_zero_point", scale_and_zero_point)

# %% [markdown] id="stretch-scale-and-zero-point"
# <details><summary>Stretch goal, without points</summary>
#
# In place of the whole range, take the one that holds all but a few of a row's weights. Does the error of this lab's weights rise
# or fall, with many bits and with few?
# </details>

# %% [markdown] id="about-quantize"
# Now the codes. Take the nearest one: what is cut off instead (`.int()` alone) is up to one step away and not half of one. And
# stay among the codes: with {setting:8} bits the largest weight is {arithmetic:127.5} steps long and rounds to {arithmetic:128}, which
# an `int8` turns into {arithmetic:-128}, without a word. So clamp first.
#
# {exercise} Write `quantize`.

# %% id="quantize" role="exercise"
import torch


def quantize(
    rows: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, bits: int, symmetric: bool
) -> torch.Tensor:
    """The codes, int32 (G, n), of rows (G, n): round(w / scale) + zero_point, of two equally near ones the even one.

    scale, zero_point: (G, 1). Codes run from -2^(bits-1) to 2^(bits-1) - 1 if symmetric, else from 0 to 2^bits - 1;
    what lies beyond an end gets the last code there.
    """
    ### BEGIN SOLUTION
    lowest = -(2 ** (bits - 1)) if symmetric else 0
    codes = (rows / scale).round() + zero_point
    return codes.clamp(lowest, lowest + 2**bits - 1).int()
    ### END SOLUTION


# %% id="check-quantize" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.quantize", quantize)

# %% [markdown] id="stretch-quantize"
# <details><summary>Stretch goal, without points</summary>
#
# Round at random: up as often as the part behind the point says. What is the mean of many such codes, and how far off is one of
# them?
# </details>

# %% [markdown] id="about-dequantize"
# And back. It is one line, and a slip in it goes unseen: a zero point that is one off moves all weights by one step, and the
# model still talks.
#
# {exercise} Write `dequantize`.

# %% id="dequantize" role="exercise"
import torch


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """The weights, float32 (G, n), that the codes (G, n) stand for; scale, zero_point: (G, 1). Codes have 2 to 16 bits."""
    ### BEGIN SOLUTION
    return (codes.float() - zero_point) * scale
    ### END SOLUTION


# %% id="check-dequantize" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.dequantize", dequantize)

# %% [markdown] id="stretch-dequantize"
# <details><summary>Stretch goal, without points</summary>
#
# Multiply two quantized rows without making floats of them: sum the products of their codes as whole numbers, and multiply by both
# scales at the end. What do zero points add to that sum?
# </details>

# %% [markdown] id="guess-row"
# One row of a real weight, and what your three functions make of it. **Your guess:** of the {arithmetic:16} values that {setting:4} bits
# have, how many does the row use? And how far off is a weight at most, in steps?

# %% id="one-row"
# NBVAL_IGNORE_OUTPUT
from distill_lab import round_trip, rounded_row

scale_and_zero_point = or_ours("lab7.scale_and_zero_point", scale_and_zero_point)
quantize = or_ours("lab7.quantize", quantize)
dequantize = or_ours("lab7.dequantize", dequantize)
rounding = round_trip(scale_and_zero_point, quantize, dequantize)  # of rows and bits
row = dense.lm.model.layers[1].mlp.down_proj.weight.detach()[:1]
show(rounded_row(row[0], {bits: rounding(row, bits)[0] for bits in (8, 4, 3)}))
for bits in (8, 4, 3):
    step = scale_and_zero_point(row, bits, True)[0]
    print(
        f"{bits} bits: off by {((rounding(row, bits) - row) / step).abs().max():.3f} steps at most"
    )

# %% [markdown] id="about-asymmetric"
# Weights gather around zero, and the ends of their range stand nearly empty: many codes lie where hardly any weight is. (Formats
# such as NF4 place their values where the weights are; theirs are not evenly spaced.)
#
# Symmetric or not? Below are a weight, what enters it, and what the gate of the MLP lets through (SiLU: never below
# {setting:−0.28}, with no bound above). **Your guess:** for which of the three is the asymmetric error less, and by what factor at
# most?

# %% id="asymmetric"
# NBVAL_IGNORE_OUTPUT
from distill_lab import values_to_round

rows = []
for what, values in values_to_round(lab).items():
    errors = [
        (rounding(values, 8, which) - values).square().mean().sqrt() for which in (True, False)
    ]
    ends = (f"{values.min():.2f}", f"{values.max():.2f}")
    rows.append(
        (what, *ends, *(f"{error:.2e}" for error in errors), f"{errors[0] / errors[1]:.2f}")
    )
table(rows, ("8 bits", "least", "greatest", "error, symmetric", "asymmetric", "times"))

# %% [markdown] id="about-size"
# Where values lie on one side, half of the symmetric codes stand for nothing, which is one bit: a factor of up to {arithmetic:2} in the
# error. Where they lie on both sides there is little to win, and the zero point costs bytes and time. (Least and greatest are over
# all rows, the scale is each row's own: a single token's values may be lopsided where all together are not.) So weights are mostly
# symmetric, and activations, where they are quantized, often not.
#
# ## 3. Who shares a scale?
#
# All weights of a tensor, of a row, or of a group of neighbours in a row? The fewer share it, the finer the steps, and the more
# scales there are to store.
#
# What does that cost? Codes are packed without gaps: two of {setting:4} bits in a byte. But whoever reads them needs each
# scale, a float16 of {setting:2} bytes, and where the scheme is asymmetric each zero point, which takes as many bits as a code and
# is packed likewise. {setting:4} bits in groups of {setting:32} are {arithmetic:4.5} bits a weight.
#
# {exercise} Write `size_bytes`.

# %% id="size-bytes" role="exercise"
import math


def size_bytes(shape: tuple[int, int], bits: int, group_size: int, symmetric: bool) -> int:
    """Bytes of a quantized weight of this shape (out, in), all told.

    group_size: so many neighbours of a row share a scale; it divides `in`; 0: one scale for each row. Codes, scales
    and zero points are three blocks, and each ends with a whole byte.
    """
    ### BEGIN SOLUTION
    n_out, n_in = shape
    n_scales = n_out * (n_in // group_size if group_size else 1)
    zero_points = 0 if symmetric else math.ceil(n_scales * bits / 8)
    return math.ceil(n_out * n_in * bits / 8) + 2 * n_scales + zero_points
    ### END SOLUTION


# %% id="check-size-bytes" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.size_bytes", size_bytes)

# %% [markdown] id="stretch-size-bytes"
# <details><summary>Stretch goal, without points</summary>
#
# Scales can be quantized as well, with a scale for many of them (QLoRA does so). How many bits a weight does that save, in groups of
# which size?
# </details>

# %% [markdown] id="guess-sharing"
# Now the whole model, with your rounding. A *row* holds what one output takes from all inputs; a *column* what one input gives
# to all outputs, which is the wrong axis: a product sums over the inputs, and with one scale for each input no scale can
# be taken out of that sum. (To be quick, the cells of this section and the next ask {setting:16} questions, the table on inputs
# {setting:8}, and not all: their KL is a little off the report's.) **Your guess:** how many times as much KL as a row's does one
# scale for the whole tensor cost, at {setting:4} bits?

# %% id="sharing"
# NBVAL_IGNORE_OUTPUT
from distill_lab import kl_by_sharing, kl_of_sharing

size_bytes = or_ours("lab7.size_bytes", size_bytes)
show(kl_of_sharing(kl_by_sharing(lab, rounding, (8, 4)), (8, 4)))
rows = []
for group in (0, 128, 32, 16):
    sizes = [8 * size_bytes((128, 384), bits, group, True) / (128 * 384) for bits in (8, 4, 2)]
    rows.append((group or "a row", *(f"{size:.3f}" for size in sizes)))
table(rows, ("bits a weight, with a scale for groups of", 8, 4, 2))

# %% [markdown] id="about-clip-search"
# One scale for a whole tensor is set by the largest weight of all. Rows and columns lie nearer to each other here; rows are taken all the
# same, as their scale can be taken out of the product.
#
# "{setting:4} bits" is a name: read what a format stores. The smaller the group, the finer the steps and the larger the
# file. In groups of {setting:16}, {setting:4} bits are {arithmetic:5}: ask what a fifth bit for each code would have bought instead.
#
# ## 4. Outliers
#
# One weight far out makes the steps of its whole row coarse. If the range gives up its ends, that weight is cut short, and all
# others get finer steps. Is it worth it? Try: for each row, some shares of its range, and of them the one whose squared error is
# least, over *all* weights of the row, what is clipped and what is rounded.
#
# {exercise} Write `clip_search`.

# %% id="clip-search" role="exercise"
import torch


def clip_search(rows: torch.Tensor, bits: int, shrinks: list[float]) -> torch.Tensor:
    """For each row of (G, n) one of the shares in `shrinks`, (G, 1): that with the least squared error, symmetric.

    A share of 0.5 means that the steps reach from -0.5 max|w| to 0.5 max|w|. The shares come in any order; of equal errors
    (a row of zeros has no others) the widest range is taken.
    """
    ### BEGIN SOLUTION
    top = 2 ** (bits - 1)
    largest = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)  # (G, 1)
    best, share = torch.full_like(largest, torch.inf), torch.zeros_like(largest)
    for shrink in sorted(shrinks, reverse=True):
        scale = shrink * largest / (top - 0.5)
        made = (rows / scale).round().clamp(-top, top - 1) * scale
        error = (made - rows).square().sum(1, keepdim=True)
        share[error < best] = shrink
        best = torch.minimum(best, error)
    return share
    ### END SOLUTION


# %% id="check-clip-search" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.clip_search", clip_search)

# %% [markdown] id="stretch-clip-search"
# <details><summary>Stretch goal, without points</summary>
#
# Search by the error of the layer's *outputs*, on real inputs, in place of that of its weights. Does it choose other shares?
# </details>

# %% [markdown] id="guess-clipped"
# The real row again, and a copy in which the largest weight is {setting:8} times as large. **Your guess:** which share of its range
# does each keep at {setting:4} bits? And does clipping help the whole model?

# %% id="clipping"
# NBVAL_IGNORE_OUTPUT
from distill_lab import Scheme, clip_errors, clipped, kl_to_dense, quantize_linears, with_outlier

clip_search = or_ours("lab7.clip_search", clip_search)
shares = [1 - step / 20 for step in range(17)]
rows = {"as it is": row, "with an outlier": with_outlier(row, 8)}
errors = {what: clip_errors(each, 4, shares)[0].tolist() for what, each in rows.items()}
chosen = {what: clip_search(each, 4, shares).item() for what, each in rows.items()}
show(clipped(shares, errors, chosen))
for bits, method in ((4, "round"), (4, "clip"), (2, "round"), (2, "clip")):
    quantize_linears(model := lab.model(), Scheme(bits), method)
    print(f"{bits} bits, {method:5}  KL {kl_to_dense(lab, [model])[0][0]:.5f} nats a token")

# %% [markdown] id="about-inputs"
# The squared error of the weights fell, by construction; the KL of the model rose. What was clipped is wrong for good, and how
# much that matters depends on what it is multiplied with, which the squared error of a weight does not ask. A stand-in for what you want is worth
# what it predicts: test it.
#
# Weights have few outliers. **Inputs** may have many: in some models one feature of one token is thousands of times the median,
# and then one scale for all tokens leaves nothing for the rest. That is why `int8` is not one thing: weights alone in `int8` do
# little harm, and inputs in `int8` with one scale a tensor can ruin a model.
#
# It is tempting to look for the largest outlier and to blame it. Test that: round the inputs of one site alone, and of all *but* this
# site. If a site were the cause, sparing it would mend the model, and sparing another would not. **Your guess:** which site
# hurts most, and is it the one with the largest outlier?

# %% id="inputs"
# NBVAL_IGNORE_OUTPUT
from distill_lab import rounded_inputs

rows = [
    (part, most and f"{most:,.0f}", f"{alone:.6f}", spared and f"{spared:.6f}")
    for part, most, alone, spared in rounded_inputs(lab, bits=8)
]
table(rows, ("8 bits for what enters", "max / median", "KL, these alone", "KL, all but these"))

# %% [markdown] id="about-sensitivity"
# One scale a token mends most of it: so the large values are not in all tokens. With one scale a tensor, the columns tell
# whose fault it is. *Alone* says what a part can do, *all but* what is left without it. The site holds: what enters
# `down_proj` does nearly all of the harm, and all but it nearly none. The **block** holds by half: spared, the one with the largest
# outlier takes about half of the damage away (its control, which has the smallest, takes little), and the other half stays. Whoever
# had looked at outliers alone would have spared that one block and stopped.
#
# ## 5. Which layers, and which codes?
#
# Not all linears mind equally. Here each is rounded alone, to {setting:4} bits in groups of {setting:32}, with all others as they were.
# (This KL is over all tokens of {setting:4} training texts, prompts too: compare the squares with each other, not with the tables
# above.) **Your guess:** which kind of linear is the most sensitive, and in which block?

# %% id="sensitive"
# NBVAL_IGNORE_OUTPUT
lab.show("sensitivity")

# %% [markdown] id="about-chosen"
# Rounding takes the nearest code of each weight by itself. But a layer only has to keep its *outputs*, for the inputs that come.
# Two well-known ways read some texts, and then choose other codes or scales:
#
# - **GPTQ** (Frantar et al. 2022, arXiv 2210.17323) rounds a row one weight after another, and corrects the weights to come for what
#   each one lost, as far as their inputs go together;
# - **AWQ** (Lin et al. 2023, arXiv 2306.00978) multiplies columns that meet large inputs before it rounds, and takes that back in what
#   makes the inputs.
#
# Each is one short function in `distill_lab/models/quantization`, to be read. The texts are the model's own answers to training
# questions. **Your guess:** on the texts that GPTQ has read, how much less does it lose than rounding? And on texts that
# it has not read?

# %% id="chosen"
# NBVAL_IGNORE_OUTPUT
from distill_lab import layer_errors

for bits in (4, 2):
    found = layer_errors(
        lab, "model.layers.0.mlp.down_proj", Scheme(bits, per="group", group_size=32)
    )
    rows = [(way, lines, f"{read:.2%}", f"{others:.2%}") for way, lines, read, others in found]
    table(rows, (f"{bits} bits, one layer", "lines of code", "lost, texts it read", "others"))
rows = [
    (f["plus"], f["minus"], f["measure"], f["difference"], *f["ci95"], f["reading"])
    for f in lab.report["findings"]
]
table(rows, ("the whole model", "minus", "measure", "difference", "from", "to", "the first is"))

# %% [markdown] id="about-fake-quant"
# In {setting:2} bits and groups of {setting:32}, GPTQ may lose to plain rounding; we do not know why. The last table is about whole
# models, on held-out questions, at the same number of bits: look at KL and at EM, and at which of the two says something.
#
# ## 6. Training for the codes
#
# A model can *learn* weights that round well. The forward pass multiplies with the rounded weight, so that the loss feels
# the rounding. But rounding is flat between two codes: its gradient is zero, and nothing would be learnt. So the backward pass does as
# if nobody had rounded: the gradient is handed **straight through** to the weight (Bengio et al. 2013, arXiv 1308.3432).
#
# {exercise} Write `fake_quant`, symmetric, with one scale for each row.

# %% id="fake-quant" role="exercise"
import torch


def fake_quant(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The weight (out, in), rounded to its codes and back, in its own dtype; the weight itself stays as it is.

    Symmetric, one scale a row. Backward, whatever gradient comes in goes on to the weight, all of it, unchanged.
    """
    ### BEGIN SOLUTION
    top, rows = 2 ** (bits - 1), weight.detach().float()
    scale = rows.abs().amax(1, keepdim=True) / (top - 0.5)
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)
    rounded = (rows / scale).round().clamp(-top, top - 1) * scale
    return weight + (rounded.to(weight.dtype) - weight).detach()
    ### END SOLUTION


# %% id="check-fake-quant" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.fake_quant", fake_quant)

# %% [markdown] id="stretch-fake-quant"
# <details><summary>Stretch goal, without points</summary>
#
# Keep the scale as it was at the beginning, and let no gradient through where a weight lies beyond its ends. Which weights stop
# learning?
# </details>

# %% [markdown] id="guess-straight"
# One layer in {setting:2} bits learns, through your function, to put out what it put out before; and once more with the
# gradient that rounding has. (Here with one scale a *row*, not in groups of {setting:32}: do not compare with the table above.)
# **Your guess:** does training come below GPTQ, on texts that neither has seen?

# %% id="straight"
# NBVAL_IGNORE_OUTPUT
from distill_lab import layer_training, trained_layer, without_gradient

fake_quant = or_ours("lab7.fake_quant", fake_quant)
name = "model.layers.0.mlp.down_proj"
lines = {
    "straight through": trained_layer(lab, name, fake_quant, bits=2),
    "no gradient": trained_layer(lab, name, without_gradient, bits=2),
}
show(layer_training(lines, {"GPTQ": layer_errors(lab, name, Scheme(2))[-1][-1]}))

# %% [markdown] id="guess-qat"
# It does not: what one layer puts out is a problem of least squares. With one scale a row, GPTQ comes nearer to its solution than a
# few steps along a gradient that is not quite true. What GPTQ cannot do is to train all layers together, for what the *model* says.
#
# The stage `qat` (quantization-aware training) does it for the whole model, by Lab 5's objective: the dense model is the teacher, the
# model that is being rounded the student. **KL** takes the teacher's distribution at each token; **CE** takes the teacher's text alone,
# as many steps from the same start: the control. Both end as `round-2-g32`: {setting:2} bits in groups of {setting:32}.
#
# **Your guess:** which of the two has the lower KL to the dense model, and which the better EM? Which of the two differences is
# sure?

# %% id="qat"
# NBVAL_IGNORE_OUTPUT
lab.run("qat", "evaluate")
rows = [
    (f["plus"], f["minus"], f["measure"], f["difference"], *f["ci95"], f["reading"])
    for f in lab.report["findings"] if "QAT" in f["plus"]
]  # fmt: skip
table(rows, ("", "minus", "measure", "difference", "from", "to", "the first is"))
lab.show("bits")

# %% [markdown] id="about-q8-0"
# Read KL first: training by KL came closer to the dense model than rounding had, and CE ended *further* away, although both read the dense
# model's own answers. CE makes the likely tokens likelier, and so makes another model. Then read EM: its intervals are wide, and none is sure. A
# question counts once, and there are {setting:64} of them; what KL is sure of after as many, EM would need far more for.
#
# ## 7. A file that others read
#
# A file is a row of bytes, and whoever reads it must agree on each. GGUF's `Q8_0` has blocks of {setting:32} weights in
# {setting:34} bytes: first the scale, max|w| / {setting:127}, as a float16, its low byte first; then one `int8` code for each
# weight. Codes are w / scale, with the scale as it was *before* it became a float16, and rounded as in C: of two equally near ones
# the one *away from zero*. A block of zeros is {setting:34} zeros.
#
# {exercise} Write `q8_0_block`, byte for byte as llama.cpp does.

# %% id="q8-0-block" role="exercise"
import torch


def q8_0_block(weights: torch.Tensor) -> torch.Tensor:
    """The 34 bytes, uint8, of a block of 32 weights, float32.

    Views: x.view(torch.uint8) shows the bytes of a tensor of at least one dimension, on your machine the low one first.
    """
    ### BEGIN SOLUTION
    scale = weights.abs().max() / 127
    ratios = weights / scale if scale > 0 else torch.zeros_like(weights)
    codes = ratios.sign() * (ratios.abs().double() + 0.5).floor()
    return torch.cat(
        [scale.half().reshape(1).view(torch.uint8), codes.to(torch.int8).view(torch.uint8)]
    )
    ### END SOLUTION


# %% id="check-q8-0-block" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.q8_0_block", q8_0_block)

# %% [markdown] id="stretch-q8-0-block"
# <details><summary>Stretch goal, without points</summary>
#
# Write a block of `Q4_0`, which keeps two codes in a byte and gives its scale the sign of one weight. `gguf.quants` tells whether
# you are right.
# </details>

# %% [markdown] id="guess-blocks"
# The package `gguf` is llama.cpp's own. It packs a real weight, and so does your function. **Your guess:** if the scale
# were rounded to float16 *before* dividing by it, in how many of the blocks would a code be another?

# %% id="blocks"
# NBVAL_IGNORE_OUTPUT
from gguf import GGMLQuantizationType, quants

q8_0_block = or_ours("lab7.q8_0_block", q8_0_block)
weight = dense.lm.model.layers[1].mlp.down_proj.weight.detach()
blocks = weight.reshape(-1, 32)
mine = torch.stack([q8_0_block(block) for block in blocks])  # (n, 34)
theirs = quants.quantize(weight.numpy(), GGMLQuantizationType.Q8_0).reshape(-1, 34)
same = (mine == torch.from_numpy(theirs)).all(1).sum()
print(f"{same:,} of {len(blocks):,} blocks are the same, byte for byte; the first one begins with")
print(*mine[0, :8].tolist(), "…")
scales = blocks.abs().amax(1, keepdim=True) / 127
moved = (blocks / scales).round() != (blocks / scales.half().float()).round()
print(f"codes by the scale in float16: others in {moved.any(1).sum():,} blocks")

# %% [markdown] id="about-predict-size"
# And a whole model, before anything is written. Not all is quantized: norms and biases are small and touchy, and the
# embedding often stays. And a tensor may have two names, as the head that *is* the embedding: it is stored once.
#
# {exercise} Write `predict_size`. Your `size_bytes` may help.

# %% id="predict-size" role="exercise"
import math


def predict_size(
    parameters: dict[str, tuple[int, ...]],
    tied: dict[str, str],
    quantized: list[str],
    bits: int,
    group_size: int,
) -> int:
    """Bytes of a model's tensors, of which those in `quantized` are (symmetric, scales float16); all others are float32.

    parameters: the shape of each name, (out, in) or (n,). tied: names that are only another name of a tensor, and the name
    that it is stored by. group_size: as in size_bytes, 0 for one scale a row.
    """
    ### BEGIN SOLUTION
    total = 0
    for name, shape in parameters.items():
        if name in tied:
            continue
        n = math.prod(shape)
        if name in quantized:
            n_scales = n // group_size if group_size else shape[0]
            total += math.ceil(n * bits / 8) + 2 * n_scales
        else:
            total += 4 * n
    return total
    ### END SOLUTION


# %% id="check-predict-size" role="check"
# NBVAL_CHECK_OUTPUT
check("lab7.predict_size", predict_size)

# %% [markdown] id="stretch-predict-size"
# <details><summary>Stretch goal, without points</summary>
#
# Predict the size of a model of the hub from its `config.json` alone, and look up what its files weigh.
# </details>

# %% [markdown] id="guess-files"
# The files lie on disk. The first two keep the embedding as it was, `q8_0` packs it too; it is one matrix with
# the head, and has two names. Below the table, the largest difference
# between the logits of two models that read a text: what transformers reads from the GGUF file, beside what our own functions make in
# memory, and then beside the dense model. **Your guess:** which of the two is zero, or nearly?

# %% id="files"
# NBVAL_IGNORE_OUTPUT
from distill_lab import apart, as_gguf_rounds, bytes_on_disk, packing_of, shapes_of

predict_size, rows = or_ours("lab7.predict_size", predict_size), []
shapes, tied = shapes_of(dense)
for who in lab.there("round-8", "round-4-g32", "q8_0"):
    predicted = predict_size(shapes, tied, *packing_of(dense, who))
    rows.append((who, *(f"{n:,}" for n in (predicted, *bytes_on_disk(lab, who)))))
table(rows, ("", "predicted", "bytes of its tensors", "of its file"))
for who in lab.there("q8_0", "q4_0"):
    for what, other in (("ours", as_gguf_rounds(lab.model(), who)), ("dense", dense)):
        print(f"{who} beside {what}: {apart(lab.model(who), other, 'Marwen'):.2g}")

# %% [markdown] id="about-costs"
# What is more in a file than its tensors is the header: names, places and, in GGUF, the tokenizer. It weighs little beside a real
# model.
#
# ## 8. What it buys in time
#
# Fewer bytes are not less work. A product needs numbers that the processor multiplies; where its weights are codes, they must be
# made into floats first, each time. That is repaid where *reading the weights* is what takes the time: in a large model,
# one token at a time, on a GPU. **Your guess:** how many times as long does a product take on your machine with `bfloat16`, and with `int8`?

# %% id="costs"
# NBVAL_IGNORE_OUTPUT
from distill_lab import product_times, times_beside_dense

rows = [
    (form, f"{size:.2f}", f"{one:.2f}", f"{many:.2f}") for form, size, one, many in product_times()
]
columns = ("a product with a weight in", "bytes / float32", "time / float32, 1 token", "64 tokens")
table(rows, columns)
columns = ("whole model", "peak MB", "prefill, times as fast as dense", "decode")
table(times_beside_dense(lab), columns)

# %% [markdown] id="about-chain"
# Both were measured side by side, in turns, after a round that is not counted, and medians are told. What helps with many tokens
# may hurt with one; and a CPU without units for `bfloat16` computes it by detours. `int8` (torchao's, where it is installed: `pip install -e ".[quantization]"` in
# the checkout) is measured in the second table; GGUF files are read back as floats here, so that they have no speed of their own: llama.cpp's
# own programs multiply by the codes, and never ran here.
#
# ## 9. The chain: distil, prune, quantize
#
# Lab 5 distilled, Lab 6 pruned, and now all of it in one row. One command takes a student of yours through the steps, in both
# orders of pruning and quantizing, and can be stopped and gone on with:
#
# ```
# distill-lab chain runs/tiny --arm kd --out runs/chain
# ```
#
# The cell does the same with the lab's model: a quarter of the neurons go, KL to the dense model mends it, `q4_0` packs it.
# **Your guess:** which step loses most? And which order of the two is better?

# %% id="chain"
# NBVAL_IGNORE_OUTPUT
from distill_lab import short_chain

chain = short_chain(lab)
columns, *rows = chain.ledger
table(rows, columns)
table(
    chain.orders,
    ("one order", "minus the other", "measure", "difference", "from", "to", "the first is"),
)
show(chain.picture)

# %% [markdown] id="about-home"
# Each row says what its own step changed, question by question. On `tiny` none of these intervals leaves zero out: the rows that end
# with `q4_0` keep between a sixth and an eighth of the bytes, and EM cannot tell that anything is missing; KL can, and says which
# step it was. The recovery brings KL down again, as it did in Lab 6.
#
# As to the order: the answer NLL (of the dense model's own answers; less is better) is the finest of the three measures, and the
# only one that may be sure. On `tiny` pruning first was worse in it; neither order had a recovery, and the other one quantizes
# twice. It speaks of one model, one pruning and one draw; on yours, let the command ask.
#
# ## 10. Take it home
#
# A student of Lab 5 becomes one file, and that file talks:
#
# ```
# distill-lab export --out runs/tiny --arm kd --to gguf
# distill-lab chat runs/tiny --arm kd
# ```
#
# The first writes the GGUF file, with its tokenizer; the second is a terminal in which you type a passage and a question, and
# watch the thought and then the answer. Below is the same in the notebook. **Something to play with:** write a passage that the model in
# {setting:4} bits answers, and the one in {setting:2} bits does not.

# %% id="ask"
# NBVAL_IGNORE_OUTPUT
passage = "Orgar does not live in Helhaven. Orgar lives in Anstad. The mayor of Anstad is Pelia."
question = "What is the name of the mayor of the town where Orgar lives?"
lab.ask(passage, question, "dense", "q4_0", "round-2", "round-2-g32 + QAT by KL")

# %% [markdown] id="about-unsloth"
# ## On a GPU, with Unsloth
#
# What this looks like on Colab's T4. **None of it ever ran here**: read it as a map, not as a recipe.
#
# ```python
# from unsloth import FastLanguageModel
#
# # packed in NF4 as it is loaded; LoRA is trained beside the codes (QLoRA)
# model, tokenizer = FastLanguageModel.from_pretrained("unsloth/Qwen2.5-0.5B-Instruct", load_in_4bit=True)
#
# # the course's own stages, which load the model in 16 bits
# lab = begin_quantizing("colab")
#
# # a GGUF file
# model.save_pretrained_gguf("student", tokenizer, quantization_method="q8_0")
#
# # quantization-aware training with LoRA: the forward pass feels the rounding that torchao will do
# model = FastLanguageModel.get_peft_model(model, r=16, qat_scheme="int4")
# ```
#
# - *Codes are no weights.* With `load_in_4bit`, `layer.weight` is a `uint8` tensor of packed codes: its mean, its zeros and its
#   absolute values mean nothing. Prune, count and quantize in {setting:16} bits, and pack last; the stages here refuse packed weights.
# - *`save_pretrained_gguf` fetches and builds llama.cpp* on first use, and fails where that fails (no compiler, no network, another
#   version). `distill-lab export --to gguf` needs neither, for models of Llama's layout.
# - *A merge rounds.* LoRA trained beside NF4 codes is merged into the 16-bit weights, not into the codes: what you ship is another model than
#   the one you trained. Measure what you ship.
# - *What its makers report for QAT is theirs.* Ask for the difference with its interval, beside a control with as many steps.

# %% [markdown] id="summary"
# ## Summary
#
# - A code is the nearest step; half a step is the most that it is off, if nothing is clipped and the zero point is right.
# - Say who shares a scale, and count it: scales are bytes. One scale for a tensor is cheap and coarse.
# - KL sees what EM does not; EM says whether anybody would mind. Compare models on the same questions, with an interval.
# - An outlier is not yet a cause: round it alone, and spare it alone, beside a control.
# - GPTQ and AWQ choose codes by what comes in. Training by KL goes further, where few bits hurt; CE makes another model.
# - A tied weight counts once, a header counts too. A file is right when another program reads it and says the same.
# - Fewer bytes are not less time. Measure on the machine that will run it.
#
# ## Three questions to test yourself
#
# <details><summary>1. A format has {setting:4} bits and a float16 scale and a float16 minimum for each {setting:32} weights. How many bits is that a weight?</summary>
#
# {setting:4} and {arithmetic:32} / {arithmetic:32} of a bit: {arithmetic:5}. This is GGUF's `Q4_1`.
# </details>
#
# <details><summary>2. In one file the head is tied to the embedding, in another it is stored again as int8. Which is larger?</summary>
#
# The second, by a byte for each weight of the embedding: in a small model with a large vocabulary that may be more than all that the
# linears saved. Packing one of two tied matrices unties them.
# </details>
#
# <details><summary>3. A colleague's {setting:4}-bit model has an EM that is two points higher than the dense one's. What do you ask?</summary>
#
# On how many questions, whether the same ones, and for the interval of the difference. Then for the KL: rounding makes another
# model, and another is not better.
# </details>
#
# **Next:** take a student of your own through the chain, and hand the file to a friend. `reading/Quantization.md` goes on from here.

# %% [markdown] id="about-before-submitting"
# ## Before you hand in
#
# Save the notebook first (Ctrl+S or ⌘S): in Jupyter, this cell reads the file as you last saved it. It lists what you
# should look at first: an exercise that is missing or not begun, a check that was changed, results that are older than
# their code.

# %% id="before-submitting"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import before_submitting

before_submitting()
