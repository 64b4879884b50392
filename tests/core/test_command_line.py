"""What tells one command from another, in as many cells as there are."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.cells import cells
from ptymux.core.command_line import shorten, shorten_all, telling_name, telling_words


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("make -j8", "make", "make -j8"),
        ("/usr/sbin/nginx -g 'daemon off;'", "nginx", "nginx -g daemon off;"),
        ("python3 -m http.server 8000", "http.server", "http.server 8000"),
        ("/usr/bin/python3.11 -u /a/b/worker.py -q a", "worker.py", "worker.py -q a"),
        ("python -W error -c 'print(1)' x", "print(1)", "print(1) x"),
        ("bash -lc 'make && make test'", "make && make test", "make && make test"),
        ("sh -c 'make \"$@\"' sh -j8", 'make "$@"', 'make "$@" -j8'),
        ("bash /a/b/build.sh -x", "build.sh", "build.sh -x"),
        ("env A=1 B=2 nice -n 10 /bin/make all", "make", "make all"),
        ("timeout -k 5 10 make all", "make", "make all"),
        ("sudo -u me /usr/sbin/nginx", "nginx", "nginx"),
        ("java -Xmx1g -jar /opt/a/b.jar serve", "b.jar", "b.jar serve"),
        ("java -cp x:y com.example.Main", "com.example.Main", "com.example.Main"),
        ("node --inspect server.js", "server.js", "server.js"),
        ("perl -lane 'print' file", "print", "print file"),
        ("npm run dev", "npm", "npm run dev"),
        # Those that run nothing are what they are.
        ("bash -i", "bash", "bash -i"),
        ("python3", "python3", "python3"),
        ("python3 -", "python3", "python3 -"),
        ("bash -c", "bash", "bash -c"),
        ("env", "env", "env"),
        ("nice -n 10", "nice", "nice -n 10"),
        ("/", "/", "/"),
        ("", "", ""),
    ],
)
def test_interpreters_wrappers_and_folders_tell_nothing(line: str, name: str, words: str) -> None:
    command = shlex.split(line)

    assert telling_name(command) == name
    assert telling_words(command) == words


def test_all_of_a_command_is_shown_where_there_is_room() -> None:
    command = ["/usr/bin/python3", "tools/worker.py", "--all"]

    assert shorten(command, 80) == "/usr/bin/python3 tools/worker.py --all"
    assert shorten(command, 16) == "worker.py --all"
    assert shorten(command, 8) == "worker.…"


def test_commands_that_look_alike_show_their_ends() -> None:
    queues = [["python3", "worker.py", f"--queue={name}"] for name in ("mail", "images")]

    assert shorten_all([*queues, ["make"]], 15) == ["worker.…ue=mail", "worker.…=images", "make"]
    assert shorten_all([queues[0], queues[0]], 15) == ["worker.py --qu…"] * 2


@given(st.lists(st.lists(st.text(max_size=12), max_size=4), max_size=4), st.integers(0, 20))
def test_whatever_the_command_it_fits_and_cannot_draw(
    commands: list[list[str]], width: int
) -> None:
    for text in shorten_all(commands, width):
        assert cells(text) <= width
        assert text.isprintable()
