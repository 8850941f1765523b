"""What a run of pruning found: numbers, findings with intervals, pictures, the page."""
