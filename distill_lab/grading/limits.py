"""What one submission may take, all its processes together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    seconds: int = 300
    memory_bytes: int = 6_000_000_000
    folder_bytes: int = 500_000_000
    file_bytes: int = 100_000_000
    processes: int = 20
    cell_seconds: float = 30.0
    call_seconds: float = 10.0
