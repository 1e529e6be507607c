"""Whether images are kept in the training device's memory, or brought there from their file as they are needed."""

from dataclasses import dataclass
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

SHARE = 0.5  # of the free memory that images may take; the rest is for the network and what it computes

PROC, CGROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Residence:
    """Where images are while they are trained on.

    Attributes:
        is_resident: in the device's memory, as opposed to their file.
        reason: in words.
    """

    is_resident: bool
    reason: str


def choose_residence(wanted: bool | None, size: int, device: torch.device) -> Residence:
    """Where images of `size` bytes should be: as `wanted`, or, for None, as fits `SHARE` of the memory that is free."""
    if wanted is not None:
        return Residence(wanted, "as data.resident says")
    free = free_memory(device)
    if free is None or size <= SHARE * free:
        return Residence(True, "they fit")
    return Residence(
        False, f"they take {_gigabytes(size)} of {_gigabytes(free)} of free memory; data.resident=true tries"
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still take there, by the machine, its control group and its limits; None: unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [free for free in (_machine(), _control_group(), *_limits()) if free is not None]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    return _fields(Path("/proc/meminfo")).get("MemAvailable")


def _limits() -> list[int]:
    """What `ulimit -d` and `ulimit -v` leave."""
    taken = _fields(PROC / "status")
    kinds = {"RLIMIT_DATA": "VmData", "RLIMIT_AS": "VmSize"} if resource else {}
    limits = {field: resource.getrlimit(getattr(resource, kind))[0] for kind, field in kinds.items()}
    return [
        limit - taken[field] for field, limit in limits.items() if limit != resource.RLIM_INFINITY and field in taken
    ]


def _control_group() -> int | None:
    """What a container or a batch system leaves (version 2): the least of this group's and those that it is in."""
    lines = _lines(PROC / "cgroup")
    place = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if place is None:
        return None
    groups = [CGROUPS / place, *(CGROUPS / place).parents]
    return min(filter(None, map(_left_in, groups[: len(Path(place).parts) + 1])), default=None)


def _left_in(group: Path) -> int | None:
    limit, used = ("".join(_lines(group / name)) for name in ("memory.max", "memory.current"))
    if not limit.isdecimal() or not used.isdecimal():
        return None  # there is none: `max`
    cached = next((int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith("file ")), 0)
    return int(limit) - int(used) + cached


def _fields(file: Path) -> dict[str, int]:
    """Bytes by name, from lines as `MemAvailable:   123 kB`."""
    words = (line.split() for line in _lines(file))
    return {name.rstrip(":"): int(n) * 1024 for name, n, unit in (w for w in words if len(w) == 3) if unit == "kB"}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
