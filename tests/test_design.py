"""DESIGN.md names what is there: requirements, files and folders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ptymux
from tests.conftest import BUILT

TESTS = Path(__file__).parent
PACKAGE = Path(ptymux.__file__).parent
DESIGN = (PACKAGE / "DESIGN.md").read_text()

# "- **FR-001 Lifecycle.** A PTY is …", up to the next entry, heading or empty line.
ENTRY = re.compile(r"^- \*\*([A-Z]+(?:-[A-Z0-9]+)*)\b[^*]*\*\*\s+(.+(?:\n  .+)*)", re.MULTILINE)
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*(?:/|\.py|\.md|\.json)|(?:tests|scripts)/[\w./-]+)`")
REPLACED_WORDS = re.compile(
    r"\b(heir\w*|herit\w*|estate|holdings|inherit\w*|legacy|claim\w*|adopt\w*"
    r"|success(?:or|ion)s?|predecessors?)\b",
    re.IGNORECASE,
)
MAP = re.compile(r"^    (\w+(?:/|\.py)) ", re.MULTILINE)


def section(title: str) -> str:
    """Return the part of DESIGN.md below a heading of the second level."""
    return DESIGN.split(f"\n## {title}\n")[1].split("\n## ")[0]


def ids_in_tests() -> set[str]:
    return {name for path in TESTS.rglob("test_*.py") for name in _marks(path)}


def _marks(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "requirement"
        ):
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def test_each_requirement_has_one_entry_and_each_entry_is_a_requirement() -> None:
    entries = [name for name, _text in ENTRY.findall(section("Requirements"))]

    assert sorted(entries) == sorted(BUILT)


def test_what_tests_prove_is_what_is_required() -> None:
    assert ids_in_tests() == set(BUILT)


def test_each_requirement_is_a_sentence() -> None:
    for name, text in ENTRY.findall(section("Requirements")):
        assert re.search(r"\.(\s+\([^)]+\))?$", text), f"{name}: {text} is no sentence"


def test_each_file_that_is_named_exists() -> None:
    named = set(PATH.findall(DESIGN))
    roots = (PACKAGE, PACKAGE.parent)

    assert len(named) > 50
    assert not {path for path in named if not any((root / path).exists() for root in roots)}


def test_each_folder_of_the_map_is_a_place_for_something() -> None:
    places = section("Where does it go?")

    assert not {name for name in MAP.findall(ptymux.__doc__ or "") if f"`{name}" not in places}


def test_no_file_is_passed_twice_on_one_way() -> None:
    for way in section("Four ways through the code").split("\n### ")[1:]:
        steps = re.findall(r"^(\d+)\. `([^`]+)`", way, re.MULTILINE)
        files = [path for _number, path in steps]

        assert [int(number) for number, _path in steps] == list(range(1, len(files) + 1))
        assert len(set(files)) == len(files), way


def test_words_of_inheritance_law_have_not_come_back() -> None:
    """They were second names for what DESIGN.md calls handover, snapshot and replacement."""
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py")}

    assert not {str(path): found for path, text in texts.items() if (found := _replaced(text))}


def _replaced(text: str) -> list[str]:
    return [match[0] for match in REPLACED_WORDS.finditer(text)]
