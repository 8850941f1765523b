"""What notebooks import to begin a lab, and to show pictures and tables."""

from distill_lab.course.display import show, table
from distill_lab.course.lab import begin

__all__ = ["begin", "show", "table"]
