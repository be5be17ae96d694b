"""What calls send, as JSON: texts are texts and numbers numbers, nothing is converted, nothing else may be there."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .failures import WebError

Body = TypeVar("Body", bound="SentBody")


class SentBody(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Key(SentBody):
    """What a session is given for."""

    key: str


class StudyPath(SentBody):
    """A study of the folder, as the list of studies has it."""

    path: str


class Question(SentBody):
    """A question, and the name of its mask."""

    query: str
    name: str | None = None


class Correction(SentBody):
    """A person's evidence: the index of an axial slice, boxes x1, y1, x2, y2 in pixels of its picture, and perhaps for
    each box points x, y on the target."""

    key_slice: int
    boxes: list[list[float]]
    points: list[list[list[float]]] = []


class MaskName(SentBody):
    """A mask's new name."""

    name: str


def read_body(kind: type[Body], content: bytes) -> Body:
    """A body that is read by hand.

    Raises:
        WebError: `bad_request`.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise WebError("bad_request", in_words(error.errors())) from error


def in_words(errors: list) -> str:
    """What pydantic finds wrong with a body, without repeating what was sent."""
    found = (".".join(str(part) for part in one["loc"])[:100] + ": " + one["msg"] for one in errors[:5])
    return "the body cannot be used: " + "; ".join(found)
