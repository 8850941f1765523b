"""Pruning: a model that has learnt a task is made smaller or sparser, recovers, and is measured."""
