"""The config file of a user, `config.toml`: defaults for options of `run` and `attach`.

Keys are named as the options of `run` and mean the same, so that a value can be moved between the
two. An option beats the environment, which beats this file, which beats what is built in.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from ptymux.errors import ConfigError, InvalidValueError
from ptymux.posix.renewed_env import RENEWED

__all__ = [
    "KEYS",
    "config_path",
    "defaults_for",
    "leave_after",
    "load",
    "refresh_env",
    "sets_title",
]

_MOST_BYTES: Final = 64 * 1024

Parse = Callable[[str], object]


def _size(text: str) -> int:
    from ptymux.core.model import Limits
    from ptymux.core.units import parse_size

    size = parse_size(text)
    if size > Limits.LARGEST_BUFFER:
        raise InvalidValueError("size", text, "0 to 1G")
    return size


def _duration(text: str) -> float:
    from ptymux.core.units import parse_duration

    return parse_duration(text)


def _threshold(text: str) -> float:
    from ptymux.core.thresholds import check_threshold

    try:
        share = float(text)
    except ValueError:
        share = math.nan
    return check_threshold(share, text)


def _on_full(text: str) -> str:
    if text not in ("drop", "block"):
        raise InvalidValueError("on-full", text, "drop or block")
    return text


def _lane(text: str) -> str:
    from ptymux.core.model import check_label

    return check_label("lane", text)


def _variables(text: str) -> tuple[str, ...]:
    names = tuple(text.split())
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in names):
        raise InvalidValueError("refresh-env", text, "names such as SSH_AUTH_SOCK DISPLAY")
    return names


def _keys(text: str) -> str:
    from ptymux.cli.options.detach_keys import DetachKeys

    DetachKeys(text)
    return text


def _switch(text: str) -> str:
    if text not in ("true", "false"):
        raise InvalidValueError("switch", text, "true or false")
    return text


# Key: what checks its value, and which commands have it as an option.
KEYS: Final[Mapping[str, tuple[Parse, tuple[str, ...]]]] = {
    "detach-keys": (_keys, ("run", "again", "attach")),
    "buffer-size": (_size, ("run",)),
    "on-full": (_on_full, ("run",)),
    "threshold": (_threshold, ("run",)),
    "idle-timeout": (_duration, ("run",)),
    "grace": (_duration, ("run",)),
    "ttl": (_duration, ("run",)),
    "lane": (_lane, ("run",)),
    "hangup": (_switch, ("run", "again")),
    "leave-after": (_duration, ()),
    "refresh-env": (_variables, ()),
    "title": (_switch, ()),
}
_SWITCHES: Final = ("hangup", "title")
_NUMBERS: Final = ("buffer-size", "threshold", "idle-timeout", "grace", "ttl", "leave-after")


def config_path() -> str:
    """Return the path of the file, which need not exist."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):  # which the XDG specification wants ignored
        home = os.path.expanduser("~/.config")
    return os.path.join(home, "ptymux", "config.toml")


def load() -> dict[str, str]:
    """Return the values that the file sets, by key, as they are typed there; {} without a file.

    Raises:
        ConfigError: a key or a value is wrong; then nothing of the file is used.
    """
    path = config_path()
    data = _read(path)
    if not data:
        return {}
    text, found = _parse(path, data)
    return {key: _checked(path, text, key, value) for key, value in found.items()}


def defaults_for(command: str) -> dict[str, str | Callable[[], str]]:
    """Return the defaults that the file has for a command, as click's `default_map` takes them.

    A file that cannot be used stops the command as soon as it needs a default, but not its help.
    """
    keys = [key for key, (_, commands) in KEYS.items() if command in commands]
    try:
        values = load() if keys else {}
    except ConfigError as error:
        refusal = error

        def refuse() -> NoReturn:
            raise refusal

        return {_parameter(key): refuse for key in keys}
    return {_parameter(key): values[key] for key in keys if key in values}


def leave_after() -> float | None:
    """Return the seconds after which an idle server ends, None if the file does not set them.

    Raises:
        ConfigError: as `load`.
    """
    text = load().get("leave-after")
    return None if text is None else _duration(text)


def refresh_env() -> tuple[str, ...]:
    """Return the names of the variables that each attach renews; with a wrong file, the usual."""
    try:
        text = load().get("refresh-env")
    except ConfigError:
        text = None
    return RENEWED if text is None else _variables(text)


def sets_title() -> bool:
    """Return whether an attach sets the title of its terminal; with a wrong file, it does."""
    try:
        return load().get("title") != "false"
    except ConfigError:
        return True


def _parameter(key: str) -> str:
    return key.replace("-", "_")


def _read(path: str) -> bytes:
    """Return the content of the file; nothing when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ConfigError(path, None, (error.strerror or str(error)).lower()) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(path, None, "it is no file")
    with open(fd, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ConfigError(path, None, f"it is larger than {_MOST_BYTES // 1024} KiB")
    return data


def _parse(path: str, data: bytes) -> tuple[str, dict[str, Any]]:
    import tomllib

    try:
        text = data.decode()
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, line, "it is no UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error)
        place = re.search(r" \(at (?:line (\d+)|end of document).*\)", reason)
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        reason = reason[: place.start()] if place else reason
        raise ConfigError(path, line, f"it is no TOML: {reason.lower()}") from error


def _checked(path: str, text: str, key: str, value: object) -> str:
    """Return the value of a key as it would be typed on the command line."""
    line = _line_of(text, key)
    if key not in KEYS:
        raise ConfigError(path, line, f"there is no {key!r}; {_hint(key)}")
    if key in _SWITCHES and isinstance(value, bool):
        value = str(value).lower()  # as TOML writes it
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (isinstance(value, str) or (is_number and key in _NUMBERS)):
        kinds = "a text or a number" if key in _NUMBERS else "a text"
        kinds = "true or false" if key in _SWITCHES else kinds
        raise ConfigError(path, line, f"{key} must be {kinds}")
    try:
        KEYS[key][0](str(value))
    except InvalidValueError as error:
        raise ConfigError(path, line, f"{key} is {value!r}; it must be {error.expected}") from error
    return str(value)


def _hint(key: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(key.replace("_", "-"), KEYS, 1, cutoff=0.65)
    return f"did you mean {close[0]!r}" if close else f"known are {', '.join(KEYS)}"


def _line_of(text: str, key: str) -> int | None:
    """Return the line where a key or a table is set; None where it is spelled in another way."""
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{re.escape(key)}["']?[ \t]*[=.\]]""", text, re.M)
    return None if found is None else text.count("\n", 0, found.start()) + 1
