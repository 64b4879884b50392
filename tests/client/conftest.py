"""A client of a real server, for what a stub cannot show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ptymux
from ptymux import Client
from tests.serving import Serving


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    """A client of the server that the test asks for, or of the shared one."""
    with ptymux.connect(serving.path, start=False) as client:
        yield client
