"""The image that `make image` unpacks, and how to run a process of it without an engine, as the image itself asks."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / ".image"
ROOT = FOLDER / "rootfs"

# A mount namespace of its own: nothing of this is seen outside, and it goes with the process.
ENTER = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount --bind "$VOLUME" "$ROOT$FOLDER"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
exec chroot "$ROOT" setpriv --reuid "${OWNER%:*}" --regid "${OWNER#*:}" --clear-groups --no-new-privs \\
    --bounding-set=-all env --ignore-environment --chdir="$FOLDER" "$@"
"""


@dataclass(frozen=True)
class Image:
    """The configuration of the image, and a folder in place of its volume."""

    volume: Path
    config: dict[str, Any] = field(
        default_factory=lambda: json.loads((FOLDER / "image.json").read_text())["Docker"]["config"]
    )

    def command(self, *program: str, environment: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """What runs a program of it on a read-only root, as its user, without a capability; and its environment."""
        within = [*self.config["Env"], *(f"{key}={value}" for key, value in environment.items())]
        around = {
            "ROOT": str(ROOT),
            "VOLUME": str(self.volume),
            "FOLDER": self.config["WorkingDir"],
            "OWNER": self.config["User"],
        }
        return ("unshare", "--mount", "sh", "-c", ENTER, "sh", *within, *program), around
