"""Runs sent to a labml server elsewhere: whatever it does, training goes on, and what is missing is sent once."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from conftest import EXPERIMENT, PROJECT, Command, metrics_saved, wait_for
from filelock import FileLock

from convmixer.dashboard.address import LOCK, write_address
from convmixer.errors import UserError
from convmixer.tracking import app_server
from convmixer.tracking.run_folder import read_log
from convmixer.tracking.runs import Run, all_runs
from convmixer.tracking.send import NotSent, send

HERE = Path(__file__).parent
Start = Callable[..., subprocess.Popen]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ask(url: str, body: bytes | None = None) -> dict:
    with urlopen(url, body, timeout=10) as response:
        return json.load(response)


class Server:
    """A process that stands for a labml server, see app_standin.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.name = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.name}/api/v1/default"
        self.process: subprocess.Popen | None = None

    def start(self, behaviour: str) -> None:
        self.stop()
        (self.folder / "behaviour").write_text(behaviour)
        if behaviour == "absent":
            return
        self.process = subprocess.Popen([sys.executable, HERE / "app_standin.py", str(self.port), self.folder])
        wait_for(lambda: is_open(self.port), self.process)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def packets(self, run: Run) -> list[dict]:
        file = self.folder / "packets.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [packet for packet in map(json.loads, lines) if packet["uuid"] == run.uuid]

    def steps(self, run: Run) -> list[int]:
        """Of the training loss, in the order in which they were taken."""
        tracks = (packet.get("track", {}).get("loss.train", {"step": []}) for packet in self.packets(run))
        return [step for track in tracks for step in track["step"]]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_run_overrides: list[str]) -> tuple[Run, str]:
    """A run that knows of no server, and what it printed; a dashboard was on when it began."""
    folder = tmp_path_factory.mktemp("trained")
    logs = folder / "logs"
    logs.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as dashboard, FileLock(logs / LOCK):
        write_address(logs, f"http://127.0.0.1:{dashboard.getsockname()[1]}")
        command = [sys.executable, EXPERIMENT, *tiny_run_overrides]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return all_runs(logs)[0], ended.stdout


@pytest.fixture
def run(trained: tuple[Run, str], tmp_path: Path) -> Run:
    """A copy of that run, to be sent."""
    source = trained[0].folder
    return Run(shutil.copytree(source, tmp_path / "project" / "logs" / "try" / source.name))


@pytest.fixture
def long_run_overrides(tiny_run_overrides: list[str]) -> list[str]:
    """Overrides under which a run takes about half a minute."""
    rest = [override for override in tiny_run_overrides if not override.startswith(("epochs", "d_model"))]
    return [*rest, "epochs=100", "d_model=64"]


@pytest.fixture
def only_run(tmp_path: Path) -> Callable[[], Run]:
    """The run in the folder where commands run."""

    def find() -> Run:
        (run,) = all_runs(tmp_path / "logs")
        return run

    return find


def assert_has_all_once(server: Server, run: Run, least: int = 3) -> None:
    """Every saved metric and console line, in order; what the run is; how it ended."""
    recorded: dict[str, list] = {}
    for line in read_log(run.folder / "log.jsonl"):
        for name, points in line["track"].items():
            recorded.setdefault(name, []).extend([step, value] for step, (value,) in points)
    taken: dict[str, list] = {}
    packets = server.packets(run)
    for packet in packets:
        for name, series in packet.get("track", {}).items():
            taken.setdefault(name, []).extend(map(list, zip(series["step"], series["value"], strict=True)))
    assert taken == recorded and len(recorded["loss.train"]) >= least
    assert "".join(packet["stdout"] for packet in packets) == (run.folder / "console.log").read_text()
    assert packets[0]["name"] == run.info["name"] and packets[0]["configs"]["epochs"]["value"] == run.configs["epochs"]
    assert packets[-1]["status"]["status"] == "completed"


# What it does, and how the reason reads.
MISBEHAVIOURS = {
    "absent": "Connection refused",
    "hang": "no answer",
    "404": "answered 404 Not Found",
    "500": "answered 500 Internal Server Error",
    "nonsense": "what?",
    "errors": "answered invalid_token: get  [31manother",
    "redirect": "answered 302 Found",
    "drip": "no answer",
    "endless": "not that of a labml server",
}
EVERYDAY = "hang"


@pytest.mark.parametrize(
    "behaviour", [b if b == EVERYDAY else pytest.param(b, marks=pytest.mark.slow) for b in MISBEHAVIOURS]
)
def test_training_ends_well_and_what_was_not_sent_is_sent_later(
    behaviour: str,
    server: Server,
    start: Start,
    command: Command,
    only_run: Callable[[], Run],
    tiny_run_overrides: list[str],
) -> None:
    server.start(behaviour)
    process = start(*tiny_run_overrides, f"tracking.app_url={server.url}")
    line, ended = process.stderr.readline(), time.time()
    run = only_run()
    assert ended - json.loads((run.folder / "run_log.jsonl").read_text())["time"] < 3
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
    assert line.startswith(f"not sent to {server.name} (") and MISBEHAVIOURS[behaviour] in line
    n = len(read_log(run.folder / "log.jsonl"))
    assert line.endswith(
        f"{n} of {n} saves of metrics; send this later with: python experiment.py runs send {run.uuid}\n"
    )

    server.start("fine")
    assert command("runs", "send", "last").stdout == f"sent to {server.name}\n"
    send(run, None)
    assert_has_all_once(server, run)


@pytest.mark.slow
def test_the_exit_status_says_how_training_ended(
    server: Server, start: Start, only_run: Callable[[], Run], long_run_overrides: list[str], tmp_path: Path
) -> None:
    server.start("hang")
    process = start(*long_run_overrides, f"tracking.app_url={server.url}")
    wait_for(lambda: metrics_saved(tmp_path / "logs") > 10, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert [line.partition(" ")[0] for line in errors.splitlines()] == ["not", "interrupted:"]
    server.start("fine")
    send(only_run(), None)
    assert server.packets(only_run())[-1]["status"]["status"] == "interrupted"


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_gets_everything_once(
    server: Server, start: Start, only_run: Callable[[], Run], long_run_overrides: list[str]
) -> None:
    server.start("fine")
    process = start(*long_run_overrides, f"tracking.app_url={server.url}")
    wait_for(lambda: (server.folder / "packets.jsonl").exists(), process)
    run = only_run()
    for behaviour in ("absent", "fine", "hang", "500", "fine"):
        n = len(read_log(run.folder / "log.jsonl"))
        server.start(behaviour)
        wait_for(lambda n=n: len(read_log(run.folder / "log.jsonl")) > n + 40, process)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors == ""
    assert_has_all_once(server, run)


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_sends_what_is_new(
    server: Server, start: Start, command: Command, only_run: Callable[[], Run], long_run_overrides: list[str]
) -> None:
    """What the server has of after the last checkpoint, the resumed run makes again, but does not send again."""
    server.start("fine")
    process = start(*long_run_overrides, f"tracking.app_url={server.url}")
    wait_for(lambda: (server.folder / "packets.jsonl").exists(), process)
    wait_for(lambda: len(server.steps(only_run())) > 20, process)
    process.kill()
    process.wait()
    assert command("resume", "last").stderr == ""
    assert server.steps(only_run()) == list(only_run().metrics["loss.train"].dropna().index)


@pytest.mark.slow
def test_several_runs_at_once(server: Server, start: Start, tiny_run_overrides: list[str], tmp_path: Path) -> None:
    server.start("slow")
    overrides = [*tiny_run_overrides, f"tracking.app_url={server.url}"]
    processes = [start(*overrides, f"seed={seed}") for seed in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and errors == ""
    runs = all_runs(tmp_path / "logs")
    assert len(runs) == 3
    for run in runs:
        assert_has_all_once(server, run)


def test_labml_s_own_server_takes_it_all(
    command: Command, only_run: Callable[[], Run], tiny_run_overrides: list[str]
) -> None:
    """While the run trains, although that server answers 3 s after it has stored a packet."""
    if not os.environ.get("CONVMIXER_CI"):
        pytest.importorskip("labml_app")
    port = free_port()
    arguments = [sys.executable, HERE / "labml_app_server.py", str(port)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: is_open(port), process)
        api = f"http://127.0.0.1:{port}/api/v1"
        assert command(*tiny_run_overrides, f"tracking.app_url={api}/default").stderr == ""
        run = only_run()
        assert ask(f"{api}/run/status/{run.uuid}")["run_status"]["status"] == "completed"
        assert ask(f"{api}/run/{run.uuid}")["name"] == run.info["name"]
        series = ask(f"{api}/metrics/{run.uuid}", b'{"get_all": true}')["series"]
        assert {s["name"] for s in series} == set(run.metrics.columns)
        pages = ask(f"{api}/logs/stdout/{run.uuid}", b'{"page": -2}')["pages"]
        assert "".join(pages.values()) == (run.folder / "console.log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS)
def test_sending_later_says_what_is_wrong_and_can_be_done_again(
    behaviour: str, server: Server, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app_server, "PATIENCE", 1.0)
    monkeypatch.setattr(app_server, "SHORT_PATIENCE", 0.3)
    server.start(behaviour)
    for _ in range(2):
        with pytest.raises(NotSent, match=re.escape(MISBEHAVIOURS[behaviour])):
            send(run, server.url)
    server.start("fine")
    send(run, server.url)
    send(run, server.url)
    assert capsys.readouterr().out == f"sent to {server.name}\nnothing to send: {server.name} has everything\n"
    assert_has_all_once(server, run)


@pytest.mark.parametrize("behaviour", ["mute", "slow"])
def test_a_packet_that_is_not_answered_is_asked_for(behaviour: str, server: Server, run: Run) -> None:
    """As with labml's own server, which has a packet 3 s before it answers."""
    server.start(behaviour)
    began = time.monotonic()
    send(run, server.url)
    assert time.monotonic() - began < 2.5
    assert_has_all_once(server, run)


def test_a_packet_whose_answer_is_lost_in_a_kill_is_not_sent_twice(server: Server, run: Run) -> None:
    server.start("mute")
    code = (
        "import sys; from pathlib import Path; from convmixer.tracking import app_server, runs, send\n"
        "app_server.AppServer.has = lambda self, mark: False  # it does not get to know\n"
        "send.send(runs.Run(Path(sys.argv[1])), sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, run.folder, server.url], cwd=PROJECT)
    wait_for(lambda: len(server.packets(run)) == 1, process)
    with pytest.raises(UserError, match="being sent by another process"):
        send(run, server.url)
    process.kill()
    process.wait()
    (server.folder / "behaviour").write_text("fine")
    send(run, server.url)
    assert_has_all_once(server, run)


def test_points_close_together_late_in_a_run_are_sent_as_they_are(server: Server, run: Run) -> None:
    """labml's own writer would average these two."""
    points = {20_142: 1.0, 20_160: 2.0}
    saves = ({"track": {"loss.train": [[step, [value]]]}, "time": 1.0} for step, value in points.items())
    (run.folder / "log.jsonl").write_text("".join(json.dumps(save) + "\n" for save in saves))
    server.start("fine")
    send(run, server.url)
    assert server.steps(run) == [*points]
    assert_has_all_once(server, run, least=2)


def test_a_long_run_goes_in_packets_of_bounded_size(server: Server, run: Run) -> None:
    saves = ({"track": {"loss.train": [[step, [float(step)]]]}, "time": 1.0} for step in range(1, 2501))
    (run.folder / "log.jsonl").write_text("".join(json.dumps(save) + "\n" for save in saves))
    (run.folder / "console.log").write_text("line\n" * 40_000)
    server.start("fine")
    send(run, server.url)
    packets = server.packets(run)
    assert max(len(json.dumps(packet)) for packet in packets) < 400_000
    assert [packet["status"]["status"] for packet in packets] == ["in progress"] * (len(packets) - 1) + ["completed"]
    assert "".join(packet["stdout"] for packet in packets) == "line\n" * 40_000
    steps = server.steps(run)
    assert steps[:1000] == list(range(1, 1001)) and steps == sorted(set(steps))
    assert steps[-1] > 2490  # late in a run labml's writer averages neighbours


def test_a_token_from_the_environment_is_in_no_file_and_no_output(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.name}/api/v1/$LABML_TOKEN"
    with pytest.raises(UserError, match="LABML_TOKEN is not set"):
        send(run, url)
    monkeypatch.setenv("LABML_TOKEN", "verysecret")
    server.start("404")
    with pytest.raises(NotSent) as failure:
        send(run, url)
    server.start("fine")
    send(run, url)
    assert all(packet["path"].startswith("/api/v1/verysecret/track?") for packet in server.packets(run))
    assert_has_all_once(server, run)
    files = [file.read_bytes() for file in run.folder.rglob("*") if file.is_file()]
    assert len(files) > 8 and not any(b"verysecret" in content for content in files)
    assert "verysecret" not in capsys.readouterr().out + str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "ftp://host/api/v1/default",
        "http:///api/v1/default",
        "http://host:5005",
        "http://host:99999/api/v1/default",
        "http://host:0/api/v1/default",
        "http://ho st/api/v1/default",
        "http://höst/api/v1/default",
        "http://[::1/api/v1/default",
        "http://user:password@host/api/v1/default",
        "http://host/api/v1/default?token=x",
        "http://host/api/v1/default#x",
        "http://host/api/v1/$NO_SUCH_TOKEN",
    ],
)
def test_a_wrong_address_is_refused_before_training(
    url: str, here: Path, refusal: Callable[[list[str]], str], tiny_run_overrides: list[str]
) -> None:
    assert "tracking.app_url" in refusal([*tiny_run_overrides, f"tracking.app_url={url}"])
    assert not (here / "logs").exists()


def test_training_names_the_page_of_a_dashboard_on_this_machine(trained: tuple[Run, str]) -> None:
    run, printed = trained
    assert re.search(rf"^watch   http://127\.0\.0\.1:\d+/run/{run.uuid}$", printed, re.MULTILINE)


def test_a_server_must_be_named_for_a_run_that_had_none(
    run: Run, refusal: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.folder.parents[2])
    assert "tracking.app_url=URL" in refusal(["runs", "send", "last"])
    assert "epochs can't be changed" in refusal(["runs", "send", "last", "epochs=9"])
