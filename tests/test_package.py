"""What is built from the checkout works without it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest

import ptymux
from tests.timing import deadline_seconds

ROOT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def call(*words: str | Path, cwd: Path | None = None) -> str:
    """Return what a command prints, run without anything of this process's environment."""
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=deadline_seconds(4),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def once(base: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the whole test run, made by the first process that needs it."""
    folder = base / f"{name}-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


pytestmark = pytest.mark.slow  # a wheel and a venv are made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the processes of a test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="module")
def wheel(base: Path) -> Path:
    """A wheel of the checkout, built without network."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir")

    def build(folder: Path) -> None:
        call(*PIP, "wheel", *options, folder, ROOT)

    (built,) = once(base, "wheel", build).glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, base: Path) -> Path:
    """The folder of the commands of a fresh venv that holds the wheel, and what it needs."""
    return once(base, "installed", lambda folder: install(wheel, folder / "venv")) / "venv" / "bin"


def install(wheel: Path, venv: Path) -> None:
    call(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    call(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel)
    # The packages of this venv, but not its own .pth files: those lead to the checkout.
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "ptymux").rglob("*.py")}

    assert sources <= names
    assert "ptymux/py.typed" in names
    assert {name.split("/")[0] for name in names} == {
        "ptymux",
        f"ptymux-{ptymux.__version__}.dist-info",
    }


def test_wheel_says_what_it_is(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"ptymux-{ptymux.__version__}.dist-info/METADATA").decode()
    told = Parser().parsestr(text)

    assert told["Version"] == ptymux.__version__
    assert told["Requires-Python"] == project["requires-python"]
    needed = [need for need in told.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert [need.split()[0] for need in needed] == ["click", "rich", "pexpect"]


def test_installed_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = "import ptymux; print(ptymux.__file__)"

    with tempfile.TemporaryDirectory(prefix="ptymux-") as folder:
        ours = ("--socket", f"{folder}/s.sock")
        try:
            ran = call(installed / "ptymux", *ours, "run", "--", "echo", "hi", cwd=tmp_path)
        finally:
            call(installed / "ptymux", *ours, "server", "stop", cwd=tmp_path)
    assert ran == "hi\n"
    assert call(installed / "ptymux", "--version") == f"ptymux {ptymux.__version__}\n"
    assert call(installed / "python", "-c", where, cwd=tmp_path).startswith(str(installed.parent))
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_the_installed_one_is_there(installed: Path, tmp_path: Path) -> None:
    program = """
import click
from ptymux.cli.root import COMMANDS, cli
for name in COMMANDS:
    assert cli.get_command(click.Context(cli), name), name
"""
    call(installed / "python", "-W", "error", "-c", program, cwd=tmp_path)
