"""What the README shows exists: every command line of it is parsed by the command line itself."""

import re
import shlex
from pathlib import Path

import click
import pytest

from musclejax.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:bash|console)\n(.*?)```", README, re.DOTALL)
LINES = [
    line.removeprefix("$ ").split("#")[0].split("&&")[-1].split(" | ")[0].strip()
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
]
COMMANDS = sorted({line for line in LINES if line.startswith("musclejax ")})


def test_readme_opens_with_the_two_lines() -> None:
    first = BLOCKS[0].splitlines()
    assert first == ["pip install -e . && musclejax demo", "pip install -e '.[test]' && pytest"]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_readme_parse(line: str) -> None:
    command: click.Command = main
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {name for p in command.params for name in p.opts} | {"--help", "--version"}
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in options, f"{line}: no option {word}"


def test_files_of_the_readme_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in link:
            assert (ROOT / link).exists(), link
