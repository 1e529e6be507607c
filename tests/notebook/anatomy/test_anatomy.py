"""What the figures of a network show is what the network does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from torch import Tensor

from convmixer.data.splits import Split
from convmixer.errors import UserError
from convmixer.model.variants import conv_mixer
from convmixer.notebook.anatomy.activations import activation_maps, class_evidence, evidence_maps, stages
from convmixer.notebook.anatomy.augmentations import augmentations, augmented
from convmixer.notebook.anatomy.filters import depth_wise_kernels, patch_filters
from convmixer.notebook.anatomy.images import dataset_of, one_of_each_class
from convmixer.notebook.anatomy.mistakes import confident_mistakes, probabilities
from convmixer.notebook.anatomy.receptive_field import (
    effective_fields,
    effective_size,
    receptive_field,
    theoretical_sizes,
)
from convmixer.trained.network import Trained

CLASSES = ("red", "green", "blue")


def network(
    d_model: int = 8, n_layers: int = 2, kernel: int = 3, patch: int = 2, size: int = 16, channels: int = 3
) -> Trained:
    torch.manual_seed(0)
    model = conv_mixer(d_model, n_layers, kernel, patch, len(CLASSES), channels).eval()
    half = (0.5,) * channels
    configs = {"precision": "float32", "data.dataset": "images", "data.path": None, "data.image_size": None}
    return Trained(
        name="a network",
        model=model,
        classes=CLASSES,
        image_shape=(size, size, channels),
        mean=half,
        std=half,
        configs=configs,
        summary={},
        data={},
        given={},
    )


def images(n: int, size: int = 16, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, size, size, channels), generator=generator).to(torch.uint8)


def pictures(figure: Figure) -> list[Tensor]:
    return [torch.from_numpy(axis.images[0].get_array().data) for axis in figure.axes if axis.images]


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.images]


FIGURES: dict[str, Callable[[Trained, Tensor], Figure]] = {
    "filters": lambda trained, batch: patch_filters(trained),
    "kernels": lambda trained, batch: depth_wise_kernels(trained),
    "maps": lambda trained, batch: activation_maps(trained, batch[0]),
    "evidence": lambda trained, batch: evidence_maps(trained, batch, torch.arange(len(batch)) % len(CLASSES)),
    "field": receptive_field,
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    "sizes",
    [{}, {"d_model": 1, "n_layers": 1, "kernel": 1, "patch": 16}, {"kernel": 4, "channels": 1}],
    ids=["usual", "smallest", "grey, even kernel"],
)
def test_every_figure_of_every_network_can_be_saved(name: str, sizes: dict[str, int], tmp_path: Path) -> None:
    figure = FIGURES[name](network(**sizes), images(2, channels=sizes.get("channels", 3)))
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert pictures(figure)


def test_a_network_built_otherwise_is_refused_in_one_line() -> None:
    other = replace(network(), model=torch.nn.Linear(3, 3))
    with pytest.raises(UserError, match=r"a network: its network has no patch_emb\.conv, which this figure needs"):
        patch_filters(other)


def test_filters_of_detail_come_before_filters_of_plain_colour() -> None:
    trained = network(d_model=2)
    with torch.no_grad():
        plain, edge = trained.model.patch_emb.conv.weight
        plain.copy_(torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 2, 2))
        edge.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).expand(3, 2, 2))
    first, second = pictures(patch_filters(trained))
    assert first[:, 0].tolist() == [[1, 1, 1], [0, 0, 0]]  # white above black
    assert second[0, 0].tolist() == [1, 0.5, 0]  # zero is grey


def test_stages_are_the_outputs_of_the_embedding_and_each_layer() -> None:
    trained, batch = network(), images(4)
    found = stages(trained, batch)
    z = trained.normalise(batch)
    for stage, module in zip(found, (trained.model.patch_emb, *trained.model.conv_mixer_layers), strict=True):
        z = module(z)
        torch.testing.assert_close(stage, z)
    assert not trained.model.patch_emb._forward_hooks


def test_the_mean_of_the_evidence_over_places_is_the_logits() -> None:
    trained, batch = network(), images(4)
    evidence = class_evidence(trained, batch)
    assert evidence.shape == (4, len(CLASSES), 8, 8)
    torch.testing.assert_close(evidence.mean((2, 3)), trained.model(trained.normalise(batch)))


@settings(max_examples=15)
@given(patch=st.integers(1, 3), kernel=st.integers(1, 4), n_layers=st.integers(1, 3))
def test_gradients_reach_exactly_as_far_as_theory_says(patch: int, kernel: int, n_layers: int) -> None:
    sizes = theoretical_sizes(patch, kernel, n_layers)
    size = patch * (sizes[-1] // patch + 3)  # the whole field lies within the image
    trained = network(4, n_layers, kernel, patch, size)
    for field, expected in zip(effective_fields(trained, images(2, size)), sizes, strict=True):
        seen = field > 0
        assert (seen.any(0).sum(), seen.any(1).sum()) == (expected, expected)
        assert field.sum().item() == pytest.approx(1)
        assert 0 < effective_size(field) <= expected


def test_the_effective_size_of_an_even_field_is_that_of_its_share() -> None:
    assert effective_size(torch.full((10, 10), 0.01)) == pytest.approx(90**0.5, abs=0.06)
    assert effective_size(torch.eye(1)) == 1


def test_mistakes_are_shown_the_surest_first() -> None:
    split = Split(images(4), torch.tensor([0, 1, 2, 0]))
    predicted = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])
    figure = confident_mistakes(network(), split, predicted, n=2)
    assert titles(figure) == ["blue →\ngreen 80.0%", "red →\nblue 70.0%"]
    assert torch.equal(pictures(figure)[0], split.images[2])
    assert figure.get_suptitle() == "The 2 most confident of 3 mistakes in 4 images"
    assert confident_mistakes(network(), split, predicted).get_suptitle().startswith("All 3 mistakes, the most")


def test_captions_follow_the_network() -> None:
    assert "all 8, the strongest first" in depth_wise_kernels(network(d_model=8)).get_suptitle()
    assert "the 20 strongest of 32" in depth_wise_kernels(network(d_model=32)).get_suptitle()
    assert "4 of 8 filters" in patch_filters(network(d_model=8), most=4).get_suptitle()
    assert "all 8 channels" in activation_maps(network(d_model=8), images(1)[0]).get_supxlabel()


def test_a_network_without_mistakes_has_an_empty_figure(tmp_path: Path) -> None:
    split = Split(images(3), torch.arange(3))
    confident_mistakes(network(), split, torch.eye(3)).savefig(tmp_path / "figure.png")


def test_probabilities_do_not_depend_on_batches() -> None:
    trained, batch = network(), images(5)
    torch.testing.assert_close(probabilities(trained, batch, 2), probabilities(trained, batch))
    torch.testing.assert_close(probabilities(trained, batch), trained.model(trained.normalise(batch)).softmax(1))


def with_configs(**values: object) -> Trained:
    trained = network()
    return replace(trained, classes=("blue", "green", "red"), configs=trained.configs | values)


def test_the_images_of_a_network_are_found_again(tiny: Path, here: Path) -> None:
    recorded = with_configs(**{"data.path": str(tiny)})
    found = dataset_of(recorded)
    assert len(found.train.labels) == 240 and (here / "data" / "cache").is_dir()
    assert torch.equal(dataset_of(with_configs(), tiny).test.images, found.test.images)
    examples = one_of_each_class(found.test, 2)
    assert examples.shape == (2, 16, 16, 3)
    assert examples.float().mean((1, 2)).argmax(1).tolist() == [2, 1]  # blue, green


def test_images_that_are_not_a_network_s_own_are_refused(tiny: Path, here: Path) -> None:
    with pytest.raises(UserError, match="has the classes blue, green, red, but a network was trained on red, green"):
        dataset_of(network(), tiny)
    with pytest.raises(UserError, match="the place of its images was not recorded"):
        dataset_of(with_configs())
    with pytest.raises(UserError, match="trained on moons, a data set that another script defines"):
        dataset_of(with_configs(**{"data.dataset": "moons"}))


def test_augmentations_alone_and_together(tiny: Path, here: Path) -> None:
    keys = {"augment.ops": ["translate", "flip"], "augment.translate": 2}
    trained = with_configs(**keys)
    dataset = dataset_of(trained, tiny)
    batch = dataset.test.images[:8]
    figure = augmentations(trained, dataset, batch)
    rows = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert rows[:3] == ["image", "translate", "flip"] and rows[-1] == "all of its\ntraining"
    assert "jitter" not in rows and "jitter" in figure.get_supxlabel()  # its keys were not recorded

    shown = torch.stack(pictures(figure)).view(len(rows), *batch.shape)
    torch.testing.assert_close(shown[0], batch / 255)
    flipped = shown[2]
    same = (flipped - batch / 255).abs().amax((1, 2, 3)) < 1e-3
    mirrored = (flipped - batch.flip(2) / 255).abs().amax((1, 2, 3)) < 1e-3
    assert (same | mirrored).all() and same.any() and mirrored.any()


def test_a_key_that_augmentation_needs_and_nobody_gave_is_named(tiny: Path, here: Path) -> None:
    dataset = dataset_of(with_configs(), tiny)
    with pytest.raises(UserError, match=r"^augment\.translate is missing: give its value$"):
        augmented(dataset, dataset.test.images[:2], {"ops": ["translate"]})
