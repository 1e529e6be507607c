"""A ConvMixer whose patch embedding has two stages, trained as any other: what overlapping patches bring.

    python -m benchmarks.two_stage_stem recipe=small [KEY=VALUE ...]

Two 3x3 convolutions of stride 2, with GELU and BatchNorm between them, replace one 4x4 convolution of stride 4.
Patches overlap then, so a shift of the image by a pixel changes less. timm and labml_nn can't hold such a network,
so it is not a part of the package; this is a script with a part of its own. `starts=[whitening]` takes the first
convolution.
"""

from labml.configs import option
from torch import Tensor, nn

import convmixer
from convmixer.configs import Configs
from convmixer.model import layers


class TwoStageStem(layers.PatchEmbeddings):
    """A patch embedding of 4x4 pixels in two stages, by way of `between` channels at half the size."""

    def __init__(self, d_model: int, in_channels: int, between: int) -> None:
        super().__init__(d_model, 4, in_channels)
        self.conv = nn.Conv2d(in_channels, between, 3, stride=2, padding=1)
        self.norm0 = nn.BatchNorm2d(between)
        self.conv2 = nn.Conv2d(between, d_model, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches: [batch, in_channels, height, width] -> [batch, d_model, height / 4, width / 4]."""
        x = x.contiguous(memory_format=self.memory_format)
        x = self.norm0(self.act(self.conv(x)))
        return self.norm(self.act(self.conv2(x)))


class StemConfigs(Configs):
    """`Configs` with the two-stage stem, and the number of channels between its stages."""

    model = "two_stage_stem"
    between: int = 32


@option(StemConfigs.model)
def two_stage_stem(c: StemConfigs) -> nn.Module:
    """Build the network."""
    stem = TwoStageStem(c.d_model, c.in_channels, c.between)
    return layers.ConvMixer(c.layer, c.n_layers, stem, layers.ClassificationHead(c.d_model, c.n_classes))


if __name__ == "__main__":
    convmixer.main(StemConfigs)
