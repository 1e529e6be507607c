"""labml-app's views over the run folders, as an ASGI app: what its page asks for and nothing else.

Its routes that take data in from training, that delete runs or that claim them are not served.
"""

import hashlib
import mimetypes
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from convmixer.dashboard import drivers, patches, records
from convmixer.dashboard.follower import Follower
from convmixer.dashboard.storage import Store

API = "/api/v1"
# The page's own addresses, all of them answered with index.html.
_PAGE = re.compile(r"(runs|run|session|sessions|computers|computer|settings|404|401|network_error)(/[\w-]+)*")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build(follower: Follower, store: Store, static: dict[str, bytes], lifespan: Lifespan) -> FastAPI:
    """The app, once in a process: labml-app keeps its database in its classes.

    Args:
        static: every file that is served, by path.
    """
    patches.prepare()
    patches.apply(lambda uuid: records.list_item(follower.runs[uuid]))
    from labml_app import analyses, db, handlers

    drivers.connect(db.models, db.indexes, follower, store)
    _create_user(store)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    for error in (ValueError, KeyError, TypeError):
        app.add_exception_handler(error, _malformed)

    async def known(request: Request) -> None:  # async: what is not, runs in threads of its own
        """A view of a run: there is such a run, and what is shown is what its folder holds now."""
        if request.method != "GET" and not isinstance(await request.json(), dict):
            raise HTTPException(400, "expected a JSON object")
        for name in ("run_uuid", "session_uuid"):
            uuid = request.path_params.get(name)
            if uuid is not None and uuid not in follower.runs:
                raise HTTPException(404, "there is no such run")
            if uuid is not None:
                follower.runs[uuid].look()
                follower.runs[uuid].read_configs()

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
        ("PUT", _refuse_deletion, "runs"),
        ("PUT", _refuse_deletion, "sessions"),
    ]
    of_analyses = [(method, view, url) for method, view, url, _ in analyses.AnalysisManager.get_handlers()]
    for method, view, url in own + of_analyses:
        app.add_api_route(f"{API}/{url}", view, methods=[method], dependencies=[Depends(known)], response_model=None)
    _add_static(app, static)
    return app


def _create_user(store: Store) -> None:
    from labml_app.db.user import User, UserIndex
    from labml_db import Key

    if UserIndex.get("local") is None:
        project = Key(drivers.PROJECT)
        # With a name and an address, or the page asks to sign up.
        user = User(drivers.USER, identifier="local", name="local", email="local", projects=[project])
        user.save()
        UserIndex.set("local", user.key)


async def _refuse_deletion() -> JSONResponse:
    return JSONResponse({"error": "A run is deleted by deleting its folder in logs/. Archive it to hide it."}, 409)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """labml-app takes apart what it was sent without looking; where nothing was sent, the mistake is here."""
    if request.method == "GET":
        raise error
    return JSONResponse({"error": f"this request is malformed: {type(error).__name__}: {error}"[:300]}, 400)


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
