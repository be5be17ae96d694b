"""The calls of the API; bundle/docs/http_api.md describes them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from ..service.pictures import mask_png, slice_png
from ..service.segmentation_service import SegmentationService
from ..service.study import Study
from .bodies import Correction, Key, MaskName, Question, StudyPath, read_body
from .descriptions import about, described_request, described_study
from .failures import WebError
from .protection import SESSION, cookie_header

# Between two looks at a request that somebody follows.
_LOOK_EVERY_S = 0.1

calls = APIRouter()


def _service(request: Request) -> SegmentationService:
    return request.app.state.service


def _owner(request: Request) -> str:
    return request.state.owner


def _study(study_id: str, request: Request) -> Study:
    return _service(request).study(_owner(request), study_id)


Service = Annotated[SegmentationService, Depends(_service)]
Owner = Annotated[str, Depends(_owner)]
OwnStudy = Annotated[Study, Depends(_study)]


@calls.post(SESSION, status_code=204)
def begin_session(request: Request, body: Key) -> Response:
    """Gives a cookie for the key."""
    owners = request.app.state.owners
    if not owners.is_key(body.key):
        raise WebError("wrong_key", "this is not the key that the server was started with.")
    return Response(status_code=204, headers={"Set-Cookie": cookie_header(owners.new_cookie())})


@calls.get("/api/about")
def get_about(service: Service) -> dict[str, Any]:
    """What the server is and allows."""
    return about(service)


# Studies ----------------------------------------------------------------------------------------------------------


@calls.get("/api/studies")
def list_studies(service: Service, owner: Owner) -> dict[str, Any]:
    """What may be opened, and what is open."""
    return {
        "available": [available._asdict() for available in service.folder.available()],
        "open": [{"id": study.id, "name": study.name} for study in service.studies(owner)],
    }


@calls.post("/api/studies", status_code=201)
async def open_study(request: Request, service: Service, owner: Owner) -> dict[str, Any]:
    """Opens a study of the folder (JSON), or one that is sent (a form with one `file`)."""
    if not request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        path = read_body(StudyPath, await request.body()).path
        return described_study(await run_in_threadpool(service.open, owner, path))
    async with request.form(max_files=1, max_fields=4) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise WebError("bad_request", "the form has no file named `file`.")
        name = file.filename or "volume"
        return described_study(await run_in_threadpool(service.open_upload, owner, file.file, name))


@calls.get("/api/studies/{study_id}")
def get_study(study: OwnStudy) -> dict[str, Any]:
    """A study with its masks and its history."""
    return described_study(study)


@calls.delete("/api/studies/{study_id}", status_code=204)
def close_study(study: OwnStudy, service: Service) -> None:
    """Closes a study."""
    service.close(study.owner, study.id)


@calls.get("/api/studies/{study_id}/slices/{plane}/{index}.png")
def get_slice(
    study: OwnStudy, service: Service, plane: str, index: int, low: float | None = None, high: float | None = None
) -> Response:
    """A slice as a picture."""
    low, high = study.window[0] if low is None else low, study.window[1] if high is None else high
    picture = slice_png(service.voxels(study), plane, index, low, high)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600, immutable"})


# Masks ------------------------------------------------------------------------------------------------------------


@calls.post("/api/studies/{study_id}/questions", status_code=202)
def ask(study: OwnStudy, service: Service, body: Question) -> dict[str, str]:
    """Puts a question into the queue."""
    return {"request": service.ask(study.owner, study.id, body.query, body.name).id}


@calls.post("/api/studies/{study_id}/masks/{name}/correction", status_code=202)
def correct(study: OwnStudy, service: Service, name: str, body: Correction) -> dict[str, str]:
    """Puts a person's evidence into the queue."""
    return {"request": service.correct(study.owner, study.id, name, body.key_slice, body.boxes, body.points).id}


@calls.post("/api/studies/{study_id}/masks/{name}/undo")
def undo(study: OwnStudy, name: str) -> dict[str, Any]:
    """Takes the last answer of a mask back."""
    study.undo(name)
    return described_study(study)


@calls.patch("/api/studies/{study_id}/masks/{name}")
def rename(study: OwnStudy, name: str, body: MaskName) -> dict[str, Any]:
    """Gives a mask another name."""
    study.rename(name, body.name)
    return described_study(study)


@calls.delete("/api/studies/{study_id}/masks/{name}", status_code=204)
def delete_mask(study: OwnStudy, name: str) -> None:
    """Deletes a mask."""
    study.delete(name)


@calls.get("/api/studies/{study_id}/masks/{name}/slices/{plane}/{index}.png")
def get_mask_slice(request: Request, study: OwnStudy, service: Service, name: str, plane: str, index: int) -> Response:
    """A mask on a slice, as a transparent picture."""
    mask = study.mask(name)
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{mask.current.number}"'}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    picture = mask_png(service.mask(study, mask.current), plane, index, mask.color)
    return Response(picture, media_type="image/png", headers=headers)


@calls.get("/api/studies/{study_id}/masks/{name}/export/{form}")
def export(study: OwnStudy, service: Service, name: str, form: str) -> FileResponse:
    """A mask as a file."""
    folder = Path(mkdtemp(dir=service.uploads.folder))
    remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    try:
        path = service.export(study, name, form, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(path, filename=f"{name}_{path.name}", background=remove)


# Requests ---------------------------------------------------------------------------------------------------------


@calls.get("/api/requests/{request_id}")
def get_request(service: Service, owner: Owner, request_id: str) -> dict[str, Any]:
    """How far a request is."""
    return described_request(service, service.queue.get(owner, request_id))


@calls.delete("/api/requests/{request_id}", status_code=204)
def cancel(service: Service, owner: Owner, request_id: str) -> None:
    """Stops a request."""
    service.queue.cancel(service.queue.get(owner, request_id))


@calls.get("/api/requests/{request_id}/events")
async def follow(request: Request, service: Service, owner: Owner, request_id: str) -> StreamingResponse:
    """The same as server-sent events, until it is over. Nobody left who follows: it is cancelled."""
    followed = service.queue.get(owner, request_id)

    async def events() -> AsyncIterator[str]:
        followed.followers += 1
        told = ""
        try:
            while True:
                is_over = followed.is_over
                now = json.dumps(described_request(service, followed))
                if now != told:
                    yield f"data: {now}\n\n"
                    told = now
                if is_over or await request.is_disconnected():
                    return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            followed.followers -= 1
            if followed.followers == 0:
                service.queue.cancel(followed)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
