"""What a tracker is given of a growing log, and of one that went back: TensorBoard's own reader shows it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import reading
from reading import recorded
from run_folders import make_run

from convmixer.errors import UserError
from convmixer.tracking.run_folder import LOG
from convmixer.tracking.runs import Run
from convmixer.tracking.trackers.feed import Feed
from convmixer.tracking.trackers.tracker import TrackedRun


def lines(values: dict[int, float], speed: float = 1.0) -> str:
    metrics = ({"loss.train": [[s, [v]]], "time.images_per_second": [[s, [speed]]]} for s, v in values.items())
    return "".join(json.dumps({"track": track, "time": 1.0}) + "\n" for track in metrics)


@pytest.fixture
def run(here: Path) -> Run:
    return Run(make_run(here / "logs", "a" * 32))


@pytest.fixture
def write(run: Run) -> Callable[[str], None]:
    """Replaces the log, as a run that goes back does."""

    def replace(text: str) -> None:
        aside = run.folder / "aside"
        aside.write_text(text)
        aside.replace(run.folder / LOG)

    return replace


def loss(run: Run) -> reading.Curve:
    return reading.tensorboard(run.folder.parent.parent)[0].curves["loss/train"]


def feed(run: Run) -> Feed:
    return Feed(TrackedRun(run), "tensorboard")


def test_it_sends_what_is_new(run: Run) -> None:
    log = run.folder / LOG
    with feed(run) as fed:
        assert fed.send() == 0  # there is no log yet
        log.write_text(lines({10: 3.0, 20: 2.0}) + '{"track": {"loss.tr')
        assert fed.send() == 2
        log.write_text(lines({10: 3.0, 20: 2.0, 30: 1.0}) + "damaged\n" + lines({40: 0.5}))
        assert fed.send() == 2
        assert fed.end("completed") and loss(run) == [(10, 3.0), (20, 2.0), (30, 1.0), (40, 0.5)]
    with feed(run) as later:
        assert later.send() == 0 and not later.end("completed")
        assert later.end("killed")


def test_a_resumed_run_sends_nothing_twice(run: Run, write: Callable) -> None:
    write(lines({10: 3.0, 20: 2.0, 30: 1.0}))
    with feed(run) as fed:
        fed.send()
    write(lines({10: 3.0}))  # back to the checkpoint
    with feed(run) as resumed:
        assert resumed.send() == 0
        write(lines({10: 3.0, 20: 2.0, 30: 1.0, 40: 0.5}, speed=2.0))  # the same bits, at another speed
        assert resumed.send() == 1
        resumed.end("completed")
    assert loss(run) == recorded(run, "loss.train")


@pytest.mark.parametrize("restarted", [False, True], ids=["in one process", "in another process"])
def test_values_that_are_trained_again_replace_the_old_ones(run: Run, write: Callable, restarted: bool) -> None:
    write(lines({10: 3.0, 20: 2.0, 30: 99.0, 40: 999.0}))
    with feed(run) as fed:
        fed.send()
        write(lines({10: 3.0, 20: 2.0}))  # on_nan=rewind
        again = fed
        fed.send()
        if restarted:
            fed.__exit__(None, None, None)
            again = feed(run)
        write(lines({10: 3.0, 20: 2.0, 30: 1.5}))
        assert again.send() == 1
        write(lines({10: 3.0, 20: 2.0, 30: 1.5, 40: 1.0, 50: 0.5}))
        assert again.send() == 2
        again.end("completed")
    assert loss(run) == [(10, 3.0), (20, 2.0), (30, 1.5), (40, 1.0), (50, 0.5)]


def test_what_was_sent_elsewhere_does_not_count(run: Run, write: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lines({10: 3.0}))
    with feed(run) as fed:
        fed.send()
    monkeypatch.setattr(TrackedRun, "name", "renamed")
    with feed(run) as elsewhere:
        assert elsewhere.send() == 1


def test_a_damaged_memory_sends_the_run_again(run: Run, write: Callable) -> None:
    write(lines({10: 3.0, 20: 2.0}))
    with feed(run) as fed:
        fed.send()
    (run.folder / "trackers" / "tensorboard.sent").write_bytes(b"\xff\0nonsense" * 100)
    with feed(run) as again:
        assert again.send() == 2


def test_one_process_at_a_time_sends_a_run(run: Run) -> None:
    with feed(run), pytest.raises(UserError, match="is being sent to tensorboard by another process"):
        feed(run)
    feed(run)


def test_names_from_a_strangers_folder_lead_nowhere_else(run: Run) -> None:
    about = run.folder / "run.yaml"
    about.write_text(about.read_text().replace("name: try", "name: ../../x").replace("[]", "['sweep:../../y']"))
    tracked = TrackedRun(Run(run.folder))
    assert tracked.group is None and tracked.name == f"run-{'a' * 8}"
