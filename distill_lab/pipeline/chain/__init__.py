"""From a student of Lab 5 to a small file: prune, recover, quantize, and what each step lost."""
