"""The Triton kernels in Triton's interpreter, which needs no GPU; interpreted.py has the checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

pytest.importorskip("triton")


def interpret(*checks: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("interpreted.py")), *checks],
        cwd=PROJECT,
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_small_and_odd_shapes_and_an_empty_batch_in_all_types_are_float64s() -> None:
    interpret("convolution=[(3,2,16,16,5),(2,3,3,7,4),(0,2,8,8,3)]", "product=[(3,5,7,10),(0,2,2,4)]")


def test_a_whole_layer_is_float64s_in_all_types_and_learns_as_its_modules_do() -> None:
    interpret("layer=[(2,3,3,7,4)]", "layer_in_a_network")


def test_a_network_for_a_gpu_is_of_whole_planes_and_kernels_start_where_their_tensors_are() -> None:
    interpret("network_in_planes", "launched_on_their_device")


def test_strides_and_gradients_are_as_torch_compile_is_promised() -> None:
    interpret("registered")


@pytest.mark.slow
def test_a_compiled_layer_is_the_layer() -> None:
    interpret("compiled")


@pytest.mark.slow
def test_whole_layers_of_all_sizes() -> None:
    """More channels, places and parts than a program takes; filters of several programs; few pixels.

    Not fewer than 32 to a channel, filters of more than one: BatchNorm of few numbers makes much of what is rounded.
    """
    sizes = [(3, 2, 16, 16, 5), (5, 20, 8, 8, 3), (2, 260, 4, 4, 3), (1, 2, 5, 64, 9), (17, 1, 32, 32, 3)]
    interpret(f"layer={[*sizes, (1, 2, 9, 40, 8), (130, 3, 4, 4, 3)]}")


@pytest.mark.slow
def test_all_sizes_of_planes_and_filters() -> None:
    """More rows, channels and images than a program takes; filters larger than the plane; even ones."""
    sizes = [(2, 3, 32, 32, 9), (1, 3, 64, 64, 9), (1, 2, 5, 64, 15), (9, 2, 16, 16, 15), (2, 2, 14, 14, 7)]
    sizes += [(1, 2, 3, 3, 15), (1, 2, 9, 40, 8), (1, 2, 20, 33, 3), (2, 30, 8, 8, 3), (1, 1, 1, 1, 1)]
    interpret(f"convolution={sizes}", "product=[(3,130,3,70),(130,2,2,3),(2,300,140,64)]")
