"""A tiny real run, started by the dozen and disturbed: each start is a fork of this process, which has torch imported.

What follows the fork is what `python experiment.py ARGUMENTS` does after its imports. Whatever happened to a run, in
the end it is held against one that was left alone: weights, optimizer, metrics by step, summary, all to the bit.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import convmixer.commands.seeds  # noqa: F401  (all that a run imports, before the forks)
from benchmarks.robustness.faults.comparison import differences
from convmixer.cli import main
from convmixer.data import cache_file
from convmixer.tracking import labml_fixes
from convmixer.tracking.curves import learning_curves
from convmixer.tracking.runs import Run, all_runs
from convmixer.training.trainer import Trainer

EXPERIMENT = Path(__file__).resolve().parents[3] / "experiment.py"
PATIENCE = 300.0  # seconds for a process, on a machine that may be busy

# Every option of the recipes and of docs/training-options.md at once, and a checkpoint as often as every 0.06 s.
OPTIONS = [
    "data.dataset=images",
    "data.validation=12",
    "d_model=24",
    "n_layers=2",
    "patch_size=2",
    "epochs=3",
    "train_batch_size=4",
    "micro_batch_size=2",
    "ema=0.9",
    "stochastic_depth=0.3",
    "starts=[whitening,covariance,identity,zero_gamma]",
    "batch_norm_momentum=0.2",
    "schedule=trapezoid",
    "label_smoothing=0.1",
    "gradient_clip=1.0",
    "optimizer.optimizer=Muon",
    "optimizer.norm_bias_factor=4",
    "augment.ops=[translate,resized_crop,flip,randaugment,jitter,erasing,cutout,mixup,cutmix]",
    "checkpoint.minutes=0.001",
    "on_nan=rewind",
]


def warm_up() -> None:
    """Import what is otherwise imported with the first optimizer and the first picture. No thread may begin."""
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    learning_curves([]).savefig(io.BytesIO(), format="png")
    labml_fixes.release_console()


def make_images(tree: Path) -> None:
    """3 colours, 24 training and 8 test images of 16x16 each."""
    random = np.random.default_rng(0)
    for split, n in (("train", 24), ("test", 8)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = tree / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 120, (16, 16, 3))
                pixels[..., channel] += random.integers(20, 100)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")


class Process:
    """`python experiment.py ARGUMENTS` in `folder`.

    Args:
        first: done in the process, before anything else.
        terminal: it gets one, which is closed by `hang_up`; else its output goes to files.
    """

    def __init__(
        self, folder: Path, arguments: list[str], first: Callable[[], None] | None = None, terminal: bool = False
    ) -> None:
        self.folder = folder
        self._output = {1: folder.with_suffix(".out"), 2: folder.with_suffix(".err")}
        sys.stdout.flush()
        if terminal:
            self.pid, self._terminal = os.forkpty()
        else:
            self.pid = os.fork()
        if self.pid == 0:
            self._become(arguments, first, terminal)

    def _become(self, arguments: list[str], first: Callable[[], None] | None, terminal: bool) -> None:
        status = 1
        try:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the campaign itself may run under `nohup`
            if not terminal:
                os.setsid()
                for stream, file in self._output.items():
                    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            # Anew, as those of the parent remember whether they were files, in which a position could be looked up.
            sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
            os.chdir(self.folder)
            sys.argv = [str(EXPERIMENT), *arguments]
            if first:
                first()
            main(arguments=arguments)
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    @property
    def output(self) -> str:
        return self._output[1].read_text()

    @property
    def errors(self) -> list[str]:
        """Lines on stderr."""
        return self._output[2].read_text().splitlines()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close its terminal."""
        os.close(self._terminal)

    def drain(self) -> None:
        """Read what is on its terminal, which would hold it up otherwise."""
        os.set_blocking(self._terminal, False)
        with contextlib.suppress(OSError):  # nothing there
            os.read(self._terminal, 2**16)

    def has_ended(self) -> bool:
        """Without taking its status, so that its id stays its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> int:
        """Its exit status, or minus the signal that ended it.

        Raises:
            TimeoutError: it does not end.
        """
        until = time.monotonic() + PATIENCE
        while not self.has_ended():
            if time.monotonic() > until:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} in {self.folder} does not end")
            time.sleep(0.005)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def wait_until(self, condition: Callable[[], bool], pause: float = 0.0005) -> bool:
        """Whether `condition` held before the process ended."""
        until = time.monotonic() + PATIENCE
        while not condition():
            if self.has_ended() or time.monotonic() > until:
                return False
            time.sleep(pause)
        return True


class Lab:
    """Folders with runs of the same images and options, and what such a run comes to when it is left alone."""

    def __init__(self, root: Path, options: list[str]) -> None:
        warm_up()
        self.root = root
        self.images = root / "colours"
        make_images(self.images)
        self.train = [*options, f"data.path={self.images}"]
        self._number = 0
        alone = self.folder()
        started = time.monotonic()
        self._operations = alone.with_suffix(".operations")
        process = Process(alone, self.train, self._note_operations)
        if process.wait() != 0:
            raise RuntimeError(f"the undisturbed run failed: {process.errors}")
        self.seconds = time.monotonic() - started
        self.undisturbed = self.run(alone)

    def _note_operations(self) -> None:
        notes = self._operations.open("ab", buffering=0)
        at_file_operation(lambda operation: notes.write(f"{operation}\n".encode()))

    @cached_property
    def operations(self) -> Counter[str]:
        """What an undisturbed run does with files it writes, and how often."""
        lines = self._operations.read_text().splitlines()
        return Counter(line for line in lines if not re.search("[0-9a-f]{16}", line))

    def folder(self) -> Path:
        """A new empty one, in which runs lie in logs/ and caches in data/."""
        self._number += 1
        made = self.root / f"{self._number:04}"
        made.mkdir()
        return made

    def run(self, folder: Path) -> Run | None:
        """The newest of a folder."""
        found = all_runs(folder / "logs")
        return found[-1] if found else None

    def way_on(self, folder: Path) -> list[str]:
        """What a user gives next: `resume` where there is a run, else the training again."""
        return ["resume", "last"] if self.run(folder) else self.train

    def finish(self, folder: Path) -> str:
        """Go on to the end with what is in `folder`. What differs from the undisturbed run then; nothing: as it."""
        run = self.run(folder)
        if run is None or not run.summary:
            process = Process(folder, self.way_on(folder))
            status = process.wait()
            if status != 0:
                return f"it could not be gone on with: {status}, {process.errors[-1:]}"
        return "; ".join([*differences(self.run(folder), self.undisturbed), *damaged_caches(folder)])

    def killed_half_way(self) -> Path:
        """A folder with a run that was killed in its second epoch, after checkpoints within it."""
        folder = self.folder()
        process = Process(folder, self.train, lambda: kill_at_update(24))
        process.wait()
        return folder

    def without_names(self, line: str) -> str:
        """A line that a process said, without what another process would not say."""
        line = re.sub(rf"{re.escape(str(self.root))}/\d+/", "", line)
        return re.sub("[0-9a-f]{32}", "RUN", line)

    def copy(self, folder: Path) -> Path:
        made = self.folder()
        shutil.copytree(folder, made, dirs_exist_ok=True)
        return made


def at_file_operation(act: Callable[[str], Any]) -> None:
    """Have `act` called in this process before it opens a file to write, renames, links or removes one.

    It is told what: `rename last.pt`, where that is what will be at the name.
    """

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and flags & (os.O_WRONLY | os.O_RDWR):
                act(f"open {plain_name(path)}")
        elif event in ("os.rename", "os.link", "os.remove"):
            path = arguments[0] if event == "os.remove" else arguments[1]
            act(f"{event[3:]} {plain_name(os.fspath(path))}")

    sys.addaudithook(hook)


def plain_name(path: str) -> str:
    """`last.pt` of `/there/checkpoints/.last.pt.123`."""
    parts = os.path.basename(path).strip(".").split(".")
    return ".".join(part for part in parts if not part.isdecimal())


def at_update(number: int, act: Callable[[Trainer], Any]) -> None:
    """Have `act` called in this process before it makes an update, `number` made already."""
    step = Trainer.train_step

    def acting_step(trainer: Trainer, batch: Any) -> None:
        if trainer.step == number:
            act(trainer)
        step(trainer, batch)

    Trainer.train_step = acting_step


def kill_at_update(number: int) -> None:
    """Have this process killed before an update."""
    at_update(number, lambda _: os.kill(os.getpid(), signal.SIGKILL))


def damaged_caches(folder: Path) -> Iterator[str]:
    """Those in which another run would find something else than it put in."""
    for path in (folder / "data" / "cache").glob("*.safetensors"):
        try:
            cache_file.read(path)
        except Exception as problem:
            yield f"{path.name}: {problem}"
