"""`config.toml`, as `run`, `attach` and whoever starts a server read it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Tty
from tests.serving import Serving


def configure(server: Serving, home: Path, text: str) -> Path:
    (home / "ptymux").mkdir()
    server.world.env["XDG_CONFIG_HOME"] = str(home)
    path = home / "ptymux" / "config.toml"
    path.write_text(text)
    return path


def test_the_configuration_has_defaults_for_run(server: Serving, tmp_path: Path) -> None:
    text = 'lane = "ci"\nbuffer-size = "1M"\nthreshold = 0.5\non-full = "block"\n'
    configure(server, tmp_path, text)

    server.run("sleep", "1000")
    server.run("--lane", "x", "--on-full", "drop", "sleep", "1000")

    first, second = server.live()
    assert (first["lane_id"], first["on_full"], first["threshold"]) == ("ci", "block", 0.5)
    assert first["buffer"]["capacity"] == 1 << 20
    assert (second["lane_id"], second["on_full"]) == ("x", "drop")


def test_a_broken_configuration_stops_run_and_attach_only(server: Serving, tmp_path: Path) -> None:
    server.run("--name", "web", "sleep", "1000")
    path = configure(server, tmp_path, '\ngrace = "soon"\n')

    for words in (["run", "-d", "true"], ["run", "true"], ["attach", "web"]):
        status, text = server.refused(*words)
        assert (status, f"{path}:2: grace is 'soon'" in text) == (2, True)
    assert len(server.live()) == 1
    assert server.ok("kill", "web") == ""
    assert b"Usage" in server.world.run("run", "--help").stdout


def test_the_configuration_says_when_a_server_leaves(no_server: Serving, tmp_path: Path) -> None:
    configure(no_server, tmp_path, 'leave-after = "7s"\n')
    no_server.ok("server", "start")

    environ = Path(f"/proc/{no_server.status()['pid']}/environ").read_bytes()

    assert b"\0PTYMUX_LEAVE_SECONDS=7.000\0" in b"\0" + environ


def test_attach_detaches_by_the_keys_of_the_configuration(
    server: Serving, tty: Tty, tmp_path: Path
) -> None:
    server.run("--name", "x", "cat")
    configure(server, tmp_path, 'detach-keys = "C-a d"\n')
    tty.run("attach", "x")
    tty.wait_for(b"C-a d detaches")
    tty.wait_raw()

    tty.type(b"\x01d")

    assert tty.wait() == 0
    assert len(server.live()) == 1
