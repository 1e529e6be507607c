"""The fast paths of the layer, each beside its plain reference."""

from convmixer.model.kernels.choice import CHOICES, Path, choose_path
from convmixer.model.kernels.depthwise import depthwise_conv2d
from convmixer.model.kernels.layer import layer_fits, layer_forward
from convmixer.model.kernels.pointwise import pointwise_conv2d

__all__ = [
    "CHOICES",
    "Path",
    "choose_path",
    "depthwise_conv2d",
    "layer_fits",
    "layer_forward",
    "pointwise_conv2d",
]
