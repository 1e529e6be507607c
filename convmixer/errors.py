"""The errors that end a command. Each carries one line for stderr and an exit status."""


class UserError(Exception):
    """An error in what a user typed or in a file, found before training starts: exit status 2."""

    exit_status = 2


class TrainingFault(Exception):
    """An error that stopped a run while it was training (NaN loss, disk full, ...): exit status 1.

    Everything recorded before it is kept, and the message names the command that resumes.
    """

    exit_status = 1


class Interrupted(Exception):
    """The end of a run that a signal stopped after a checkpoint: exit status 128 + the signal's number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal


class SomeFailed(Exception):
    """The end of a command that failed for some of its inputs and succeeded for the others: exit status 1."""

    exit_status = 1


class Unavailable(Exception):
    """Something that a training can do without, or take from elsewhere, is not available; the text says why."""
