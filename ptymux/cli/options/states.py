"""The words for states, as `--state` takes them; apart, as few commands need what knows them."""

from __future__ import annotations

from typing import Final

from ptymux.cli.options.param_types import OneOf
from ptymux.core.lifecycle import STATE_WORDS, check_state
from ptymux.errors import InvalidValueError

__all__ = ["STATE"]


def _is_state(word: str) -> bool:
    try:
        return bool(check_state(word))
    except InvalidValueError:
        return False


STATE: Final = OneOf("state", STATE_WORDS, _is_state)
