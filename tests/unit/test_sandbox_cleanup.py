"""Directories that a tool made hard to remove are removed."""

import os
from pathlib import Path

from workers.sandbox.cleanup import remove


def test_a_directory_deeper_than_any_recursion_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "deep"
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    remove(place)

    assert not place.exists()


def test_directories_without_permissions_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o500)
    place = tmp_path / "place"
    (place / "shut" / "inner").mkdir(parents=True)
    (place / "link").symlink_to(kept)
    (place / "shut" / "inner").chmod(0)
    (place / "shut").chmod(0)

    remove(place)

    assert not place.exists()
    assert kept.stat().st_mode & 0o777 == 0o500
