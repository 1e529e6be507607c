"""The command `dashboard`."""

from pathlib import Path

import click

from convmixer.project import logs_folder


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5005, show_default=True, help="Port; 0 picks a free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address; other machines need the token that is printed."
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.pass_obj
def dashboard(configs_class: type | None, port: int, host: str, open_browser: bool) -> None:
    """Show all runs in labml's web app, also running ones.

    Ctrl-C ends it.
    """
    from convmixer.dashboard.server import serve

    def change(folder: Path, assignment: str) -> None:
        """Ask for a change in a run. PyTorch is imported by the first one only: showing runs does without."""
        from convmixer.commands.set_ import ask_for
        from convmixer.configs import Configs
        from convmixer.tracking.runs import Run

        ask_for(configs_class or Configs, Run(folder), [assignment])

    serve(logs_folder(), host, port, change, open_browser)
