"""Decides whether images are kept in the training device's memory, or read from their file in each epoch."""

from dataclasses import dataclass
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

SHARE = 0.5  # of the free memory that images may take; the rest is for the network and its activations

PROC, CGROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Residence:
    """The place of the images during training: the device's memory, or their file.

    Attributes:
        is_resident: True if they are in the device's memory.
        reason: the reason, in words.
    """

    is_resident: bool
    reason: str


def choose_residence(wanted: bool | None, size: int, device: torch.device) -> Residence:
    """Choose the place of images of `size` bytes: in memory if `wanted`; None: if they fit in `SHARE` of it."""
    if wanted is not None:
        return Residence(wanted, "as data.resident says")
    free = free_memory(device)
    if free is None or size <= SHARE * free:
        return Residence(True, "they fit")
    return Residence(
        False,
        f"they need {_gigabytes(size)}, and {_gigabytes(free)} of memory are free; data.resident=true forces it",
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of free memory on a device for this process; None if unknown.

    On the CPU this is limited by the machine, the process's control group and its `ulimit`.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [free for free in (_machine(), _control_group(), *_limits()) if free is not None]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    return _fields(Path("/proc/meminfo")).get("MemAvailable")


def _limits() -> list[int]:
    """Return the bytes that `ulimit -d` and `ulimit -v` still allow."""
    taken = _fields(PROC / "status")
    kinds = {"RLIMIT_DATA": "VmData", "RLIMIT_AS": "VmSize"} if resource else {}
    limits = {field: resource.getrlimit(getattr(resource, kind))[0] for kind, field in kinds.items()}
    return [
        limit - taken[field] for field, limit in limits.items() if limit != resource.RLIM_INFINITY and field in taken
    ]


def _control_group() -> int | None:
    """Return the bytes that this process's control group (version 2) and its parents still allow; None: no limit."""
    lines = _lines(PROC / "cgroup")
    place = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if place is None:
        return None
    groups = [CGROUPS / place, *(CGROUPS / place).parents]
    return min(filter(None, map(_left_in, groups[: len(Path(place).parts) + 1])), default=None)


def _left_in(group: Path) -> int | None:
    limit, used = ("".join(_lines(group / name)) for name in ("memory.max", "memory.current"))
    if not limit.isdecimal() or not used.isdecimal():
        return None  # no limit: `max`
    cached = next((int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith("file ")), 0)
    return int(limit) - int(used) + cached


def _fields(file: Path) -> dict[str, int]:
    """Return bytes by name, from lines such as `MemAvailable:   123 kB`."""
    words = (line.split() for line in _lines(file))
    return {name.rstrip(":"): int(n) * 1024 for name, n, unit in (w for w in words if len(w) == 3) if unit == "kB"}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
