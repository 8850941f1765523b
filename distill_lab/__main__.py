"""`python -m distill_lab` is `distill-lab`."""

from distill_lab.cli import main

main()
