"""The ways a command ends badly. Each carries one line for stderr and an exit status."""


class UserError(Exception):
    """Something a user typed or a file holds is wrong: found before training starts, exit status 2."""

    exit_status = 2


class TrainingFault(Exception):
    """A run that had begun could not go on (NaN loss, disk full, ...): exit status 1.

    Everything recorded before it is kept, and the message names the command that resumes.
    """

    exit_status = 1


class Interrupted(Exception):
    """A signal stopped a run, after a checkpoint: exit status 128 + its number, as shells expect."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal


class SomeFailed(Exception):
    """A command did all it could, but could not do it for all that it was given: exit status 1."""

    exit_status = 1


class Unavailable(Exception):
    """Something that a training can do without, or take from elsewhere, is not available; the text says why."""
