"""`train` and `resume` under torchrun: the first worker decides, records and tests; the others only train.

If workers are restarted, because one was lost or by the same command with the same `--rdzv-id`, they find the run of
their job and resume it from its last checkpoint.
"""

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.configs.reopening import reopen, reopen_unended
from convmixer.errors import TrainingFault, UserError
from convmixer.experiment.following import follow
from convmixer.experiment.running import run_recorded
from convmixer.tracking.runs import Run, all_runs, run
from convmixer.training.distributed import torchrun
from convmixer.training.distributed.workers import Workers, is_loss_of_a_worker, join

log = logging.getLogger("convmixer")


class Plan(NamedTuple):
    """The values that the first worker has decided to train with: the given ones, and all of them."""

    given: dict[str, Any]
    values: dict[str, Any]


# The configs to train, and the run to resume, if any; None: there is nothing to train, as the run has ended.
Decision = tuple[Configs, Run | None] | None
Decide = Callable[[], Decision]


def train_together(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
    """Train a run, or resume the one that this job has begun.

    Raises:
        UserError: one worker found something wrong; it is raised in all of them.
    """
    if given.get("seeds", 1) > 1:
        raise UserError("command line: seeds works in one process: under torchrun, train one seed after another")
    job = torchrun.job()

    def decide() -> Decision:
        old = _run_of_job(job, given)
        if old is None:
            conf = configs_class()
            conf.override(given)
            return conf, None
        if old.summary:
            log.info("run %s of this job has ended", old.uuid[:8])
            return None
        log.info("resuming run %s, which this job has begun", old.uuid[:8])
        return reopen(configs_class, old, {}, ()), old

    _train_as_first_decides(configs_class, decide, quiet)


def resume_together(configs_class: type[Configs], reference: str, changes: Mapping[str, Any], quiet: bool) -> None:
    """Resume a run with any number of workers.

    Raises:
        UserError: one worker found something wrong; it is raised in all of them.
    """

    def decide() -> Decision:
        resumed = run(reference)
        return reopen_unended(configs_class, resumed, changes), resumed

    _train_as_first_decides(configs_class, decide, quiet)


def _run_of_job(job: str, given: Mapping[str, Any]) -> Run | None:
    """Return the run that this job has begun. Only restarted workers take one that has ended: a name can be reused."""
    for begun in reversed(all_runs()):
        with contextlib.suppress(UserError):  # skip damaged runs
            is_open = torchrun.restarts() or not begun.summary
            if is_open and f"job:{job}" in begun.info["tags"] and begun.given == given:
                return begun
    return None


def _train_as_first_decides(configs_class: type[Configs], decide: Decide, quiet: bool) -> None:
    workers = join()
    try:
        _train(workers, configs_class, decide, quiet)
    except Exception as error:
        torchrun.claim_error_message()  # before it leaves, so that no other worker reports its absence instead
        if is_loss_of_a_worker(error):
            raise TrainingFault("another worker ended or did not answer before training began") from None
        raise
    finally:
        workers.leave()


def _train(workers: Workers, configs_class: type[Configs], decide: Decide, quiet: bool) -> None:
    decided: Decision = None
    with workers.sharing_errors():
        decided = decide() if workers.is_first else None
    plan = workers.broadcast(Plan(decided[0].given(), decided[0].values()) if decided else None)
    if plan is None:
        return
    if decided:
        conf, resumed = decided
    else:
        conf, resumed = configs_class(), None
        conf.override(*plan)
    with workers.sharing_errors():
        _one_decodes(conf)
        experiment = build(conf, workers, resumed)
    if workers.is_first:
        run_recorded(experiment, conf, quiet, resumed)
    else:
        follow(experiment)


def _one_decodes(conf: Configs) -> None:
    """Load the data: one worker of each machine downloads and decodes them, the others then find them in the cache."""
    job = hashlib.sha256(torchrun.job().encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"convmixer-{job}.lock"):
        _ = conf.data.dataset
