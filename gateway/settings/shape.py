"""One section's data against its model; pydantic's findings become located problems."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.settings.document import Document
from gateway.settings.model import Section
from gateway.settings.problems import Path, Problems, did_you_mean

Model = TypeVar("Model", bound=Section)

_MESSAGES = {
    "missing": "is required",
    "string_type": "must be text; a number is put in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be `true` or `false`",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "holds a character that is not allowed here",
}


def shape(model: type[Model], document: Document, path: Path, problems: Problems) -> Model | None:
    """The section at ``path`` as ``model``, or None after noting everything that is wrong with it."""
    data = document.at(path)
    try:
        return model.model_validate({} if data is None else data)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            _note(model, document, path, detail, problems)
        return None


def _note(
    model: type[Section], document: Document, path: Path, detail: ErrorDetails, problems: Problems
) -> None:
    kind, where = detail["type"], _existing(document, path, detail)
    if kind == "extra_forbidden":
        known = _fields(model, detail["loc"][:-1])
        message = f"unknown key{did_you_mean(str(where[-1]), known)}"
        problems.error(document.places, where, message, key=True)
    elif where[-1:] == ("[key]",):
        problems.error(document.places, where[:-1], "is not a usable name", key=True)
    else:
        problems.error(document.places, where, _message(detail))


def _message(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] == "literal_error":
        return f"must be {context['expected']}".replace("'", "`")
    if detail["type"] in ("greater_than_equal", "less_than_equal"):
        return f"must be at least {context['ge']}" if "ge" in context else f"must be at most {context['le']}"
    return _MESSAGES.get(detail["type"], detail["msg"])


def _existing(document: Document, path: Path, detail: ErrorDetails) -> Path:
    """The way to the value, without the steps that only a normalised form has."""
    where = path
    last = len(detail["loc"]) - 1
    for number, step in enumerate(detail["loc"]):
        named = number == last and (detail["type"] == "missing" or step == "[key]")
        if named or (*where, step) in document.places.values:
            where = (*where, step)
    return where


def _fields(model: type[BaseModel], steps: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at some depth of a model."""
    current: Any = model
    for step in steps:
        inner = _section_in(current)
        if inner is not None and step in inner.model_fields:
            current = inner.model_fields[str(step)].annotation
    found = _section_in(current)
    return list(found.model_fields) if found is not None else []


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for each in get_args(annotation) if (found := _section_in(each))), None)
