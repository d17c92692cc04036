"""Print the lowest versions that pyproject.toml declares, as constraints for pip."""

import re
import tomllib
from pathlib import Path

OUR_TOOLS = {"test", "dev"}
"""Extras that no user installs: their packages stay at the newest."""

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
declared = [*project["dependencies"]]
declared += [line for name in extras if name not in OUR_TOOLS for line in extras[name]]
for line in sorted(set(declared)):
    if match := re.match(r"([\w.-]+)[>=]=([\w.]+)", line):
        print("{}=={}".format(*match.groups()))
