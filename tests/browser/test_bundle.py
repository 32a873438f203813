"""The committed bundle of other people's scripts is what their published packages give."""

import shutil
import subprocess
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "api" / "console" / "vendor"
MADE = ("vendor.js", "vendor.css", "vendor.licences.txt")


def test_the_bundle_can_be_made_again_byte_by_byte(tmp_path: Path) -> None:
    committed = VENDOR.parent / "static"
    copy = tmp_path / "console" / "vendor"
    (copy.parent / "static").mkdir(parents=True)
    copy.mkdir()
    for name in ("package.json", "package-lock.json", "build.js", "entry.js"):
        shutil.copy(VENDOR / name, copy)

    for command in (["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=copy, check=True, capture_output=True)

    for name in MADE:
        assert (copy.parent / "static" / name).read_bytes() == (committed / name).read_bytes(), name
