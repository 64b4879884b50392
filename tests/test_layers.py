"""Who may import whom; what a module may be like."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def imports(module: Path) -> set[str]:
    """Return every module that `module` imports anywhere, with what it takes from the package."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
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
    return found


LAYERED = [module for module in MODULES if module != Path("__init__.py")]


@pytest.mark.parametrize("module", LAYERED, ids=str)
def test_module_imports_only_from_layers_below(module: Path) -> None:
    layer = layer_of(module)
    assert layer in MAY_IMPORT, f"{layer} is no layer of the table"
    used = {name.split(".")[1] for name in imports(module) if name.startswith("ptymux.")}

    assert used - {layer, "__version__"} <= MAY_IMPORT[layer]


@pytest.mark.parametrize("module", LAYERED, ids=str)
def test_lower_layers_need_nothing_installed_and_pure_ones_no_system(module: Path) -> None:
    layer = layer_of(module)
    roots = {name.split(".")[0] for name in imports(module)} - {"ptymux"}

    if layer in PURE_LAYERS | {"errors"}:
        assert roots <= PURE | PURE_BUT.get(str(module), set())
    elif layer in STDLIB_ONLY:
        assert roots <= sys.stdlib_module_names | MAY_ALSO_IMPORT.get(layer, set())
    else:
        assert roots <= sys.stdlib_module_names | {"click", "rich"}


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in LAYERED
        if layer_of(module) in NO_ASYNCIO and str(module) not in NEEDS_ASYNCIO
    ],
    ids=str,
)
def test_module_of_an_asyncio_free_layer_does_not_name_asyncio(module: Path) -> None:
    assert "asyncio" not in {name.split(".")[0] for name in imports(module)}


def test_asyncio_free_layers_do_not_load_asyncio_either_by_what_they_import() -> None:
    names = [
        ".".join(("ptymux", *module.with_suffix("").parts)).removesuffix(".__init__")
        for module in LAYERED
        if layer_of(module) in NO_ASYNCIO and str(module) not in NEEDS_ASYNCIO
    ]
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"

    done = subprocess.run(
        [sys.executable, "-c", f"{script}sys.exit('asyncio' in sys.modules)"], check=False
    )

    assert done.returncode == 0


def test_errors_import_nothing_of_the_package() -> None:
    assert imports(Path("errors.py")) == {"__future__", "collections.abc"}


@pytest.mark.parametrize(
    "module", [module for module in LAYERED if layer_of(module) in PURE_LAYERS], ids=str
)
def test_pure_module_opens_no_file_and_asks_nobody(module: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse((PACKAGE / module).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


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
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(re.findall(r"^(ptymux[.\w]+):\w+$", node.value))
    return {
        path
        for path in MODULES
        if ".".join(("ptymux", *path.with_suffix("").parts)).removesuffix(".__init__") in names
    } - {module, Path("__init__.py")}


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_no_module_of_a_layer_needs_itself_by_way_of_others(layer: str) -> None:
    left = {module: needs(module) for module in LAYERED if layer_of(module) == layer}

    while free := {module for module, needed in left.items() if not needed & left.keys()}:
        left = {module: needed for module, needed in left.items() if module not in free}

    assert not left, "these need each other"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_is_of_a_size_to_be_read(module: Path) -> None:
    lines = (PACKAGE / module).read_text().count("\n")

    assert lines <= LONGEST


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if len(module.parts) == 1 or module.name != "__init__.py"],
    ids=str,
)
def test_module_says_what_it_is_for_and_what_it_offers(module: Path) -> None:
    tree = ast.parse((PACKAGE / module).read_text())
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    assert ast.get_docstring(tree)
    assert "__all__" in assigned
