"""Faults that a process brings on itself: it dies, freezes or fails at a call of a named function.

The fault is told by the environment (`fault`), and installed in a worker by

    dask worker --preload tests/cluster/faults.py

as processes.py does, and in a client that processes.py runs.
"""

import errno
import functools
import hashlib
import importlib
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import traceback

FAULT, RECORD, MOST = "PDEX_TEST_FAULT", "PDEX_TEST_FAULT_RECORD", "PDEX_TEST_FAULT_MOST"
ON, ONCE = "PDEX_TEST_FAULT_ON", "PDEX_TEST_FAULT_ONCE"
NOTES, NOTED = "PDEX_TEST_NOTES", "PDEX_TEST_NOTED"
DELAY = re.compile(r"\d+ms")


def fault(function, call, action, record=None, most=None, on=None, once=False):
    """The environment of processes in which a call of a function goes wrong.

    function: "pdex._files.replacing" or, for a method, "pathlib.Path.replace". Functions that Rust
    calls are not seen.
    call: 3 for the third call in each process, "3+" for the third and all later ones.
    action: "kill" (SIGKILL), "stop" (SIGSTOP), "300ms" (so long nothing, then the call) or the name
    of an error, "ENOSPC", in place of the call; with "-after" behind it, after the call. That of a
    context manager is over with its block.
    record: a folder for notes of the faults that happened, which `happened` reads.
    most: so many faults in all processes together, for which a record is needed.
    on: only calls count in whose arguments, as they are printed, this pattern is found.
    once: one fault for all calls with the same arguments, in whatever process; needs a record, too.
    """
    assert record is not None or not (most or once), "most and once need a record"
    told = {FAULT: f"{function}:{call}:{action}"}
    if on is not None:
        told[ON] = on
    if record is not None:
        told[RECORD] = str(record)
    if most is not None:
        told[MOST] = str(most)
    if once:
        told[ONCE] = "yes"
    return told


def happened(record):
    """The processes in which a fault happened, in this order."""
    names = os.listdir(record) if os.path.isdir(record) else []
    numbers = sorted((name for name in names if name.isdecimal()), key=int)
    return [int(os.readlink(os.path.join(record, name))) for name in numbers]


def notes(functions, file):
    """The environment of processes that note each call of some functions in a file.

    Of a function that has a fault, too, calls are noted that come to it.
    """
    return {NOTES: ",".join(functions), NOTED: str(file)}


def noted(file):
    """Each call: the function, its arguments as they are printed, and the process."""
    if not os.path.exists(file):
        return []
    with open(file, encoding="utf-8") as lines:
        return [tuple(json.loads(line)) for line in lines]


def install():
    """Replace the functions that the environment names, wherever they were imported to."""
    for name in filter(None, os.environ.get(NOTES, "").split(",")):
        replace(name, "_noting", functools.partial(noting, name, os.environ[NOTED]))
    told = os.environ.get(FAULT)
    if told:
        name, call, action = told.rsplit(":", 2)
        number, later = int(call.removesuffix("+")), call.endswith("+")
        replace(name, "_fault", lambda plain: wrapped(plain, number, later, action))


def replace(name, mark, wrapper):
    """Wrap a function, unless it was."""
    owner, attribute = found(name)
    plain = getattr(owner, attribute)
    if hasattr(plain, mark):
        return
    faulty = wrapper(plain)
    setattr(faulty, mark, True)
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


def noting(name, file, plain):
    @functools.wraps(plain)
    def noted(*args, **kwargs):
        line = json.dumps([name, repr(args), os.getpid()]) + "\n"
        # At once, whoever else writes.
        where = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(where, line.encode())
        os.close(where)
        return plain(*args, **kwargs)

    return noted


def wrapped(plain, number, later, action):
    action, after = action.removesuffix("-after"), action.endswith("-after")
    known = action in ("kill", "stop") or DELAY.fullmatch(action) or hasattr(errno, action)
    assert known, f"no such fault: {action}"
    calls, on = itertools.count(1), os.environ.get(ON)

    @functools.wraps(plain)
    def faulty(*args, **kwargs):
        given = repr((args, kwargs))
        if on is not None and not re.search(on, given):
            return plain(*args, **kwargs)
        call = next(calls)
        due = call == number or (later and call > number)
        if due and not after and allowed(given):
            strike(action)
        result = plain(*args, **kwargs)
        if due and after:
            # What @contextmanager returns.
            if hasattr(result, "gen"):
                return Block(result, action, given)
            if allowed(given):
                strike(action)
        return result

    return faulty


class Block:
    """A context manager behind whose block a fault is."""

    def __init__(self, inner, action, given):
        self.inner, self.action, self.given = inner, action, given

    def __enter__(self):
        return self.inner.__enter__()

    def __exit__(self, *error):
        handled = self.inner.__exit__(*error)
        if allowed(self.given):
            strike(self.action)
        return handled


def allowed(given):
    """Note that a fault happens, unless as many as may were noted, or one with these arguments."""
    record, most = os.environ.get(RECORD), os.environ.get(MOST)
    if record is None:
        return True
    os.makedirs(record, exist_ok=True)
    if ONCE in os.environ:
        # But for addresses of functions, and what makes the name of a temporary file its own.
        printed = re.sub(r" at 0x[0-9a-f]+|\.[0-9a-f]{8}\.part", "", given)
        mark = f"once-{hashlib.sha256(printed.encode()).hexdigest()}"
        try:
            os.mkdir(os.path.join(record, mark))
        except FileExistsError:
            return False
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
    elif DELAY.fullmatch(action):
        time.sleep(int(action.removesuffix("ms")) / 1000)
    else:
        raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))


def dask_setup(worker):
    """Called before a worker has its first task; of an error here, Dask would make a log line."""
    try:
        install()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
