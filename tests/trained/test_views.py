"""Test-time views of an image, and the mean of their logits."""

import pytest
import torch

from convmixer.trained.views import DESCRIPTIONS, VIEWS, View

IMAGE = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4, 1)


def rows(view: View) -> list[list[int]]:
    return view.of(IMAGE)[0, :, :, 0].tolist()


def test_an_image_is_mirrored_left_to_right() -> None:
    assert rows(View(1, mirrored=True)) == [[3, 2, 1, 0], [7, 6, 5, 4], [11, 10, 9, 8]]


def test_shifted_it_takes_in_a_reflection_of_its_edge() -> None:
    assert rows(View(1, down=1, right=1)) == [[5, 4, 5, 6], [1, 0, 1, 2], [5, 4, 5, 6]]
    assert rows(View(1, down=-1, right=-1)) == [[5, 6, 7, 6], [9, 10, 11, 10], [5, 6, 7, 6]]


def test_mirroring_comes_before_shifting() -> None:
    assert rows(View(1, True, 0, 1)) == [[2, 3, 2, 1], [6, 7, 6, 5], [10, 11, 10, 9]]


@pytest.mark.parametrize("name", VIEWS)
def test_weights_sum_to_one_and_each_view_has_its_mirror_image(name: str) -> None:
    views = VIEWS[name]
    assert sum(view.weight for view in views) == 1 and name in DESCRIPTIONS
    for view in views:
        assert View(view.weight, not view.mirrored, view.down, view.right) in views
