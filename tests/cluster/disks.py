"""A disk of a few megabytes, to be full: a tmpfs, which only root may mount."""

import contextlib
import functools
import os
import re
import subprocess
import tempfile
from pathlib import Path

NAME = "pdex-disk"


@functools.cache
def unavailable():
    """Why no disk can be mounted here, or None."""
    try:
        sweep()
        with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)):
            return None
    except OSError as error:
        return f"a small disk cannot be mounted: {error}"


@contextlib.contextmanager
def small_disk(path, size="2m"):
    """Mount an empty disk of this size over a folder, which is made where there is none.

    Workers on hosts of hosts.py see it if they were started later.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    call("mount", "-t", "tmpfs", "-o", f"size={size}", f"{NAME}-{os.getpid()}", path)
    try:
        yield path
    finally:
        # Lazily: a process may have a file open there.
        call("umount", "--lazy", path)


def fill(folder, spare=0):
    """Fill the disk of a folder but for `spare` bytes, with a file that is returned."""
    path = Path(folder) / "filling"
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(path, max(path.stat().st_size - spare, 0))
    return path


def sweep():
    """Unmount what tests left that were killed."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        name, path = line.split()[:2]
        left = re.fullmatch(rf"{NAME}-(\d+)", name)
        if left and not os.path.exists(f"/proc/{left[1]}"):
            with contextlib.suppress(OSError):
                call("umount", "--lazy", path.encode().decode("unicode_escape"))


def call(*words):
    """What a command writes; if it fails, an OSError with the first line of what it says."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise OSError(f"{words[0]}: {said[0]}")
    return done.stdout
