"""Check what Git tracks: no large files, no large pictures, no new PNG, short commit subjects.

Usage: python .ci/check_files.py [BASE]; subjects and new files are those since BASE.
"""

import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

LARGEST_FILE, LARGEST_PICTURE = 300_000, 200_000
MAY_BE_LARGE = (
    "musclejax/bundled/*.safetensors",
    "musclejax/samples/*.nii.gz",
    "musclejax/data/anatomy/*.nii.gz",
    "musclejax/reports/pages/static/niivue.umd.js.gz",
    "examples/*.nii.gz",
)
"""Weights, samples, templates of the phantom, the viewer of pages, and scans of the examples."""
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
LONGEST_SUBJECT = 72


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints."""
    return subprocess.check_output(["git", *arguments], text=True).splitlines()


def large_files() -> list[str]:
    """Return a line per tracked file that is larger than its kind may be."""
    found = []
    for name in git("-c", "core.quotepath=off", "ls-files"):
        path = Path(name)
        limit = LARGEST_PICTURE if path.suffix.lower() in PICTURES else LARGEST_FILE
        if any(fnmatch(name, pattern) for pattern in MAY_BE_LARGE) or not path.is_file():
            continue
        if (size := path.stat().st_size) > limit:
            found.append(f"{name}: {size // 1000} kB, at most {limit // 1000} kB")
    return found


def new_png_files(base: str) -> list[str]:
    """Return a line per PNG file that is tracked and was not in `base`."""
    added = git("-c", "core.quotepath=off", "diff", "--name-only", "--diff-filter=AR", base)
    found = [name for name in added if Path(name).suffix.lower() == ".png"]
    return [f"{name}: a new PNG file; a picture is JPEG or WebP" for name in found]


def long_subjects(base: str) -> list[str]:
    """Return a line per commit since `base` whose subject is too long."""
    commits = [line.partition(" ") for line in git("log", "--format=%h %s", f"{base}..HEAD")]
    return [
        f"{commit}: a subject of {len(subject)} characters, at most {LONGEST_SUBJECT}: {subject}"
        for commit, _, subject in commits
        if len(subject) > LONGEST_SUBJECT
    ]


def main(base: str | None) -> int:
    """Print all that was found and return the exit code."""
    found = large_files()
    if base:
        known = subprocess.run(["git", "cat-file", "-e", base + "^{commit}"], capture_output=True)
        if known.returncode:
            print(f"new files and subjects not checked: this clone has no commit {base}")
        else:
            found += new_png_files(base) + long_subjects(base)
    print("\n".join(found) or "files, pictures and commit subjects are as they should be")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [None])))
