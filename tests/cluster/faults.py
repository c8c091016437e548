"""Faults that a process brings on itself: it dies, freezes or fails at a call of a named function.

The fault is told by the environment (`fault`), and installed in a worker by

    dask worker --preload tests/cluster/faults.py

as processes.py does, and in a client that processes.py runs.
"""

import errno
import functools
import importlib
import itertools
import os
import signal
import sys
import threading
import traceback

FAULT, RECORD, MOST = "PDEX_TEST_FAULT", "PDEX_TEST_FAULT_RECORD", "PDEX_TEST_FAULT_MOST"


def fault(function, call, action, record=None, most=None):
    """The environment of processes in which a call of a function goes wrong.

    function: "pdex._files.replacing" or, for a method, "pathlib.Path.replace". Functions that Rust
    calls are not seen.
    call: 3 for the third call in each process, "3+" for the third and all later ones.
    action: "kill" (SIGKILL), "stop" (SIGSTOP) or the name of an error, "ENOSPC", in place of the
    call; with "-after" behind it, after the call. That of a context manager is over with its block.
    record: a folder for notes of the faults that happened, which `happened` reads.
    most: so many faults in all processes together, for which a record is needed.
    """
    assert record is not None or most is None, "most needs a record"
    told = {FAULT: f"{function}:{call}:{action}"}
    if record is not None:
        told[RECORD] = str(record)
    if most is not None:
        told[MOST] = str(most)
    return told


def happened(record):
    """The processes in which a fault happened, in this order."""
    names = os.listdir(record) if os.path.isdir(record) else []
    return [int(os.readlink(os.path.join(record, name))) for name in sorted(names, key=int)]


def install():
    """Replace the function that the environment names, wherever it was imported to."""
    told = os.environ.get(FAULT)
    if not told:
        return
    name, call, action = told.rsplit(":", 2)
    owner, attribute = found(name)
    plain = getattr(owner, attribute)
    if hasattr(plain, "_fault"):
        return
    faulty = wrapped(plain, int(call.removesuffix("+")), call.endswith("+"), action)
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        if names is globals():
            continue
        for key, value in list(names.items()):
            if value is plain:
                names[key] = faulty
    setattr(owner, attribute, faulty)


def found(name):
    """The module or class that has the function, and the function's name in it."""
    *path, attribute = name.split(".")
    for n in range(len(path), 0, -1):
        try:
            module = importlib.import_module(".".join(path[:n]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, path[n:], module), attribute
    raise ModuleNotFoundError(f"no module of {name}")


def wrapped(plain, number, later, action):
    action, after = action.removesuffix("-after"), action.endswith("-after")
    assert action in ("kill", "stop") or hasattr(errno, action), f"no such fault: {action}"
    calls = itertools.count(1)

    @functools.wraps(plain)
    def faulty(*args, **kwargs):
        call = next(calls)
        due = call == number or (later and call > number)
        if due and not after and allowed():
            strike(action)
        result = plain(*args, **kwargs)
        if due and after:
            # What @contextmanager returns.
            if hasattr(result, "gen"):
                return Block(result, action)
            if allowed():
                strike(action)
        return result

    faulty._fault = True
    return faulty


class Block:
    """A context manager behind whose block a fault is."""

    def __init__(self, inner, action):
        self.inner, self.action = inner, action

    def __enter__(self):
        return self.inner.__enter__()

    def __exit__(self, *error):
        handled = self.inner.__exit__(*error)
        if allowed():
            strike(self.action)
        return handled


def allowed():
    """Note that a fault happens, unless as many as may were noted."""
    record, most = os.environ.get(RECORD), os.environ.get(MOST)
    if record is None:
        return True
    os.makedirs(record, exist_ok=True)
    for number in range(1, int(most) + 1) if most else itertools.count(1):
        try:
            # Made at once, by one process alone, and with its number in it.
            os.symlink(str(os.getpid()), os.path.join(record, str(number)))
            return True
        except FileExistsError:
            pass
    return False


def strike(action):
    if action in ("kill", "stop"):
        # To this thread: after SIGSTOP to the process, it may go on for a moment.
        number = signal.SIGKILL if action == "kill" else signal.SIGSTOP
        signal.pthread_kill(threading.get_ident(), number)
    else:
        raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))


def dask_setup(worker):
    """Called before a worker has its first task; of an error here, Dask would make a log line."""
    try:
        install()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
