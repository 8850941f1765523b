"""What notebooks import to begin, and to show a picture or a table."""

from distill_lab.course.lab import begin, show, table

__all__ = ["begin", "show", "table"]
