"""Waits until a shell is back at its prompt, or a program wants input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptymux.cli.server_lookup import chosen_path
from ptymux.cli.waiting.conditions import Outcome, facts_of
from ptymux.client.watches import InputWatch, PromptWatch, observe
from ptymux.protocol.framing import Exit

__all__ = ["for_input", "for_prompt"]


def for_input(pty: Mapping[str, Any], start: int | str | None) -> Outcome:
    """Return once a program reads the terminal and waits; `start` as in `for_prompt`."""
    watch, found = observe(
        chosen_path(),
        pty["pty_id"],
        "now" if start is None else start,
        lambda offset: InputWatch(pty["pid"], offset, needs_output=start is not None),
    )
    if isinstance(found, Exit):
        return None, facts_of("input", found.pty, came_true=False)
    return str(watch.offset), facts_of("input", pty) | {"offset": watch.offset}


def for_prompt(pty: Mapping[str, Any], start: int | str | None) -> Outcome:
    """Return once the prompt is there; with a `start` only after output from that offset on."""
    watch, found = observe(
        chosen_path(),
        pty["pty_id"],
        "now" if start is None else start,
        lambda offset: PromptWatch(pty["pid"], offset, needs_output=start is not None),
    )
    if isinstance(found, Exit):
        return None, facts_of("prompt", found.pty, came_true=False)
    return str(watch.offset), facts_of("prompt", pty) | {"offset": watch.offset, "sign": found}
