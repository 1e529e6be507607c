"""The Triton kernels compiled, as they are launched, for GPUs that are not here: what they would take of one."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from benchmarks.gpu.ceilings import FUSED, PASSES  # noqa: E402
from convmixer.model.kernels import memory, plane_layer, triton_depthwise, triton_layer, triton_norm, triton_pointwise  # noqa: E402

KERNELS = [(triton_depthwise, "_convolve"), (triton_depthwise, "_filter_gradient")]
KERNELS += [(triton_pointwise, "_sum_of_products")]
WITHOUT_PRODUCTS = ("_sum_slopes", "_normalise", "_finish_moments", "_finish_slopes")
KERNELS += [(triton_layer, "_mix"), (triton_layer, "_mix_gradient"), *((triton_norm, n) for n in WITHOUT_PRODUCTS)]
POINTERS = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}
GENERATIONS = {80: "A100", 90: "H100", 100: "B200"}
MATRIX_INSTRUCTIONS = {80: "mma.sync", 90: "wgmma", 100: "tcgen05.mma"}
SHARED_MEMORY = 99 * 1024  # bytes, of a program; what the smallest of these generations' GPUs (RTX) have


class Launch(NamedTuple):
    kernel: Any
    arguments: tuple
    options: dict[str, int]


class Needs(NamedTuple):
    """A thread's registers and bytes of stack, where spilled registers go; a program's bytes of shared memory."""

    registers: int
    stack: int
    shared: int
    ptx: str


def launches(run: Callable[[], Any]) -> list[Launch]:
    """What `run` would start on a GPU."""
    found: list[Launch] = []

    def recorded(kernel: Any) -> mock.MagicMock:
        def start(*arguments: Any, **options: int) -> None:
            found.append(Launch(kernel, arguments, options))

        recorder = mock.MagicMock()
        recorder.__getitem__.return_value = start
        return recorder

    with ExitStack() as replaced:
        for module, name in KERNELS:
            replaced.enter_context(mock.patch.object(module, name, recorded(getattr(module, name))))
        run()
    return found


def needs(launch: Launch, generation: int) -> Needs:
    """Compile for a GPU, as Triton does when the kernel is first launched there."""
    signature, constants, attributes = {}, {}, {}
    for place, (parameter, value) in enumerate(zip(launch.kernel.params, launch.arguments, strict=True)):
        is_tensor = isinstance(value, torch.Tensor)
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[(place,)] = "constexpr", value
        else:
            signature[parameter.name] = POINTERS[value.dtype] if is_tensor else "i32"
        if is_tensor or (not parameter.is_constexpr and value is not None and value % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    made = triton.compile(source, target=GPUTarget("cuda", generation, 32), options=launch.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())
    return Needs(registers, stack, made.metadata.shared, made.asm["ptx"])


def all_launches(width: int, kernel: int, dtype: torch.dtype, channels: int = 256, batch: int = 512) -> list[Launch]:
    """Of a training step's convolutions: the depth-wise one's, and the gradient of the point-wise one's weights."""
    x = torch.empty(batch, channels, width, width, dtype=dtype, device="meta")
    weight, bias = torch.empty(channels, 1, kernel, kernel, device="meta"), torch.empty(channels, device="meta")

    def run() -> None:
        triton_depthwise.forward(x, weight, bias)
        triton_depthwise.input_gradient(x, weight)
        triton_depthwise.weight_gradients(x, x, weight)
        if dtype.itemsize == 2:
            triton_pointwise.sum_of_products(x.flatten(2), x.flatten(2))

    return launches(run)


def layer_launches(width: int, kernel: int, dtype: torch.dtype, channels: int = 256, batch: int = 512) -> list[Launch]:
    """Of a training step of a whole layer."""
    x = torch.empty(batch, channels, width, width, dtype=dtype, device="meta")
    vector = torch.empty(channels, device="meta")
    filters, matrix = (
        torch.empty(channels, *shape, device="meta") for shape in ((1, kernel, kernel), (channels, 1, 1))
    )
    weights = [filters, vector, vector, vector, matrix, vector, vector, vector]

    def run() -> None:
        plane_layer._plane_layer_on_gpu(x, *weights, [1e-5, 1e-5])
        plane_layer._plane_layer_backward_on_gpu(x, x, weights, [vector] * 4, [x] * 3, [1e-5, 1e-5])

    with mock.patch.object(memory, "order_on", lambda device: torch.contiguous_format):
        return launches(run)


def check(found: list[Launch], generation: int, also: str | None = None) -> None:
    """None spills, and all fit the shared memory; products of 16 bits take matrix instructions.

    Args:
        also: an instruction that products may take in place of the generation's own.
    """
    seen = set()
    for launch in found:
        name = launch.kernel.__name__
        which = (name, *(value for value in launch.arguments if not isinstance(value, torch.Tensor)))
        if which in seen:
            continue
        seen.add(which)
        took, dtype = needs(launch, generation), launch.arguments[0].dtype
        said = f"{name}, {dtype}, {which[1:]}, {GENERATIONS[generation]}: {took[:3]}"
        print(said)
        assert took.stack == 0, said
        assert took.shared <= SHARED_MEMORY, said
        if dtype.itemsize == 2 and name not in WITHOUT_PRODUCTS:
            assert MATRIX_INSTRUCTIONS[generation] in took.ptx or (also and also in took.ptx), said


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled before is compiled again."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", os.environ.get("TRITON_DEFAULT_FP_FUSION", "1"))


def test_a_layer_s_step_moves_as_many_tensors_as_the_model_of_its_time_counts() -> None:
    """Each tensor of the layer's size that a kernel is given is read once, or written once."""
    found = layer_launches(16, 5, torch.bfloat16, channels=8, batch=4)
    size = 4 * 8 * 16 * 16
    moved = {}
    for number, launch in enumerate(found):
        tensors = [value for value in launch.arguments if isinstance(value, torch.Tensor) and value.numel() == size]
        moved[number, launch.kernel.__name__] = len(tensors)
    assert [n for n in moved.values() if n] == list(PASSES.values())
    assert sum(moved.values()) == FUSED == 24


def test_a_layer_of_the_fast_network_on_an_h100() -> None:
    check(layer_launches(16, 5, torch.bfloat16), 90)


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("width", "kernel"), [(16, 5), (32, 9)])
def test_the_paper_and_the_fast_networks(width: int, kernel: int, generation: int) -> None:
    check(all_launches(width, kernel, torch.bfloat16), generation)
    check(layer_launches(width, kernel, torch.bfloat16), generation)


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("kernel", [3, 15])
@pytest.mark.parametrize("width", [8, 64])
def test_other_sizes_and_types(width: int, kernel: int, dtype: torch.dtype, generation: int) -> None:
    check(all_launches(width, kernel, dtype), generation)
    check(layer_launches(width, kernel, dtype), generation)


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("channels", [16, 96, 768])
def test_other_channels(channels: int, generation: int) -> None:
    few = channels < 64  # the rows of wgmma and tcgen05; for fewer, Triton takes the instructions of an A100
    check(layer_launches(8, 7, torch.bfloat16, channels), generation, also=MATRIX_INSTRUCTIONS[80] if few else None)
