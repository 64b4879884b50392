"""The `ptymux` command: it parses words, asks the server or the library, and prints.

It is not the program of whoever calls it: files of theirs named as modules of Python's, such as
`signal.py`, come after these.
"""

import os
import sys

__all__: list[str] = []


def _put_foreign_folders_last() -> None:
    """Look in the folders of PYTHONPATH, and in the current one, after those of Python itself.

    Limit: what Python imports before us, such as `re`, it may have found there; and a PYTHONHOME
    that is none ends Python before us, unless it was started with -E, as `scripts/ptymux` does.
    """
    foreign = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(":")}
    sys.path.sort(key=lambda path: os.path.abspath(path) in foreign)


if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:
    _put_foreign_folders_last()
