"""Lab 5e, distillation against reinforcement learning: its five exercises, in the notebook's
order."""

from __future__ import annotations

from distill_lab.course.exercises.lab5e.advantages import GROUP_ADVANTAGES
from distill_lab.course.exercises.lab5e.budgets import BUDGET
from distill_lab.course.exercises.lab5e.policy import POLICY_LOSS
from distill_lab.course.exercises.lab5e.reverse import REVERSE_KL
from distill_lab.course.exercises.lab5e.rewards import REWARD

EXERCISES = (REWARD, GROUP_ADVANTAGES, POLICY_LOSS, REVERSE_KL, BUDGET)
