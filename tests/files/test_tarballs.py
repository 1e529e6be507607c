"""Members of a .tar.gz: as they are, or one line that says what is wrong with the archive."""

import gzip
import io
import tarfile

import pytest
from published import tar_gz

from convmixer.files.tarballs import Damaged, members

FILES = {"a": b"first", "b": b"second" * 1000, "c": b"third"}
ARCHIVE = tar_gz("top", FILES)


def test_the_wanted_members_come() -> None:
    assert members(io.BytesIO(ARCHIVE), {"top/c", "top/a"}, 2**20) == {"top/a": b"first", "top/c": b"third"}


def test_what_comes_after_the_last_wanted_one_is_not_looked_at() -> None:
    archive = tar_gz("top", {"a": b"first", "x": bytes(2**24)})
    assert members(io.BytesIO(archive), {"top/a"}, 2**20) == {"top/a": b"first"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "file|empty|header"),
        (b"<html>", "gzip"),
        (ARCHIVE[:-30], "end"),
        (gzip.compress(b"no tar" * 1000), "header|end"),
        (tar_gz("top", {"a": b""}), "lacks top/c"),
    ],
    ids=["empty", "a page", "cut off", "no tar", "a member is missing"],
)
def test_a_damaged_archive_is_said_to_be(content: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        members(io.BytesIO(content), {"top/a", "top/c"}, 2**20)


def test_one_that_swells_is_given_up() -> None:
    with pytest.raises(Damaged, match="swells"):
        members(io.BytesIO(tar_gz("top", {"a": bytes(2**24)})), {"top/a"}, 2**20)
    with pytest.raises(Damaged, match="swells"):
        members(io.BytesIO(tar_gz("top", {"x": bytes(2**24), "a": b""})), {"top/a"}, 2**20)


def test_a_header_that_swells_is_given_up() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("top/a")
        member.pax_headers = {"comment": "x" * 2**24}
        tar.addfile(member)
    with pytest.raises(Damaged, match="swells"):
        members(io.BytesIO(buffer.getvalue()), {"top/a"}, 2**20)


def test_a_link_is_no_file() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("top/a")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(Damaged, match="lacks top/a"):
        members(io.BytesIO(buffer.getvalue()), {"top/a"}, 2**20)
