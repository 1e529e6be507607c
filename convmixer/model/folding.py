r"""Folds BatchNorm into its neighbours, for inference: the same logits with fewer passes over memory.

In evaluation BatchNorm is one scale and one shift for each channel, s * x + t. Where a convolution comes right before
it, both vanish into that convolution's weights. In a ConvMixer the activation stands between them, and activations do
not commute with a scale: here BatchNorm can only go forward, into what follows it (equations: `layers`).

- BN 1 stands inside the residual sum: W(s1 * u + t1 + z) + b = W(s1 * u + z) + (b + W t1). The shift goes into the
  bias of the point-wise convolution, which is exact, as that one has no padding. The scale can't go into W, which
  multiplies z too: it stays, but in the same pass as the sum.
- A mean and a linear map follow the last BN 2: W mean(s * v + t) + b = (W s) mean(v) + (b + W t). So it vanishes.
- Every other BN 2, and that of the patch embedding, feeds a depth-wise convolution that adds zeros around its input,
  and the residual. Around s * v + t those zeros are not the ones around v: moved into the convolution, t would come out
  smaller at the edges of the picture than in the middle. And the residual needs s * v + t itself. So it stays: one
  scale and shift.

So of the 2 n + 1 norms of n layers, the last vanishes, n become a factor in the residual sum, and n stay as a scale and
shift. (These could vanish too, with a map of biases for each layer, but only for one size of picture.)
"""

import copy

import torch
from torch import Tensor, channels_last, nn

from convmixer.errors import UserError
from convmixer.model.layers import ClassificationHead, ConvMixer, ConvMixerLayer, DepthWiseConv, PatchEmbeddings


class ScaleShift(nn.Module):
    """BatchNorm in evaluation mode: scale * x + shift, with one scale and one shift for each channel."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.register_buffer("scale", scale[:, None, None])  # [channels, 1, 1]
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each channel: [batch, channels, height, width] -> the same shape."""
        return torch.addcmul(self.shift, x, self.scale)


class FoldedLayer(nn.Module):
    """A ConvMixerLayer whose first norm is a factor in the residual sum and a part of the point-wise bias."""

    def __init__(self, layer: ConvMixerLayer) -> None:
        super().__init__()
        norm1 = ScaleShift(layer.norm1)
        self.depth_wise_conv = _plain(layer.depth_wise_conv)
        self.act1 = layer.act1
        self.register_buffer("scale", norm1.scale)
        self.point_wise_conv = layer.point_wise_conv
        self.point_wise_conv.bias += layer.point_wise_conv.weight.flatten(1) @ norm1.shift.flatten()
        self.act2 = layer.act2
        self.norm2: nn.Module = ScaleShift(layer.norm2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: [batch, d_model, height, width] -> the same shape."""
        x = torch.addcmul(x, self.act1(self.depth_wise_conv(x)), self.scale)
        return self.norm2(self.act2(self.point_wise_conv(x)))


def _plain(conv: DepthWiseConv) -> nn.Conv2d:
    """Return the same convolution as an `nn.Conv2d` that adds its own bias, which is faster without gradients."""
    if conv.kernel_size[0] % 2 == 0:
        return conv  # PyTorch warns when it pads an even kernel itself
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding, groups=conv.groups)
    plain.load_state_dict(conv.state_dict())
    return plain


@torch.no_grad()
def fold(model: nn.Module) -> ConvMixer:
    """Return the same network with BatchNorm folded, for inference on images of any size; it can't be trained.

    Args:
        model: the network; it is not changed.

    Raises:
        UserError: the network has layers that are not from `convmixer.model.layers`.
    """
    if not is_standard(model):
        raise UserError("only a ConvMixer of the built-in layers can be folded; this network has other parts")
    folded = copy.deepcopy(model).eval()
    folded.patch_emb.norm = ScaleShift(folded.patch_emb.norm)
    folded.conv_mixer_layers = nn.ModuleList(FoldedLayer(layer) for layer in folded.conv_mixer_layers)
    last, linear = folded.conv_mixer_layers[-1], folded.classification.linear
    linear.bias += linear.weight @ last.norm2.shift.flatten()
    linear.weight *= last.norm2.scale.flatten()
    last.norm2 = nn.Identity()
    return folded.requires_grad_(False).to(memory_format=channels_last)


def is_standard(model: nn.Module) -> bool:
    """Return True if a model is a ConvMixer with only built-in parts."""
    return (
        type(model) is ConvMixer
        and type(model.patch_emb) is PatchEmbeddings
        and type(model.classification) is ClassificationHead
        and all(type(layer) is ConvMixerLayer for layer in model.conv_mixer_layers)
    )
