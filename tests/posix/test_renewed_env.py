"""Links follow whoever attached last, and never lead to themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptymux.posix.renewed_env import RENEWED, remove_links, renew, renewed


@pytest.fixture
def socket(tmp_path: Path) -> str:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    return str(folder / "s.sock")


def test_paths_are_given_as_links_and_the_rest_is_kept(socket: str) -> None:
    env = {"SSH_AUTH_SOCK": "/a", "DISPLAY": ":0", "OTHER": "/b"}
    link = socket.replace(".sock", ".env/SSH_AUTH_SOCK")

    assert renew(socket, RENEWED, env) == {"SSH_AUTH_SOCK": link}
    assert renewed(socket) == {"DISPLAY": ":0", "SSH_AUTH_SOCK": link}
    renew(socket, RENEWED, {"SSH_AUTH_SOCK": "/c", "DISPLAY": ""})
    assert (os.readlink(link), renewed(socket)["DISPLAY"]) == ("/c", ":0")
    remove_links(socket)
    remove_links(socket)
    assert renewed(socket) == {}
    assert os.listdir(os.path.dirname(socket)) == []


def test_who_has_a_link_of_ours_changes_nothing(socket: str, tmp_path: Path) -> None:
    given = renew(socket, RENEWED, {"SSH_AUTH_SOCK": "/a"})
    (tmp_path / "other").symlink_to(given["SSH_AUTH_SOCK"])

    assert renew(socket, RENEWED, given) == {}
    assert renew(socket, RENEWED, {"SSH_AUTH_SOCK": str(tmp_path / "other")}) == {}
    assert os.readlink(given["SSH_AUTH_SOCK"]) == "/a"


def test_where_no_link_can_be_made_the_variables_stay(socket: str) -> None:
    folder = os.path.dirname(socket)
    os.chmod(folder, 0o755)

    assert renew(socket, RENEWED, {"SSH_AUTH_SOCK": "/a"}) == {}
    assert os.listdir(folder) == []
