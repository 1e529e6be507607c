"""From a command line to a sweep that runs: everything is checked before the study gets its folder."""

import hashlib
import itertools
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convmixer.configs.checks import check_configs
from convmixer.configs.keys import Key, keys_of
from convmixer.configs.overrides import split_assignments
from convmixer.configs.resolving import resolve
from convmixer.configs.schema import Configs
from convmixer.console import say
from convmixer.errors import UserError
from convmixer.project import logs_folder, script
from convmixer.sweeps import report, search, storage
from convmixer.sweeps.executors import Executor, LocalExecutor, gpus
from convmixer.sweeps.live import Screen
from convmixer.sweeps.space import Space
from convmixer.sweeps.space_text import read_space, read_space_file
from convmixer.sweeps.study import Limits, Search, Sweep
from convmixer.sweeps.trial import Plan
from convmixer.tracking.labml_fixes import use_project_folder

DEFAULT_TRIALS = 20

NOT_SEARCHED = {
    "seed": "every point is tried with the same seeds: --seeds K takes K of them",
    "data.dataset": "results on different images can't be compared",
    "data.validation": "results on different images can't be compared",
    "data.test": "results on different images can't be compared",
}


@dataclass(frozen=True)
class Options:
    """The options of `sweep`, as the command line gives them."""

    space: Path | None = None
    trials: int | None = None
    sampler: str | None = None
    pruner: str = "none"
    objective: str = "accuracy.valid"
    direction: str | None = None
    seed: int = 0
    seeds: int = 1
    name: str | None = None
    jobs: int | None = None
    retry: int = 0
    timeout: str | None = None
    stall: str | None = None
    storage: str | None = None
    ray: str | None = None
    gpus: float = 0
    cpus: float = 1
    quiet: bool = False


def launch(configs_class: type[Configs], words: tuple[str, ...], options: Options) -> None:
    """Begin a sweep, or resume it.

    Raises:
        UserError: whatever is wrong in what was asked for.
        Interrupted: a signal stopped it.
        TrainingFault: every trial failed, or the sweep could not go on.
    """
    keys = keys_of(configs_class)
    space = _space(keys, words, options)
    objective = search.objective(options.objective, options.direction)
    seconds, stall = _seconds("--timeout", options.timeout), _seconds("--stall", options.stall)
    seeds = tuple(range(space.fixed["seed"], space.fixed["seed"] + options.seeds))
    sampler, trials, why = _search(space, options)
    check_points(configs_class, space)
    settings = {
        **space.describe(),
        "objective": objective.metric,
        "direction": objective.direction,
        "seeds": seeds,
        "script": script().name,
    }
    name = storage.check_name(options.name if options.name is not None else _name(space, settings))
    executor = _executor(space, options)
    try:
        if options.storage:
            storage.reach(options.storage)
        folder = storage.sweeps_folder() / name
        folder.mkdir(parents=True, exist_ok=True)
        with storage.lock(folder):
            study = storage.create(name, options.storage, objective, settings, sys.argv[0])
            shared = {key: value for key, value in space.fixed.items() if key != "seed"}
            searched = Space(shared, space.parameters)
            plan = Plan(name, folder, logs_folder(), searched, objective, seeds, options.retry, stall or math.inf)
            how = Search(sampler, options.pruner, options.seed)
            sweep = Sweep(study, plan, how, Limits(trials, seconds), executor)
            _run(sweep, executor, why, options.quiet)
    finally:
        executor.close()


def _run(sweep: Sweep, executor: Executor, why: str, quiet: bool) -> None:
    study = sweep.study
    if not quiet:
        say(f"sweep {study.study_name}: {sweep.total} trials ({why}) in {sweep.plan.folder}")
    with Screen(sweep, executor.width(), quiet) as screen:
        sweep.run(screen)
    files = report.write(study)
    if quiet:
        return
    print(f"\n{report.summary(study)}")
    left = sweep.total - sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    if left:
        print(f"time is up with {left} of {sweep.total} trials left; the same command continues them")
    if command := report.best_command(study):
        print(f"the best again: {command}")
    print(f"report: {files[0]}")


def _space(keys: Mapping[str, Key], words: tuple[str, ...], options: Options) -> Space:
    """The space, with what would otherwise be chosen anew for each run made explicit: the recipe and the seed."""
    typed = split_assignments(words)
    filed = read_space_file(options.space) if options.space else {}
    read_space(filed, keys, f"--space {options.space}")  # so that a mistake in it is said to be there
    space = read_space(filed | typed, keys, "command line")
    for parameter in space.parameters:
        if parameter.name in NOT_SEARCHED:
            raise UserError(f"{parameter.name} can't be searched: {NOT_SEARCHED[parameter.name]}")
    if "seeds" in space.fixed or any(p.name == "seeds" for p in space.parameters):
        raise UserError("seeds is for a single training; here it is --seeds K")
    searched = [p.checked_values() for p in space.parameters if p.name == "pretrained"]
    for start in (space.fixed.get("pretrained"), *itertools.chain(*searched)):
        if start in ("last", "best"):
            raise UserError(f"pretrained={start} means another run after each trial: name the run by its uuid")
    if space.fixed.get("data.validation") == 0:
        raise UserError("data.validation=0: a sweep chooses by the validation split, so there must be one")
    if str(space.fixed.get("device", "")).startswith("cuda:"):
        raise UserError(f"device={space.fixed['device']}: a sweep gives each run a GPU of its own, say device=cuda")
    if not space.parameters:
        raise UserError(
            "there is nothing to search: give a key several values, as d_model=64,128 or 'd_model=int(64,128)'"
        )
    explicit = {"seed": space.fixed.get("seed", 0)}
    if not any(p.name == "recipe" for p in space.parameters):
        device = {"device": "cuda"} if options.gpus else {}
        explicit["recipe"] = resolve(device | space.fixed, keys)["recipe"]
    return Space(space.fixed | explicit, space.parameters)


def _search(space: Space, options: Options) -> tuple[str, int, str]:
    """The sampler, the number of trials, and why in words.

    Every point once where there is no more to be found out: the space is of choices alone, or has no more points than
    there are to be trials. Otherwise a search.
    """
    if options.sampler in ("cmaes", "qmc") and any(p.condition for p in space.parameters):
        raise UserError(f"--sampler {options.sampler}: it knows no conditions (if); tpe, random and grid do")
    points = len(space.grid()) if options.sampler == "grid" else space.size()
    trials = options.trials or (points if space.is_of_choices() or options.sampler == "grid" else None)
    trials = trials or DEFAULT_TRIALS
    if options.sampler == "grid" or (options.sampler is None and points is not None and points <= trials):
        some = f"{trials} of the {points} points" if trials < points else f"each of the {points} points once"
        return "grid", trials, f"grid: {some}"
    sampler = options.sampler or "tpe"
    return sampler, trials, sampler if points is None else f"{sampler}, in a space of {points} points"


def check_points(configs_class: type[Configs], space: Space) -> None:
    """Wire every part, with the data, for every value of each choice and both ends of each range.

    Raises:
        UserError: values that don't go together, or data that are not available.
    """
    use_project_folder()
    loaded: dict[Any, tuple[Any, ...]] = {}
    for point in space.probes():
        conf = configs_class()
        conf.override(space.overrides(point))
        if conf.values()["data.dataset"] == "auto" and conf.values()["data.path"] is None:
            conf.data.dataset = "cifar10"  # as in its runs: a sweep never falls back to drawn images
        size = point.get("data.image_size")
        if size not in loaded:
            loaded[size] = (conf.data.dataset, conf.train_split, conf.valid_split)
        else:
            conf.data.dataset, conf.train_split, conf.valid_split = loaded[size]
        check_configs(conf)


def _name(space: Space, settings: Mapping[str, Any]) -> str:
    """From the searched keys; what else makes one sweep differ from another is in the last four digits."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return "-".join(p.name.rpartition(".")[2] for p in space.parameters)[:80] + "-" + digest[:4]


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    if not found or float(found[1]) == 0:
        raise UserError(f"{option} {text[:60]!r}: expected a time, as 90s, 30m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _executor(space: Space, options: Options) -> Executor:
    if options.ray is not None:
        from convmixer.sweeps.ray_executor import RayExecutor

        return RayExecutor(options.ray, script(), options.jobs, options.cpus, options.gpus, space.fixed)
    on_cpu = space.fixed.get("device") == "cpu"
    return LocalExecutor(script(), options.jobs, [] if on_cpu else gpus())
