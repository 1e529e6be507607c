"""The command `dashboard`."""

import click

from convmixer.project import logs_folder


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5005, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other than loopback needs a token, printed.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def dashboard(port: int, host: str, open_browser: bool) -> None:
    """Show all runs in labml's web app, those that train too, until Ctrl-C."""
    from convmixer.dashboard.server import serve

    serve(logs_folder(), host, port, open_browser)
