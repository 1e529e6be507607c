"""What tracking costs the training thread: CPU time of a save of four metrics, and memory, over many saves.

    python -m benchmarks.tracking [--saves 100000] [--blocks 10]

Each case is a fresh process that records as a run does: to its folder alone, or to a labml server too
(`tracking.app_url`) that takes everything, refuses connections, or accepts them and never answers. Saves come as fast
as they can, thousands of times faster than in training; `end` is how long what is left to be sent holds the end up.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import tables

ROOT = Path(__file__).parents[1]
VALUES = {"loss.train": 1.2345678, "accuracy.train": 0.5123456, "optim.lr": 0.0123456, "norm.weight": 39.337421}


def record(url: str, saves: int, blocks: int) -> None:
    """Print what each block of saves cost, as JSON; run in a folder of its own."""
    import psutil
    from labml import experiment, lab
    from labml.internal.experiment import experiment_singleton

    from convmixer.tracking import app_writer, labml_fixes
    from convmixer.tracking.recorder import Recorder
    from convmixer.tracking.runs import Run

    labml_fixes.apply()
    lab.configure({"path": ".", "experiments_path": "logs"})
    experiment.create(name="cost", writers=set())
    experiment.configs({})
    process, measured = psutil.Process(), []
    with experiment.start():
        run = Run(Path(experiment_singleton().run.run_path))
        recorder = Recorder(run.folder, quiet=True)
        recorder.start(0)
        if url:
            app_writer.follow(run, url)
        for block in range(blocks):
            began = time.thread_time()
            for number in range(saves // blocks):
                recorder.metrics(128 * (block * saves // blocks + number), VALUES)
            cost = (time.thread_time() - began) / (saves // blocks)
            measured.append({"microseconds": cost * 1e6, "mebibytes": process.memory_info().rss / 2**20})
        ending = time.perf_counter()
    print(json.dumps({"blocks": measured, "end": time.perf_counter() - ending}))


def measure(name: str, url: str, arguments: argparse.Namespace) -> tables.Row:
    """Measure one case, print it, and return its row."""
    command = [sys.executable, "-m", "benchmarks.tracking", "--record", url or "none"]
    command += ["--saves", str(arguments.saves), "--blocks", str(arguments.blocks)]
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True
        )
    result = json.loads(ended.stdout)
    print(name)
    costs = [block["microseconds"] for block in result["blocks"]]
    memory = [block["mebibytes"] for block in result["blocks"]]
    print(f"  µs of CPU a save, in {arguments.blocks} blocks: {' '.join(f'{cost:.1f}' for cost in costs)}")
    print(f"  memory {memory[0]:.0f} to {memory[-1]:.0f} MiB, end {result['end']:.2f} s")
    return {
        "case": name,
        "microseconds_first": f"{costs[0]:.1f}",
        "microseconds_last": f"{costs[-1]:.1f}",
        "mebibytes_first": f"{memory[0]:.0f}",
        "mebibytes_last": f"{memory[-1]:.0f}",
        "seconds_at_the_end": f"{result['end']:.2f}",
    }


def main() -> None:
    """Measure each case in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=100_000)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--record", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record.replace("none", ""), arguments.saves, arguments.blocks)
        return
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        (Path(folder) / "behaviour").write_text("fine")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        standin = subprocess.Popen([sys.executable, ROOT / "tests" / "tracking" / "app_standin.py", str(port), folder])
        cases = {
            "to the run's folder": "",
            "and a server that takes it": f"http://127.0.0.1:{port}/api/v1/default",
            "and a server that refuses": "http://127.0.0.1:9/api/v1/default",
            "and a server that never answers": f"http://127.0.0.1:{silent.getsockname()[1]}/api/v1/default",
        }
        try:
            rows = [measure(name, url, arguments) for name, url in cases.items()]
        finally:
            standin.kill()
    if arguments.csv:
        tables.put(arguments.csv, rows)


if __name__ == "__main__":
    main()
