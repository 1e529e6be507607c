"""The command `set`."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from convmixer.commands.shared import OVERRIDES, RUN, pass_configs
from convmixer.errors import UserError

if TYPE_CHECKING:
    from convmixer.tracking.runs import Run

PATIENCE = 60.0  # seconds for the next update, which may be a validation away


@click.command("set")
@RUN
@OVERRIDES
@pass_configs
def set_(configs_class: type, run: str, overrides: tuple[str, ...]) -> None:
    """Change values of a run while it trains.

    RUN is its uuid, the beginning of it, or `last`. Learning rates, weight decay, label smoothing, gradient clipping
    and the length (epochs or steps) change before the next update, strengths of augmentation with the next epoch.
    `stop=true` ends the training now, and tests its weights.
    """
    from convmixer.tracking import runs
    from convmixer.tracking.labml_fixes import use_project_folder

    use_project_folder()
    chosen = runs.run(run)
    try:
        number, n = ask_for(configs_class, chosen, overrides)
    except OSError as error:
        raise UserError(f"{chosen.folder}: can't be written: {error.strerror}") from None
    _answer(chosen, number, n)


def ask_for(configs_class: type, run: "Run", assignments: Sequence[str]) -> tuple[int, int]:
    """Check `KEY=VALUE` words, and append them to the requests of a run.

    Returns:
        How many requests the run has now, and how many of them are these.

    Raises:
        UserError: a value is wrong, or can't be changed in this run.
        OSError: the run's folder can't be written.
    """
    from convmixer.configs.checks import check_live
    from convmixer.configs.keys import keys_of
    from convmixer.configs.overrides import check, split_assignments
    from convmixer.configs.reopening import reopen_live
    from convmixer.tracking.live_changes import Request, ask

    asked = split_assignments(assignments)
    if not asked:
        raise UserError("command line: give what to change, as optimizer.learning_rate=0.005, or stop=true")
    stops = _stops(asked.pop("stop", None))
    check_live(reopen_live(configs_class, run, asked), asked)
    if "optimizer.weight_decay" in asked and not run.recorded["optimizer.weight_decay"]:
        raise UserError("optimizer.weight_decay was 0 when this run began, so it can't be changed in it")
    values = check(asked, keys_of(configs_class), "command line")
    requests = [Request(key, value) for key, value in values.items()] + ([Request("stop", True)] if stops else [])
    return ask(run.folder, requests), len(requests)


def _stops(value: str | None) -> bool:
    if value not in (None, "true", "false"):
        raise UserError(f"command line: stop={value} is wrong, expected true or false")
    return value == "true"


def _answer(run: "Run", number: int, n: int) -> None:
    """Wait until the training has taken the last `n` of `number` requests, and print from when on they count."""
    from convmixer.files.locks import is_held
    from convmixer.tracking.live_changes import Change, read_changes
    from convmixer.tracking.run_folder import CHANGES, LOCK

    until = time.monotonic() + PATIENCE
    taken: list[Change] = []
    while len(taken) < n and time.monotonic() < until and is_held(run.folder / LOCK) is not False:
        time.sleep(0.05)
        taken = [change for change in read_changes(run.folder / CHANGES) if number - n < change.request <= number]
    for change in taken:
        print(change)
    if len(taken) < n:
        reason = "is busy" if is_held(run.folder / LOCK) else "does not train now"
        print(f"run {run.uuid[:8]} {reason}: it takes this before its next update")
