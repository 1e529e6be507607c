"""All that is measured on a GPU, in two runs of a few minutes each.

    python -m benchmarks.gpu pack kernels|training --images FOLDER   # here: makes .gpu, which travels with the tree
    OUT=FOLDER bash .gpu/run                                         # on the GPU's machine: the run

The first run checks the kernels and times steps and operations, the second trains; `KERNELS=native` before its command
makes it use the kernels that the first one found right and fast. The machine needs PyTorch and Triton, no network, no
git. Each stage has its time and fails by itself; rows are in OUT as they are measured. `--tiny` is the rehearsal: the
same stages at small sizes, on a CPU in a minute.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import travel
from benchmarks.gpu.ceilings import Network
from benchmarks.gpu.stages import Stage, run_stages

FAST, PAPER, TINY = Network(256, 8, 5, 2), Network(256, 8, 9, 1), Network(8, 2, 3, 4)
WAYS = ["compile", "native, compile", "native, compile, graph", "compile, graph"]
STEPS = [  # what is wanted most comes first: compiling takes most of the time
    (FAST, 512, WAYS),
    (PAPER, 512, WAYS),
    (FAST, 1024, WAYS[:2]),
    (FAST, 512, ["compile, searched", "eager", "native, eager", "compile, NCHW", "compile, reduce-overhead"]),
    (PAPER, 512, ["compile, searched", "compile, reduce-overhead"]),
]
SHAPES = [(64, 256, 16, 16, 5), (16, 256, 32, 32, 9), (64, 256, 16, 16, 9), (64, 256, 16, 16, 7), (32, 64, 32, 32, 5)]
SHAPES += [(3, 5, 7, 14, 4), (5, 7, 8, 8, 3), (2, 3, 9, 64, 15)]
OPERATIONS = [(16, 5), (32, 9), (16, 9), (16, 1), (32, 5), (32, 1), (16, 7), (32, 7)]


def kernel_stages(folder: Path, device: Any, commit: str, is_tiny: bool) -> list[Stage]:
    from benchmarks.gpu import correctness, machine, operations, steps

    if is_tiny:
        checks = partial(correctness.measure, folder, device, [(2, 16, 8, 8, 3)], TINY, 4)
        times = partial(operations.measure, folder, device, [(8, 3), (8, 1)], 2, 8, 0.01)
        plan = [(TINY, 4, ["eager", "native, eager"])]
        return [
            Stage("machine", 300, partial(machine.measure, folder, device, commit, 2**16, 64)),
            Stage("correctness", 300, checks),
            Stage("steps", 300, partial(steps.measure, folder, device, plan, 0.01)),
            Stage("operations", 300, times),
        ]
    return [
        Stage("machine", 20, partial(machine.measure, folder, device, commit, 2**28, 8192)),
        Stage("correctness", 300, partial(correctness.measure, folder, device, SHAPES, FAST, 512)),
        Stage("steps", 100, partial(steps.measure, folder, device, STEPS, 0.3)),
        Stage("operations", 300, partial(operations.measure, folder, device, OPERATIONS, 512, 256, 0.05)),
    ]


def training_stages(folder: Path, data: str, kernels: str, seconds: float, is_tiny: bool) -> list[Stage]:
    from benchmarks.gpu import training

    images = {"data.dataset": "cifar10", "data.path": data, "kernels": kernels}
    if is_tiny:
        tiny = {"d_model": 8, "n_layers": 2, "patch_size": 4, "epochs": 1, "compile": False, "ema": None}
        images = {"data.dataset": "shapes", "device": "cpu"} | tiny
    fast = {"recipe": "fast"} | images
    held_out = fast | {"data.validation": 5000}
    graphed = held_out | {"cuda_graph": not is_tiny}  # which a CPU does not have
    runs = ("fast, held out", "fast, held out, graph")
    left = max(60.0, seconds - 80 - 60 - 140)
    length = {} if is_tiny else {"minutes": (left - 45) / 60, "compile": True}
    paper = {"recipe": "paper", "train_batch_size": 512} | images | length
    seeds = partial(training.train_seeds, folder, "fast", range(2 if is_tiny else 8), fast, None if is_tiny else runs)
    return [
        Stage(runs[0], 80, partial(training.train, folder, runs[0], 0, held_out)),
        Stage(runs[1], 60, partial(training.train, folder, runs[1], 0, graphed)),
        Stage("fast", 140, seeds),
        Stage("paper", left, partial(training.train, folder, "paper", 0, paper)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", choices=["pack", "kernels", "training"])
    parser.add_argument("packed", nargs="?", choices=["kernels", "training"], help="the run to pack for")
    parser.add_argument("--images", type=Path, default=travel.PROJECT.parent / "shared" / "cifar10" / "official")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")))
    parser.add_argument("--seconds", type=float, default=220, help="for all stages")
    parser.add_argument("--commit", default=os.environ.get("COMMIT", "unknown"))
    parser.add_argument("--data", default="", help="CIFAR-10's folder")
    parser.add_argument("--kernels", default="auto", help="of the trainings")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if args.run == "pack":
        if args.packed is None:
            parser.error("pack: name the run, kernels or training")
        size = travel.pack(args.packed, args.images)
        print(f".gpu is ready; {size / 2**20:.1f} MiB travel. There, in the checkout: OUT=FOLDER bash .gpu/run")
        return
    deadline = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    import torch  # and what the stages need, before they are forked; nothing here touches the GPU

    if args.run == "kernels":
        stages = kernel_stages(args.out, torch.device(args.device), args.commit, args.tiny)
    else:
        stages = training_stages(args.out, args.data, args.kernels, args.seconds, args.tiny)
    outcomes = run_stages(stages, args.out, deadline)
    raise SystemExit(any(outcome.outcome != "done" for outcome in outcomes))


if __name__ == "__main__":
    main()
