"""The folder of the recipes that ship with the package. Nothing heavy is imported here."""

from pathlib import Path


def recipe_folder() -> Path:
    """Return `configs/`: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in recipe_folder().glob("[!_]*.py"))


def recipe_titles() -> dict[str, str]:
    """Return the first line of each recipe that ships with the package."""
    return {name: _title(recipe_folder() / f"{name}.py") for name in recipe_names()}


def _title(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].strip('"')
