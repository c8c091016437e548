"""A Dask cluster of processes on this machine, each of which can be killed, frozen or replaced."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).with_name("faults.py")

# A process is killed when the thread that started it ends, so one thread starts all of them. It
# ends with Python, in whatever way: no process outlives the tests, not even if these are killed.
STARTER = ThreadPoolExecutor(1)
BOUND = """\
import ctypes, signal
libc = ctypes.CDLL(None)
if hasattr(libc, "prctl"):
    libc.prctl(1, signal.SIGKILL)
"""
SCHEDULER = """\
import distributed.scheduler, sys
from distributed.cli.dask_scheduler import main
beat = float(sys.argv.pop(1))
if beat:
    distributed.scheduler.heartbeat_interval = lambda workers: beat
main()
"""
WORKER = "from distributed.cli.dask_worker import main\nmain()\n"
CLIENT = f"import runpy\nrunpy.run_path({str(FAULTS)!r})['install']()\n"

SETTINGS = {
    "distributed.comm.timeouts.connect": "10s",
    "distributed.worker.profile.enabled": "False",
}


def until(condition, seconds=30.0, what="nothing happened"):
    """Wait until the condition is truthy, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what() if callable(what) else what} in {seconds} s")
        time.sleep(0.02)
    return value


def wait_for_files(folder, count=1, pattern="*", seconds=60.0, process=None):
    """Wait until so many paths in the folder match, hidden ones too; fail if the process ends."""

    def there():
        ended = process is not None and not process.alive
        paths = sorted(Path(folder).glob(pattern))
        if len(paths) < count and ended:
            raise RuntimeError(f"{process.name} ended with {process.status}:\n{process.text()}")
        return paths if len(paths) >= count else None

    return until(there, seconds, lambda: f"fewer than {count} of {pattern} in {folder}")


def state(pid):
    """A process's state as /proc has it: T for a stopped one, Z for a dead one, "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def members(group):
    """The processes of a process group that are not dead, as /proc has them."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            letter, _, its = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and letter not in "ZX":
                found.append(pid)
    return found


class Process:
    """A process in a session of its own; what it and its children write is in a file."""

    def __init__(self, name, words, log, environment=None):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.own = STARTER.submit(
                subprocess.Popen,
                [str(word) for word in words],
                cwd=ROOT,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    @property
    def pid(self):
        """The process that signals go to."""
        return self.own.pid

    @property
    def alive(self):
        return self.own.poll() is None

    @property
    def status(self):
        """As of subprocess: None, the exit status, or the negative number of a signal."""
        return self.own.poll()

    @property
    def stopped(self):
        return state(self.pid) == "T"

    def text(self):
        """What was written so far."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds=60.0):
        """Wait for the end; return the exit status."""
        return self.own.wait(seconds)

    def kill(self):
        """SIGKILL; return when the process is gone."""
        pid = self.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if pid == self.own.pid:
            self.own.wait()
        else:
            until(lambda: state(pid) in ("", "Z"))

    def stop(self):
        """SIGSTOP: frozen until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: self.stopped)

    def resume(self):
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, grace=None):
        """End it with its children: SIGTERM, so many seconds of grace (None: none), SIGKILL."""
        if grace is not None and self.alive:
            self.own.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.own.wait(grace)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.own.pid, signal.SIGKILL)
        self.own.wait()
        until(lambda: not members(self.own.pid), what=f"{self.name} does not end")


class Worker(Process):
    """A worker; with a nanny, `pid` is the process that runs tasks, and changes after its end."""

    def __init__(self, cluster, options, *process):
        super().__init__(*process)
        self.cluster, self.options, self.latest, self.known = cluster, options, None, False

    @property
    def pid(self):
        if not self.cluster.nanny:
            return self.own.pid
        self.latest = self.cluster.seen().get(self.name, self.latest)
        return self.latest


class Cluster:
    """A scheduler and workers, which are registered when this returns; closed by `with`.

    folder: for logs and the workers' own files. All workers must see it.
    ttl: so many seconds without a word, and the scheduler takes a worker for dead; None: minutes.
    host: the address where the scheduler listens.
    environment: variables for the scheduler and the workers; settings: Dask's, by their names.
    """

    def __init__(
        self,
        folder,
        workers=2,
        *,
        threads=1,
        nanny=False,
        ttl=None,
        host="127.0.0.1",
        environment=None,
        settings=None,
    ):
        self.folder, self.threads, self.nanny, self.host = Path(folder), threads, nanny, host
        self.workers, self.others, self.clients, self.control = [], [], [], None
        self.numbers = itertools.count()
        self.file = self.folder / "scheduler.json"
        # Without the settings of the user who runs the tests.
        self.environment = {"DASK_CONFIG": str(self.folder / "none")}
        settings = SETTINGS | (settings or {})
        if ttl is not None:
            # How often is looked. A worker is dead after ten heartbeats that did not come.
            settings["distributed.scheduler.worker-ttl"] = f"{ttl / 4}s"
        for key, value in settings.items():
            name = "DASK_" + key.replace(".", "__").replace("-", "_").upper()
            self.environment[name] = str(value)
        self.environment |= environment or {}
        words = ["--host", host, "--port", 0, "--scheduler-file", self.file]
        words += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        words = [sys.executable, "-c", BOUND + SCHEDULER, (ttl or 0) / 10, *words]
        log = self.folder / "scheduler.log"
        self.scheduler = Process("scheduler", words, log, self.environment)
        try:
            for _ in range(workers):
                self.start_worker()
            self.ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    @property
    def address(self):
        """The scheduler's, which it has written down when it listens."""

        def written():
            if not self.scheduler.alive:
                raise RuntimeError(f"the scheduler ended:\n{self.scheduler.text()}")
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads(self.file.read_text())["address"]

        return until(written, what="the scheduler does not listen")

    @property
    def pids(self):
        """Of the scheduler and the workers that were started and live."""
        started = [self.scheduler, *self.workers]
        return [process.pid for process in started if process.alive]

    def connect(self, **options):
        """A client of this process, the active one unless set_as_default=False."""
        from distributed import Client

        client = Client(self.address, timeout="20s", **options)
        self.clients.append(client)
        return client

    def start_worker(self, environment=None, host=None, hidden=(), read_only=()):
        """Start another worker, which `ready` waits for.

        host: a Host of hosts.py, to which these folders are hidden or read-only.
        """
        name = f"w{next(self.numbers)}"
        options = {"environment": environment, "host": host}
        options |= {"hidden": hidden, "read_only": read_only}
        words = [sys.executable, "-c", BOUND + WORKER, "--scheduler-file", self.file]
        words += ["--name", name, "--nthreads", self.threads, "--memory-limit", 0]
        words += ["--nanny" if self.nanny else "--no-nanny", "--death-timeout", 60]
        words += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        words += ["--host", self.host if host is None else host.address]
        words += ["--local-directory", self.folder, "--preload", FAULTS]
        if host is not None:
            words = host.words(words, hidden, read_only)
        around = self.environment | (environment or {})
        worker = Worker(self, options, name, words, self.folder / f"{name}.log", around)
        self.workers.append(worker)
        return worker

    def ask(self, function):
        """Call a function of the scheduler, a local one or a lambda, in its process."""
        if self.control is None:
            self.control = self.connect(set_as_default=False)
        return self.control.run_on_scheduler(function)

    def seen(self):
        """The workers that the scheduler takes for alive: names and process numbers."""
        return self.ask(
            lambda dask_scheduler: {str(w.name): w.pid for w in dask_scheduler.workers.values()}
        )

    def tasks(self):
        """How many tasks the scheduler has given to each worker that are not done, by name."""
        return self.ask(
            lambda dask_scheduler: {
                str(w.name): len(w.processing) for w in dask_scheduler.workers.values()
            }
        )

    def ready(self, seconds=30.0):
        """Wait until the scheduler knows all workers but those that ended or froze since it did."""
        waiting = [worker for worker in self.workers if not worker.known]

        def known():
            ended = [worker for worker in waiting if not worker.alive]
            seen = self.seen()
            for worker in waiting:
                worker.known |= worker.name in seen
            if ended and not ended[0].known:
                raise RuntimeError(f"{ended[0].name} ended:\n{ended[0].text()}")
            return all(worker.known for worker in waiting)

        until(known, seconds, lambda: f"of {[w.name for w in self.workers]}, only {self.seen()}")

    def lost(self, worker, seconds=30.0):
        """Wait until the scheduler takes a worker for dead."""
        until(lambda: worker.name not in self.seen(), seconds, f"{worker.name} is not lost")

    def replace(self, worker, grace=None):
        """End a worker as `Process.end` does, and start another of the same kind in its place."""
        worker.end(grace)
        self.workers.remove(worker)
        self.others.append(worker)
        new = self.start_worker(**worker.options)
        self.ready()
        return new

    def replace_all(self, grace=None):
        """Replace every worker, one after the other, as if each machine were pre-empted."""
        for worker in list(self.workers):
            self.replace(worker, grace)

    def run(self, code, *arguments, environment=None):
        """Run code in a process of its own, where `distributed.Client()` connects to here."""
        name = f"client{next(self.numbers)}"
        words = [sys.executable, "-c", BOUND + CLIENT + code, *arguments]
        around = self.environment | {"DASK_SCHEDULER_ADDRESS": self.address} | (environment or {})
        process = Process(name, words, self.folder / f"{name}.log", around)
        self.others.append(process)
        return process

    def kill_client(
        self, code, folder, count=1, pattern="*", *arguments, environment=None, seconds=60.0
    ):
        """Run code as `run` does and kill it when so many paths match, which are returned."""
        client = self.run(code, *arguments, environment=environment)
        try:
            return wait_for_files(folder, count, pattern, seconds, client)
        finally:
            client.kill()

    def close(self):
        """End everything; a frozen process too."""
        for client in self.clients:
            with contextlib.suppress(Exception):
                client.close(timeout=2)
        self.clients, self.control = [], None
        for process in (*self.others, *self.workers, self.scheduler):
            process.end()
