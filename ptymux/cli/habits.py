"""Words and options of other tools for what is called otherwise here, and what to type instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["EXTRA_HABITS", "HABITS", "OPTION_HABITS"]

_AGAIN: Final = "`ptymux again PTY` runs once more what a PTY ran"
_ATTACH: Final = "`ptymux attach PTY`"
_CLEAN: Final = "`ptymux rm --all` forgets what has ended"
_CONFIG: Final = "defaults are set in ~/.config/ptymux/config.toml"
_DETACH: Final = "C-\\ d detaches from a PTY that is attached here"
_INSPECT: Final = "`ptymux stats PTY` shows all about one"
_KILL: Final = "`ptymux kill PTY` ends one"
_LIST: Final = "`ptymux ls` lists them"
_LOGS: Final = "`ptymux logs PTY` prints what one has written"
_NEW: Final = "`ptymux run -d --name NAME COMMAND` starts one"
_REPLACE: Final = "`ptymux again --replace PTY` ends a PTY and runs the same"
_RESUME: Final = "`ptymux signal --session PTY CONT` lets one go on"
_SEND: Final = "`ptymux send PTY TEXT --enter` types into one"
_SPLIT: Final = "there are no splits; `ptymux run -d COMMAND` starts another PTY"
_SUSPEND: Final = "`ptymux signal --session PTY STOP` suspends one"

# What is said of a word that is no command; each names commands that there are.
HABITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("a", "at", "attach-session", "connect", "join", "reattach"), _ATTACH),
    **dict.fromkeys(("select-window", "switch", "switch-client"), _ATTACH),
    **dict.fromkeys(("bind", "bind-key", "set-option", "setw", "source-file"), _CONFIG),
    **dict.fromkeys(("capture", "capture-pane", "hardcopy"), "`ptymux logs --plain PTY` prints it"),
    **dict.fromkeys(("clean", "cleanup", "prune", "purge", "wipe"), _CLEAN),
    **dict.fromkeys(("clear-history", "clearhist"), "`ptymux clear PTY` throws its output away"),
    **dict.fromkeys(("create", "new", "new-session", "new-window", "neww", "spawn"), _NEW),
    **dict.fromkeys(("del", "delete", "forget", "remove"), "`ptymux rm PTY` forgets one"),
    "detach-client": "`ptymux detach PTY` detaches the terminals of a PTY",
    **dict.fromkeys(("end", "kill-pane", "kill-session", "kill-window", "terminate"), _KILL),
    **dict.fromkeys(("exec", "input", "send-keys", "stuff", "type"), _SEND),
    **dict.fromkeys(("exit", "quit"), _DETACH),
    **dict.fromkeys(("continue", "resume", "unpause"), _RESUME),
    **dict.fromkeys(("pause", "suspend"), _SUSPEND),
    **dict.fromkeys(("has", "has-session"), "`ptymux stats NAME` fails unless there is one"),
    **dict.fromkeys(("display", "display-message", "info", "inspect", "show"), _INSPECT),
    **dict.fromkeys(("list-panes", "list-sessions", "list-windows", "lsp", "lsw"), _LIST),
    **dict.fromkeys(("follow", "pipe-pane", "tail"), "`ptymux logs -f PTY` follows one"),
    **dict.fromkeys(("log", "output", "print"), _LOGS),
    **dict.fromkeys(("kill-all", "killall", "stop-all"), "`ptymux kill --all` ends all PTYs"),
    "kill-server": "`ptymux server stop --force` ends the server and all PTYs",
    "list-keys": "`ptymux help tmux` has the keys",
    **dict.fromkeys(("rename-session", "rename-window", "title"), "`ptymux rename PTY NAME`"),
    **dict.fromkeys(("respawn", "respawn-pane", "respawn-window"), _REPLACE),
    "resize-pane": "`ptymux resize PTY 120x40`",
    "restart": "`ptymux again --replace PTY` ends a PTY and runs the same, "
    "`ptymux server restart` is about the server",
    **dict.fromkeys(("relaunch", "repeat", "rerun", "retry"), _AGAIN),
    **dict.fromkeys(("split", "split-window", "splitw"), _SPLIT),
    "start": "`ptymux run -d COMMAND` starts a command, `ptymux server start` the server",
    "status": "`ptymux ls` lists the PTYs, `ptymux server status` is about the server",
    "stop": "`ptymux kill PTY` ends a PTY, `ptymux server stop` the server",
    "timeout": "`ptymux run --timeout 10m COMMAND` ends it after that time",
    "wait-for": "`ptymux wait PTY --text REGEX`",
    "watch": "`ptymux dashboard` watches all PTYs, `ptymux stats --watch PTY` one",
}

_BEHIND: Final = "the options of a command stand behind it"
_LOOKS: Final = "--read-only only looks"
_NAME: Final = "--name NAME gives a name"
_PLAIN_PTY: Final = "a PTY is named without it: `ptymux {} PTY`"
_SIGNAL: Final = "`ptymux kill --grace 0 PTY` ends at once, `ptymux signal PTY HUP` sends a signal"
_SIZE: Final = "the size is one word: `ptymux resize PTY 120x40`"
_TERMINAL: Final = "a command always has a terminal here; leave it out"
_VERSION: Final = "--version shows the version"

# What is said of an option that a command does not have, by the command's name.
OPTION_HABITS: Final[Mapping[tuple[str, str], str]] = {
    **{
        (command, "-t"): _PLAIN_PTY.format(command)
        for command in (
            *("again", "attach", "clear", "detach", "kill", "rename", "resize"),
            *("rm", "send", "set", "signal", "stats"),
        )
    },
    **{("ptymux", option): _VERSION for option in ("-v", "-V")},
    **{("ptymux", option): _ATTACH for option in ("-D", "-R", "-r", "-x")},
    (
        "ptymux",
        "-d",
    ): "`ptymux run -d COMMAND` starts one, `ptymux attach --only PTY` takes one over",
    **{("ptymux", option): _BEHIND for option in ("--json", "--name", "--all", "--rm", "-a", "-f")},
    ("ptymux", "-L"): "--socket PATH names the server's socket",
    ("ptymux", "-l"): _LIST,
    ("ptymux", "-S"): "--socket PATH names the server's socket, `ptymux run -A NAME` a PTY",
    ("ptymux", "-w"): _CLEAN,
    ("ptymux", "-X"): _SEND,
    ("attach", "-d"): "--only detaches others",
    ("attach", "-r"): _LOOKS,
    ("attach", "-x"): "several can be attached at once",
    ("events", "-n"): "`ptymux events | tail`",
    **{
        ("kill", option): _SIGNAL
        for option in ("--signal", *(f"-{c}" for c in "123456789CHIKQSTUs"))
    },
    ("logs", "-n"): "--tail N prints the last lines",
    ("ls", "-F"): "--format TEMPLATE prints a line for each",
    ("ls", "-f"): "--state, --lane and --session choose",
    ("ls", "-l"): "--wide shows more",
    **{
        ("rm", option): "`ptymux kill PTY` ends one that lives"
        for option in ("--force", "-f", "-r")
    },
    **{("resize", option): _SIZE for option in ("-x", "-y")},
    **{("run", option): _NAME for option in ("-n", "-s", "-S")},
    **{("run", option): _TERMINAL for option in ("-i", "--interactive", "-t", "--tty")},
    **{("run", option): "--cwd DIR says where" for option in ("-w", "--workdir")},
    ("set", "-g"): _CONFIG,
    **{
        ("signal", option): "the PTY stands first, then the signal without a dash"
        for option in ("-s", "--signal", *(f"-{c}" for c in "123456789CHIKQSTU"))
    },
    ("stats", "-a"): "`ptymux dashboard` shows all",
    ("stats", "--no-stream"): "without --watch they are shown once",
    ("wait", "-n"): "--any waits until one has exited",
    ("wait", "-t"): "--timeout 5s gives up",
}

# What is said of an argument to a command that takes none.
EXTRA_HABITS: Final[Mapping[str, str]] = {
    "dashboard": "`ptymux stats --watch PTY` watches one",
    "events": "--pty PTY has those of one",
    "ls": "`ptymux stats PTY` shows one",
}
