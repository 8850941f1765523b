"""`python -m distill_lab` is `distill-lab`."""

from distill_lab import safe_path

safe_path.keep()  # before anything else is imported: `-m` looks first where it was started

from distill_lab.cli.main import main  # noqa: E402

main()
