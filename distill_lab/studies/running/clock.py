"""What a study took, all its interrupted parts together."""

from __future__ import annotations

import time
from pathlib import Path

from distill_lab.run.folder import RunFolder


class Clock:
    """Runs from here on; what is noted in the study's work folder, a kill leaves."""

    def __init__(self, work: Path, study: str) -> None:
        self._notes, self._name = RunFolder(work), f"seconds of the study {study}"
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """All that was noted."""
        return self._notes.read_notes().get(self._name, 0.0)

    def tick(self) -> None:
        """Notes the time since it was noted last."""
        now = time.monotonic()
        self._notes.write_note(self._name, self.seconds + now - self._since)
        self._since = now
