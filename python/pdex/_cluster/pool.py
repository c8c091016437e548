"""Run tasks on the workers of Dask's active client, or on the scheduler that was chosen."""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

from pdex import _pdex
from pdex._places import place_of
from pdex._resources import LEAST_MEMORY, Resources, n_threads, parse_memory_limit
from pdex._text import listed
from pdex._validate import Engine, check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pdex._places import Place
    from pdex._progress import Progress

#: How often a task whose reading or writing failed is run again.
_RETRIES = 2
#: What Dask calls the scheduler of a client.
_OF_CLIENT = (None, "dask.distributed", "distributed")
#: A worker runs one task at a time, on all of the threads that Dask gave it.
_ONE = threading.Lock()


def is_on_cluster(engine: object) -> bool:
    """Return whether a call runs on a cluster; raise ValueError for an unknown engine."""
    if engine is None:
        return False
    check_choice("engine", engine, get_args(Engine))
    return True


class Task(Protocol):
    """What a task is about; it can be pickled."""

    @property
    def what(self) -> str:
        """What the task does, for an error, such as ``counting cells 0 to 500 of a.h5ad``."""


@dataclass(frozen=True)
class Call:
    """A task with all that a worker needs to run it."""

    function: Callable[..., Any]
    task: Task
    #: The folder of files, which the worker must see.
    folder: str
    threads: int | None
    memory: int | str | None
    version: str = _pdex.__version__


class Outcome(NamedTuple):
    """What a task returned, or the error of its data, which no repetition would mend."""

    value: Any
    error: Exception | None = None


def perform(call: Call, *inputs: Any) -> Outcome:
    """Run a task on a worker.

    Raises
    ------
    OSError
        A file cannot be read or written, which may succeed elsewhere or later.
    """
    if _pdex.__version__ != call.version:
        return Outcome(None, ValueError(_differs(here(), _pdex.__version__, call.version)))
    if not place_of(call.folder).is_dir():
        msg = f"{call.task.what}: {_unseen(here(), call.folder)}"
        raise FileNotFoundError(msg)
    with _ONE:
        try:
            return Outcome(call.function(call.task, *inputs, _resources(call)))
        except OSError as error:
            raise _named(error, call.task.what) from error
        except Exception as error:
            return Outcome(None, _portable(error))


def _named(error: OSError, what: str) -> OSError:
    """Return an error of the same class that says what was being done, and where."""
    kind = type(error) if type(error).__module__ == "builtins" else OSError
    said = f"{what} on {here()}: {error.strerror or error}"
    if error.errno is None:
        return kind(said)
    # As arguments, they are pickled.
    file = () if error.filename is None else (error.filename,)
    return kind(error.errno, said, *file)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled, of the same class if that is ValueError."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return ValueError(f"{kind}{error}")
    return error


def _worker() -> Any:
    """Return the Dask worker whose task this is; None if there is none."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker()
    except ValueError:
        return None


def here(worker: Any = None) -> str:
    """Return the name of a worker, or of that whose task this is."""
    worker = worker or _worker()
    if worker is None:
        return f"process {os.getpid()}"
    return f"worker {worker.address} (host {socket.gethostname()})"


def _resources(call: Call) -> Resources:
    """Return the threads and the memory of a task: those that Dask gave to the worker."""
    worker, threads = _worker(), n_threads(call.threads)
    memory = parse_memory_limit(call.memory)
    if worker is not None:
        threads = min(threads, worker.state.nthreads)
        limit = worker.memory_manager.memory_limit
        if call.memory is None and limit:
            # Three times as much may be in use while a piece is read and another is tested.
            memory = max(LEAST_MEMORY, min(memory, limit // 3))
    return Resources(threads, memory)


def _look(path: str, token: str, dask_worker: Any = None) -> tuple[str, str, bool]:
    """Return the name of the worker, its version of pdex, and whether it sees a file.

    Outside of tasks, Dask gives the worker.
    """
    try:
        seen = place_of(path).read_text(encoding="utf-8") == token
    except OSError:
        seen = False
    return here(dask_worker), _pdex.__version__, seen


def _differs(worker: str, theirs: str, ours: str) -> str:
    return f"{worker} has pdex {theirs}, and the client has {ours}: install the same everywhere"


def _unseen(worker: str, folder: str) -> str:
    return (
        f"{worker} does not see the folder {folder!r} as the client does: choose one on a file "
        "system that all workers share"
    )


class Pool:
    """The workers of the active client, or the scheduler that Dask's configuration names.

    Parameters
    ----------
    threads, memory
        The most that a task may use; None: what Dask gave the worker, of memory at most 1 GB.

    Raises
    ------
    ModuleNotFoundError
        Dask is not installed.
    ValueError
        There is neither a client nor a chosen scheduler.
    """

    def __init__(self, threads: int | None, memory: int | str | None) -> None:
        n_threads(threads)
        parse_memory_limit(memory)
        self._threads, self._memory = threads, memory
        try:
            import dask
        except ModuleNotFoundError as error:
            msg = "engine='dask' needs Dask: pip install 'pdex[dask]'"
            raise ModuleNotFoundError(msg, name="dask") from error
        self._client: Any = None
        scheduler = dask.config.get("scheduler", None)
        if hasattr(scheduler, "scheduler_info"):
            self._client = scheduler
        elif scheduler in _OF_CLIENT:
            self._client = _active_client()
        if getattr(self._client, "asynchronous", False):
            msg = "engine='dask' takes a client that is not asynchronous"
            raise ValueError(msg)
        self._folder = ""

    def probe(self, folder: Place) -> None:
        """Ask every worker for its version, and whether it sees a folder, before anything runs.

        Raises
        ------
        ValueError
            A worker has another version of pdex.
        FileNotFoundError
            A worker does not see the folder.
        ModuleNotFoundError, RuntimeError
            A worker has no pdex, or one that lacks what it is asked for.
        """
        self._folder = str(folder)
        token = secrets.token_hex(8)
        marker = folder / f"seen-{token}"
        marker.write_text(token, encoding="utf-8")
        try:
            found = self._asked(str(marker), token)
        finally:
            marker.unlink(missing_ok=True)
        for address, answer in found.items():
            # An error of connecting is that of a worker that was lost, and needs no folder.
            if isinstance(answer, Exception) and not isinstance(answer, OSError):
                msg = f"worker {address} cannot run pdex {_pdex.__version__}: {answer}"
                # Dask tells errors of imports in words.
                lacks = "ModuleNotFoundError" in repr(answer)
                raise (ModuleNotFoundError if lacks else RuntimeError)(msg) from answer
        answers = [answer for answer in found.values() if isinstance(answer, tuple)]
        for worker, version, _ in answers:
            if version != _pdex.__version__:
                raise ValueError(_differs(worker, version, _pdex.__version__))
        blind = [worker for worker, _, seen in answers if not seen]
        if blind:
            raise FileNotFoundError(_unseen(listed(blind, 3).replace("'", ""), self._folder))

    def _asked(self, path: str, token: str) -> dict[str, Any]:
        """Return what each worker answers."""
        if self._client is None:
            return {"here": _look(path, token)}
        try:
            # It reads what tasks there are, which names functions of pdex.
            _, version, _ = self._client.run_on_scheduler(_look, path, token)
        except Exception as error:
            if isinstance(error, OSError) or self._client.status != "running":
                msg = f"the scheduler does not answer: {error}"
                raise OSError(msg) from error
            msg = f"the scheduler needs pdex {_pdex.__version__}, too: install it there ({error})"
            raise RuntimeError(msg) from error
        if version != _pdex.__version__:
            raise ValueError(_differs("the scheduler", version, _pdex.__version__))
        found = self._client.run(_look, path, token, on_error="return")
        if not found:
            # Wait for one: a cluster that adapts starts workers when there is a task.
            found = {"": self._client.submit(_look, path, token, pure=False).result()}
        return dict(found)

    def run(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Task],
        bar: Progress,
        inputs: Sequence[Sequence[Any]] | None = None,
    ) -> list[Any]:
        """Run a function on each task, and return what it returns, in order.

        Parameters
        ----------
        function
            Called with the task, its inputs and the resources, on a worker.
        tasks
            The tasks.
        bar
            Counts tasks.
        inputs
            Of each task, objects of Dask that are computed before; None: there are none.

        Raises
        ------
        Exception
            The first error of a task's data.
        OSError
            Files could not be read or written, or a worker was lost again and again.
        """
        import dask

        bar.expect(len(tasks))
        name = f"pdex-{function.__name__}-{secrets.token_hex(4)}"
        delayed = []
        for number, task in enumerate(tasks):
            call = Call(function, task, self._folder, self._threads, self._memory)
            bound = dask.delayed(partial(perform, call), pure=False)
            own = () if inputs is None else inputs[number]
            delayed.append(bound(*own, dask_key_name=f"{name}-{number}"))
        if self._client is None:
            outcomes = dask.compute(*delayed) if delayed else ()
            bar.advance(len(outcomes))
            return [_value(outcome) for outcome in outcomes]
        return self._gathered(delayed, tasks, bar)

    def _gathered(self, delayed: list[Any], tasks: Sequence[Task], bar: Progress) -> list[Any]:
        """Run tasks on the client's workers; at the first error, cancel all others."""
        from distributed import as_completed

        futures = self._client.compute(delayed, retries=_RETRIES)
        number = {future.key: place for place, future in enumerate(futures)}
        values: list[Any] = [None] * len(tasks)
        try:
            for future in as_completed(futures):
                place = number[future.key]
                try:
                    # If its worker was lost just now, it runs again.
                    outcome = future.result()
                except Exception as error:
                    if future.status != "error":
                        what = tasks[place].what
                        msg = f"{what}: the task was cancelled, or its scheduler was lost ({error})"
                        raise OSError(msg) from error
                    suspects = [tasks[number[one.key]].what for one in _killers(futures)]
                    raise _of_worker(error, suspects or [tasks[place].what]) from error
                values[place] = _value(outcome)
                future.release()
                bar.advance(1)
        finally:
            # Tasks that wait are dropped; those that run come to their end, which does no harm.
            with suppress(Exception):
                self._client.cancel(futures)
        return values


def _value(outcome: Outcome) -> Any:
    """Return what a task returned, or raise the error of its data."""
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _killers(futures: Sequence[Any]) -> list[Any]:
    """Return the tasks that workers ran, or were about to, when too many were lost."""
    found = [one for one in futures if one.status == "error"]
    return [one for one in found if type(one.exception()).__name__ == "KilledWorker"]


def _of_worker(error: Exception, whats: list[str]) -> BaseException:
    """Return the error for a task that was not finished."""
    what = " or ".join(whats[:3]) + (f" or {len(whats) - 3} more" if len(whats) > 3 else "")
    if type(error).__name__ == "KilledWorker":
        msg = (
            f"{what}: each worker that tried was lost ({error}). It may need more memory than its "
            "worker has: give workers more, or the call a smaller memory_limit"
        )
        return OSError(msg)
    return error


def _active_client() -> Any:
    """Return the client that Dask would use; raise ValueError if there is none."""
    distributed = sys.modules.get("distributed")
    try:
        if distributed is not None:
            return distributed.default_client()
    except ValueError:
        pass
    msg = (
        "engine='dask' runs on the active client, and there is none: connect one, such as "
        "distributed.Client(n_workers=4, threads_per_worker=1), or choose a scheduler of this "
        "process with dask.config.set(scheduler='threads')"
    )
    raise ValueError(msg)
