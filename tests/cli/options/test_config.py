from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ptymux.cli.commands.run import run
from ptymux.cli.options.config import KEYS, config_path, defaults_for, leave_after, load
from ptymux.cli.root import cli
from ptymux.errors import ConfigError
from tests.cli.test_main import modules_after


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "ptymux").mkdir()
    return tmp_path / "ptymux"


def write(home: Path, text: str | bytes) -> str:
    path = home / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refused(home: Path, text: str | bytes) -> str:
    path = write(home, text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.exit_code == 2
    assert str(caught.value).count("\n") == 0
    return str(caught.value).removeprefix(path)


def test_every_key_is_taken_as_its_option_takes_it(home: Path) -> None:
    write(
        home,
        """
        detach-keys = "C-a d"
        buffer-size = "16M"
        on-full = "block"
        threshold = 0.5
        idle-timeout = "2m"
        grace = "500ms"
        ttl = "1h"
        lane = "ci"
        hangup = true
        leave-after = 0
        refresh-env = "SSH_AUTH_SOCK DISPLAY"
        title = false
        """,
    )

    assert load() == {
        "detach-keys": "C-a d",
        "buffer-size": "16M",
        "on-full": "block",
        "threshold": "0.5",
        "idle-timeout": "2m",
        "grace": "500ms",
        "ttl": "1h",
        "lane": "ci",
        "hangup": "true",
        "leave-after": "0",
        "refresh-env": "SSH_AUTH_SOCK DISPLAY",
        "title": "false",
    }
    assert load().keys() == KEYS.keys()
    assert leave_after() == 0.0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("buffer-size", "1024", 1024),
        ("buffer-size", '"64k"', 65536),
        ("threshold", '"0.9"', 0.9),
        ("idle-timeout", "1.5", 1.5),
        ("grace", "0", 0.0),
    ],
)
def test_numbers_mean_what_they_mean_on_the_command_line(
    home: Path, key: str, value: str, expected: object
) -> None:
    write(home, f"{key} = {value}\n")

    assert parse()[key.replace("-", "_")] == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('\nbuffer-size = "4MX"', ":2: buffer-size is '4MX'; it must be a whole number of bytes"),
        ("buffer-size = 1e10", ":1: buffer-size is 10000000000.0; it must be"),
        ('buffer-size = "2G"', ":1: buffer-size is '2G'; it must be 0 to 1G"),
        ("# c\n\nthreshold = 1", ":3: threshold is 1; it must be a number above 0.10"),
        ("threshold = nan", ":1: threshold is nan"),
        ('"on-full" = "wait"', ":1: on-full is 'wait'; it must be drop or block"),
        ("grace = true", ":1: grace must be a text or a number"),
        ("idle-timeout = -1", ":1: idle-timeout is -1; it must be a time"),
        ("idle-timeout = inf", ":1: idle-timeout is inf"),
        ('hangup = "yes"', ":1: hangup is 'yes'; it must be true or false"),
        ("hangup = 1", ":1: hangup must be"),
        ("lane = 7", ":1: lane must be a text"),
        ('lane = "a b"', ":1: lane is 'a b'; it must be 1 to 64 printable characters"),
        ('detach-keys = "d"', ":1: detach-keys is 'd'; it must be"),
        ("\nbufer-size = 1", ":2: there is no 'bufer-size'; did you mean 'buffer-size'"),
        ("buffer_size = 1", ":1: there is no 'buffer_size'; did you mean 'buffer-size'"),
        ("[run]\nlane = 'x'", ":1: there is no 'run'; known are detach-keys, "),
        ("lane = 'a'\nlane = 'b'", ":2: it is no TOML: cannot overwrite a value"),
        ("\n\nlane = ", ":3: it is no TOML: invalid value"),
        ("lane = 'a", ":1: it is no TOML: "),
        (b"lane = 'a'\n\xff = 1", ":2: it is no UTF-8"),
        (b"lane = " + b"[" * 30_000, ":1: it is no TOML: "),
        (b"#" * 70_000, ": it is larger than 64 KiB"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(
    home: Path, text: str | bytes, told: str
) -> None:
    assert refused(home, text).startswith(told)


def test_no_file_or_an_empty_one_sets_nothing(home: Path) -> None:
    assert load() == {}
    assert leave_after() is None
    write(home, "# nothing yet\n")
    assert load() == {}


def test_what_is_no_file_is_refused_and_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "config.toml")

    with pytest.raises(ConfigError, match="it is no file"):
        load()


def test_a_directory_in_its_place_is_one_line(home: Path) -> None:
    (home / "config.toml").mkdir()

    with pytest.raises(ConfigError, match="it is no file"):
        load()


def test_folder_is_that_of_xdg_unless_it_is_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", given)
        assert config_path() == "/home/somebody/.config/ptymux/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert config_path() == "/etc/xdg/ptymux/config.toml"


def parse(*words: str) -> dict[str, Any]:
    """Return the values of `run`'s parameters, with the defaults of the user's file."""
    defaults = defaults_for("run")
    with run.make_context("run", [*words, "true"], default_map=defaults) as context:
        return context.params


def test_option_beats_the_file_and_the_file_beats_what_is_built_in(home: Path) -> None:
    write(home, 'lane = "ci"\nbuffer-size = "1M"\non-full = "drop"\ngrace = 0\n')

    assert parse()["lane"] == "ci"
    assert parse()["buffer_size"] == 1 << 20
    assert parse()["on_full"] == "drop"
    assert parse()["grace"] == 0.0
    assert parse()["idle_timeout"] == 300.0
    assert parse("--lane", "x", "--buffer-size", "2M")["lane"] == "x"
    assert parse("--lane", "x", "--buffer-size", "2M")["buffer_size"] == 2 << 20


def test_only_its_own_keys_are_defaults_of_a_command(home: Path) -> None:
    write(home, 'lane = "ci"\ndetach-keys = "C-a d"\nleave-after = 1\n')

    assert defaults_for("run") == {"lane": "ci", "detach_keys": "C-a d"}
    assert defaults_for("attach") == {"detach_keys": "C-a d"}
    assert defaults_for("kill") == {}


def test_every_key_of_run_is_one_of_its_options() -> None:
    options = {parameter.name for parameter in run.params} | {"detach_keys"}

    assert {key.replace("-", "_") for key, (_, who) in KEYS.items() if "run" in who} <= options


def test_broken_file_stops_what_needs_it_and_no_other(home: Path) -> None:
    write(home, "lane = 1\n")

    with pytest.raises(ConfigError):
        parse()
    shown = CliRunner().invoke(cli, ["run", "--help"])
    assert (shown.exit_code, "Examples:" in shown.output) == (0, True)
    assert defaults_for("kill") == {}


@pytest.mark.parametrize(
    "words", [("ls",), ("kill", "--all", "--json"), ("version",), ("stats", "--help")]
)
def test_commands_without_defaults_do_not_look_for_the_file(words: tuple[str, ...]) -> None:
    loaded = modules_after("--socket", "/tmp/no-such-folder-of-ptymux/s", *words)

    assert not {"tomllib", "ptymux.cli.options.config"} & loaded
