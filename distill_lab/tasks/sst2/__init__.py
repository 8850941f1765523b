"""SST-2: film reviews, the question put to a model, and the scores of its label logits."""
