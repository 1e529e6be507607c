"""Stands for a labml server: takes packets as labml's own does, and misbehaves as it is told.

app_standin.py PORT FOLDER      what it is to do is in FOLDER/behaviour, what it took is in FOLDER/packets.jsonl
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FOREVER = 600.0  # seconds; longer than any test
marks: dict[str, float] = {}


class Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        behaviour = (self.folder / "behaviour").read_text()
        packet = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if behaviour.isdigit():
            self.answer(int(behaviour), {})
        elif behaviour in ("hang", "nonsense", "drip", "endless", "errors", "redirect"):
            getattr(self, behaviour)()
        else:
            self.take(packet, behaviour)

    def take(self, packet: dict, behaviour: str) -> None:
        uuid = parse_qs(urlsplit(self.path).query)["run_uuid"][0]
        mark = None if behaviour == "forgetful" else packet["status"]["time"]
        with open(self.folder / "packets.jsonl", "a") as file:
            file.write(json.dumps({"uuid": uuid, "path": self.path, "mark": mark, **packet}) + "\n")
        if mark is not None:
            marks[uuid] = mark
        if behaviour == "mute":  # took it, but the answer never comes
            self.hang()
        time.sleep(3 if behaviour == "slow" else 0)  # labml's server sleeps so long
        self.answer(200, {"errors": [], "url": "http://elsewhere/run", "dynamic": {}})

    def do_GET(self) -> None:
        if (self.folder / "behaviour").read_text() in ("hang", "drip"):
            self.hang()
        uuid = self.path.rpartition("/")[2]
        is_known = uuid in marks
        self.answer(200 if is_known else 404, {"run_status": {"time": marks[uuid]}} if is_known else {})

    def answer(self, code: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang(self) -> None:
        time.sleep(FOREVER)

    def nonsense(self) -> None:
        self.wfile.write(b"\x00\x01 what?\r\n\r\n")

    def errors(self) -> None:
        self.answer(200, {"errors": [{"error": "invalid_token", "message": "get\n\x1b[31manother"}]})

    def redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    def drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X-Slow: 1\r\n")
            time.sleep(0.2)

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"[" * 65536)

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


def remember(packets: Path) -> None:
    """What an earlier process took, answered or not: a labml server has that in its database."""
    for line in packets.read_text().splitlines() if packets.exists() else []:
        packet = json.loads(line)
        if packet["mark"] is not None:
            marks[packet["uuid"]] = packet["mark"]


if __name__ == "__main__":
    port, Handler.folder = int(sys.argv[1]), Path(sys.argv[2])
    remember(Handler.folder / "packets.jsonl")
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
