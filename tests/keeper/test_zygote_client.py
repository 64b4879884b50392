"""When a keeper starts its zygote itself, and when it has the server fork one."""

from __future__ import annotations

import socket

import pytest

from ptymux.core.windows import Windows
from ptymux.keeper.zygote_client import Zygote


@pytest.mark.parametrize(("was_killed", "ways"), [(True, ["own"] * 2), (False, ["own", "server"])])
def test_only_one_that_gave_up_before_it_was_warm_says_that_none_can_be_started(
    monkeypatch: pytest.MonkeyPatch, was_killed: bool, ways: list[str]
) -> None:
    started = []

    def spawn(_zygote: Zygote, _control: socket.socket) -> int:
        started.append("own")
        return 0  # no process of ours

    def borrow(_ours: socket.socket, _theirs: socket.socket) -> bool:
        started.append("server")
        return True

    monkeypatch.setattr(Zygote, "_spawn", spawn)
    zygote = Zygote("/s", Windows())
    zygote.borrow = borrow

    zygote.start()
    zygote.note_end(was_killed=was_killed)
    zygote.start()

    assert started == ways
    zygote.kill()
