"""`torch.save` files that may come from anyone: tensors and plain values, or nothing. No code in them is run."""

import io
import warnings
import zipfile
from typing import Any

import torch

from convmixer.console import one_line


class NotPlain(Exception):
    """A file is damaged, or holds more than tensors and plain values."""


def load_plain(content: bytes) -> Any:
    """What `torch.save` wrote, on the CPU.

    Raises:
        NotPlain: it could be code, is damaged, or swells when it is read.
    """
    try:
        _refuse_packed(content)
        with warnings.catch_warnings(action="ignore"):  # of torch's, on what is refused anyway
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler given broken bytes may raise anything at all
        raise NotPlain(one_line(error)) from None


def _refuse_packed(content: bytes) -> None:
    """`torch.save` never compresses, so that what is in a file takes no more memory than the file."""
    if not content.startswith(b"PK"):
        return
    members = zipfile.ZipFile(io.BytesIO(content)).infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise NotPlain("it is compressed")
    if sum(member.file_size for member in members) > len(content):
        raise NotPlain("its parts claim to be larger than the whole")


def holds_its_numbers(tensor: Any) -> bool:
    """Whether it is an ordinary tensor; one number can pose as a tensor of any size."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return not tensor.is_quantized and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
