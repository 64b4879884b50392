from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ptymux.errors import AlreadyRunningError, UnsafeDirectoryError
from ptymux.posix.runtime import ensure_directory, listen, lock, peer, state_path


def test_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"

    ensure_directory(str(path))
    ensure_directory(str(path))

    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o770)

    with pytest.raises(UnsafeDirectoryError, match="chmod 700"):
        ensure_directory(str(path))


def test_a_directory_that_others_need_is_not_to_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)

    for shared in (str(path), "/", "/usr/lib"):
        with pytest.raises(UnsafeDirectoryError) as refused:
            ensure_directory(shared)
        assert "chmod" not in str(refused.value)


def test_a_link_and_a_file_in_its_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()

    for name in ("link", "file"):
        with pytest.raises(UnsafeDirectoryError, match="no directory"):
            ensure_directory(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir(0o700)
    os.chown(path, 12345, -1)

    with pytest.raises(UnsafeDirectoryError, match="12345"):
        ensure_directory(str(path))


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeDirectoryError, match="cannot be made"):
        ensure_directory(str(tmp_path / "no" / "such"))


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = lock(path)

    with pytest.raises(AlreadyRunningError):
        lock(path)

    os.close(first)
    os.close(lock(path))


def test_a_lock_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeDirectoryError):
        lock(str(tmp_path / "lock"))


def test_a_stale_socket_is_replaced_and_the_peer_is_known(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    listen(path).close()

    with listen(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted) == (os.getpid(), os.geteuid())

    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.write_text("mine")

    with pytest.raises(UnsafeDirectoryError):
        listen(str(path))

    assert path.read_text() == "mine"


def test_the_files_of_a_socket_are_named_after_it() -> None:
    assert state_path("/run/x/default.sock", "log") == "/run/x/default.log"


def test_no_two_sockets_share_a_file() -> None:
    paths = ["/r/q", "/r/q.sock", "/r/q.lock", "/r/q.sock.sock"]

    assert len({state_path(path, what) for path in paths for what in ("lock", "log")}) == 8
    assert state_path("/r/q.sock", "lock") == "/r/q.lock"  # as a server that runs has it
