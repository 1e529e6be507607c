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

from convmixer import reopening
from convmixer.configs import Configs
from convmixer.errors import TrainingFault, UserError
from convmixer.experiment import running as session
from convmixer.experiment.failures import in_one_line
from convmixer.tracking.runs import Run, all_runs, run
from convmixer.training.distributed import torchrun
from convmixer.training.distributed.workers import Workers
from convmixer.training.divergence import Diverged, check_may_go_back
from convmixer.training.stopping import StopRequest
from convmixer.training.trainer import Trainer

log = logging.getLogger("convmixer")


class Plan(NamedTuple):
    """What the first worker has decided to train: all values, and which of them were given."""

    given: dict[str, Any]
    values: dict[str, Any]


# What to train, and the run that is gone on with; None: nothing, as the run has ended.
Decision = tuple[Configs, Run | None] | None
Decide = Callable[[], Decision]


def train(configs_class: type[Configs], given: Mapping[str, Any], quiet: bool) -> None:
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
        return reopening.reopen(configs_class, old, {}, ()), old

    _train_as_first_decides(configs_class, decide, quiet)


def resume(configs_class: type[Configs], reference: str, changes: Mapping[str, Any], quiet: bool) -> None:
    """Go on with a run, by any number of workers.

    Raises:
        UserError: in all workers, what one of them finds wrong.
    """

    def decide() -> Decision:
        return reopening.reopen_unended(configs_class, run(reference), changes)

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
    workers = distributed.join()
    try:
        _train(workers, configs_class, decide, quiet)
    except Exception as error:
        torchrun.is_first_to_say()  # before it leaves: that others then miss it is not what there is to say
        if distributed.is_loss_of_a_worker(error):
            raise TrainingFault("another worker ended, or did not answer, before training began") from None
        raise
    finally:
        workers.leave()


def _train(workers: Workers, configs_class: type[Configs], decide: Decide, quiet: bool) -> None:
    decided: Decision = None
    with workers.agreeing():
        decided = decide() if workers.is_first else None
    plan = workers.hear_first(Plan(decided[0]._given, decided[0]._values) if decided else None)
    if plan is None:
        return
    if decided:
        conf, old = decided
    else:
        conf, old = configs_class(), None
        conf.override(*plan)
    conf.workers = workers
    with workers.agreeing():
        _one_decodes(conf)
        session.prepare(conf, old)
    if workers.is_first:
        session.begin(conf, quiet, old)
    else:
        _follow(conf)


def _one_decodes(conf: Configs) -> None:
    """Have the data: one worker of a machine decodes them, or fetches them, the others then find them in the cache."""
    job = hashlib.sha256(torchrun.job().encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"convmixer-{job}.lock"):
        _ = conf.data.dataset


def _follow(conf: Configs) -> None:
    """Train along with the first worker."""
    stop = StopRequest(is_patient=True)
    uuid, state = conf.workers.hear_first(None)

    def how_to_go_on(error: Exception | None) -> str:
        command = f"{torchrun.launcher()} {session.script().name} resume {uuid}"
        return f"go on from the last checkpoint, where there is one, with: {command}"

    with in_one_line(conf, stop, how_to_go_on), stop:
        if state:
            conf.trainer.load_state_dict(state)
            conf.trainer.total_steps = state["total_steps"]
        while conf.trainer.step < conf.trainer.total_steps:
            try:
                conf.trainer.fit(_Follower(conf.workers, stop))
            except Diverged as problem:
                _go_back(conf, problem)


def _go_back(conf: Configs, problem: Diverged) -> None:
    """As the first worker does, which has the checkpoints."""
    rewinds = conf.trainer.rewinds + 1
    check_may_go_back(problem, conf.on_nan, rewinds)
    state = conf.workers.hear_first(None)
    if state is None:
        raise problem
    conf.trainer.load_state_dict(state)
    conf.trainer.rewinds = rewinds


class _Follower:
    """What a worker that records nothing tells of its training."""

    def __init__(self, workers: Workers, stop: StopRequest) -> None:
        self.workers = workers
        self.stop = stop

    def metrics(self, images: int, values: dict[str, float]) -> None:
        pass

    def stepped(self, trainer: Trainer) -> None:
        pass

    def epoch_ended(self, trainer: Trainer, values: dict[str, float]) -> None:
        pass

    def should_stop(self) -> bool:
        self.stop.signal = self.workers.agree(self.stop.signal)
        return self.stop.signal is not None

    def checkpoint_is_due(self) -> bool:
        return bool(self.workers.agree(None))

    def checkpoint(self, trainer: Trainer) -> None:
        pass
