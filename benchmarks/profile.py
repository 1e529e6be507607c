"""Where the time of a training step goes, by groups of operations.

    python -m benchmarks.profile [KEY=VALUE ...] [--steps 20] [--csv FILE]

Any keys of `experiment.py`; without any, `small` on generated images, by PyTorch's own operations (`kernels=torch`;
with `kernels=native` the fused passes show as one group each way). Steps with and without the profiler take turns, so
what else the machine does meets both. A figure is the median over steps, of time within operations, not counting those
that they call; on a GPU it is the time of the kernels. Batches, several of which may be made at once, are timed by the
clock, and the mean is given. The first steps, which warm up, are reported apart.

The depth-wise backward pass is one operation: it is parted into input and weight as the two take when called alone.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks import tables
from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.configs.overrides import split_assignments
from convmixer.data.batches import Batch
from convmixer.tracking.labml_fixes import use_project_folder
from convmixer.training.hardware import describe_device
from convmixer.training.trainer import Trainer

WARM_UP_STEPS = 5
BATCHES = "augmentation and batches"
DEPTH_WISE_BACKWARD = "depth-wise, backward"

# What a group's operations are called. Convolutions are told apart by their weights.
GROUPS: dict[str, tuple[str, ...]] = {
    "optimizer": ("Optimizer.step", "Optimizer.zero_grad"),
    "clipping": ("aten::_foreach_norm", "aten::linalg_vector_norm", "aten::_foreach_mul_", "aten::clamp"),
    "average of weights": ("aten::_foreach_lerp_",),
    "native layer, forward": ("convmixer::layer_train",),
    "native layer, backward": ("convmixer::layer_backward",),
    "depth-wise, forward": ("convmixer::depthwise_conv2d",),
    DEPTH_WISE_BACKWARD: ("convmixer::depthwise_conv2d_backward",),
    "activation, forward": ("aten::gelu", "aten::relu", "aten::silu"),
    "activation, backward": ("aten::gelu_backward", "aten::threshold_backward", "aten::silu_backward"),
    "BatchNorm, forward": ("aten::batch_norm",),
    "BatchNorm, backward": ("aten::native_batch_norm_backward", "aten::cudnn_batch_norm_backward"),
}
NAMES = {name: group for group, names in GROUPS.items() for name in names}
CONVOLUTIONS = {
    "aten::conv2d": (1, "forward"),
    "aten::_convolution": (1, "forward"),
    "aten::convolution": (1, "forward"),
}
CONVOLUTIONS["aten::convolution_backward"] = (2, "backward")  # which argument is the weight


def group_of(event: FunctionEvent, patches: list[int]) -> str | None:
    """The group of one operation by itself; none where that is not known.

    Args:
        patches: the shape of the patch embedding's weight.
    """
    name, shapes = event.name, event.input_shapes
    if name.startswith("Optimizer."):
        return "optimizer"
    if name in CONVOLUTIONS:
        argument, direction = CONVOLUTIONS[name]
        return f"{_kind(shapes[argument], patches)}, {direction}"
    is_image_like = bool(shapes) and len(shapes[0]) == 4
    if name in ("aten::add", "aten::add_") and is_image_like:
        return "residual" if len(shapes[1]) == 4 else "depth-wise, forward"  # else it is the bias
    if name == "aten::sum" and is_image_like:
        return "depth-wise, bias gradient"
    return NAMES.get(name)


def _kind(weight: list[int], patches: list[int]) -> str:
    if weight == patches:
        return "patch embedding"
    return "depth-wise" if weight[1] == 1 else "point-wise"


def grouped(events: list[FunctionEvent], patches: list[int], self_time: Callable[[FunctionEvent], float]) -> dict:
    """Milliseconds by group. An operation belongs to the group of the outermost that called it and has one."""
    total: dict[str, float] = defaultdict(float)
    for event in events:
        group, caller = None, event
        while caller is not None:
            group = group_of(caller, patches) or group
            caller = caller.cpu_parent
        total[group or "the rest"] += self_time(event) / 1000
    return total


def profiled_step(trainer: Trainer, batch: Batch) -> dict[str, float]:
    """One step's milliseconds by group."""
    is_cuda = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities, record_shapes=True) as recorded:
        trainer.train_step(batch)
        finish(trainer)
    attribute = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    patches = list(trainer.model.patch_emb.conv.weight.shape)
    return grouped(recorded.events(), patches, lambda event: getattr(event, attribute))


def timed(trainer: Trainer, work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and its milliseconds."""
    started = time.perf_counter()
    result = work()
    finish(trainer)
    return result, (time.perf_counter() - started) * 1000


def finish(trainer: Trainer) -> None:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def share_of_input_gradient(trainer: Trainer, rounds: int = 8) -> float:
    """Of the time of a depth-wise backward pass, the two gradients taken one at a time, in turns."""
    layer, images = trainer.model.conv_mixer_layers[0], next(trainer.train.epoch())[0]
    conv: nn.Conv2d = layer.depth_wise_conv
    with torch.no_grad():
        x = trainer.model.patch_emb(images)
    padding = [conv.kernel_size[0] // 2] * 2
    fixed = (None, [1, 1], padding, [1, 1], False, [0, 0], conv.groups)
    out = torch.ops.aten.convolution(x, conv.weight.detach(), *fixed)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for of_input in (True, False):
            started = time.perf_counter()
            mask = [of_input, not of_input, False]
            torch.ops.aten.convolution_backward(out, x, conv.weight.detach(), [0], *fixed[1:], mask)
            finish(trainer)
            seconds[of_input].append(time.perf_counter() - started)
    of_input, of_weight = median(seconds[True][1:]), median(seconds[False][1:])
    return of_input / (of_input + of_weight)


def measure(trainer: Trainer, steps: int) -> tuple[float, float, dict[str, float]]:
    """Milliseconds: all warm-up steps, the median step and the mean batch made for it, and by group."""
    trainer.model.train()
    batches = (batch for epoch in range(10**9) for batch in trainer.train.epoch(epoch))
    _, warm_up = timed(trainer, lambda: [trainer.train_step(next(batches)) for _ in range(WARM_UP_STEPS)])
    making, whole, parts = [], [], []
    for number in range(2 * steps):
        batch, milliseconds = timed(trainer, batches.__next__)
        making.append(milliseconds)
        if number % 2:
            parts.append(profiled_step(trainer, batch))
        else:
            whole.append(timed(trainer, partial(trainer.train_step, batch))[1])
    groups = {name: median(step.get(name, 0.0) for step in parts) for name in set().union(*parts)}
    groups[BATCHES] = mean(making)
    if DEPTH_WISE_BACKWARD in groups:
        both, share = groups.pop(DEPTH_WISE_BACKWARD), share_of_input_gradient(trainer)
        groups["depth-wise, backward: input"] = both * share
        groups["depth-wise, backward: weight"] = both * (1 - share)
    return warm_up, median(whole) + mean(making), groups


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--csv", type=Path, help="write the figures to this file too")
    args = parser.parse_args()

    use_project_folder()
    conf = Configs()
    conf.override({"data.dataset": "shapes", "recipe": "small", "kernels": "torch"} | split_assignments(args.overrides))
    trainer = build(conf).trainer
    warm_up, step, groups = measure(trainer, args.steps)
    total = sum(groups.values())
    print(f"{describe_device(trainer.device)}, torch {torch.__version__}, {trainer.precision}".replace("torch.", ""))
    print(f"{conf.d_model}/{conf.n_layers} k{conf.kernel_size} p{conf.patch_size}, batch {conf.train_batch_size}")
    rate = conf.train_batch_size / step * 1000
    print(f"a step with its batch: {step:.1f} ms, {rate:.0f} images/s, medians of {args.steps}; ", end="")
    print(f"within operations: {total:.1f} ms; the first {WARM_UP_STEPS} steps: {warm_up:.0f} ms")
    rows = sorted(groups.items(), key=lambda item: -item[1])
    for name, milliseconds in rows:
        print(f"{name:30} {milliseconds:9.2f} ms  {milliseconds / total:6.1%}")
    if args.csv:
        table = [{"group": name, "milliseconds": f"{ms:.3f}", "share": f"{ms / total:.4f}"} for name, ms in rows]
        tables.put(args.csv, table)


if __name__ == "__main__":
    main()
