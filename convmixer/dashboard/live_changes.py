"""The card of a run's page that changes values while the run trains, as the command `set` does."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse

from convmixer.dashboard.followed_run import FollowedRun
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.json_values import plain_text
from convmixer.errors import UserError
from convmixer.tracking.live_changes import ADJUSTABLE, LIVE_LENGTHS, is_strength, shown

MOST = 100  # changes that are shown, the last ones
LONGEST = 200  # characters of a shown value
STOP = "stop"

Change = Callable[[Path, str], None]  # asks for a change, as KEY=VALUE, in the run of a folder


def routes(follower: Follower, change: Change) -> list[tuple[str, Callable[..., Any], str]]:
    """Return the routes of the card: method, view, address."""
    one_at_a_time = asyncio.Lock()

    async def get_changes(run_uuid: str) -> JSONResponse:
        return JSONResponse(card(follower.runs[run_uuid]))

    async def ask(run_uuid: str, request: Request) -> JSONResponse:
        run = follower.runs[run_uuid]
        asked = await request.json()
        if not (isinstance(asked.get("key"), str) and isinstance(asked.get("value"), str)):
            raise HTTPException(400, "expected a key and a value, as text")
        async with one_at_a_time:
            refusal = await asyncio.to_thread(_refusal, run, f"{asked['key']}={asked['value']}", change)
        await follower.refresh(run_uuid)
        return JSONResponse(card(run) | {"refusal": refusal})

    return [("GET", get_changes, "live/{run_uuid}"), ("POST", ask, "live/{run_uuid}")]


def _refusal(run: FollowedRun, assignment: str, change: Change) -> str:
    """Ask for a change, and return why it is refused; nothing if it is not."""
    if not run.is_running_here:
        return "this run does not train now"
    try:
        change(run.folder, assignment)
    except UserError as error:
        return plain_text(" ".join(str(error).removeprefix("command line: ").split()))
    return ""


def card(run: FollowedRun) -> dict[str, Any]:
    """Return what the card shows: keys with their values now, what was changed, and what is waiting."""
    return {
        "is_open": run.is_running_here,
        "keys": _keys(run) if run.is_running_here else {},
        "changes": [shortened(str(change)) for change in run.changes[-MOST:]],
        "waiting": [shortened(f"{asked.key}={shown(asked.value)}") for asked in run.waiting[-MOST:]],
    }


def _keys(run: FollowedRun) -> dict[str, str]:
    """Return the keys that can be changed, and `stop`, with their values now."""
    values = {name: item.get("value") for name, item in run.configs.items()}
    used = values.get("augment.ops")
    used = tuple(f"augment.{name}" for name in used) if isinstance(used, list) else ()
    strengths = (name for name in values if is_strength(name) and name.startswith(used))
    own = {name: item["computed"] for name, item in run.configs.items() if item["is_dynamic"]}
    names = (*(name for name in (*ADJUSTABLE, *LIVE_LENGTHS) if name in values), *strengths, *own)
    now = values | own | {change.key: change.value for change in run.changes}
    return {name: shortened(shown(now[name])) for name in names} | {STOP: "false"}


def shortened(text: str) -> str:
    """Cut what a damaged or hostile folder may hold, and write out what UTF-8 can't."""
    return plain_text(text if len(text) <= LONGEST else text[:LONGEST] + "...")
