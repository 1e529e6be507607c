"""Reads `torch.save` files from untrusted sources: only tensors and plain values; no code in them is run."""

import io
import warnings
import zipfile
from typing import Any

import torch

from convmixer.console import one_line


class NotPlain(Exception):
    """The error for a file that is damaged, or that holds more than tensors and plain values."""


def load_plain(content: bytes) -> Any:
    """Read the content of a `torch.save` file onto the CPU.

    Raises:
        NotPlain: it could be code, is damaged, or would need more memory than the file is large.
    """
    try:
        _refuse_packed(content)
        with warnings.catch_warnings(action="ignore"):  # torch warns about files that are refused anyway
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler given broken bytes may raise anything at all
        raise NotPlain(one_line(error)) from None


def _refuse_packed(content: bytes) -> None:
    """Raise NotPlain for a compressed file, which could be huge in memory; `torch.save` never compresses."""
    if not content.startswith(b"PK"):
        return
    members = zipfile.ZipFile(io.BytesIO(content)).infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise NotPlain("it is compressed")
    if sum(member.file_size for member in members) > len(content):
        raise NotPlain("its parts claim to be larger than the whole")


def holds_its_numbers(tensor: Any) -> bool:
    """Return True if a value is an ordinary tensor whose storage holds all its numbers."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return not tensor.is_quantized and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
