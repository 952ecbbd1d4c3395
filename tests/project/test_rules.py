"""Rules that keep the source easy to live in: each holds for srbench, and each can fail."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"benchmark": "srbench", "models": "srbench.models", "datasets": "srbench.datasets"}

LEVELS = (
    {"utils", "version"},
    {"models", "datasets", "sandbox"},
    {"plugins"},
    {"weights", "store", "config"},
    {"metrics", "inference"},
    {"preregistration"},
    {"checks"},
    {"statistics"},
    {"training", "evaluation", "reporting"},
    {"measuring", "orchestration", "verification"},
    {"cli", "napari"},
)
"""A level imports only what lies below it; training, evaluation and reporting do not import one another."""

VARIABLES = {"found", "one", "own", "told", "kept", "asked", "wanted", "place", "known"}
ANYWHERE = {"critic", "errand", "made", "twin", "plan", "look", "hear", "take", "wish", "memo"}
Rule = Callable[[Path], list[str]]


@functools.cache
def sources(root: Path) -> tuple[tuple[str, Path, ast.Module], ...]:
    """Module name, path and syntax tree of every file."""
    found = []
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            name = ".".join([package, *path.relative_to(root / folder).with_suffix("").parts])
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found.append((name.removesuffix(".__init__"), path, tree))
    return tuple(found)


def imports(tree: ast.Module, modules: set[str]) -> set[str]:
    """Modules of ``modules`` that are imported anywhere in a file, for types only or inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in modules else node.module)
    return names & modules


def graph(root: Path) -> dict[str, set[str]]:
    files = list(sources(root))
    modules = {name for name, _, _ in files}
    return {name: imports(tree, modules) - {name} for name, _, tree in files}


def import_circles(root: Path) -> list[str]:
    edges = graph(root)
    order: list[str] = []
    state: dict[str, int] = {}
    circles: list[str] = []

    def visit(module: str) -> None:
        state[module] = 1
        order.append(module)
        for other in sorted(edges[module]):
            if state.get(other) == 1:
                circles.append(" -> ".join([*order[order.index(other) :], other]))
            elif other not in state:
                visit(other)
        order.pop()
        state[module] = 2

    for module in edges:
        if module not in state:
            visit(module)
    return circles


def package_of(module: str) -> str:
    """``srbench.models.layers`` -> ``models``; the bare ``srbench`` is above everything."""
    return module.split(".")[1] if "." in module else ""


def upward_imports(root: Path) -> list[str]:
    level = {package: number for number, packages in enumerate(LEVELS) for package in packages}
    return [
        f"{module} imports {other}"
        for module, others in graph(root).items()
        if package_of(module) in level
        for other in sorted(others)
        if package_of(other) in level
        and package_of(other) != package_of(module)
        and level[package_of(other)] >= level[package_of(module)]
    ]


def foreign_imports(root: Path) -> list[str]:
    """What ``models`` and ``datasets`` import of srbench beside themselves and ``utils``; utils nothing."""
    allowed = {"models": {"models", "utils"}, "datasets": {"datasets", "utils"}, "utils": {"utils"}}
    return [
        f"{module} imports {other}"
        for module, others in graph(root).items()
        for other in sorted(others)
        if package_of(other) not in allowed.get(package_of(module), {package_of(other)})
    ]


def crowded_folders(root: Path) -> list[str]:
    sizes = Counter(path.parent for _, path, _ in sources(root))
    return [f"{folder} has {size} modules" for folder, size in sizes.items() if size > 21]


def shared_prefixes(root: Path) -> list[str]:
    """Files of a folder whose names begin alike up to ``_``; a dataset's file is called as the dataset is."""
    groups = defaultdict(list)
    for _, path, tree in sources(root):
        registers = any(
            "register_dataset" in ast.unparse(d) for n in tree.body for d in getattr(n, "decorator_list", [])
        )
        if "_" in path.stem.strip("_") and not registers:
            groups[path.parent, path.stem.split("_")[0]].append(path.name)
    return [f"{folder}: {', '.join(names)}" for (folder, _), names in groups.items() if len(names) > 1]


def long_files(root: Path) -> list[str]:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for _, path, _ in sources(root)}
    return [f"{path} has {count} lines" for path, count in lines.items() if count > 900]


def equal_class_names(root: Path) -> list[str]:
    owners = defaultdict(list)
    for module, _, tree in sources(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                owners[node.name].append(module)
    return [f"{name}: {', '.join(modules)}" for name, modules in owners.items() if len(modules) > 1]


def defined_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def barred_names(root: Path) -> list[str]:
    """The words of another vocabulary: whole names of both lists; "critic", "errand", "twin" in any name."""
    return [
        f"{path}:{line} {name}"
        for _, path, tree in sources(root)
        for name, line in defined_names(tree)
        if (plain := name.strip("_").lower()) in VARIABLES | ANYWHERE
        or name in {"Size", "Plan"}
        or re.search("critic|errand|twin", plain)
    ]


def long_module_docstrings(root: Path) -> list[str]:
    return [
        f"{path}: {len(text.splitlines())} lines"
        for _, path, tree in sources(root)
        if (text := ast.get_docstring(tree)) and len(text.splitlines()) > 8
    ]


def functions_to_inline(root: Path) -> list[str]:
    """Private functions of fewer than four lines that are called once; a docstring may name a formula."""
    problems = []
    for _, path, tree in sources(root):
        loads = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
        )
        calls = {
            node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute))
        }
        problems += [
            f"{path}:{node.lineno} {node.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and node.name.startswith("_")
            and not node.name.startswith("__")
            and not node.decorator_list
            and node.name in calls
            and loads[node.name] == 1
            and (node.end_lineno or 0) - node.lineno < 3
            and ast.get_docstring(node) is None
        ]
    return problems


RULES: dict[Rule, dict[str, str]] = {
    import_circles: {
        "benchmark/a.py": "from srbench import b",
        "benchmark/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from srbench.a import x",
    },
    upward_imports: {
        "benchmark/metrics/a.py": "def f():\n    from srbench.evaluation.b import x",
        "benchmark/evaluation/b.py": "x = 1",
    },
    foreign_imports: {"models/a.py": "from srbench.datasets import b", "datasets/b.py": ""},
    crowded_folders: {f"benchmark/cli/m{n}.py": "" for n in range(22)},
    shared_prefixes: {"datasets/nffa_fetch.py": "", "datasets/nffa_pack.py": ""},
    long_files: {"models/a.py": "x = 1\n" * 901},
    equal_class_names: {"models/a.py": "class Config: ...", "models/b.py": "class Config: ..."},
    barred_names: {"models/a.py": "def f(wanted): ..."},
    long_module_docstrings: {"models/a.py": '"""' + "A line.\n" * 9 + '"""'},
    functions_to_inline: {"models/a.py": "def _f(x):\n    return x + 1\n\n\ny = _f(1)\n"},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_srbench_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_can_fail(rule: Rule, tmp_path: Path) -> None:
    for file, text in RULES[rule].items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert rule(tmp_path) != []


@pytest.mark.parametrize(
    "source",
    [
        "class Critic: ...",
        "class Size: ...",
        "critic_loss = 1",
        "for one in (): ...",
        "def look(): ...",
        "self.told = 1",
        "def f(x, *, place=1): ...",
        "with open('x') as found: ...",
    ],
)
def test_every_way_to_give_a_barred_name_is_noticed(source: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.py").write_text(source, encoding="utf-8")
    assert barred_names(tmp_path) != []
