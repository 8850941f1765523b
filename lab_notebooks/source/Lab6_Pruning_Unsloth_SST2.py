# %% [markdown] id="title"
# # Lab 6. Pruning
#
# {badge}
#
# *Which weights does nobody miss, and what does leaving them out buy?*
#
# A model has learnt to tell good film reviews from bad ones. We set half of its weights to zero, in several ways; we take whole
# blocks out of it; and we train what is left, with the dense model as its teacher, as in Lab 5. At each step we ask what it
# cost, what it bought, and how sure we are.
#
# Whoever prunes for the first time asks five questions. Each has a cell of its own here:
#
# | question | where |
# |---|---|
# | Half of the weights are zero. Why is the file as large as before? | section 3 |
# | Why is nothing faster? | section 7 |
# | After LoRA the zeros are gone. Where did they go? | section 6 |
# | Why do I not get the paper's perplexity? | section 2 |
# | Accuracy hardly moved. Is that luck? | section 2 |
#
# **Afterwards you can**
#
# 1. prune by magnitude and by Wanda, by row and n of m, with exact counts;
# 2. say of a pruned model what it weighs, counted once and on disk, and what it takes;
# 3. take blocks out of a model so that it loads again and generates the same with and without a cache;
# 4. keep zeros through training, and show that they were kept;
# 5. predict how much faster a smaller model is, before you measure it.
#
# | profile | what it prunes | time |
# |---|---|---|
# | `tiny` | the bundled model, on the bundled reviews | about {times.lab6.minutes} minutes on two idle cores, no network |
# | `cpu` | SmolLM2-135M on SST-2 | {times.prune-cpu.cpu_minutes} minutes of CPU time on two cores; needs the data set |
# | `colab` | Qwen2.5-0.5B on SST-2, adapted and recovered with Unsloth | never ran |
#
# The bundled reviews were written by a program: what is found here is true of them and of a tiny model.

# %% id="install" role="install"
# the install cell stands here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import torch

from distill_lab import begin_pruning
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import show, table

lab = begin_pruning()

# %% [markdown] id="about-dense"
# ## 1. The dense model
#
# Pruning can only break what is there. So the model first learns the task, if it has not learnt it already; the stage `adapt`
# looks, and says what it did. The question is put as a text, and the label is read from two logits:
#
# ```
# Review: For all its charm, it drags.
# Sentiment: → positive or negative?
# ```
#
# Each label word is one token, and the greater of the two logits decides. The model keeps its head and its language, so that
# we can also ask how well it still predicts the reviews' own words: their **perplexity**.
#
# Accuracy counts right labels. The **label NLL** also asks how sure the model was: it is in nats, and {arithmetic:0.693} is a coin.
#
# **Your guess:** the model gets … % of the held-out reviews right, give or take …

# %% id="dense"
# NBVAL_IGNORE_OUTPUT
from distill_lab import compared, label_logits, perplexity, scores

lab.run("adapt")
dense, reviews = lab.model(), lab.reviews
labels = [review.label for review in reviews]
logits = label_logits(dense, reviews)
right, nll = scores.accuracy(logits, labels), scores.label_nll(logits, labels)
show(compared({"all": right, "the first 100": right[:100]}, "accuracy of the dense model"))
print(f"label NLL {sum(nll) / len(nll):.3f}, perplexity {perplexity(dense, reviews):.2f}")
print(*(f"{right[n]:3.0f} %  {reviews[n].text}" for n in range(6)), sep="\n")

# %% [markdown] id="about-magnitude"
# The interval of {setting:100} reviews is about three times as wide as that of {setting:1,000}: keep that in mind when
# somebody shows you an accuracy.
#
# ## 2. Which weights?
#
# The oldest answer is: the small ones (Han et al. 2015). A weight near zero adds little to the sum that it is in. What "small"
# means depends on whom it is compared with: all weights of its tensor, or those of its own row. A row of `weight` (out, in)
# is what one output takes from all inputs.
#
# {exercise} Write `magnitude_mask`. A mask is True where a weight is kept. Count what goes: a threshold
# (`> t`) does not know what to do with weights that are equal.

# %% id="magnitude-mask" role="exercise"
import torch


def magnitude_mask(weight: torch.Tensor, sparsity: float, group: str) -> torch.Tensor:
    """The mask (out, in) of a weight (out, in): False at its smallest magnitudes, True elsewhere.

    group: "tensor" cuts sparsity * (number of weights) of the whole tensor, "row" sparsity * in of each row. These
    are whole numbers here. Of equal magnitudes any may go.
    """
    ### BEGIN SOLUTION
    sizes = weight.abs().reshape(1, -1) if group == "tensor" else weight.abs()
    n_cut = round(sparsity * sizes.shape[1])
    smallest = sizes.argsort(dim=1)[:, :n_cut]
    mask = torch.ones_like(sizes, dtype=torch.bool)
    return mask.scatter(1, smallest, False).reshape(weight.shape)
    ### END SOLUTION


# %% id="check-magnitude-mask" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.magnitude_mask", magnitude_mask)

# %% [markdown] id="stretch-magnitude-mask"
# <details><summary>Stretch goal, without points</summary>
#
# Let all weights of the model be one group. Which layers lose most, and would you have expected these?
# </details>

# %% [markdown] id="about-wanda"
# A small weight may be multiplied with a large input. **Wanda** (Sun et al. 2023, arXiv 2306.11695) reads some texts, and
# takes for the score of a weight
#
# $$S_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2$$
#
# where $X_j$ holds what enters feature j at all tokens of all texts. Scores are compared within a row. No training and no
# gradient is needed. Texts are padded to one length; what stands at the padding is no input.
#
# {exercise} Write `wanda_mask`.

# %% id="wanda-mask" role="exercise"
import torch


def wanda_mask(
    weight: torch.Tensor, inputs: torch.Tensor, attention_mask: torch.Tensor, sparsity: float
) -> torch.Tensor:
    """The mask (out, in) of a weight (out, in): False at the sparsity * in lowest scores of each row, True elsewhere.

    inputs: what enters the layer, (texts, tokens, in). attention_mask: (texts, tokens), 0 at padding.
    """
    ### BEGIN SOLUTION
    norms = inputs[attention_mask.bool()].norm(dim=0)  # (real tokens, in) to (in)
    scores = weight.abs() * norms
    lowest = scores.argsort(dim=1)[:, : round(sparsity * weight.shape[1])]
    return torch.ones_like(weight, dtype=torch.bool).scatter(1, lowest, False)
    ### END SOLUTION


# %% id="check-wanda-mask" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.wanda_mask", wanda_mask)

# %% [markdown] id="stretch-wanda-mask"
# <details><summary>Stretch goal, without points</summary>
#
# Let it read random tokens in place of texts. How much of the mask changes, and in which layers?
# </details>

# %% [markdown] id="guess-one-layer"
# Both masks of one real layer, the one that leads out of the MLP in block `1`. Its inputs are sorted from the quietest to the
# loudest. **Your guess:** where do the two masks differ most?

# %% id="one-layer"
# NBVAL_IGNORE_OUTPUT
from distill_lab import kept_by_input, layer_inputs

magnitude_mask = or_ours("lab6.magnitude_mask", magnitude_mask)
wanda_mask = or_ours("lab6.wanda_mask", wanda_mask)
name = "model.layers.1.mlp.down_proj"
weight, inputs, attention_mask = layer_inputs(dense, name, lab.train_reviews[:32])
by_size = magnitude_mask(weight, 0.5, "row")
by_score = wanda_mask(weight, inputs, attention_mask, 0.5)
norms = inputs[attention_mask.bool()].norm(dim=0)
show(kept_by_input(norms, {"magnitude": by_size, "Wanda": by_score}))
print(f"the two masks agree on {(by_size == by_score).float().mean():.0%} of the weights")

# %% [markdown] id="guess-sweep"
# Now the whole model: each mask on all linears of all blocks, never on the embedding, the head or the norms. The stage `prune`
# makes the models, `evaluate` scores them all on the same held-out reviews. Wanda goes through the blocks in order: each block
# reads what the pruned blocks before it make.
#
# **Your guess:** at {setting:50} % zeros, which of the three is best, and by how much? And where does accuracy begin to fall?

# %% id="sweep"
# NBVAL_IGNORE_OUTPUT
lab.run("prune", "evaluate")
lab.show("sparsity")

# %% [markdown] id="about-luck"
# **"Accuracy hardly moved. Is that luck?"** Ask for the difference on the same reviews, and for its interval. Accuracy is a
# coarse meter: it only sees a review when its label flips. The label NLL sees each review. In the table, each row is Wanda
# minus magnitude at the same share of zeros. An interval that contains zero says: may be chance.
# Of accuracy more is better, of an NLL less (the *text* NLL is the logarithm of the perplexity).
#
# Magnitude gives the same mask each time. Wanda's depends on which reviews calibrate it, so that one Wanda model is one draw.
# The second table has three, each calibrated on {setting:128} reviews of its own.

# %% id="luck"
# NBVAL_IGNORE_OUTPUT
rows = [
    (f["plus"], f["minus"], f["measure"], f["difference"], *f["ci95"], f["reading"])
    for f in lab.report["findings"] if "+" not in f["plus"]  # section 6 shows the others
]  # fmt: skip
table(rows, ("", "minus", "measure", "difference", "from", "to", "the first is"))

from distill_lab import wanda_draws

names = ("Wanda minus", "measure", "difference", "from", "to", "draw 1", "draw 2", "draw 3")
table(wanda_draws(lab, share=0.5, draws=3, size=128), names)

# %% [markdown] id="about-reproduce"
# Look at the signs, too: on `tiny`, beside magnitude by tensor, Wanda is better in label NLL and worse in text NLL (first table).
# Wanda's score asks how much a weight adds to the *output of its layer*, and not what the model makes of that: whether it wins on
# a task is a question to measure, on each model anew. On SmolLM2-135M and the real SST-2 (profile
# `cpu`; the table is in the repository's `docs/handbook.md`) Wanda was {prune-cpu.wanda-0.5-minus-magnitude-row-0.5.accuracy:.1f} points of accuracy ahead of magnitude by row, with one draw of reviews ({prune-cpu.wanda-0.5-minus-magnitude-row-0.5.accuracy.low:.1f} to {prune-cpu.wanda-0.5-minus-magnitude-row-0.5.accuracy.high:.1f}).
# Why there and not here, we did not measure; its authors point to inputs of very different sizes, which larger models have.
#
# In the second table, compare how far the three draws lie apart with the width of the interval. Three draws show less than half of
# their real spread, so double it first. If it is still much smaller, which reviews are *scored* matters more than which reviews
# *calibrate*.
#
# **"Why do I not get the paper's perplexity?"** Because a perplexity has many settings that nobody prints. Below is one model
# and one share of zeros. Which texts calibrate it, how many, whether blocks are read after pruning or before, and which texts
# are then scored: each changes the number. (The picture in this section has another one for `wanda:0.5`: the stage drew other reviews
# to calibrate on, one more setting that nobody prints.) **Your guess:** which of them changes it most?

# %% id="reproduce"
# NBVAL_IGNORE_OUTPUT
from distill_lab import batches_of, prune_weights

train, rows = lab.train_reviews, []
noise = [review.text[::-1] for review in train[:128]]  # letters in the wrong order
for what, method, texts in (
    ("128 reviews", "wanda", train[:128]), ("128 others", "wanda", train[128:256]),
    ("8 reviews", "wanda", train[:8]), ("128 texts backwards", "wanda", noise),
    ("128 reviews, one shot", "wanda-one-shot", train[:128]),
):  # fmt: skip
    pruned = lab.model()
    prune_weights(pruned, method, 0.5, batches_of(pruned, texts))
    rows.append((what, *(f"{perplexity(pruned, of):.2f}" for of in (reviews, train[:500]))))
table(rows, ("calibrated on", "perplexity, held out", "on training reviews"))

# %% [markdown] id="about-counts"
# Write down with each perplexity: which texts, which split, how long, which tokens count. If two numbers come from different
# settings, their difference says nothing about the method.
#
# ## 3. What is zero, and what does it weigh?
#
# "{setting:50} % sparse" may mean half of the weights in the blocks' linears, or half of all. The embedding is never pruned,
# and in a small model it is a large part. In many models the output head *is* the embedding: one matrix under two names. It
# is stored once, and so it counts once.
#
# {exercise} Write `count_sparsity`.

# %% id="count-sparsity" role="exercise"
import torch


def count_sparsity(
    model: torch.nn.Module, linears: dict[str, torch.nn.Linear]
) -> tuple[float, float, int]:
    """Three numbers: the share of zeros in the weights of the linears, 0 to 1; the share of zeros in all parameters of
    the model, 0 to 1; how many parameters the model has.

    linears: the layers that are pruned, by their names; they are part of the model. What is tied counts once.
    """
    ### BEGIN SOLUTION
    weights = [linear.weight for linear in linears.values()]
    parameters = list(model.parameters())  # each once, however many names it has
    shares = []
    for group in (weights, parameters):
        zeros = sum(int((part == 0).sum()) for part in group)
        shares.append(zeros / sum(part.numel() for part in group))
    return shares[0], shares[1], sum(part.numel() for part in parameters)
    ### END SOLUTION


# %% id="check-count-sparsity" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.count_sparsity", count_sparsity)

# %% [markdown] id="stretch-count-sparsity"
# <details><summary>Stretch goal, without points</summary>
#
# Ask for another share: of the multiplications that one token takes, how many are by a zero? Mind that one large matrix
# is only looked up and never multiplied.
# </details>

# %% [markdown] id="guess-ledger"
# **"Half of the weights are zero. Why is the file as large as before?"** Here are three models, and their weights in four forms.
# *Saved* is what `save_pretrained` writes. *Bitmask* is a bit for each weight of the linears, and the values of those that are
# not zero: a format that you would have to write yourself, and unpack before each product. **Your guess:** what does a zip program
# make of a file that is half zeros?

# %% id="ledger"
# NBVAL_IGNORE_OUTPUT
from distill_lab import ledger, prunable, zipped_bytes

count_sparsity, rows = or_ours("lab6.count_sparsity", count_sparsity), []
for who in ("dense", "wanda:0.5", "wanda:2:4"):
    model = lab.model(who)
    of_linears, of_all, n = count_sparsity(model.lm, prunable(model))
    counted = ledger(model)
    sizes = (counted.bytes_dense, zipped_bytes(model), counted.bytes_bitmask, counted.bytes_gguf)
    shown = [f"{size / 1e6:.2f} MB" if size else None for size in sizes]
    rows.append((who, f"{of_linears:.1%}", f"{of_all:.1%}", f"{n:,.0f}", *shown))
table(rows, ("model", "zeros, linears", "of all", "parameters", "saved", "zip", "bitmask", "GGUF"))

# %% [markdown] id="about-nm"
# A zero is a number, and takes as many bytes as any other. The file only becomes smaller in a format that leaves zeros out; a
# bitmask pays one bit a weight for that. GGUF's `Q8_0` takes another way: it keeps all weights, in {arithmetic:8.5} bits each
# instead of {setting:32}. (A dash stands where a matrix is not {setting:32} or {setting:64} or … wide, as `Q8_0` wants it.)
#
# ## 4. Two of four
#
# GPUs from the Ampere generation on can multiply faster by a matrix of which two of each four neighbours are zero (Mishra et al.
# 2021). Neighbours lie along the *input*, over which a product sums. A matrix with the same share of zeros elsewhere does not
# fit, and the same pattern along the outputs does not either.
#
# {exercise} Write `nm_mask`, for any n of m.

# %% id="nm-mask" role="exercise"
import torch


def nm_mask(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The mask (out, in) of scores (out, in): of each m neighbours along the input the n highest are kept.

    m divides the input's width. Of equal scores any may be kept.
    """
    ### BEGIN SOLUTION
    groups = scores.reshape(len(scores), -1, m)  # (out, in / m, m)
    best = groups.argsort(dim=-1, descending=True)[..., :n]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter(-1, best, True)
    return mask.reshape(scores.shape)
    ### END SOLUTION


# %% id="check-nm-mask" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.nm_mask", nm_mask)

# %% [markdown] id="stretch-nm-mask"
# <details><summary>Stretch goal, without points</summary>
#
# Form the groups along the outputs. Which of the two patterns keeps more of the scores, and which of them can a GPU
# use?
# </details>

# %% [markdown] id="guess-two-four"
# The layer of section 2 with four masks, each with half of the weights. **Your guess:** how many groups of four break the
# rule if each row is pruned freely? And how much more of the scores does the rule cost?

# %% id="two-four"
# NBVAL_IGNORE_OUTPUT
from distill_lab import nm_violations

nm_mask, importance = or_ours("lab6.nm_mask", nm_mask), weight.abs() * norms
masks = {
    "by row": by_score, "2:4": nm_mask(importance, 2, 4), "4:8": nm_mask(importance, 4, 8),
    "2:4 along the outputs": nm_mask(importance.T.contiguous(), 2, 4).T,
}  # fmt: skip
rows = [
    (what, f"{mask.float().mean():.1%}", nm_violations(weight * mask, 2, 4),
     f"{(importance * mask).sum() / importance.sum():.1%}") for what, mask in masks.items()
]  # fmt: skip
table(rows, ("mask", "kept", f"of {weight.numel() // 4:,} groups break 2:4", "of all scores kept"))

# %% [markdown] id="about-influence"
# The stricter the pattern, the less of the scores it keeps: the picture in section 2 shows what that costs, where `2:4` stands
# beside the line. What it buys, this machine cannot show: there is no `2:4` product for a CPU in torch, and the free T4 in Colab
# is older than Ampere.
#
# ## 5. Whole blocks
#
# A block reads the hidden state of each token and adds something to it. If the state comes out as it went in, the block did
# little. **Block influence** (Men et al. 2024, arXiv 2403.03853) is one minus the cosine of the two, averaged over tokens.
#
# A trap: of the `hidden_states` that transformers returns, the last one has gone through the final norm, which is no block.
#
# {exercise} Write `block_influence`.

# %% id="block-influence" role="exercise"
from itertools import pairwise

import torch
import torch.nn.functional as F


def block_influence(
    hidden_states: list[torch.Tensor], before_norm: torch.Tensor, attention_mask: torch.Tensor
) -> list[float]:
    """The influence of each of L blocks: 1 minus the cosine of what goes in and what comes out, the mean over tokens.

    hidden_states: L + 1 tensors (texts, tokens, H), as transformers gives them: what goes into each block, and last
    what comes out of the final norm. before_norm: what the last block puts out. attention_mask: (texts, tokens), 0 at
    padding.
    """
    ### BEGIN SOLUTION
    states = [*hidden_states[:-1], before_norm]
    is_token = attention_mask.bool()
    influences = []
    for before, after in pairwise(states):
        cosine = F.cosine_similarity(before, after, dim=-1)  # (texts, tokens)
        influences.append(1 - cosine[is_token].mean().item())
    return influences
    ### END SOLUTION


# %% id="check-block-influence" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.block_influence", block_influence)

# %% [markdown] id="stretch-block-influence"
# <details><summary>Stretch goal, without points</summary>
#
# Measure it at the last token of each text alone. Is the order of the blocks the same? From how many texts on does it
# stay the same?
# </details>

# %% [markdown] id="guess-influence"
# **Your guess:** which block turns the states most: the first, the last, or one between them?

# %% id="influence"
# NBVAL_IGNORE_OUTPUT
from distill_lab import states_of

block_influence = or_ours("lab6.block_influence", block_influence)
states = states_of(dense, lab.train_reviews[:32])
influence = block_influence(*states)
normed = block_influence(states[0], states[0][-1], states[2])
rows = zip(range(len(influence)), influence, normed, strict=True)
table(
    [(n, f"{own:.3f}", f"{other:.3f}") for n, own, other in rows],
    ("block", "influence", "with the final norm"),
)
lab.show("blocks")

# %% [markdown] id="about-drop"
# Only the last block's number differs between the two columns, and one of them is not about the block at all. (The table reads
# {setting:32} reviews, the picture those {setting:128} that the stage drew.)
#
# What is dropped is really gone: parameters, bytes, time. But a model keeps books. Each block knows its place, `layer_idx`, by
# which it finds its part of the cache; and `config.num_hidden_layers` says how many blocks a saved model is loaded with. The
# first block and the last one are never taken out: between them and the others, the model speaks two languages.
#
# {exercise} Write `drop_blocks`. The blocks are `model.model.layers`, an `nn.ModuleList`.

# %% id="drop-blocks" role="exercise"
import torch


def drop_blocks(model: torch.nn.Module, indices: list[int]) -> torch.nn.Module:
    """The model without the blocks at these indices; the others stay in their order. It may be changed in place.

    Then block.self_attn.layer_idx counts the blocks that are left from 0, and model.config.num_hidden_layers says how
    many they are. ValueError if the first or the last block is among the indices.
    """
    ### BEGIN SOLUTION
    layers = model.model.layers
    if {0, len(layers) - 1} & set(indices):
        raise ValueError("the first and the last block stay")
    kept = [block for n, block in enumerate(layers) if n not in set(indices)]
    for n, block in enumerate(kept):
        block.self_attn.layer_idx = n
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return model
    ### END SOLUTION


# %% id="check-drop-blocks" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.drop_blocks", drop_blocks)

# %% [markdown] id="stretch-drop-blocks"
# <details><summary>Stretch goal, without points</summary>
#
# Put a second copy of a neighbour where the block was that you dropped. Is the model better than the shorter one,
# although it has learnt nothing in either case?
# </details>

# %% [markdown] id="guess-drop"
# Your function takes the least influential block out of the real model, which is then saved and loaded again. **Your guess:**
# with how many blocks does it come back if only `model.model.layers` was changed?

# %% id="drop"
# NBVAL_IGNORE_OUTPUT
from distill_lab import generated, saved_and_loaded

drop_blocks, shorter = or_ours("lab6.drop_blocks", drop_blocks), lab.model()
least = min(range(1, len(influence) - 1), key=lambda n: influence[n])
drop_blocks(shorter.lm, [least])
loaded = saved_and_loaded(shorter, lab.out)
for what, model in (("dense", dense), ("dropped", shorter), ("dropped, loaded", loaded)):
    said = [generated(model, "Review: The film", cache=cache) for cache in (True, False)]
    n = count_sparsity(model.lm, prunable(model))[2]
    print(f"{what:16} {n:9,.0f} parameters  {said[0]!r}, {said[0] == said[1]}")

# %% [markdown] id="about-masked-step"
# The last word says whether the text is the same without a cache. (With `num_hidden_layers` left as it was, the model would come
# back with as many blocks as before, the last one of random weights.)
#
# ## 6. Training what is left
#
# Pruning breaks something; training repairs a part of it. But an optimiser moves every weight that it holds, also the zeros.
# It even moves a weight without a gradient: Adam remembers the gradients of earlier steps, from before the pruning.
#
# {exercise} Write `masked_step`: one step of training, after which every weight is zero where its mask is False.

# %% id="masked-step" role="exercise"
import torch


def masked_step(
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, torch.nn.Parameter],
    masks: dict[str, torch.Tensor],
) -> None:
    """Takes one step of the optimiser on the loss. After it, each of the weights is 0 where its mask is False.

    weights, masks: by the same names. The optimiser holds these weights, and remembers earlier steps.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    ### END SOLUTION


# %% id="check-masked-step" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.masked_step", masked_step)

# %% [markdown] id="stretch-masked-step"
# <details><summary>Stretch goal, without points</summary>
#
# Do it without masks: every weight that is zero before the step is zero after it. When does this do something else than
# your function?
# </details>

# %% [markdown] id="guess-masked"
# **"After LoRA the zeros are gone. Where did they go?"** LoRA trains two thin matrices beside each weight, and merging adds
# their product B A, which has no zeros. Training all weights does the same, one step at a time: below, a half-pruned model is
# trained for a few steps with your function, and once more without masks. **Your guess:** how many zeros does one step without
# masks leave?

# %% id="masked"
# NBVAL_IGNORE_OUTPUT
from distill_lab import train_with, with_merged_lora

masked_step, masks = or_ours("lab6.masked_step", masked_step), lab.masks("wanda:0.5")
rows = []
for what, step in (("with masked_step", masked_step), ("without masks", None)):
    refilled = train_with(step, lab.model("wanda:0.5"), masks, lab.train_reviews, 5)
    rows.append((what, *(f"{masks.n_dropped - n:,}" for n in refilled)))
table(rows, ("zeros left after step", 1, 2, 3, 4, 5))

# %% [markdown] id="guess-lora"
# And now the adapter. (To be quick its B is small random numbers, not trained ones: for the zeros that is the same.) **Your
# guess:** which share of the zeros is left after it is merged?

# %% id="lora"
# NBVAL_IGNORE_OUTPUT
merged = with_merged_lora(lab.model("wanda:0.5"), rank=4)
print(f"zeros left of {masks.n_dropped:,}: {masks.n_dropped - masks.violations(merged):,}")
print(f"perplexity {perplexity(merged, reviews):.2f}")
masks.apply(merged)
print(f"with the masks again: {masks.n_dropped - masks.violations(merged):,}")

# %% [markdown] id="about-recover"
# Nothing warned you: the merged model loads, and nearly answers as before, as B is small. It is dense again, and calling it sparse
# would be wrong. Either the masks are laid on once more after merging, or all weights are trained and the masks are kept at each step,
# as the stage `recover` does.
#
# `recover` trains the pruned model twice, from the same start, on the same texts, for as many steps: by **KL** to the dense
# model, and by **CE** on the text alone, which is its control. It is Lab 5's objective: the dense model is the teacher, and its
# pruned self the student. Each is done with three seeds. **Your guess:** which of the two comes closer to the dense model? And
# does the interval of the difference leave zero out?

# %% id="recover"
# NBVAL_IGNORE_OUTPUT
lab.run("recover", "evaluate")
report = lab.report
lab.show("recovery")
rows = [
    (f["plus"], f["minus"], f["measure"], f["difference"], *f["ci95"], f["reading"])
    for f in report["findings"] if "+" in f["plus"]
]  # fmt: skip
table(rows, ("", "minus", "measure", "difference", "from", "to", "the first is"))

# %% [markdown] id="about-costs"
# The interval is over reviews, with the seeds averaged; the small marks in the picture are the seeds. What recovered has the
# zeros that it was given: the report counts those that came back. On SmolLM2-135M, KL was {prune-cpu.wanda-0.5-KL-minus-wanda-0.5-CE.accuracy:.1f} points of accuracy ahead of
# as many steps of CE ({prune-cpu.wanda-0.5-KL-minus-wanda-0.5-CE.accuracy.low:.1f} to {prune-cpu.wanda-0.5-KL-minus-wanda-0.5-CE.accuracy.high:.1f}).
#
# ## 7. What zeros cost and buy
#
# **"Why is nothing faster?"** A product with a zero takes as long as one with another number, unless the program leaves it out,
# and looking for what to leave out takes longer than multiplying. Here each pruned model takes turns with the dense one: they
# read a prompt (*prefill*), then make tokens one by one (*decode*). The second table is one matrix as a sparse one (CSR: for
# each weight that is kept its value and its column). **Your guess:** from how many zeros on is a sparse matrix faster?

# %% id="costs"
# NBVAL_IGNORE_OUTPUT
from distill_lab import sparse_products

lab.show("costs")
rows = [
    (f"{sparsity:.0%}", f"{size:.2f}", f"{one:.2f}", f"{many:.2f}")
    for sparsity, size, one, many in sparse_products((0.3, 0.5, 0.7, 0.9, 0.95))
]
table(rows, ("zeros", "CSR's bytes / dense", "its time / dense, 1 token", "64 tokens"))

# %% [markdown] id="about-speed"
# Of the models that we timed, only the one with fewer blocks is clearly faster; the others differ by what the clock varies. (Narrower matrices: Lab 7 times them at its end.) By how
# much? A token's time has a part that grows with the blocks, and one that does not: the embedding, the head, the program around them.
#
# $$t(L) = a \cdot L + b$$
#
# {exercise} Write `predict_decode_speed`.

# %% id="predict-decode-speed" role="exercise"
import numpy as np


def predict_decode_speed(blocks: list[int], seconds: list[float], dense: int, kept: int) -> float:
    """How many times as fast as with `dense` blocks a token is made with `kept` blocks: 1.2, say.

    blocks, seconds: what was measured, in any order: so many blocks, so many seconds a token. The line a * L + b goes
    through it by least squares.
    """
    ### BEGIN SOLUTION
    a, b = np.polyfit(blocks, seconds, 1)
    return float((a * dense + b) / (a * kept + b))
    ### END SOLUTION


# %% id="check-predict-decode-speed" role="check"
# NBVAL_CHECK_OUTPUT
check("lab6.predict_decode_speed", predict_decode_speed)

# %% [markdown] id="stretch-predict-decode-speed"
# <details><summary>Stretch goal, without points</summary>
#
# Fit the line to half of the measurements, and predict the other half. Is the worst error larger than the difference
# between two measurements of the same model?
# </details>

# %% [markdown] id="guess-predict"
# We time the model with all its blocks, and with fewer; predict one more; and then measure it. **Your guess:** with half of its
# blocks the model is … times as fast.

# %% id="predict"
# NBVAL_IGNORE_OUTPUT
import numpy as np

from distill_lab import decode_milliseconds, decode_times

predict_decode_speed = or_ours("lab6.predict_decode_speed", predict_decode_speed)
L = len(influence)
known = [L, L * 5 // 6, L * 2 // 3]
measured = decode_milliseconds(lab, (*known, L // 2))
times = [measured[n] for n in known]
speed = predict_decode_speed(known, times, L, L // 2)
show(decode_times(measured, (L // 2, measured[L] / speed), np.polyfit(known, times, 1)))
print(f"{speed:.2f} times as fast was predicted, {measured[L] / measured[L // 2]:.2f} measured")

# %% [markdown] id="about-play"
# Three measurements give the line, and their noise goes into the prediction: on a busy machine it may be far off. Run the
# cell again, and see how much it varies.
#
# ## Something to play with
#
# Write reviews of your own. Which words does the pruned model no longer understand? Does what recovered understand them again?
# (Look at the third one below: who is wrong there?)

# %% id="play"
# NBVAL_IGNORE_OUTPUT
from distill_lab import Review

mine = [
    "The plot is never dull.",
    "For all its charm, it drags.",
    "A film for everyone who needs sleep.",
]
asked = [Review("", text, 0) for text in mine]
names, rows = ("dense", "wanda:0.5", "wanda:0.5 + KL"), {text: [] for text in mine}
for name in names:
    for text, pair in zip(mine, label_logits(lab.model(name), asked).softmax(-1), strict=True):
        rows[text].append(f"{pair[1]:.0%}")
table([(text, *shares) for text, shares in rows.items()], ("share of positive", *names))

# %% [markdown] id="summary"
# ## Summary
#
# - A mask has an exact count. Ties, groups and padding are where pruning code goes wrong, and a share of zeros does not show it.
# - Compare two ways of pruning at equal zeros, on the same reviews, by a difference with an interval; and where accuracy is too
#   coarse, by the NLL.
# - Zeros in a dense matrix buy nothing. A mask of bits buys bytes, CSR only from seven tenths of zeros on, and time only from nine
#   tenths on. Fewer blocks buy both.
# - Count tied weights once, and say of what a share is the share.
# - Zeros do not survive training, nor a merge, unless somebody sees to it; count them afterwards.
# - A pruned model is a student, and its dense self the teacher.
#
# ## Three questions to test yourself
#
# <details><summary>1. A colleague prunes by Wanda, and gets exactly the mask of magnitude by row. What went wrong?</summary>
#
# The norm was taken over the wrong axis, and is one number for a whole row: it changes no order within the row. (Or all inputs
# are equally loud, which you can see in the picture of section 2.)
# </details>
#
# <details><summary>2. A model has {setting:50} % zeros in its linears, and {setting:40} % in all. What is the rest?</summary>
#
# {arithmetic:20} % of its parameters are in the embedding (and the norms), which nobody prunes: {setting:0.5} times
# {arithmetic:80} % is {arithmetic:40} %.
# </details>
#
# <details><summary>3. A third of the blocks is taken out. Is the model one and a half times as fast?</summary>
#
# Less: b is paid for each token all the same. The smaller the model and the larger its vocabulary, the more b weighs.
# </details>
#
# **Next:** Lab 7: what does a bit cost? And at its end, the whole chain: distil, prune, quantize.

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
