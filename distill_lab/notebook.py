"""What notebooks import to begin a lab, to show pictures and tables, and to move one."""

from distill_lab.course.display import show, slider, table
from distill_lab.course.lab import begin

__all__ = ["begin", "show", "slider", "table"]
