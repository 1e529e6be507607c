"""`train` and `resume` under torchrun: the first worker decides, records and tests; the others train along.

Workers that are started anew after one was lost, or by the same command with the same `--rdzv-id`, find the run of
their job and go on with it from its last checkpoint.
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
    """All that the first worker has decided to train: which values were given, and all values."""

    given: dict[str, Any]
    values: dict[str, Any]


# What to train, and the run that is gone on with; None: nothing, as the run has ended.
Decision = tuple[Configs, Run | None] | None
Decide = Callable[[], Decision]


def train_together(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
    """Train a run, or go on with the one that this job has begun.

    Raises:
        UserError: in all workers, what one of them finds wrong.
    """
    if given.get("seeds", 1) > 1:
        raise UserError("command line: seeds is for one process: under torchrun train one seed after another")
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
        log.info("goes on with run %s, which this job has begun", old.uuid[:8])
        return reopen(configs_class, old, {}, ()), old

    _train_as_first_decides(configs_class, decide, quiet)


def resume_together(configs_class: type[Configs], reference: str, changes: Mapping[str, Any], quiet: bool) -> None:
    """Go on with a run, by any number of workers.

    Raises:
        UserError: in all workers, what one of them finds wrong.
    """

    def decide() -> Decision:
        resumed = run(reference)
        return reopen_unended(configs_class, resumed, changes), resumed

    _train_as_first_decides(configs_class, decide, quiet)


def _run_of_job(job: str, given: Mapping[str, Any]) -> Run | None:
    """The run that this job has begun. One that has ended counts for restarted workers alone: a name can be reused."""
    for begun in reversed(all_runs()):
        with contextlib.suppress(UserError):  # a damaged run is none of ours
            is_open = torchrun.restarts() or not begun.summary
            if is_open and f"job:{job}" in begun.info["tags"] and begun.given == given:
                return begun
    return None


def _train_as_first_decides(configs_class: type[Configs], decide: Decide, quiet: bool) -> None:
    workers = join()
    try:
        _train(workers, configs_class, decide, quiet)
    except Exception as error:
        torchrun.claim_error_message()  # before it leaves: that others then miss it is not what there is to say
        if is_loss_of_a_worker(error):
            raise TrainingFault("another worker ended, or did not answer, before training began") from None
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
    """Load the data: one worker of a machine decodes them, or fetches them, the others then find them in the cache."""
    job = hashlib.sha256(torchrun.job().encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"convmixer-{job}.lock"):
        _ = conf.data.dataset
