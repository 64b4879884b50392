"""The log of keeper and server: one file, which both have open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptymux.server.zygote import _copy_and_empty
from tests.processes import kill
from tests.serving import Serving
from tests.timing import wait_until


def test_the_log_is_rotated_under_those_who_have_it_open(own_server: Serving) -> None:
    log = Path(own_server.folder, "s.log")
    before = log.stat().st_ino
    with log.open("ab") as file:
        file.write(b"old\n" * 300_000)

    kill(own_server.status()["keeper_pid"])
    wait_until(lambda: log.stat().st_size < 10_000)
    wait_until(lambda: "the keeper is gone" in log.read_text())

    keeper, server = (own_server.status()[name] for name in ("keeper_pid", "pid"))
    assert log.stat().st_ino == before
    assert {os.stat(f"/proc/{pid}/fd/2").st_ino for pid in (keeper, server)} == {before}
    assert Path(own_server.folder, "s.log.1").read_text().count("old\n") == 300_000


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_log_that_others_took_away_is_made_again(no_server: Serving, how: str) -> None:
    no_server.start(check=0.05)
    log = Path(no_server.folder, "s.log")
    log.touch()
    if how == "moved":
        log.rename(log.with_suffix(".log.1"))
    else:
        log.unlink()
    keeper = no_server.status()["keeper_pid"]
    wait_until(lambda: log.exists() and os.path.samefile(f"/proc/{keeper}/fd/2", log))

    no_server.kill_server()
    kill(keeper)
    wait_until(lambda: no_server.status()["keeper_replaced"] == 1)

    assert "keeper: the server is gone" in log.read_text()
    assert "server: the keeper is gone" in log.read_text()
    for pid in (no_server.status()["pid"], no_server.status()["keeper_pid"]):
        wait_until(lambda pid=pid: os.path.samefile(f"/proc/{pid}/fd/2", log))  # type: ignore[misc]


def test_a_log_that_cannot_be_copied_is_not_emptied(tmp_path: Path) -> None:
    log = tmp_path / "s.log"
    log.write_text("old\n")

    _copy_and_empty(str(log), str(tmp_path / "nowhere" / "s.log.1"))
    assert log.read_text() == "old\n"

    _copy_and_empty(str(log), str(tmp_path / "s.log.1"))
    assert (tmp_path / "s.log.1").read_text() == "old\n"
    assert log.read_text() == ""
