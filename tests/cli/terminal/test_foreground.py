from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from ptymux.cli.terminal.foreground import _passable
from ptymux.core.model import SpawnOptions


@dataclass
class Connection:
    """To a server that passes fds, or to an older one."""

    passes_fds: bool
    path: str = "/s"


def passable(passes_fds: bool, **options: Any) -> SpawnOptions:
    given = SpawnOptions(argv=("true",), **options)
    return _passable(given, cast(Any, Connection(passes_fds)))


@pytest.mark.requirement("FR-003")
def test_what_an_older_server_cannot_pass_is_said_and_left_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = passable(False, pass_fds=(5, 63), name="web")

    assert (dict(options.pass_fds), options.name) == ({}, "web")
    told = "the server at /s is older and cannot pass fds 5, 63; `ptymux server restart` replaces"
    assert capfd.readouterr().err.startswith(f"ptymux: {told}")


@pytest.mark.requirement("FR-003")
def test_nothing_is_said_where_nothing_is_missed(capfd: pytest.CaptureFixture[str]) -> None:
    assert passable(True, pass_fds=(5,)).pass_fds == {5: 5}
    assert passable(False).pass_fds == {}

    assert capfd.readouterr().err == ""
