"""The house rules that can be checked by reading the source."""

import ast
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"benchmark": "srbench", "models": "srbench.models", "datasets": "srbench.datasets"}
HEAVY = {"torch", "torchvision", "pandas", "lpips", "timm", "matplotlib", "cv2", "scipy", "pyarrow"}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute module names imported anywhere in a file (relative imports are not used in this project)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


@pytest.mark.parametrize("room", ["models", "datasets"])
def test_models_and_datasets_import_nothing_of_the_harness(room: str) -> None:
    own = ROOMS[room]
    for path in python_files(room):
        foreign = {
            name
            for name in imports(path)
            if name.split(".")[0] == "srbench" and not f"{name}.".startswith(f"{own}.")
        }
        assert foreign <= {"srbench"}, f"{path} imports {foreign}"
        bare = {name for name in imports(path) if name.split(".")[0] in ROOMS}
        assert not bare, f"{path} imports {bare}: inside the code only srbench.* names exist"


@pytest.mark.parametrize("room", ["models", "datasets"])
def test_models_and_datasets_import_only_their_own_at_run_time(room: str) -> None:
    """Importing everything of a room loads no module of another one (beyond the bare ``srbench``)."""
    own = ROOMS[room]
    modules = [
        ".".join([own, *path.relative_to(ROOT / room).with_suffix("").parts]).removesuffix(".__init__")
        for path in python_files(room)
        if not path.name.startswith("__main__")
    ]
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; "
        f"print([m for m in sys.modules if m.startswith('srbench.') and not (m + '.').startswith('{own}.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from srbench.cli import main; sys.argv = ['srbench', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([m for m in {sorted(HEAVY)!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_package_is_listed_in_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^packages = \[(.*?)^\]", text, re.S | re.M)
    assert block is not None
    listed = set(re.findall(r'"([^"]+)"', block.group(1)))
    found = set()
    for room, package in ROOMS.items():
        for init in (ROOT / room).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / room).parts]))
    assert listed == found


def test_no_folder_of_the_harness_shadows_a_room() -> None:
    assert not (ROOT / "benchmark" / "models").exists()
    assert not (ROOT / "benchmark" / "datasets").exists()


def test_no_unsafe_loading() -> None:
    """Nothing untrusted is unpickled, and nothing is executed from text."""
    for room in ROOMS:
        for path in python_files(room):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                assert name not in {"exec", "eval", "pickle.load", "pickle.loads"}, f"{path}: {name}"
                if name == "torch.load":
                    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    assert keywords.get("weights_only") == "True", (
                        f"{path}: torch.load without weights_only=True"
                    )


def test_resizing_of_pixels_lives_in_one_place() -> None:
    """Only images/resize.py and the networks interpolate; a second kernel would move PSNR by decibels."""
    for room in ("benchmark", "datasets"):
        for path in python_files(room):
            if path.name == "resize.py":
                continue
            calls = {
                ast.unparse(node.func)
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call)
            }
            assert not calls & {"cv2.resize", "F.interpolate", "torch.nn.functional.interpolate"}, path


def test_readme_commands_are_those_of_ci() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("pip install . && srbench demo", 'pip install ".[test]" && pytest -n 2'):
        assert command in readme
        assert command in ci.replace(" --quiet", "")


def test_supported_pythons_parse_the_sources() -> None:
    """No syntax newer than the oldest supported Python (3.10)."""
    for room in ROOMS:
        for path in python_files(room):
            ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_wheel_holds_every_source_and_template(tmp_path: Path) -> None:
    """The installed package (or the wheel built here) holds what the tree holds."""
    import srbench

    installed = Path(srbench.__file__).parent
    if not str(installed).startswith(sysconfig.get_paths()["purelib"]):
        pytest.skip("editable installation: the tree itself is what runs")
    for path in (ROOT / "benchmark").rglob("*"):
        if path.suffix in {".py", ".j2", ".css", ".js", ".typed", ".json"}:
            assert (installed / path.relative_to(ROOT / "benchmark")).is_file(), path
    for room in ("models", "datasets"):
        for path in (ROOT / room).rglob("*"):
            if path.suffix in {".py", ".json"}:
                assert (installed / room / path.relative_to(ROOT / room)).is_file(), path
