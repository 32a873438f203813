"""What one tool in a sandbox may use."""

from dataclasses import dataclass

MEBIBYTE = 1024**2


@dataclass(frozen=True)
class Limits:
    """Bounds of one tool: the first four hold for each process, the rest for all its processes together.

    `memory_bytes` is address space; `tree_memory_bytes` is memory of its own that the whole tree holds, looked
    at several times a second. A tool that writes more than `flood_factor` times `output_bytes` is ended; of less
    the first `output_bytes` of each stream are kept.
    """

    cpu_seconds: int = 120
    memory_bytes: int = 2048 * MEBIBYTE
    file_bytes: int = 64 * MEBIBYTE
    open_files: int = 256
    processes: int = 64
    tree_memory_bytes: int = 1024 * MEBIBYTE
    scratch_bytes: int = 256 * MEBIBYTE
    wall_seconds: float = 600.0
    output_bytes: int = MEBIBYTE
    report_bytes: int = 8 * MEBIBYTE
    flood_factor: int = 16
