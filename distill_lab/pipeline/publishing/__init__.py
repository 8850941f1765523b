"""`distill-lab publish`: a student and what it learnt from, with their cards, to the hub."""
