"""Disks that are full."""

from pathlib import Path


def fill(folder: Path) -> Path:
    """Leave no room on the file system of a folder; the file that takes it all."""
    filling = folder / "filling"
    with filling.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filling
