"""How the source is packed, loaded and run; what may import what is in ``test_rules.py``."""

import ast
import functools
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"benchmark": "srbench", "models": "srbench.models", "datasets": "srbench.datasets"}
HEAVY = {
    "torch",
    "torchvision",
    "pandas",
    "lpips",
    "timm",
    "matplotlib",
    "cv2",
    "scipy",
    "pyarrow",
    "napari",
    "qtpy",
}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["models", "datasets"])
def test_models_and_datasets_load_only_themselves_and_utils(folder: str) -> None:
    package = PACKAGES[folder]
    modules = [
        ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts]).removesuffix(".__init__")
        for path in python_files(folder)
    ]
    allowed = (f"{package}.", "srbench.utils.", "srbench.version.")
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; "
        f"print([m for m in sys.modules if m.startswith('srbench.') and not (m + '.').startswith({allowed})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
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
    packages = {
        ".".join([package, *init.parent.relative_to(ROOT / folder).parts])
        for folder, package in PACKAGES.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == packages


def test_no_folder_of_benchmark_shadows_models_or_datasets() -> None:
    assert not (ROOT / "benchmark" / "models").exists()
    assert not (ROOT / "benchmark" / "datasets").exists()


@functools.cache
def calls() -> dict[Path, list[ast.Call]]:
    """The calls in every file that names one of those looked for below."""
    texts = {path: path.read_text(encoding="utf-8") for folder in PACKAGES for path in python_files(folder)}
    return {
        path: [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        for path, text in texts.items()
        if re.search(r"exec|eval\(|pickle|torch\.load|resize|interpolate", text)
    }


@pytest.mark.slow
def test_the_oldest_supported_python_parses_the_sources() -> None:
    for folder in PACKAGES:
        for path in python_files(folder):
            ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.slow
def test_no_unsafe_loading() -> None:
    """Nothing untrusted is unpickled, and nothing is executed from text."""
    for path, nodes in calls().items():
        for node in nodes:
            name = ast.unparse(node.func)
            # what processes of srbench hand each other lies in a folder of their own
            handed_over = name == "pickle.load" and path == ROOT / "benchmark" / "utils" / "parallel.py"
            assert handed_over or name not in {"exec", "eval", "pickle.load", "pickle.loads"}, (
                f"{path}: {name}"
            )
            if name == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True", f"{path}: torch.load without weights_only=True"


def test_resizing_of_pixels_lives_in_one_file() -> None:
    """Only images/resize.py and the networks interpolate; a second kernel would move PSNR by decibels."""
    barred = {"cv2.resize", "F.interpolate", "torch.nn.functional.interpolate"}
    for path, nodes in calls().items():
        if ROOT / "models" not in path.parents and path.name != "resize.py":
            assert not barred & {ast.unparse(node.func) for node in nodes}, path


def test_readme_commands_are_those_of_ci() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("pip install . && srbench demo", 'pip install ".[test]" && pytest -n 2'):
        assert command in readme
        assert command in ci.replace(" --quiet", "")


def test_wheel_holds_every_source_and_template(tmp_path: Path) -> None:
    """The installed package (or the wheel built here) holds what the tree holds."""
    import srbench

    installed = Path(srbench.__file__).parent
    if not str(installed).startswith(sysconfig.get_paths()["purelib"]):
        pytest.skip("editable installation: the tree itself is what runs")
    for path in (ROOT / "benchmark").rglob("*"):
        if path.suffix in {".py", ".j2", ".css", ".js", ".typed", ".json", ".safetensors", ".yaml"}:
            assert (installed / path.relative_to(ROOT / "benchmark")).is_file(), path
    for folder in ("models", "datasets"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".json"}:
                assert (installed / folder / path.relative_to(ROOT / folder)).is_file(), path
