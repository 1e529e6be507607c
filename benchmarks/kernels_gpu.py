"""The training step of a whole network through the Triton kernels, beside torch.compile's in its best memory format.

    python -m benchmarks.kernels_gpu [--model 256 8 9 2] [--batch 512] [--rounds 20] [--csv FILE]

On a GPU, in bfloat16, forward and backward without the optimizer, all sides compiled; every side takes its turn in each
round, a ratio is of turns of one round. Not run yet: no GPU was at hand. `--device cpu --rounds 1` only shows that it
starts: the kernels there are those in C++, in float32.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.throughput import add_rows
from convmixer.model.kernels import choose_path
from convmixer.model.layers import PatchEmbeddings
from convmixer.model.variants import conv_mixer

WARM_UP = 5


@dataclass(frozen=True)
class Row:
    """Milliseconds of a step, medians; ratios are theirs over ours."""

    model: str
    batch: int
    against: str
    milliseconds: float
    theirs: float
    ratio: float
    ratio_min: float
    ratio_max: float
    device: str
    torch: str


class AnyOrder(PatchEmbeddings):
    """Leaves the order of memory as it is given: NCHW stays NCHW."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(self.conv(x)))


def step_of(model: nn.Module, images: Tensor, precision: torch.dtype) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, precision, enabled=precision is not torch.float32):
            loss = model(images).float().square().mean()
        loss.backward()

    return step


def sides(numbers: list[int], images: Tensor, precision: torch.dtype) -> dict[str, Callable[[], None]]:
    """Native, and torch.compile in both memory formats: inductor changes convolutions to channels_last unless told."""
    made = {}
    for name in ("native", "compile, channels_last", "compile, NCHW"):
        torch.manual_seed(0)
        model = conv_mixer(*numbers).to(images.device)
        choose_path(model, "native" if name == "native" else "torch", images.device, precision)
        options = {}
        if name == "compile, NCHW":
            model.patch_emb.__class__ = AnyOrder
            options = {"layout_optimization": False}
        made[name] = step_of(torch.compile(model, options=options), images, precision)
    return made


def milliseconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", type=int, nargs=4, default=[256, 8, 9, 2], help="width, layers, kernel, patch")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--csv", type=Path, help="add the figures to this file, in place of earlier ones")
    args = parser.parse_args()

    device = torch.device(args.device)
    images = torch.randn(args.batch, 3, 32, 32, device=device)
    steps = sides(args.model, images, torch.bfloat16 if device.type == "cuda" else torch.float32)
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    times = [{name: milliseconds(step, device) for name, step in steps.items()} for _ in range(args.rounds)]
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    rows, model = [], "{}/{} k{} p{}".format(*args.model)
    for against in list(steps)[1:]:
        ratios = [each[against] / each["native"] for each in times]
        ours, theirs = (median(each[name] for each in times) for name in ("native", against))
        spread = (median(ratios), min(ratios), max(ratios))
        rows.append(Row(model, args.batch, against, ours, theirs, *spread, where, torch.__version__))
        print(rows[-1])
    if args.csv:
        add_rows(args.csv, rows, ("model", "batch", "against", "device"))


if __name__ == "__main__":
    main()
