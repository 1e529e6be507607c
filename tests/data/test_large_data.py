"""A data set need not fit into memory: it trains from its cache on disk, to the same bits."""

import sys
from pathlib import Path

import pytest

from benchmarks.large_data import draw_images, measure, same_results


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Overrides under which a run on 200 images of 16x16 takes a second."""
    draw_images(tmp_path / "images.zip", 200)
    data = ["data.dataset=images", "data.path=images.zip", "data.image_size=16", "data.validation=40"]
    return [*data, "d_model=8", "n_layers=1", "train_batch_size=32", "epochs=2", "augment.ops=[translate,mixup]"]


@pytest.mark.slow
def test_on_disk_or_in_memory_a_run_ends_with_the_same_bits(command, images, tmp_path) -> None:
    said = command(*images, "name=disk", "data.resident=false").stdout
    assert "images  read from disk: as data.resident says" in said
    assert "images  " not in command(*images, "name=memory").stdout
    assert same_results(tmp_path, "disk", "memory")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_set_larger_than_the_memory_there_is(tmp_path) -> None:
    """1.47 GB of images, decoded and trained on with at most 1.4 GB for everything: Python, torch, the network."""
    capped, resident, refused = measure(tmp_path, n=30_000, side=128, cap_mb=1400)
    assert capped.status == 0 and "read from disk: they need 1.47 GB, and" in capped.said
    assert capped.peak_mb < capped.cap_mb < capped.set_mb < resident.peak_mb
    assert resident.status == 0 and same_results(tmp_path, "capped", "resident")
    assert refused.status == 2 and "data.resident=false leaves the images on disk" in refused.said
