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

from convmixer.model.kernels import triton_depthwise, triton_pointwise  # noqa: E402

KERNELS = [(triton_depthwise, "_convolve"), (triton_depthwise, "_filter_gradient")]
KERNELS += [(triton_pointwise, "_sum_of_products")]
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


def check(width: int, kernel: int, dtype: torch.dtype, generation: int, stack: int = 0) -> None:
    for launch in all_launches(width, kernel, dtype):
        took = needs(launch, generation)
        name = f"{launch.kernel.__name__}, {width} wide, k{kernel}, {dtype}, {GENERATIONS[generation]}: {took[:3]}"
        print(name)
        assert took.registers < 255 or stack, name
        assert took.stack <= stack, name
        assert took.shared <= SHARED_MEMORY, name
        if dtype.itemsize == 2:
            assert MATRIX_INSTRUCTIONS[generation] in took.ptx, name


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled before is compiled again."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", os.environ.get("TRITON_DEFAULT_FP_FUSION", "1"))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("width", "kernel"), [(16, 5), (32, 9)])
def test_the_paper_and_the_fast_networks_use_matrix_instructions_and_spill_nothing(
    width: int, kernel: int, generation: int
) -> None:
    check(width, kernel, torch.bfloat16, generation)


@pytest.mark.slow
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("kernel", [3, 15])
@pytest.mark.parametrize("width", [8, 64])
def test_other_sizes_and_types(width: int, kernel: int, dtype: torch.dtype, generation: int) -> None:
    """In float32 a convolution of planes 64 wide spills some numbers: up to 288 bytes were seen, k15 on an A100."""
    check(width, kernel, dtype, generation, stack=0 if dtype.itemsize == 2 or width < 64 else 320)
