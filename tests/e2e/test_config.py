"""`config.toml`, as `run`, `attach` and whoever starts a server read it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Tty
from tests.e2e.serving import Served


def configure(served: Served, home: Path, text: str) -> Path:
    (home / "ptymux").mkdir()
    served.world.env["XDG_CONFIG_HOME"] = str(home)
    path = home / "ptymux" / "config.toml"
    path.write_text(text)
    return path


def test_the_configuration_has_defaults_for_run(served: Served, tmp_path: Path) -> None:
    text = 'lane = "ci"\nbuffer-size = "1M"\nthreshold = 0.5\non-full = "block"\n'
    configure(served, tmp_path, text)

    served.start("sleep", "1000")
    served.start("--lane", "x", "--on-full", "drop", "sleep", "1000")

    first, second = served.live()
    assert (first["lane_id"], first["on_full"], first["threshold"]) == ("ci", "block", 0.5)
    assert first["buffer"]["capacity"] == 1 << 20
    assert (second["lane_id"], second["on_full"]) == ("x", "drop")


def test_a_broken_configuration_stops_run_and_attach_only(served: Served, tmp_path: Path) -> None:
    served.start("--name", "web", "sleep", "1000")
    path = configure(served, tmp_path, '\ngrace = "soon"\n')

    for words in (["run", "-d", "true"], ["run", "true"], ["attach", "web"]):
        status, text = served.refused(*words)
        assert (status, f"{path}:2: grace is 'soon'" in text) == (2, True)
    assert len(served.live()) == 1
    assert served.ok("kill", "web") == ""
    assert b"Usage" in served.world.run("run", "--help").stdout


def test_the_configuration_says_when_a_server_leaves(served: Served, tmp_path: Path) -> None:
    configure(served, tmp_path, 'leave-after = "7s"\n')
    served.ok("server", "start")

    server = Path(f"/proc/{served.json('server', 'status')['pid']}/environ").read_bytes()

    assert b"\0PTYMUX_LEAVE_SECONDS=7.000\0" in b"\0" + server


def test_attach_detaches_by_the_keys_of_the_configuration(
    served: Served, tty: Tty, tmp_path: Path
) -> None:
    served.start("--name", "x", "cat")
    configure(served, tmp_path, 'detach-keys = "C-a d"\n')
    tty.run("attach", "x")
    tty.wait_for(b"C-a d detaches")

    tty.type(b"\x01d")

    assert tty.wait() == 0
    assert len(served.live()) == 1
