"""The training loop and its parts: optimizers, schedules, checkpoints, hardware."""
