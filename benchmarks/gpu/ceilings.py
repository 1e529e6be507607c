"""The least time that a training step can take: by the bytes it must move and the arithmetic it must do.

Of the layers alone; patch embedding, head and optimizer take a few percent more. T is an activation, a tensor
[batch, channels, height, width]. A layer's step as `plane_layer` computes it moves `FUSED` T, pass by pass as in
`PASSES`. It would be one less if the sums of a layer's second BatchNorm were found where the layer after it makes their
gradient. It is 32 T where element-wise work is joined only with itself, as torch.compile does around single operations:
forward 11, backward 21.
"""

from typing import NamedTuple

PASSES = {  # of a layer's step, and the activations that each reads and writes
    "convolution, GELU's moments": 2,  # x -> a1
    "BatchNorm, residual, product, GELU's moments": 4,  # x, a1 -> z, a2
    "BatchNorm": 2,  # a2 -> out
    "sums of its gradient": 2,  # slope, a2
    "its gradient, the product's input's, sums of the first BatchNorm's": 5,  # slope, a2, a1 -> da2, dz
    "the product's weights'": 2,  # da2, z
    "the first BatchNorm's, the convolution's weights'": 4,  # dz, a1, x -> da1
    "the convolution's input's, residual": 3,  # da1, dz -> dx
}
FUSED = sum(PASSES.values())
JOINED, SEPARATE = FUSED - 1, 32  # the least that is known, and what separate operations move


class Network(NamedTuple):
    """ConvMixer's numbers, for images of 32 x 32."""

    channels: int
    layers: int
    kernel: int
    patch: int

    @property
    def name(self) -> str:
        return f"{self.channels}/{self.layers} k{self.kernel} p{self.patch}"

    @property
    def side(self) -> int:
        return 32 // self.patch


def step_bytes(network: Network, batch: int, tensors: int, bytes_each: int = 2) -> int:
    """Of all layers, where each moves `tensors` activations."""
    return network.layers * tensors * batch * network.channels * network.side**2 * bytes_each


def step_flops(network: Network, batch: int) -> int:
    """Multiplications and additions of all layers' convolutions, forward and both gradients; all taps count."""
    places = batch * network.side**2
    each = network.channels * (network.channels + network.kernel**2)
    return network.layers * 3 * 2 * places * each


def ceiling(network: Network, batch: int, rates: tuple[float, float], tensors: int = JOINED) -> float:
    """The least milliseconds of a step: the larger of those for the bytes and those for the products.

    Args:
        rates: bytes/s of a copy and FLOP/s of a product of matrices, as measured on the machine.
    """
    by_bytes = step_bytes(network, batch, tensors) / rates[0]
    products = network.layers * 3 * 2 * batch * network.side**2 * network.channels**2 / rates[1]
    return max(by_bytes, products) * 1e3
