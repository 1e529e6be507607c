"""The least time that a training step can take: by the bytes it must move and the arithmetic it must do.

Of the layers alone; patch embedding, head and optimizer take a few percent more. T is an activation, a tensor
[batch, channels, height, width]. A layer's step whose element-wise work is all joined with its convolutions and
products moves 23 T: convolution 2, product 4, normalising 2; backward the product 5, its weights' gradient 2, the
convolution's weights' gradient 4, its input's 4. It is 32 T where element-wise work is joined only with itself, as
torch.compile does around the operations of this project: forward 11, backward 21.
"""

from typing import NamedTuple

JOINED, SEPARATE = 23, 32  # activations that a layer's step moves


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
