"""How much memory there is: of the GPU, or of the machine and the container on it."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def free_bytes() -> float:
    """Memory that could be taken now: of the GPU, or of the machine without one."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return float(min(psutil.virtual_memory().available, *_left_to_groups()))


def held_bytes() -> float:
    """What this process has of it already."""
    if torch.cuda.is_available():
        return float(torch.cuda.memory_reserved())
    return float(psutil.Process().memory_info().rss)


def _left_to_groups() -> Iterator[float]:
    """What a container (docker --memory) or a job (SLURM --mem) may still take.

    The system ends a process that takes more, whatever the machine has. What it keeps of files
    that were read counts as used and can be given up.
    """
    yield float("inf")
    own = re.search(r"^0::/(.+)$", OWN_GROUP.read_text() if OWN_GROUP.exists() else "", re.M)
    for folder in {GROUPS, GROUPS / (own[1] if own else "")}:
        try:
            most, used = (int((folder / name).read_text()) for name in ("memory.max",
                                                                        "memory.current"))
            kept, = re.findall(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(),
                               re.M)
        except (OSError, ValueError):       # "max" is no limit; the whole machine has no such file
            continue
        yield float(most - used + int(kept))
