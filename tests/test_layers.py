"""Who may import whom; what a module may be like."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import ptymux

PACKAGE = Path(ptymux.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# Layer: what it may import of the package, besides itself. A new arrow is a decision.
MAY_IMPORT = {
    "errors": set(),
    "core": {"errors"},
    "posix": {"core", "errors"},
    "protocol": {"core", "errors"},
    "engine": {"protocol", "posix", "core", "errors"},
    "handover": {"engine", "posix", "core", "errors"},
    "keeper": {"handover", "engine", "posix", "core", "errors"},
    "link": {"handover", "engine", "posix", "core", "errors"},
    "manager": {"link", "handover", "engine", "posix", "core", "errors"},
    "client": {"protocol", "posix", "core", "errors"},
    "server": {
        *("manager", "link", "keeper", "handover", "engine", "protocol", "posix"),
        *("core", "errors"),
    },
    "stress": {
        *("manager", "client", "link", "handover", "engine", "protocol", "posix"),
        *("core", "errors"),
    },
    "tui": {"client", "protocol", "posix", "core", "errors"},
    "cli": {
        *("tui", "stress", "server", "client", "manager", "link", "keeper", "handover"),
        *("engine", "protocol", "posix", "core", "errors"),
    },
}

# What neither asks nor changes the system; `signal` for the numbers, `mmap` for the type.
PURE = {
    *(
        "__future__",
        "array",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "difflib",
        "enum",
        "fractions",
    ),
    *("functools", "itertools", "json", "logging", "math", "mmap", "re", "signal", "string"),
    *("struct", "types", "typing", "unicodedata"),
}
PURE_BUT = {"protocol/messages.py": {"sys"}}  # for how this system spells file names
PURE_LAYERS = {"core", "protocol"}
STDLIB_ONLY = {
    *("errors", "core", "posix", "protocol", "engine", "handover", "keeper", "link"),
    *("manager", "server", "client"),
}
# These block or turn an epoll of their own: a keeper must stay small, a command start fast.
NO_ASYNCIO = {"core", "posix", "protocol", "engine", "handover", "keeper", "client"}
NEEDS_ASYNCIO = {"client/expect_async.py"}  # imported late, by who has a loop
MAY_ALSO_IMPORT = {"client": {"pexpect"}}  # for client/expect.py, which imports it late

LONGEST = 600  # lines; from 400 on ask whether a module has more than one reason to change


def layer_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


@cache
def nodes_of(module: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(module)))


@cache
def imports(module: Path) -> frozenset[str]:
    """Return every module that `module` imports anywhere, with what it takes from the package."""
    found: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            found |= (
                {f"ptymux.{alias.name}" for alias in node.names}
                if node.module == "ptymux"
                else {node.module}
            )
    return frozenset(found)


def roots(module: Path) -> set[str]:
    """Return the packages of others that a module imports."""
    return {name.split(".")[0] for name in imports(module)} - {"ptymux"}


def wrong(found: dict[Path, Iterable[str]]) -> dict[str, list[str]]:
    """Return the modules of which something was found that must not be, and what."""
    return {str(module): sorted(names) for module, names in found.items() if names}


LAYERED = [module for module in MODULES if module != Path("__init__.py")]
ASYNCIO_FREE = [
    module
    for module in LAYERED
    if layer_of(module) in NO_ASYNCIO and str(module) not in NEEDS_ASYNCIO
]


def test_modules_import_only_from_layers_below() -> None:
    assert {layer_of(module) for module in LAYERED} == set(MAY_IMPORT)
    used = {
        module: {name.split(".")[1] for name in imports(module) if name.startswith("ptymux.")}
        for module in LAYERED
    }
    may = {m: {layer_of(m), "__version__", *MAY_IMPORT[layer_of(m)]} for m in LAYERED}

    assert not wrong({module: used[module] - may[module] for module in LAYERED})


def test_lower_layers_need_nothing_installed_and_pure_ones_no_system() -> None:
    assert not wrong({module: roots(module) - may_need(module) for module in LAYERED})


def may_need(module: Path) -> frozenset[str]:
    """Return the packages of others that a module may import."""
    layer = layer_of(module)
    if layer in PURE_LAYERS | {"errors"}:
        return frozenset(PURE | PURE_BUT.get(str(module), set()))
    more = MAY_ALSO_IMPORT.get(layer, set()) if layer in STDLIB_ONLY else {"click", "rich"}
    return sys.stdlib_module_names | more


def test_modules_of_an_asyncio_free_layer_do_not_name_asyncio() -> None:
    assert not wrong({module: roots(module) & {"asyncio"} for module in ASYNCIO_FREE})


def test_asyncio_free_layers_do_not_load_asyncio_either_by_what_they_import() -> None:
    names = [
        ".".join(("ptymux", *module.with_suffix("").parts)).removesuffix(".__init__")
        for module in ASYNCIO_FREE
    ]
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"

    done = subprocess.run(
        [sys.executable, "-c", f"{script}sys.exit('asyncio' in sys.modules)"], check=False
    )

    assert done.returncode == 0


def test_errors_import_nothing_of_the_package() -> None:
    assert imports(Path("errors.py")) == {"__future__", "collections.abc"}


def test_pure_modules_open_no_file_and_ask_nobody() -> None:
    asks = {"open", "print", "input", "exec", "eval", "__import__"}
    pure = [module for module in LAYERED if layer_of(module) in PURE_LAYERS]

    assert not wrong({module: calls(module) & asks for module in pure})


def calls(module: Path) -> set[str]:
    """Return the functions that a module calls by a plain name."""
    return {
        node.func.id
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_map_of_the_package_names_every_layer_from_top_to_bottom() -> None:
    order = re.findall(r"^    (\w+)(?:/|\.py) ", ptymux.__doc__ or "", re.MULTILINE)
    there = {layer_of(module) for module in LAYERED}

    assert set(order) == there
    for above, layer in enumerate(order):
        assert not MAY_IMPORT[layer] & set(order[:above]), f"{layer} stands too low"


def test_table_has_no_circle() -> None:
    below: set[str] = set()
    left = dict(MAY_IMPORT)
    while left:
        free = {layer for layer, used in left.items() if used <= below}
        assert free, f"these need each other: {sorted(left)}"
        below |= free
        left = {layer: used for layer, used in left.items() if layer not in free}


def needs(module: Path) -> set[Path]:
    """Return the modules of the package that `module` needs, wherever and for what it names them.

    `"ptymux.cli.commands.run:run"`, as in the table of commands, names one, too.
    """
    names = set(imports(module))
    for node in nodes_of(module):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(re.findall(r"^(ptymux[.\w]+):\w+$", node.value))
    found = {path for name, path in BY_NAME.items() if name in names}
    return found - {module, Path("__init__.py")}


BY_NAME = {
    ".".join(("ptymux", *path.with_suffix("").parts)).removesuffix(".__init__"): path
    for path in MODULES
}


def test_no_module_needs_itself_by_way_of_others_of_its_layer() -> None:
    left = {
        module: {path for path in needs(module) if layer_of(path) == layer_of(module)}
        for module in LAYERED
    }

    while free := {module for module, needed in left.items() if not needed & left.keys()}:
        left = {module: needed for module, needed in left.items() if module not in free}

    assert not left, "these need each other"


def test_modules_are_of_a_size_to_be_read() -> None:
    lines = {str(module): (PACKAGE / module).read_text().count("\n") for module in MODULES}

    assert not {module: count for module, count in lines.items() if count > LONGEST}


def test_modules_say_what_they_are_for_and_what_they_offer() -> None:
    named = [module for module in MODULES if len(module.parts) == 1 or module.name != "__init__.py"]

    assert not [str(module) for module in named if not ast.get_docstring(tree_of(module))]
    assert not [str(module) for module in named if "__all__" not in assigned(module)]


def assigned(module: Path) -> set[str]:
    """Return the names that a module assigns at its top level."""
    return {
        target.id
        for node in tree_of(module).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
