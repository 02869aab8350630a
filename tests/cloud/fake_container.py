"""Stands for the project's image in tests of the local SageMaker: `serve`, `train`, or a processing job's arguments."""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPT_ML = Path(os.environ["SLIDR_OPT_ML"])
CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"


class Model(BaseHTTPRequestHandler):
    """Answers who it is and what it was sent; refuses what the body says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if body == b"refuse":
            self._answer(400, b"expected features")
            return
        weights = OPT_ML / "model" / "weights.txt"
        said = {
            "weights": weights.read_text() if weights.exists() else None,
            "environment": os.environ.get("GREETING"),
            "content_type": self.headers["Content-Type"],
            "accept": self.headers["Accept"],
            "custom": self.headers[CUSTOM],
            "body": body.hex(),
            "pid": os.getpid(),
        }
        self._answer(200, json.dumps(said).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-said")
        self.send_header(CUSTOM, "release=abc")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


def serve() -> None:
    if os.environ.get("BREAK"):
        sys.exit("broken on purpose")
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Model).serve_forever()


def train() -> None:
    settings = json.loads((OPT_ML / "input/config/hyperparameters.json").read_text())
    if settings.get("fail"):
        (OPT_ML / "output/failure").write_text("the data is bad")
        sys.exit(1)
    rows = sorted(path.read_text() for path in (OPT_ML / "input/data/days").rglob("*.csv"))
    (OPT_ML / "model/weights.txt").write_text(" ".join(rows))
    print(f"auc={len(rows)}.5", flush=True)


def process(source: str, target: str) -> None:
    for path in Path(source).rglob("*.csv"):
        (Path(target) / path.name).write_text(path.read_text().upper())


if __name__ == "__main__":
    {"serve": serve, "train": train, "process": lambda: process(*sys.argv[2:])}[sys.argv[1]]()
