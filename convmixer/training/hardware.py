"""The hardware that training runs on: the choice of device and precision, a line about it, the CPU's allocator."""

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import torch

from convmixer.errors import UserError

# Names of glibc's mallopt parameters, from its malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def choose_device(name: str) -> torch.device:
    """'auto' (CUDA, else Apple's MPS, else the CPU), 'cpu', 'cuda', 'cuda:1' or 'mps'.

    Raises UserError, with what there is, for a device that is not on this machine.
    """
    there = available_devices()
    if name == "auto":
        return torch.device(there[0])
    if name not in there:
        raise UserError(f"device={name}: not on this machine, which has auto, {', '.join(there)}")
    return torch.device(name)


def available_devices() -> list[str]:
    """The names that `choose_device` takes here, best first; the CPU, always there, is last."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    cuda = ["cuda", *(f"cuda:{i}" for i in gpus)] if gpus else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """'auto' (16 bits on CUDA, else float32), 'float32', 'bfloat16' or 'float16'.

    Raises UserError for one that `device` does not compute in.
    """
    has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if name == "float16" and device.type == "cpu":
        raise UserError("precision=float16 needs a GPU; a CPU takes float32 or bfloat16")
    if name == "bfloat16" and not has_bfloat16:
        raise UserError("precision=bfloat16 is not supported by this GPU; float16 is")
    return getattr(torch, name)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """The context in which a network computes in `precision`; float32 needs none."""
    return nullcontext() if precision is torch.float32 else torch.autocast(device.type, precision)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on."""
    names = ("torch", "numpy", "labml")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def describe_device(device: torch.device) -> str:
    """One line: the name, and the threads in use or the memory in GiB."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU (MPS)"
    return f"{cpu_name()}, {torch.get_num_threads()} threads"


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python's `platform` knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that its CPU tensors give back; True if that took effect.

    glibc maps every large block anew and unmaps it when it is freed. Activations are large blocks,
    so in each step the kernel would zero them page by page, which can take longer than the step's
    arithmetic. Other C libraries have no such knob: there nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No block gets a mapping of its own, and the free end of the heap is never given back.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def give_back_freed_memory() -> None:
    """The opposite, once: what PyTorch and the C library keep of freed memory goes back to the system."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
