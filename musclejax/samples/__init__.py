"""Two real scans that ship with the package; README.md says whose they are."""

from pathlib import Path

SAMPLES = {name: Path(__file__).parent / f"{name}.nii.gz" for name in ("test_up", "test_low")}
"""Name -> file: both thighs, both lower legs."""
