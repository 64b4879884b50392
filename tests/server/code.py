"""Code that servers, or keepers that replace others, run before their own: to die at a moment."""

from __future__ import annotations

import pytest

from ptymux.client import autostart

__all__ = ["run_in_next_keepers", "run_in_next_servers", "run_in_servers"]


def run_in_servers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have each server that is started from now on run `code` first."""
    keeper = f"import ptymux.keeper.zygote_client as z; z._ZYGOTE = {code!r} + z._ZYGOTE; "
    monkeypatch.setattr(autostart, "_KEEPER", keeper + autostart._KEEPER)


def run_in_next_keepers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have each keeper that is to replace one that lives run `code` first."""
    change = f"import ptymux.link.launch as l; l._NEXT_KEEPER = {code!r} + l._NEXT_KEEPER\n"
    run_in_servers(monkeypatch, change)


def run_in_next_servers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have each server that comes from such a keeper run `code` first."""
    change = f"import ptymux.keeper.zygote_client as z; z._ZYGOTE = {code!r} + z._ZYGOTE\n"
    run_in_next_keepers(monkeypatch, change)
