"""Sends the rest of a run to a labml server after training, for `runs send`."""

from convmixer.errors import UserError
from convmixer.tracking.app_server import AppServer, NotTaken
from convmixer.tracking.outbox import Outbox
from convmixer.tracking.runs import Run


class NotSent(UserError):
    """The error if a server did not take all of a run. The rest can be sent later."""

    exit_status = 1


def send(run: Run, url: str | None) -> None:
    """Send the missing data of `run` to the labml server at `url`, or to the one that it was trained with.

    Raises:
        UserError: no server is known, its URL is wrong, or another process is sending this run.
        NotSent: the server did not take all of it.
    """
    url = url or run.recorded.get("tracking.app_url")
    if url is None:
        raise UserError(f"run {run.uuid[:8]} was trained without a labml server: give one with tracking.app_url=URL")
    server = AppServer(url, run.uuid)
    try:
        with Outbox(run, server) as outbox:
            packets = outbox.send(ended=not run.is_running())
    except NotTaken as reason:
        raise NotSent(f"not sent to {server.name} ({reason}): {outbox.unsent()}; try again later") from None
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    print(f"sent to {server.name}" if packets else f"nothing to send: {server.name} has everything")
