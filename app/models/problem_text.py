"""Faults that validators raise, with texts for a reader."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

from app.messages.message import FaultMessage


def wrong(message: FaultMessage, **values: Any) -> PydanticCustomError:
    """The error to raise in a validator: what was found, and what to do about it.

    Args:
        message: of the catalogue.
        values: those of its templates.
    """
    detail, fix = message.texts(**values)
    # The texts are in the context, because pydantic reads braces in a message as a template.
    return PydanticCustomError(message.code, "{detail}", {"detail": detail, "fix": fix})
