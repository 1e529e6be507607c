"""Whether the native kernels are right on this GPU: before anything is timed."""

import copy
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from benchmarks.gpu.ceilings import Network
from benchmarks.gpu.stages import Table
from benchmarks.gpu.steps import WAYS, make_step
from benchmarks.gpu.training import Silent
from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.model.kernels import choose_path, depthwise, depthwise_conv2d, plane_layer, pointwise
from convmixer.model.kernels.layer import layer_weights
from convmixer.model.layers import ConvMixerLayer
from convmixer.model.layers import depthwise_conv2d as depthwise_conv2d_reference

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
Shape = tuple[int, int, int, int, int]  # batch, channels, height, width, kernel


@dataclass(frozen=True)
class Check:
    """An error, relative to the norm of what is right, and what it may be at most."""

    check: str
    what: str
    error: float
    tolerance: float
    passed: bool
    problem: str = ""


Errors = Iterator[tuple[str, float, float]]  # what, error, tolerance


def distance(found: Tensor, exact: Tensor) -> float:
    exact = exact.double()
    return ((found.double() - exact).norm() / exact.norm()).item()


def against_float64(device: torch.device, shape: Shape, dtype: torch.dtype) -> Errors:
    """Forward and all gradients of the depth-wise convolution."""
    batch, channels, height, width, kernel = shape
    x, slope = (torch.randn(batch, channels, height, width, device=device).to(dtype) for _ in range(2))
    weight, bias = torch.randn(channels, 1, kernel, kernel, device=device), torch.randn(channels, device=device)
    parts = [part.detach().requires_grad_() for part in (x, weight, bias)]
    out = depthwise_conv2d(*parts)
    found = [out, *torch.autograd.grad(out, parts, slope)]
    parts = [part.double().requires_grad_() for part in (x, weight.to(dtype), bias)]
    out = depthwise_conv2d_reference(*parts)
    exact = [out, *torch.autograd.grad(out, parts, slope.double())]
    for name, a, b in zip(("forward", "input", "weight", "bias"), found, exact, strict=True):
        yield f"{name}, {dtype}, {shape}", distance(a, b), TOLERANCES[dtype]


def same_bits(device: torch.device, shape: Shape) -> Errors:
    """Twice the same gradients of weights."""
    batch, channels, height, width, kernel = shape
    x, slope = (torch.randn(batch, channels, height, width, device=device) for _ in range(2))
    weight = torch.randn(channels, 1, kernel, kernel, device=device)
    one, two = (depthwise._depthwise_conv2d_backward(slope, x, weight, True, True) for _ in range(2))
    yield str(shape), max(distance(b, a) for a, b in zip(one, two, strict=True)), 0.0
    if device.type == "cuda":
        weights, epsilons = layer_weights(ConvMixerLayer(channels, kernel).to(device)), [1e-5, 1e-5]
        found = []
        for _ in range(2):
            out, *kept = plane_layer._plane_layer(x, *weights, epsilons)
            found.append([out, *plane_layer._plane_layer_backward(slope, x, weights, kept[:4], kept[4:], epsilons)])
        yield f"layer, {shape}", float(sum(not torch.equal(a, b) for a, b in zip(*found, strict=True))), 0.0


def point_wise(device: torch.device, dtype: torch.dtype) -> Errors:
    x, slope = (torch.randn(16, 256, 16, 16, device=device).to(dtype) for _ in range(2))
    weight = torch.randn(256, 256, 1, 1, device=device)
    parts = [x.requires_grad_(), weight.requires_grad_()]
    out = pointwise._mix_channels(*parts)
    found = [out, *torch.autograd.grad(out, parts, slope)]
    parts = [part.detach().double().requires_grad_() for part in (x, weight.to(dtype))]
    out = torch.nn.functional.conv2d(*parts)
    exact = [out, *torch.autograd.grad(out, parts, slope.double())]
    tolerance = 1e-3 if dtype is torch.float32 else TOLERANCES[dtype]  # PyTorch's products may use TF32
    for name, a, b in zip(("forward", "input", "weight"), found, exact, strict=True):
        yield f"{name}, {dtype}", distance(a, b), tolerance


def layer(
    device: torch.device, channels: int, mode: str | None, precision: torch.dtype, side: int = 16, kernel: int = 5
) -> Errors:
    """A layer's output and gradients, eager or compiled."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    exact_layer = ConvMixerLayer(channels, kernel).to(device)
    native = copy.deepcopy(exact_layer)
    choose_path(native, "native", device, precision)
    x, slope = (torch.randn(32, channels, side, side, device=device) for _ in range(2))
    run = torch.compile(native, mode=mode, dynamic=False) if mode else native
    for _ in range(3 if mode else 1):  # CUDA graphs are recorded in the second
        parts = [x.detach().requires_grad_(), *native.parameters()]
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            out = run(parts[0])
        found = [each.clone() for each in (out, *torch.autograd.grad(out, parts, slope.to(out.dtype)))]
    exact_layer.double()
    parts = [x.double().requires_grad_(), *exact_layer.parameters()]
    out = exact_layer(parts[0])
    exact = [out, *torch.autograd.grad(out, parts, slope.double())]
    tolerance = 1e-3 if precision is torch.float32 else 3e-2
    for place in (0, 1, 2, 6):  # output, input and the weights of both convolutions; the others are sums that cancel
        yield (
            f"{mode or 'eager'}, {precision}, {side}, k{kernel}, {place}",
            distance(found[place], exact[place]),
            tolerance,
        )


def strides(device: torch.device) -> Errors:
    """What torch.compile is promised is what it gets: the strides of all that the operations give."""
    x = torch.randn(2, 16, 16, 16, device=device).to(memory_format=torch.channels_last)
    weight, matrix = torch.randn(16, 1, 5, 5, device=device), torch.randn(16, 16, 1, 1, device=device)
    one = ConvMixerLayer(16, 5).to(device)
    calls = {
        "depth-wise": (depthwise._depthwise_conv2d, (x, weight, None)),
        "depth-wise, backward": (depthwise._depthwise_conv2d_backward, (x, x, weight, True, True)),
        "point-wise": (pointwise._mix_channels, (x, matrix)),
        "point-wise, backward": (pointwise._mix_channels_backward, (x, x, matrix, True, True)),
    }
    if device.type == "cuda":
        weights, epsilons = layer_weights(one), [1e-5, 1e-5]
        out, *kept = plane_layer._plane_layer(x, *weights, epsilons)
        calls["layer"] = (plane_layer._plane_layer, (x, *weights, epsilons))
        calls["layer, backward"] = (
            plane_layer._plane_layer_backward,
            (out.detach(), x, weights, kept[:4], kept[4:], epsilons),
        )
    for name, (operation, arguments) in calls.items():
        real = operation(*arguments)
        with FakeTensorMode() as mode:
            fakes = tree_map_only(Tensor, mode.from_tensor, arguments)
            promised = operation(*fakes)
        pairs = zip(*((r,) if isinstance(r, Tensor) else r for r in (real, promised)), strict=True)
        yield name, float(sum(a.stride() != b.stride() for a, b in pairs)), 0.0


def updates(device: torch.device, network: Network, batch: int, way: str, against: str) -> Errors:
    """The loss of one way after 20 updates on the same images is near another's."""
    losses = []
    for name in (against, way):
        step = make_step(network, batch, WAYS[name], device)
        made = 3 if WAYS[name].graph else 0  # to record it
        losses.append([step().item() for _ in range(20 - made)][-1])
    yield f"{way} against {against}, {network.name}", abs(losses[1] - losses[0]) / losses[0], 0.05


def graphed_training(device: torch.device) -> Errors:
    """Weights after 20 updates with `cuda_graph=true` are near those without; on a CPU, both are without."""
    weights = []
    for is_graphed in (False, device.type == "cuda"):
        configs = Configs()
        sizes = {"d_model": 16, "n_layers": 2, "patch_size": 4, "steps": 20, "compile": False}
        data = {"recipe": "fast", "data.dataset": "shapes", "device": str(device)}
        configs.override(sizes | data | {"cuda_graph": is_graphed})
        trainer = build(configs).trainer
        trainer.fit(Silent())
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    yield "weights after 20 updates", distance(weights[1], weights[0]), 0.05


def checks_for(
    device: torch.device, shapes: list[Shape], network: Network, batch: int
) -> list[tuple[str, Callable[[], Errors]]]:
    """All checks by name; on a CPU those in float32, and nothing compiled. In every type only the first shape."""
    on_gpu = device.type == "cuda"
    precision = torch.bfloat16 if on_gpu else torch.float32
    checks: list[tuple[str, Callable[[], Errors]]] = [
        ("float64", partial(against_float64, device, shape, precision)) for shape in shapes
    ]
    others = [dtype for dtype in TOLERANCES if on_gpu and dtype is not precision]
    checks += [("float64", partial(against_float64, device, shapes[0], dtype)) for dtype in others]
    checks += [("point-wise", partial(point_wise, device, dtype)) for dtype in (precision, *others)]
    checks += [("bits", partial(same_bits, device, shapes[0])), ("strides", partial(strides, device))]
    for mode in (None, "default", "reduce-overhead") if on_gpu else (None,):
        checks.append(("layer", partial(layer, device, 64, mode, precision)))
    if on_gpu:
        checks += [("layer", partial(layer, device, 256, None, dtype, 32, 9)) for dtype in TOLERANCES]
    checks.append(("graphed training", partial(graphed_training, device)))
    pairs = [("native, eager", "eager")]
    if on_gpu:
        pairs += [("native, compile", "compile"), ("native, compile, graph", "native, compile")]
    return checks + [("updates", partial(updates, device, network, batch, *pair)) for pair in pairs]


def outcome(named_check: tuple[str, Callable[[], Errors]]) -> list[Check]:
    """The rows of a check; of one that breaks off, one row that says why."""
    name, check = named_check
    try:
        return [Check(name, what, error, most, error <= most) for what, error, most in check()]
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return [Check(name, str(getattr(check, "args", ""))[:60], float("nan"), float("nan"), False, problem)]


def measure(folder: Path, device: torch.device, shapes: list[Shape], network: Network, batch: int) -> None:
    """Write correctness.csv, from several processes at once: compiling takes longer than checking.

    Each check has a process of its own, as an error of the GPU ends all that a process may do there.

    Raises:
        RuntimeError: a check failed; after all of them.
    """
    table, failed = Table(folder / "correctness.csv", Check), []
    checks = checks_for(device, shapes, network, batch)
    with multiprocessing.get_context("fork").Pool(min(8, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        for rows in pool.imap_unordered(outcome, checks):
            for row in rows:
                table.add(row)
                failed += [] if row.passed else [row]
    if failed:
        raise RuntimeError(f"{len(failed)} checks failed, first {failed[0]}")
