"""`runs send`: what a labml server elsewhere has not got of a run, sent after its training."""

from convmixer.errors import UserError
from convmixer.tracking.app_server import AppServer, NotTaken
from convmixer.tracking.outbox import Outbox
from convmixer.tracking.runs import Run


class NotSent(UserError):
    """The server did not take all of a run. What it took is remembered."""

    exit_status = 1


def send(run: Run, url: str | None) -> None:
    """Send what is missing of `run` to the labml server at `url`, or else at the one that it was trained with.

    Raises:
        UserError: no server is known, its URL is wrong, or another process is sending this run.
        NotSent: the server did not take all of it.
    """
    url = url or run.recorded.get("tracking.app_url")
    if url is None:
        raise UserError(f"run {run.uuid[:8]} was trained without a labml server: name one with tracking.app_url=URL")
    server = AppServer(url, run.uuid)
    try:
        with Outbox(run, server) as outbox:
            packets = outbox.send(ended=not run.is_running())
    except NotTaken as reason:
        raise NotSent(f"{server.name} ({reason}) has not taken {outbox.unsent()}; try again later") from None
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    print(f"sent to {server.name}" if packets else f"nothing to send: {server.name} has it all")
