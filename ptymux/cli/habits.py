"""Words that other tools have for what is called otherwise here, and what to type instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["HABITS"]

_ATTACH: Final = "`ptymux attach PTY`"
_CLEAN: Final = "`ptymux rm --all` forgets what has ended"
_DETACH: Final = "C-\\ d detaches from a PTY that is attached here"
_INSPECT: Final = "`ptymux stats PTY` shows all about one"
_KILL: Final = "`ptymux kill PTY` ends one"
_LIST: Final = "`ptymux ls` lists them"
_LOGS: Final = "`ptymux logs PTY` prints what one has written"
_NEW: Final = "`ptymux run -d --name NAME COMMAND` starts one"
_RESUME: Final = "`ptymux signal --session PTY CONT` lets one go on"
_SEND: Final = "`ptymux send PTY TEXT --enter` types into one"
_SUSPEND: Final = "`ptymux signal --session PTY STOP` suspends one"

# What is said of a word that is no command; each names commands that there are.
HABITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("a", "at", "attach-session", "connect", "join", "reattach"), _ATTACH),
    **dict.fromkeys(("capture", "capture-pane", "hardcopy"), "`ptymux logs --plain PTY` prints it"),
    **dict.fromkeys(("clean", "cleanup", "prune", "purge"), _CLEAN),
    **dict.fromkeys(("create", "new", "new-session", "new-window", "neww", "spawn"), _NEW),
    **dict.fromkeys(("del", "delete", "forget", "remove"), "`ptymux rm PTY` forgets one"),
    "detach-client": "`ptymux detach PTY` detaches the terminals of a PTY",
    **dict.fromkeys(("end", "kill-pane", "kill-session", "kill-window", "terminate"), _KILL),
    **dict.fromkeys(("exec", "input", "send-keys", "stuff", "type"), _SEND),
    **dict.fromkeys(("exit", "quit"), _DETACH),
    **dict.fromkeys(("continue", "resume", "unpause"), _RESUME),
    **dict.fromkeys(("pause", "suspend"), _SUSPEND),
    **dict.fromkeys(("has", "has-session"), "`ptymux stats NAME` fails unless there is one"),
    **dict.fromkeys(("info", "inspect", "show"), _INSPECT),
    **dict.fromkeys(("list-panes", "list-sessions", "list-windows", "lsp", "lsw"), _LIST),
    **dict.fromkeys(("follow", "pipe-pane", "tail"), "`ptymux logs -f PTY` follows one"),
    **dict.fromkeys(("log", "output", "print"), _LOGS),
    "kill-server": "`ptymux server stop --force` ends the server and all PTYs",
    "list-keys": "`ptymux help tmux` has the keys",
    "rename-session": "`ptymux rename PTY NAME`",
    "resize-pane": "`ptymux resize PTY 120x40`",
    "restart": "`ptymux run --replace --name NAME COMMAND` starts a command anew, "
    "`ptymux server restart` the server",
    "start": "`ptymux run -d COMMAND` starts a command, `ptymux server start` the server",
    "status": "`ptymux ls` lists the PTYs, `ptymux server status` is about the server",
    "stop": "`ptymux kill PTY` ends a PTY, `ptymux server stop` the server",
    "timeout": "`ptymux run --timeout 10m COMMAND` ends it after that time",
    "wait-for": "`ptymux wait PTY --text REGEX`",
    "watch": "`ptymux dashboard` watches all PTYs, `ptymux stats --watch PTY` one",
}
