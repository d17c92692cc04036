"""The package's own papers agree: pyproject.toml, CITATION.cff, CHANGELOG.md, CONTRIBUTING.md."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import musclejax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
NAME = re.compile(r"[\w.-]+(?=[>=]=)")


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == musclejax.__version__
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert headings[0] in ("Unreleased", musclejax.__version__)


@pytest.mark.parametrize("line", sorted({r for r in REQUIREMENTS if "musclejax[" not in r}))
def test_requirement_has_a_lowest_version_and_a_reason(line: str) -> None:
    """CONTRIBUTING.md gives the reason, `.ci/run lowest` installs the lowest versions."""
    name = NAME.match(line)
    assert name, f"{line}: no lowest version"
    if line not in EXTRAS["dev"]:
        package = name[0].removesuffix("-cpu")
        reasons = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        assert re.search(rf"^\|.*\b{re.escape(package)}\b.*\|", reasons, re.MULTILINE), line


def test_pythons_agree() -> None:
    named = re.findall(r"Python :: 3\.(\d+)", " ".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">=3.{min(map(int, named))}"


def test_license_files_exist() -> None:
    for pattern in PROJECT["license-files"]:
        assert any(ROOT.glob(pattern)), pattern


LATE = {
    # Packages of extras, and modules that Windows lacks.
    "*": "distributed onnx onnxruntime openvino h5py imgaug SimpleITK highdicom fcntl resource",
    # Lines that load a program once its process is set up.
    "cli/*": "musclejax",
    "app/*worker.py": "musclejax",
    "app/devices.py": "jax",
    # A command's help needs neither.
    "app/console.py": "rich",
}
"""File -> what functions in it may import; CONTRIBUTING.md states this rule."""


def test_imports_stand_at_the_top() -> None:
    package = ROOT / "musclejax"
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package)
        allowed = {w for place, words in LATE.items() if name.match(place) for w in words.split()}
        late = {module.partition(".")[0] for module in imports_in_functions(file)}
        assert late <= allowed, f"{name}: {late - allowed}"


def imports_in_functions(file: Path) -> Iterator[str]:
    for function in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom):
                    yield node.module or ""
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
