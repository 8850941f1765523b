"""The training objective with its T^2: `distillation` to be read, `fused` the same, fast."""
