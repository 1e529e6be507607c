"""Images that augmentation is tested on: noise, few levels, one level, gradients, dark ones; and Pillow on them."""

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image


def noise(n: int, height: int = 8, width: int = 8, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


def _pictures(seed: int, height: int, width: int) -> torch.Tensor:
    levels = noise(1, height, width, seed)[0].long()
    rows = torch.arange(height)[:, None, None] * 255 // (height - 1)
    kinds = [levels, levels // 100 * 100, levels * 0 + seed % 256, (levels // 8 + rows).clamp(max=255), levels // 10]
    return torch.stack([kind.expand(height, width, 3) for kind in kinds]).to(torch.uint8)


# Batches of five images `[5, height, width, 3]`, one of each kind.
pictures = st.builds(_pictures, st.integers(0, 2**31), st.integers(5, 20), st.integers(5, 20))


def by_pillow(images: torch.Tensor, operation: Callable[[Image.Image, int], Image.Image]) -> torch.Tensor:
    """`operation(picture, its number)` on each image, as Pillow has it."""
    results = [operation(Image.fromarray(image.numpy()), i) for i, image in enumerate(images)]
    return torch.stack([torch.from_numpy(np.array(result)) for result in results])
