"""Parquet files of images in Hugging Face's layout: a column of image files' bytes, and one of labels.

https://huggingface.co/docs/datasets/image_dataset: an image is a struct of `bytes` and `path`; the names of classes are
in the schema's metadata.
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from convmixer.console import one_line, shortened
from convmixer.data.limits import MAX_COMPRESSION, MAX_MEMBER_BYTES, SMALL
from convmixer.data.records import Records
from convmixer.errors import UserError
from convmixer.files.untrusted import parse_json

if TYPE_CHECKING:
    import pyarrow

MAX_GROUP_BYTES = 2**30  # of images that are decompressed at a time
GROUPS_KEPT = 4  # threads read the images one after the other: they are in few groups at a time
IMAGES = ("image", "img", "jpg", "png", "webp", "picture")  # usual names of columns, where metadata do not say
LABELS = ("label", "labels", "fine_label", "class", "cls", "target", "category")


class ParquetFiles(Records):
    """Parquet files of one data set.

    Raises:
        UserError: pyarrow is not installed, a file is damaged, or it has no such columns.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise UserError(f"{path}: needs the package pyarrow: pip install '.[parquet]'") from None
        super().__init__(path, files)
        self._open = pyarrow.parquet.ParquetFile
        self._opened = [self._file(file) for file in files]
        schema = self._opened[0].schema_arrow
        self._features = _features(schema.metadata or {})
        self._image_column = self._column("images", IMAGES, "Image", _holds_files, schema)
        self._label_column = self._column("labels", LABELS, "ClassLabel", _holds_labels, schema)
        self._starts = [_first_rows(file.metadata) for file in self._opened]
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = Lock()

    def _file(self, path: Path) -> Any:
        try:
            if not path.is_file():
                raise OSError("is not an ordinary file")
            return self._open(path)
        except Exception as error:  # given broken bytes, pyarrow raises many types
            raise UserError(f"{path}: can't be read as Parquet: {one_line(error)}") from None

    def _column(self, what: str, usual: Sequence[str], feature: str, fits: Any, schema: "pyarrow.Schema") -> str:
        """Return the column of images or labels: as the metadata say, else by its name and type."""
        described = [n for n in schema.names if self._features.get(n, {}).get("_type") == feature]
        fitting = [name for name in schema.names if fits(schema.field(name).type)]
        by_name = [name for name in usual if name in fitting]
        found = [name for name in described if name in fitting] or by_name or fitting
        if not found:
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise UserError(f"{self.path}: no column of {what} among {shortened(columns, 300)}")
        return next((name for name in usual if name in found), found[0])

    @cached_property
    def _class_names(self) -> list[str] | None:
        names = self._features.get(self._label_column, {}).get("names")
        is_right = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return names if is_right else None

    def _all_labels(self) -> list[list[str]]:
        return [self._labels(number) for number in range(len(self.files))]

    def _labels(self, number: int) -> list[str]:
        where = f"{self.path}: {self._shown_file(self.files[number])}"
        try:
            values = self._opened[number].read(columns=[self._label_column]).column(0).to_pylist()
        except Exception as error:
            raise UserError(f"{where}: can't be read: {one_line(error)}") from None
        names = self._class_names
        for row, value in enumerate(values):
            is_known = 0 <= value < len(names) if names and isinstance(value, int) else value not in (None, -1)
            if not is_known:
                raise UserError(f"{where}: row {row} has the label {shortened(str(value))}, which names no class")
        return [names[value] if names and isinstance(value, int) else str(value) for value in values]

    def _image(self, number: int, row: int) -> bytes:
        group, row = self._place(number, row)
        value = self._images(number, group)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise UserError("it holds no bytes: paths of images elsewhere are not followed")
        if len(content) > MAX_MEMBER_BYTES:
            raise UserError(f"it has {len(content):,} bytes, more than {MAX_MEMBER_BYTES // 2**20} MiB")
        return content

    def _place(self, number: int, row: int) -> tuple[int, int]:
        """Return the row group that a row of a file is in, and its number there."""
        group = bisect_right(self._starts[number], row) - 1
        return group, row - self._starts[number][group]

    def _images(self, number: int, group: int) -> Any:
        """Return the images of a row group, of which few are kept decompressed."""
        with self._lock:
            if (number, group) not in self._groups:
                self._check_size(number, group)
                table = self._opened[number].read_row_group(group, columns=[self._image_column])
                self._groups[number, group] = table.column(0)
                if len(self._groups) > GROUPS_KEPT:
                    self._groups.popitem(last=False)
            self._groups.move_to_end((number, group))
            return self._groups[number, group]

    def _check_size(self, number: int, group: int) -> None:
        file = self._opened[number]
        described = file.metadata.row_group(group)
        columns = [described.column(i) for i in range(described.num_columns)]
        parts = [c for c in columns if c.path_in_schema.partition(".")[0] == self._image_column]
        size = sum(part.total_uncompressed_size for part in parts)
        packed = sum(part.total_compressed_size for part in parts)
        if size > MAX_GROUP_BYTES or size > MAX_COMPRESSION * max(packed, SMALL):
            raise UserError(f"its row group has {size:,} bytes of images, refused: write it with smaller row groups")

    def _shown_row(self, number: int, row: int) -> str:
        return f"row {row}"


def _first_rows(metadata: "pyarrow.parquet.FileMetaData") -> list[int]:
    """Return the number of the first row of each row group."""
    counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return list(accumulate(counts, initial=0))[:-1]


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's metadata say of each column; nothing where there are none, or they are damaged."""
    try:
        found = parse_json(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, json.JSONDecodeError):
        return {}
    return {name: about for name, about in found.items() if isinstance(about, dict)} if isinstance(found, dict) else {}


def _holds_files(kind: "pyarrow.DataType") -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_files(kind.field("bytes").type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_labels(kind: "pyarrow.DataType") -> bool:
    import pyarrow.types as types

    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)
    return types.is_integer(kind) or is_text
