"""Optuna's dashboard of a study, on loopback."""

from wsgiref.simple_server import WSGIRequestHandler, make_server

from convmixer.errors import UserError
from convmixer.sweeps import storage


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """No line for each request."""


def serve(name: str, port: int, url: str | None = None) -> None:
    """Serve until Ctrl-C.

    Raises:
        UserError: no such sweep, optuna-dashboard is not there, or the port is taken.
    """
    study = storage.load(name, url)
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise UserError("the dashboard needs optuna-dashboard: pip install '.[sweep]'") from None
    try:
        server = make_server("127.0.0.1", port, wsgi(study._storage), handler_class=_Silent)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}") from None
    print(
        f"sweep {study.study_name}: http://127.0.0.1:{port}/dashboard/studies/{study._study_id} (Ctrl-C ends it)",
        flush=True,
    )
    with server:
        server.serve_forever()
