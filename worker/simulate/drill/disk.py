"""A small disk under the spool, to be filled: a file system in memory, where this user may mount one."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SIZE_MB: Final = 160
"""More than the spool keeps free (64 MiB), and enough for what a drill spools."""


class Disk:
    """Used as `with Disk(folder) as disk`; where nothing may be mounted it is a folder, and cannot be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_small = False

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self.is_small = _succeeds("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs", str(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_small:
            _succeeds("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """Leave no room on it. Raises `RuntimeError` if it is not small."""
        if not self.is_small:
            raise RuntimeError("a file system in memory cannot be mounted here: it takes root")
        try:
            with self._ballast.open("wb") as ballast:
                while True:
                    ballast.write(bytes(2**20))
                    ballast.flush()
        except OSError:  # full
            return

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603  # ours
    except OSError:
        return False
