"""Opens images wherever they are: in a folder, a .zip, Parquet files or WebDataset shards."""

from pathlib import Path

from convmixer.data.folder_trees import Folder
from convmixer.data.parquet import ParquetFiles
from convmixer.data.records import Records, find_files
from convmixer.data.trees import is_tree, open_tree
from convmixer.data.webdataset import TarShards
from convmixer.data.zip_trees import Archive

KINDS: dict[str, type[Records]] = {".parquet": ParquetFiles, ".tar": TarShards}  # by the ending of files


def open_source(path: Path) -> Folder | Archive | Records:
    """Open the images at `path`: a folder, a file, or a pattern of files as `data/*.parquet`.

    Raises:
        UserError: there is nothing there, or it is none of them.
    """
    for ending, kind in KINDS.items():
        files = [] if is_tree(path) else find_files(path, ending)
        if files:
            return kind(path, files)
    return open_tree(path)


def is_source(path: Path) -> bool:
    """Tell if `path` looks like images that `open_source` opens."""
    path = path.expanduser()
    return is_tree(path) or any(find_files(path, ending) for ending in KINDS)
