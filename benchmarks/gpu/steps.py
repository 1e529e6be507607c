"""Training steps of whole networks: PyTorch's ways beside the native kernels, up to a step that is one CUDA graph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.ceilings import JOINED, Network, ceiling
from benchmarks.gpu.machine import milliseconds, rates
from benchmarks.gpu.operations import cudnn_search
from benchmarks.gpu.stages import Table
from convmixer.model.kernels import choose_path
from convmixer.model.variants import conv_mixer
from convmixer.training.compiling import compiled
from convmixer.training.optimizers import MuonAndAdamW, hidden_matrices, learning_rates_on, parameter_groups
from convmixer.training.step_graph import WARM_UP_UPDATES, CudaRecorder


class Way(NamedTuple):
    """How a step is computed; `graph`: all of it, optimizer included, is one CUDA graph."""

    name: str
    kernels: str = "torch"
    planes: bool = False
    mode: str | None = "default"
    graph: bool = False
    searched: bool = False


WAYS = {
    way.name: way
    for way in (
        Way("compile"),
        Way("compile, graph", graph=True),
        Way("compile, searched", searched=True),
        Way("compile, reduce-overhead", mode="reduce-overhead"),
        Way("compile, NCHW", planes=True),
        Way("eager", mode=None),
        Way("native, eager", "native", True, None),
        Way("native, compile", "native", True),
        Way("native, compile, graph", "native", True, graph=True),
    )
}


@dataclass(frozen=True)
class Step:
    """`share` is that of the ceiling: the least time of a step whose element-wise work is all joined (`ceilings`)."""

    network: str
    batch: int
    way: str
    milliseconds: float
    images_per_second: float
    share: float
    peak_gib: float
    problem: str = ""


def make_step(network: Network, batch: int, way: Way, device: torch.device) -> Callable[[], Tensor]:
    """An update on random images, with Muon and AdamW, in bfloat16 on a GPU; gives the loss."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = conv_mixer(*network).to(device, memory_format=torch.channels_last).train()
    choose_path(model, way.kernels, device, precision)
    if way.planes and way.kernels == "torch":
        model.to(memory_format=torch.contiguous_format)
        model.patch_emb.memory_format = torch.contiguous_format
    groups = parameter_groups(model, 0.01, False)
    optimizer = MuonAndAdamW(groups, hidden_matrices(model), 0.01, 0.02, 0.01, [0.9, 0.999], 1e-8)
    if way.graph:
        learning_rates_on(optimizer, device)
    forward = compiled(model, way.mode) if way.mode else model
    images = torch.randn(batch, 3, 32, 32, device=device)
    labels = torch.arange(batch, device=device) % 10

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            loss = F.cross_entropy(forward(images), labels, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return as_graph(step, device) if way.graph else step


def as_graph(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Record a step as one CUDA graph, as training does, after updates that compile and allocate."""
    recorder = CudaRecorder(device)
    recorder.warm_up(lambda: [step() for _ in range(WARM_UP_UPDATES)])
    replay, (loss,) = recorder.record(lambda: (step(),))

    def replayed() -> Tensor:
        replay()
        return loss

    return replayed


def measure(folder: Path, device: torch.device, plan: list[tuple[Network, int, list[str]]], seconds: float) -> None:
    """Write steps.csv for networks, batch sizes and names of ways; then print the best of each side."""
    table, peak, rows = Table(folder / "steps.csv", Step), rates(folder), []
    for network, batch, names in plan:
        for way in (WAYS[name] for name in names):
            took, problem = float("nan"), ""
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                with cudnn_search(way.searched):
                    took = milliseconds(make_step(network, batch, way, device), device, seconds)
            except Exception as error:
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
            gib = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
            share = ceiling(network, batch, peak, JOINED) / took if peak else float("nan")
            rows.append(Step(network.name, batch, way.name, took, batch / took * 1e3, share, gib, problem))
            table.add(rows[-1])
    print_ratios(rows)


def print_ratios(rows: list[Step]) -> None:
    """The best native step beside torch.compile's best, of the same network and batch."""
    for network, batch in dict.fromkeys((row.network, row.batch) for row in rows):
        some = [row for row in rows if (row.network, row.batch, row.problem) == (network, batch, "")]
        native = min((row.milliseconds for row in some if row.way.startswith("native")), default=None)
        theirs = min((row.milliseconds for row in some if row.way.startswith("compile")), default=None)
        if native and theirs:
            print(f"{network}, batch {batch}: native {native:.2f} ms, compile {theirs:.2f} ms, {theirs / native:.2f}x")
