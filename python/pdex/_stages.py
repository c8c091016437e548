"""Log how long each stage of a call takes.

At level DEBUG, the logger ``pdex`` writes one line per stage: its name, its wall time, and the CPU
time of the whole process during the stage, in seconds. If all threads are busy, CPU time is wall
time multiplied by the number of threads. A stage whose CPU time equals its wall time ran on one
thread.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger: logging.Logger = logging.getLogger("pdex")


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Log how long a block takes; nothing is measured unless level DEBUG is enabled.

    Parameters
    ----------
    name
        Name of the stage.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        yield
        return
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        logger.debug("stage %r: %.3f s wall, %.3f s CPU", name, wall, cpu)
