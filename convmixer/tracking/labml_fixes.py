"""labml 0.5.3 as this project's commands need it: patched from outside, here only, each patch with its reason."""

import sys
from contextlib import suppress
from pathlib import Path

from labml import lab
from labml.internal import experiment, util
from labml.internal.app import logs
from labml.internal.computer import configs as computer
from labml.internal.configs.config_item import ConfigItem
from labml.internal.configs.processor import FileConfigsSaver
from labml.internal.experiment.experiment_run import Run
from labml.internal.logger.destinations.console import ConsoleDestination

from convmixer.files.atomic import write_atomically
from convmixer.project import logs_folder, project_folder


class _NoComputer:
    """labml lists each project in ~/.labml for its sync service, and crashes where HOME can't be written."""

    def add_project(self, path: object) -> None:
        """Nothing reads that list here."""


def release_console() -> None:
    """Give stdout and stderr back as they were.

    Importing labml hooks them to keep all that is printed in memory for its app, for ever when there is no app; each
    step gets slower with it.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "write", None) in (logs._write_stdout, logs._write_stderr):
            del stream.write
    logs.APP_CONSOLE_LOGS.outputs = lambda **texts: None


def _git_status() -> tuple[dict, str | None]:
    """The commit of the code that runs. labml looks for it where the runs lie, which need not be the repository.

    Where there is no repository, or git refuses (a folder of another user's, say), the commit is unknown.
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
    except Exception:  # GitPython passes on whatever git says, in many types; it needs git itself to be imported
        return unknown, None


def _save_info(run: Run) -> None:
    """`run.yaml`, whole at any moment: labml empties it first, and a kill or a full disk then costs the whole run."""
    run.make_path()
    run.pid_path.write_text(str(run.pid))
    write_atomically(run.info_path, util.yaml_dump(run.to_dict()).encode())
    if run.diff is not None:
        write_atomically(run.diff_path, run.diff.encode())


def _save_configs(saver: FileConfigsSaver, configs: dict) -> None:
    """`configs.yaml`, likewise."""
    write_atomically(saver.configs_path, util.yaml_dump(configs).encode())


def _finish(run: experiment.Experiment, status: str, details: object = None) -> None:
    """Write how a run ended to run_log.jsonl; where that can't be done, it must not hide why the run ended."""
    with suppress(OSError):
        _labml_finish(run, status, details)


_labml_finish = experiment.Experiment.finish


def keep_classes_apart() -> None:
    """An object of a `Configs` subclass would write the subclass's defaults into the base class for good."""
    ConfigItem.update = lambda self, other: None


def apply() -> None:
    """All patches. Call before `labml.experiment.create`."""
    release_console()
    # The commands print for themselves; labml's own lines carry colour codes into files and pipes.
    ConsoleDestination.log = lambda self, parts, *, is_new_line, is_reset: None
    computer.computer_singleton = _NoComputer
    experiment.get_git_status = _git_status
    experiment.Experiment.finish = _finish
    Run.save_info = _save_info
    FileConfigsSaver.save = _save_configs


def use_project_folder() -> None:
    """Let labml keep `logs/` and `data/` where the commands look for them."""
    apply()
    lab.configure({"path": str(project_folder()), "experiments_path": str(logs_folder())})
