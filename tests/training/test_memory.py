"""The largest batch that fits, measured."""

import pytest
import torch
from test_trainer import make_trainer

from convmixer.training.memory import advice, is_out_of_memory
from convmixer.training.trainer import Trainer


def limited(room: int, **options) -> Trainer:
    """A trainer whose network takes `room` images at once."""
    trainer = make_trainer(**options)
    network = trainer.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        if len(images) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return network(images)

    trainer.forward = forward
    return trainer


def failed_update(trainer: Trainer) -> Exception:
    trainer.model.train()
    with pytest.raises(RuntimeError) as caught:
        trainer.train_step(next(trainer.train.epoch()))
    return caught.value


@pytest.mark.parametrize("room", [2, 16, 69])
def test_the_largest_that_fits_is_found_to_a_sixteenth(room: int) -> None:
    trainer = limited(room)
    trainer.train.batch_size = 10_000  # of 70 images
    said = advice(trainer, failed_update(trainer))
    fits, too_large = (int(word) for word in said.replace(",", "").split() if word.isdecimal())
    assert fits <= room < too_large and too_large - fits <= max(1, fits // 16)
    assert "train_batch_size=70 does not fit" in said


def test_the_remedy_keeps_the_batch() -> None:
    trainer = limited(7)
    assert "micro_batch_size=4 would keep train_batch_size=16" in advice(trainer, failed_update(trainer))
    trainer = limited(3, micro_batch_size=8)
    said = advice(trainer, failed_update(trainer))
    assert "micro_batch_size=8 does not fit; 3 does, 4 does not (measured); micro_batch_size=2" in said


def test_a_network_that_is_too_large_for_any_batch_is_named() -> None:
    trainer = limited(0)
    assert "not even 2 images at once fit" in advice(trainer, failed_update(trainer))


def test_memory_that_runs_out_elsewhere_is_not_the_batchs_fault() -> None:
    try:
        raise MemoryError("no room for logits")
    except MemoryError as error:
        assert "give a smaller valid_batch_size (no room for logits)" in advice(make_trainer(), error)


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
