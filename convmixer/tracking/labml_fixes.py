"""Patches labml 0.5.3 for this project's commands, each patch with its reason. No other module patches it."""

import sys
from contextlib import suppress
from pathlib import Path

from labml import lab
from labml.internal import experiment, util
from labml.internal.app import logs
from labml.internal.computer import configs as computer
from labml.internal.configs.config_item import ConfigItem
from labml.internal.configs.dynamic_hyperparam import DynamicHyperParam
from labml.internal.configs.processor import FileConfigsSaver
from labml.internal.experiment.experiment_run import Run
from labml.internal.logger.destinations.console import ConsoleDestination

from convmixer.files.atomic import write_atomically
from convmixer.project import logs_folder, project_folder


class _NoComputer:
    """A replacement for labml's list of projects in ~/.labml, which crashes if HOME can't be written."""

    def add_project(self, path: object) -> None:
        """Do nothing: nothing here reads that list."""


def release_console() -> None:
    """Restore stdout and stderr.

    labml hooks them when it is imported, to keep all printed text in memory for its app. Without an app it is never
    freed, and each step gets slower.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "write", None) in (logs._write_stdout, logs._write_stderr):
            del stream.write
    logs.APP_CONSOLE_LOGS.outputs = lambda **texts: None


def _git_status() -> tuple[dict, str | None]:
    """Return the commit of the script's repository. labml looks for it in the folder of runs, which may be elsewhere.

    If there is no repository, or git refuses (for example a folder of another user), the commit is unknown.
    """
    unknown = {"remotes": [], "commit": "unknown", "commit_message": "", "is_dirty": False, "diff": ""}
    try:
        import git

        repository = git.Repo(Path(sys.argv[0]).resolve().parent, search_parent_directories=True)
        commit = repository.head.commit
        known = {
            "commit": commit.hexsha,
            "commit_message": str(commit.message).strip(),
            "is_dirty": repository.is_dirty(),
            "diff": repository.git.diff(),
        }
        return unknown | known, None
    except Exception:  # GitPython raises many types, and can't be imported without git
        return unknown, None


def _save_info(run: Run) -> None:
    """Write `run.yaml` atomically: labml empties it first, so a kill or a full disk then loses the whole run."""
    run.make_path()
    run.pid_path.write_text(str(run.pid))
    write_atomically(run.info_path, util.yaml_dump(run.to_dict()).encode())
    if run.diff is not None:
        write_atomically(run.diff_path, run.diff.encode())


def _save_configs(saver: FileConfigsSaver, configs: dict) -> None:
    """Write `configs.yaml` atomically, for the same reason."""
    write_atomically(saver.configs_path, util.yaml_dump(configs).encode())


def _finish(run: experiment.Experiment, status: str, details: object = None) -> None:
    """Write how a run ended to run_log.jsonl; if that fails, the reason why the run ended is still raised."""
    with suppress(OSError):
        _labml_finish(run, status, details)


_labml_finish = experiment.Experiment.finish


def keep_classes_apart() -> None:
    """Stop labml from writing the defaults of a `Configs` subclass into the base class."""
    ConfigItem.update = lambda self, other: None


def fix_dynamic_hyperparameters() -> None:
    """Let copies of a layer ask the same dynamic hyperparameter: networks are built by copying one layer.

    And a call only returns the value. labml also adds it to its tracker, at calls that are others after `resume`, and a
    compiled network can't; here the recorder does.
    """
    DynamicHyperParam.__deepcopy__ = lambda self, memo: self
    DynamicHyperParam.__call__ = lambda self: self._value


def apply() -> None:
    """Apply all patches. Call this before `labml.experiment.create`."""
    release_console()
    # The commands print for themselves; labml's own lines carry colour codes into files and pipes.
    ConsoleDestination.log = lambda self, parts, *, is_new_line, is_reset: None
    computer.computer_singleton = _NoComputer
    experiment.get_git_status = _git_status
    experiment.Experiment.finish = _finish
    Run.save_info = _save_info
    FileConfigsSaver.save = _save_configs


def use_project_folder() -> None:
    """Make labml use the `logs/` and `data/` folders of the project, as the commands do."""
    apply()
    lab.configure({"path": str(project_folder()), "experiments_path": str(logs_folder())})
