"""The log file, which the keeper has open too."""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import Final

__all__ = ["log_handler"]

_LOG_BYTES: Final = 1024 * 1024


def log_handler(path: str) -> logging.Handler:
    """Return one that writes to the file at `path`, or to stderr where that cannot be opened."""
    logging.raiseExceptions = False  # a full disk is no reason to write more
    try:
        file = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1)
    except OSError:
        handler: logging.Handler = logging.StreamHandler()
    else:
        file.rotator = _copy_and_empty
        handler = file
    handler.setFormatter(logging.Formatter("%(asctime)s server: %(message)s"))
    return handler


def _copy_and_empty(source: str, destination: str) -> None:
    """Rotate in a way that whoever has the file open goes on writing to it."""
    try:
        with open(source, "rb") as old, open(destination, "wb") as new:
            while lines := old.read():  # also those that are written meanwhile
                new.write(lines)
    except OSError:
        return  # rather too long a file than lines that are lost
    os.truncate(source, 0)
