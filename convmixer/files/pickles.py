"""Reads `torch.save` files from untrusted sources: only tensors and plain values; no code in them is run."""

import io
import re
import warnings
import zipfile
from collections.abc import Collection
from typing import Any

import torch

from convmixer.console import one_line


class NotPlain(Exception):
    """The error for a file that is damaged, or that holds more than tensors and plain values.

    Attributes:
        found: the full name of the class or function that was found; None if the file is damaged.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        named = re.search(r"GLOBAL (\S+)", problem)
        self.found = named[1] if named else None


class StandIn:
    """Takes the place of an object whose class does not matter here, and keeps nothing of it."""

    def __new__(cls, *parts: object) -> "StandIn":
        return super().__new__(cls)

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_plain(content: bytes, passed_over: Collection[str] = ()) -> Any:
    """Read what `torch.save` wrote, to the CPU.

    Args:
        passed_over: full names of classes whose objects become a `StandIn`; the classes themselves are not imported.

    Raises:
        NotPlain: it could be code, is damaged, or would need more memory than the file is large.
    """
    try:
        _refuse_packed(content)
        with (
            warnings.catch_warnings(action="ignore"),  # of torch's, on what is refused anyway
            torch.serialization.safe_globals([(StandIn, name) for name in passed_over]),
        ):
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
