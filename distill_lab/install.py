"""What the install cell of a notebook imports; it needs only Python's standard library."""

from distill_lab.course.colab_install import install

__all__ = ["install"]
