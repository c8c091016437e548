"""What a call spends its time on, for the log.

At level DEBUG the logger ``pdex`` writes a line for each stage: its name, wall seconds, and the CPU
seconds of the whole process meanwhile. With all threads busy, CPU seconds are wall seconds times
threads; a stage whose CPU seconds equal its wall seconds ran on one.
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
    """Log how long a block takes; nothing is measured below level DEBUG.

    Parameters
    ----------
    name
        What is done in the block.
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
