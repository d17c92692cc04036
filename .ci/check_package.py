"""Check what was built: the sdist has every tracked file, the wheel what runs; print their sizes.

Usage: python .ci/check_package.py DIST, a folder with one sdist and one wheel.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


def main(dist: Path) -> int:
    """Print all that is missing and return the exit code."""
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    for file in (sdist, wheel):
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    tracked = subprocess.check_output(["git", "ls-files", "-z"], text=True).strip("\0").split("\0")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    missing = set(tracked) - packed
    unknown = {n for n in packed - set(tracked) if n not in ("", "PKG-INFO")}
    installed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {n for n in tracked if n.startswith("musclejax/")}
    wanted |= {f"musclejax/{n}" for n in tracked if n.startswith("configs/")}
    problems = [f"{sdist.name} lacks {name}" for name in sorted(missing)]
    problems += [f"{sdist.name} has {name}, which Git does not track" for name in sorted(unknown)]
    problems += [f"{wheel.name} lacks {name}" for name in sorted(wanted - installed)]
    print("\n".join(problems) or "sdist and wheel are complete")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
