"""How fast the dashboard answers, with many long runs in its folder.

    python -m benchmarks.dashboard --runs 200 --points 10000 [--layers 32]

Makes the runs, copies of a small real one with a made-up log, in a temporary folder; starts the dashboard there; asks
as its page asks, all requests of a view together. With `--layers`, each tenth point has the norms of
`metrics=[norms]` for a network of so many. `first_list` is before anything was indexed. `cpu_ms` is the server's
processor time, which depends less on what else the machine does.
"""

import argparse
import json
import math
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import psutil

from benchmarks import tables

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiment.py"
METRICS = ("loss.train", "accuracy.train", "loss.valid", "accuracy.valid", "optim.lr", "time.images_per_second")
BODY = json.dumps({"get_all": False})


def make_runs(project: Path, n_runs: int, n_points: int, n_layers: int) -> list[str]:
    """Run folders as training writes them, in `project/logs`; their uuids."""
    command = [sys.executable, EXPERIMENT, "data.dataset=shapes", "steps=2", "d_model=8", "n_layers=1", "name=long"]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
    (first,) = project.glob("logs/long/*")
    shutil.rmtree(first / "checkpoints")
    (first / "log.jsonl").write_text("".join(_lines(point, n_layers) for point in range(n_points)))
    uuids = [first.name]
    for _ in range(n_runs - 1):
        uuid = uuid4().hex
        shutil.copytree(first, first.with_name(uuid))
        uuids.append(uuid)
    return uuids


def _lines(point: int, n_layers: int) -> str:
    at = point * 128
    track = {name: [[at, [math.exp(-point / 3000) + 0.01 * number]]] for number, name in enumerate(METRICS)}
    tracks = [track]
    if n_layers and point % 10 == 9:
        tracks.append({name: [[at, [round(math.exp(-point / 3000), 7)]]] for name in _norms(n_layers)})
    return "".join(json.dumps({"track": track, "time": time.time()}) + "\n" for track in tracks)


def _norms(n_layers: int) -> list[str]:
    layers = [f"conv_mixer_layers.{layer}" for layer in range(n_layers)]
    convolutions = [f"{layer}.{part}_wise_conv.weight" for layer in layers for part in ("depth", "point")]
    weights = ["patch_emb.conv.weight", *convolutions, "classification.linear.weight"]
    names = [f"{kind}.{weight}" for kind in ("param", "grad") for weight in weights]
    return [f"{name}.l2" for name in (*names, *(f"activation.{n}" for n in ("patch_emb", *layers, "classification")))]


class Page:
    """Asks the server as the page does: milliseconds until the answer, and of the server's processor time."""

    def __init__(self, port: int, pid: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        self._server = psutil.Process(pid)

    def time(self, *requests: tuple[str, str]) -> tuple[float, float]:
        """Of these requests, one after the other."""
        started, cpu = time.perf_counter(), sum(self._server.cpu_times()[:2])
        for method, path in requests:
            self._connection.request(method, f"/api/v1/{path}", BODY, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            answer.read()
            assert answer.status == 200, (answer.status, path)
        return 1000 * (time.perf_counter() - started), 1000 * (sum(self._server.cpu_times()[:2]) - cpu)

    def list(self) -> tuple[float, float]:
        """The list of runs."""
        return self.time(("GET", "runs/null?folder_name=default"))

    def run(self, uuid: str) -> tuple[float, float]:
        """All that a run's page asks for."""
        return self.time(
            ("GET", f"run/status/{uuid}"),
            ("GET", f"run/{uuid}"),
            ("GET", f"custom_metrics/{uuid}"),
            ("POST", f"metrics/{uuid}?current="),
            ("GET", f"metrics/preferences/{uuid}"),
            ("GET", f"compare/preferences/{uuid}"),
            ("POST", f"compare/metrics/{uuid}?current={uuid}"),
            ("POST", f"logs/stdout/{uuid}"),
        )


def measure(project: Path, uuids: list[str]) -> dict[str, dict[str, float]]:
    """Start the dashboard in `project` and time its answers."""
    command = [sys.executable, EXPERIMENT, "dashboard", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline().split()[1].rpartition(":")[2])
            first = Page(port, server.pid).list()
            time.sleep(20)  # configs are read meanwhile
            page = Page(port, server.pid)
            return {
                "first_list": _spread([first]),
                "list": _spread([page.list() for _ in range(20)]),
                "run_not_looked_at_before": _spread([page.run(uuid) for uuid in uuids[:20]]),
                "run": _spread([page.run(uuid) for uuid in uuids[:20]]),
            }
        finally:
            server.terminate()


def _spread(times: list[tuple[float, float]]) -> dict[str, float]:
    waited, cpu = zip(*times, strict=True)
    return {
        "median_ms": round(statistics.median(waited), 1),
        "max_ms": round(max(waited), 1),
        "cpu_ms": round(statistics.mean(cpu), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="put a row for each view into this table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uuids = make_runs(Path(folder), arguments.runs, arguments.points, arguments.layers)
        result = measure(Path(folder), uuids)
    size = {"runs": arguments.runs, "points": arguments.points}
    size |= {"layers": arguments.layers} if arguments.layers else {}
    rows = [{**size, "view": view, **times, "labml-app": version("labml-app")} for view, times in result.items()]
    for row in rows:
        print("{view:26}{median_ms:9} ms (at most {max_ms}), {cpu_ms} ms of CPU".format(**row))
    if arguments.csv:
        tables.put(arguments.csv, rows, key=("runs", "points", "layers", "view"))


if __name__ == "__main__":
    main()
