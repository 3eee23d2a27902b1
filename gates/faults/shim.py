"""The library that is preloaded into a node and changes what the node is told of the time and of its disk.

It is compiled from `shim.c` beside this file, once a user, with the C compiler of the machine; it works on programs that are
linked dynamically to the C library, so not on Go's or static ones. It stands in for libfiu, which can't tell one folder's files
from another's.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gates.errors import Exit, GatesError
from gates.leftovers import own_folder

VARIABLE = "READINESS_FAULT_CONTROL"
SOURCE = Path(__file__).with_name("shim.c")
PAGE = 4096
_PLACES = {"offset": 0, "refuse": 8, "unsynced": 16, "slow": 24, "told": 32, "refused": 40, "failed": 48, "slowed": 56}
_FOLDER = 64


class ShimError(GatesError):
    """The library can't be had on this machine."""

    code = Exit.INCONCLUSIVE


def library() -> Path:
    """The compiled library. Raises ShimError."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), "")
    place = own_folder() / f"shim-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if place.exists():
        return place
    if not compiler:
        raise ShimError("there is no C compiler", hint="install gcc")
    fresh = place.with_suffix(f".{os.getpid()}")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(fresh), str(SOURCE), "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise ShimError(f"the C compiler can't be run: {error}") from error
    if done.returncode:
        raise ShimError(f"the C compiler says: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
    fresh.rename(place)
    return place


def is_loaded(pid: int) -> bool:
    """Whether the process *pid* has the library in its memory, as the kernel shows it. Raises OSError when it does not."""
    return str(library()) in Path(f"/proc/{pid}/maps").read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Control:
    """The page that a node and we map: what the library does, and how often it did it."""

    path: Path

    @classmethod
    def make(cls, path: Path, folder: Path) -> Control:
        """A page at *path*, in peace, for files below *folder*."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(_FOLDER) + os.fsencode(folder.resolve()).ljust(PAGE - _FOLDER, b"\0"))
        return cls(path)

    def environment(self) -> dict[str, str]:
        """What a process needs to have the library. Raises ShimError."""
        return {"LD_PRELOAD": str(library()), VARIABLE: str(self.path)}

    def offset(self, seconds: float) -> None:
        """The wall clock goes wrong by *seconds*."""
        self.set("offset", int(seconds * 1e9))

    def set(self, what: str, value: int) -> None:
        """Set `offset` (ns), `refuse` or `unsynced` (errno), or `slow` (µs); 0 is peace."""
        with self._page() as page:
            struct.pack_into("=q", page, _PLACES[what], value)

    def get(self, what: str) -> int:
        """One of them, or of the counters `told`, `refused`, `failed` and `slowed`."""
        with self._page() as page:
            return int(struct.unpack_from("=q", page, _PLACES[what])[0])

    def _page(self) -> mmap.mmap:
        with self.path.open("r+b") as file:
            return mmap.mmap(file.fileno(), PAGE)
