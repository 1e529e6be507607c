"""Chooses the device and precision of a training, describes the hardware, and sets the CPU's allocator."""

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import torch

from convmixer.console import counted
from convmixer.errors import UserError

# Names of glibc's mallopt parameters, from its malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def choose_device(name: str) -> torch.device:
    """Return the device of a name: 'auto' (CUDA, else Apple's MPS, else the CPU), 'cpu', 'cuda', 'cuda:1' or 'mps'.

    Raises:
        UserError: this machine does not have it; the message lists the available devices.
    """
    there = available_devices()
    if name == "auto":
        return torch.device(there[0])
    if name not in there:
        raise UserError(f"device={name} is not available on this machine, which has auto, {', '.join(there)}")
    return torch.device(name)


def available_devices() -> list[str]:
    """Return the names of this machine's devices, the best first; the CPU is always there, as the last."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    cuda = ["cuda", *(f"cuda:{i}" for i in gpus)] if gpus else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the number type of a name: 'auto' (16 bits on CUDA, else float32), 'float32', 'bfloat16' or 'float16'.

    Raises:
        UserError: the device does not support it.
    """
    has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if name == "float16" and device.type == "cpu":
        raise UserError("precision=float16 needs a GPU; a CPU supports float32 and bfloat16")
    if name == "bfloat16" and not has_bfloat16:
        raise UserError("precision=bfloat16 is not supported by this GPU; float16 is")
    return getattr(torch, name)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return the context in which a network computes in `precision`; it does nothing for float32."""
    return nullcontext() if precision is torch.float32 else torch.autocast(device.type, precision)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    names = ("torch", "numpy", "labml")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def describe_device(device: torch.device) -> str:
    """Return the name of a device, with its number of threads or its memory in GiB."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU (MPS)"
    return f"{cpu_name()}, {counted(torch.get_num_threads(), 'thread')}"


def cpu_name() -> str:
    """Return the processor's name from Linux, else from Python's `platform`."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def keep_freed_memory() -> bool:
    """Make this process keep the memory of freed CPU tensors for reuse. Return True if that is possible.

    glibc maps every large block separately and unmaps it when it is freed. Activations are large blocks, so in each
    step the kernel would zero them page by page, which can take longer than the computation. Other C libraries have no
    such setting: there, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No block gets its own mapping, and the free end of the heap is never returned to the system.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def give_back_freed_memory() -> None:
    """Return the freed memory that PyTorch and the C library keep to the system, once."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
