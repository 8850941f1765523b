"""What the first cell of a notebook imports in Colab; it needs nothing but Python."""

from distill_lab.course.colab_install import install

__all__ = ["install"]
