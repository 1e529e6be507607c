"""Records what this machine does while a run trains on it, in the run's folder: CPU, memory, disk, GPUs."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import psutil

HARDWARE = "hardware.jsonl"
INTERVAL = 5.0  # seconds between samples

_GPU_QUERY = {  # what nvidia-smi tells, under labml's names
    "utilization.gpu": "gpu.utilization",
    "memory.used": "gpu.memory.used",
    "temperature.gpu": "gpu.temperature",
    "power.draw": "gpu.power.usage",
}


async def sample(folder: Path) -> dict[str, float]:
    """Usage by labml's names: percent of each core, bytes of memory and of `folder`'s disk; GPUs by nvidia-smi."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(folder))
    return {
        **{f"cpu.perc.{core}": percent for core, percent in enumerate(psutil.cpu_percent(percpu=True))},
        "memory.used": memory.used,
        "memory.available": memory.available,
        "disk.used": disk.used,
        "disk.free": disk.free,
        **await _gpus(),
    }


async def _gpus() -> dict[str, float]:
    """Percent, MiB, degrees Celsius and watts of each GPU; nothing where there is no NVIDIA driver."""
    if shutil.which("nvidia-smi") is None:
        return {}
    process = await asyncio.create_subprocess_exec(
        "nvidia-smi",
        f"--query-gpu=index,{','.join(_GPU_QUERY)}",
        "--format=csv,noheader,nounits",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return parse_nvidia_smi(output.decode()) if process.returncode == 0 else {}


def parse_nvidia_smi(text: str) -> dict[str, float]:
    """The numbers of nvidia-smi's table; what a GPU can't tell (`[N/A]`) is left out."""
    values = {}
    for line in text.splitlines():
        index, *cells = (cell.strip() for cell in line.split(","))
        for name, cell in zip(_GPU_QUERY.values(), cells, strict=True):
            if cell.replace(".", "", 1).isdigit():
                values[f"{name}.{index}"] = float(cell)
    return values


def append(folder: Path, values: dict[str, float]) -> None:
    """One more line in the run's record."""
    with open(folder / HARDWARE, "a", encoding="utf-8") as file:
        file.write(json.dumps({"track": values, "time": time.time()}) + "\n")
