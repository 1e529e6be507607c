"""labml-app's views over the run folders, as an ASGI app: what its page asks for and nothing else.

Its routes that take data in from training, that delete runs or that claim them are not served.
"""

import hashlib
import mimetypes
import re
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from convmixer.dashboard import drivers, live_changes, patches, records
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.json_values import parse_plain
from convmixer.dashboard.storage import Store

API = "/api/v1"
# The page's own addresses, all of them answered with index.html.
_PAGE = re.compile(r"(runs|run|session|sessions|computers|computer|settings|404|401|network_error)(/[\w-]+)*")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build(
    follower: Follower, store: Store, static: dict[str, bytes], lifespan: Lifespan, change: live_changes.Change
) -> FastAPI:
    """The app, once in a process: labml-app keeps its database in its classes.

    Args:
        static: every file that is served, by path.
        change: asks for a change in the run of a folder, as `KEY=VALUE`.
    """
    patches.prepare()
    patches.apply(
        list_item=lambda uuid: records.list_item(follower.runs[uuid]),
        page_item=lambda uuid: {"results": records.results(follower.runs[uuid])},
    )
    from labml_app import analyses, db, handlers

    drivers.connect(db.models, db.indexes, follower, store)
    _create_user(store)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    for error in (ValueError, KeyError, TypeError):
        app.add_exception_handler(error, _malformed)
    for error in (OSError, sqlite3.Error):
        app.add_exception_handler(error, _not_kept)

    async def known(request: Request) -> None:
        """Refuse what no view can answer; what is shown of a run is what its folder holds now."""
        if request.method != "GET":
            _check_body(await request.body())
        for name in ("run_uuid", "session_uuid"):
            uuid = request.path_params.get(name)
            if uuid is not None:
                await _refresh(follower, uuid)

    own = [
        ("GET", handlers.get_runs, "runs/{labml_token}"),
        ("POST", handlers.archive_runs, "runs/archive"),
        ("POST", handlers.un_archive_runs, "runs/unarchive"),
        ("GET", handlers.get_run, "run/{run_uuid}"),
        ("POST", handlers.edit_run, "run/{run_uuid}"),
        ("GET", handlers.get_run_status, "run/status/{run_uuid}"),
        ("GET", handlers.get_sessions, "sessions/{labml_token}"),
        ("GET", handlers.get_session, "session/{session_uuid}"),
        ("GET", handlers.get_session_status, "session/status/{session_uuid}"),
        ("POST", handlers.set_user, "user"),
        ("POST", handlers.get_user, "auth/user"),
        *live_changes.routes(follower, change),
        ("PUT", _refuse_deletion, "runs"),
        ("PUT", _refuse_deletion, "sessions"),
    ]
    of_analyses = [(method, view, url) for method, view, url, _ in analyses.AnalysisManager.get_handlers()]
    for method, view, url in own + of_analyses:
        app.add_api_route(f"{API}/{url}", view, methods=[method], dependencies=[Depends(known)], response_model=None)
    _add_static(app, static)
    return app


async def _refresh(follower: Follower, uuid: str) -> None:
    if uuid in follower.runs:
        await follower.refresh(uuid)
    if uuid not in follower.runs or not follower.runs[uuid].is_shown:
        raise HTTPException(404, "there is no such run")
    base = records.base_of_comparison(follower.runs[uuid])
    if base != uuid and base in follower.runs:
        await follower.refresh(base)


def _check_body(body: bytes) -> None:
    try:
        is_object = isinstance(parse_plain(body), dict)
    except ValueError as error:
        raise HTTPException(400, f"expected JSON: {error}"[:300]) from None
    if not is_object:
        raise HTTPException(400, "expected a JSON object")


def _create_user(store: Store) -> None:
    from labml_app.db.user import User, UserIndex, get_or_create_user
    from labml_db import Key

    if UserIndex.get("local") is None:
        project = Key(drivers.PROJECT)
        # With a name and an address, or the page asks to sign up.
        user = User(drivers.USER, identifier="local", name="local", email="local", projects=[project])
        user.save()
        UserIndex.set("local", user.key)
    get_or_create_user(identifier="local", is_local_user=True)  # writes what it does not find, which views then find


async def _refuse_deletion() -> JSONResponse:
    return JSONResponse({"error": "A run is deleted by deleting its folder in logs/. Archive it to hide it."}, 409)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """Answer for labml-app, which takes apart what it was sent without looking; a view's mistake is ours."""
    if request.method == "GET":
        raise error
    return JSONResponse({"error": f"this request is malformed: {type(error).__name__}: {error}"[:300]}, 400)


async def _not_kept(request: Request, error: Exception) -> JSONResponse:
    """Answer that a change can't be written: the disk is full or read-only, or the run is another user's."""
    if request.method == "GET":
        raise error
    return JSONResponse({"error": f"this can't be kept: {error}"[:300]}, 507)


def _add_static(app: FastAPI, static: dict[str, bytes]) -> None:
    tags = {path: f'"{hashlib.sha256(content).hexdigest()[:32]}"' for path, content in static.items()}

    @app.get("/{path:path}", response_model=None)
    async def file(path: str, request: Request) -> Response:
        name = path if path in static else "index.html"
        if name != path and path and not _PAGE.fullmatch(path):
            raise HTTPException(404)
        headers = {"etag": tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(static[name], media_type=kind, headers=headers)
