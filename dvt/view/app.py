"""The routes of the live app. Images of this machine are known by their numbers; no route takes a path."""

import io
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image

from dvt.errors import DvtError, ImageError
from dvt.images import MAX_PIXELS, ImageFile
from dvt.images.read import check_encoded, read_thumbnail
from dvt.view.access import App, Guard
from dvt.view.jobs import Job, Jobs, QueueFullError
from dvt.view.offer import Choice, Offer, choose
from dvt.view.page import live_page

MAX_UPLOAD_BYTES: Final = 100_000_000
"""Largest image file that the page may send."""

_ASSETS = {
    "explorer.css": ("dvt.viz.explorer", "text/css"),
    "explorer.js": ("dvt.viz.explorer", "text/javascript"),
    "view.css": ("dvt.view", "text/css"),
    "view.js": ("dvt.view", "text/javascript"),
}
"""Files of the page: the package that has them, and their type."""
_THUMBNAIL_SIDE = 160
_NAME_LENGTH = 120


class _NotFoundError(DvtError):
    """Something that is not there, or no longer."""


class _TooLargeError(DvtError):
    """A file of too many bytes."""


_STATUS = {_NotFoundError: 404, _TooLargeError: 413, QueueFullError: 503}
"""Status of an answer by the kind of error; 422 of all others."""


def make_app(
    jobs: Jobs, offers: Mapping[str, Offer], images: Sequence[ImageFile], *, host: str, max_pixels: int = MAX_PIXELS
) -> App:
    """The live app.

    Args:
        jobs: computes.
        offers: what can be chosen, by the name of the ViT; the first is the default.
        images: files of this machine that are offered; the page knows their keys and numbers.
        host: where the server listens; see `dvt.view.access`.
        max_pixels: larger images are refused.
    """
    app = FastAPI(title="dvt view", docs_url=None, redoc_url=None, openapi_url=None)
    page = live_page(offers, [image.key for image in images], MAX_UPLOAD_BYTES)
    thumbnails = _Thumbnails(images, max_pixels)

    @app.exception_handler(DvtError)
    def refused(_: Request, error: DvtError) -> JSONResponse:
        return _refusal(str(error), _STATUS.get(type(error), 422))

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = ", ".join(str(each["loc"][-1]) for each in error.errors())
        return _refusal(f"This request is not one of this page: {wrong}.", 422)

    @app.exception_handler(404)
    def missing(_: Request, __: Exception) -> JSONResponse:
        return _refusal("There is nothing at this address.", 404)

    @app.get("/")
    def show_page() -> Response:
        return Response(page, media_type="text/html; charset=utf-8")

    for name, (package, kind) in _ASSETS.items():
        app.add_api_route(f"/{name}", _sender(files(package).joinpath(name).read_bytes(), kind), methods=["GET"])

    def image_at(number: int) -> ImageFile:
        if not 0 <= number < len(images):
            raise _NotFoundError(f"There is no image {number}; there are {len(images)}.")
        return images[number]

    def job_of(job_id: str) -> Job:
        if (job := jobs.get(job_id)) is None:
            raise _NotFoundError("This result is no longer kept. Give the image again.")
        return job

    def replaced(instead: str = "") -> Job | None:
        return jobs.get(instead)

    def choice_of(backbone: str = "", layer: str = "", size: str = "", methods: str = "") -> Choice:
        return choose(offers, backbone=backbone, layer=layer, size=size, methods=methods)

    Chosen = Annotated[Choice, Depends(choice_of)]
    TheJob = Annotated[Job, Depends(job_of)]
    Replaced = Annotated[Job | None, Depends(replaced)]

    @app.get("/api/images/{number}")
    def thumbnail(number: int) -> Response:
        image_at(number)
        return Response(thumbnails.jpeg(number), media_type="image/jpeg", headers={"cache-control": "max-age=3600"})

    @app.post("/api/images/{number}")
    def submit_image(number: int, choice: Chosen, before: Replaced) -> dict[str, Any]:
        image = image_at(number)
        return submitted(Job(name=image.key, content=image.path, choice=choice), before)

    @app.post("/api/jobs")
    async def submit_upload(request: Request, choice: Chosen, before: Replaced, name: str = "") -> dict[str, Any]:
        content = await _body(request)
        shown = _printable(name) or "the image"
        await run_in_threadpool(check_encoded, content, shown, max_pixels)  # at once, whatever is in the queue
        return submitted(Job(name=shown, content=content, choice=choice), before)

    @app.post("/api/jobs/{job_id}/again")
    def submit_again(job: TheJob, choice: Chosen, before: Replaced) -> dict[str, Any]:
        return submitted(Job(name=job.name, content=job.content, choice=choice), before)

    def submitted(job: Job, before: Job | None) -> dict[str, Any]:
        jobs.submit(job, instead=before)
        return jobs.status(job)

    @app.get("/api/jobs/{job_id}")
    def status(job: TheJob) -> dict[str, Any]:
        return jobs.status(job)

    @app.get("/api/jobs/{job_id}/result")
    def result(job: TheJob) -> Response:
        if not job.version:
            raise _NotFoundError("There is no result yet.")
        return Response(job.result, media_type="application/json")

    @app.delete("/api/jobs/{job_id}")
    def cancel(job: TheJob) -> dict[str, Any]:
        jobs.cancel(job)
        return jobs.status(job)

    return Guard(app, host)


def _refusal(text: str, status: int) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _sender(content: bytes, kind: str) -> Any:
    def send() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8")

    return send


async def _body(request: Request) -> bytes:
    """The file that was sent.

    Raises:
        _TooLargeError: it is larger than is allowed; the rest of it is not read.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_UPLOAD_BYTES:
            raise _TooLargeError(
                f"The file has more than {MAX_UPLOAD_BYTES // 1_000_000} MB, the most that is taken."
                " Make it smaller, or start dvt view with images= and the folder it is in."
            )
    return bytes(content)


def _printable(name: str) -> str:
    """A name of a file as it may stand in a sentence: without folders and control characters, of limited length."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:_NAME_LENGTH].strip()


class _Thumbnails:
    """Small JPEGs of the images of this machine, made on first use, one at a time."""

    def __init__(self, images: Sequence[ImageFile], max_pixels: int) -> None:
        self._images, self._max_pixels = images, max_pixels
        self._one = threading.Lock()
        self._cached = lru_cache(maxsize=1024)(self._make)

    def jpeg(self, number: int) -> bytes:
        """The JPEG.

        Raises:
            ImageError: the image is damaged, or is no longer there.
        """
        with self._one:
            return self._cached(number)

    def _make(self, number: int) -> bytes:
        image = self._images[number]
        try:
            pixels = read_thumbnail(image.path, _THUMBNAIL_SIDE, max_pixels=self._max_pixels)
        except ImageError as error:
            raise ImageError(str(error).replace(str(image.path), image.key)) from error
        file = io.BytesIO()
        Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=85)
        return file.getvalue()
