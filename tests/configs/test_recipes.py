"""Every recipe trains, through the real command, as it is but for its size."""

import pytest
from run_folders import only_run

from convmixer.configs.recipes import RECIPES

SIZE = {"model_size", "kernel_size"}
SMALL = ["d_model=32", "n_layers=1", "patch_size=2", "train_batch_size=32", "steps=4"]


def without(tiny_run_overrides: list[str]) -> list[str]:
    """Where the images are; what is left out is the recipe's."""
    return [override for override in tiny_run_overrides if override.startswith("data.")][:2]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, command, tiny_run_overrides, tmp_path) -> None:
    where = without(tiny_run_overrides)
    validation = [] if RECIPES[name]().get("data.validation") == 0 else ["data.validation=30"]
    command(*where, *validation, *SMALL, f"recipe={name}", "compile=no")
    trained = only_run(tmp_path)
    assert trained.status == "completed"
    assert ("accuracy.valid" in trained.summary) == bool(validation)
    of_recipe = RECIPES[name]().keys() - trained.given.keys() - SIZE
    assert {key: trained.recorded[key] for key in of_recipe} == {key: RECIPES[name]()[key] for key in of_recipe}


def test_medium_is_small_with_a_network_of_smaller_patches_and_small_crops_first() -> None:
    small, medium = RECIPES["small"](), RECIPES["medium"]()
    crops = {"augment.ops", "augment.small_crop", "augment.off_for"}
    assert {key for key in medium if medium[key] != small.get(key)} == {"d_model", "patch_size", *crops}
    assert medium["patch_size"] < small["patch_size"]
    assert medium["augment.ops"] == [*small["augment.ops"], "small_crop"]


@pytest.mark.slow
def test_compiled_with_cuda_graphs_asked_for_a_run_learns_as_without(command, tiny_run_overrides, tmp_path) -> None:
    """On a GPU that records graphs; on a CPU it is the compiler's code alone."""
    command(*tiny_run_overrides, "compile=yes", "compile_mode=reduce-overhead")
    assert only_run(tmp_path).summary["accuracy.test"] > 0.6
