"""Hosts with addresses and mounts of their own on this machine: network namespaces on a bridge.

Only root may make them, with the programs ip (Debian's iproute2), nsenter and unshare (util-linux).
"""

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

from .disks import call

PROGRAMS = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
SERIAL = itertools.count()
LISTEN = """\
import socket, sys
server = socket.create_server((sys.argv[1], 0))
server.settimeout(10)
print(server.getsockname()[1], flush=True)
server.accept()
"""
CONNECT = """\
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
except OSError as error:
    sys.exit(f"no connection from host to host: {error}")
"""


@functools.cache
def unavailable():
    """Why no hosts can be made here, or None."""
    if sys.platform != "linux":
        return "hosts are network namespaces, which only Linux has"
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"hosts need the program {program} ({package})"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        sweep()
        with Network() as network:
            network.check()
    except OSError as error:
        return f"network namespaces cannot be made: {error}"
    return None


class Host:
    """A network namespace with one address."""

    def __init__(self, name, address, link):
        self.name, self.address, self.link = name, address, link

    def words(self, words, hidden=(), read_only=()):
        """The command that runs `words` here, as the same process, without some folders.

        hidden: folders that are empty here; what is written there is seen by this process alone.
        read_only: folders that cannot be written to.
        """
        script = ["set -e"]
        for number, _ in enumerate(hidden, 1):
            script.append(f'mount -t tmpfs -o size=64m pdex-hidden "${{{number}}}"')
        for number, _ in enumerate(read_only, len(hidden) + 1):
            folder = f'"${{{number}}}"'
            script.append(f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}")
        script.append(f'shift {len(hidden) + len(read_only)}; exec "$@"')
        # Not `ip netns exec`, which hides /sys/fs/cgroup.
        begin = ["nsenter", f"--net=/var/run/netns/{self.name}"]
        begin += ["unshare", "--mount", "--propagation", "slave"]
        begin += ["sh", "-c", "\n".join(script), "sh"]
        return [*begin, *map(str, (*hidden, *read_only, *words))]

    def unplug(self):
        """Take the host off the network: nothing arrives, and nobody is told."""
        call("ip", "link", "set", self.link, "down")

    def plug(self):
        call("ip", "link", "set", self.link, "up")


class Network:
    """Hosts that reach one another, and this process at `address`; taken down by `with`."""

    def __init__(self, count=2):
        self.tag = f"pd{os.getpid()}n{next(SERIAL)}"
        self.bridge, self.hosts = f"{self.tag}b", []
        try:
            subnet = f"10.77.{free_subnet()}"
            self.address = f"{subnet}.1"
            call("ip", "link", "add", self.bridge, "type", "bridge")
            call("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
            call("ip", "link", "set", self.bridge, "up")
            for number in range(count):
                host = Host(
                    f"{self.tag}h{number}", f"{subnet}.{number + 2}", f"{self.tag}v{number}"
                )
                self.hosts.append(host)
                call("ip", "netns", "add", host.name)
                link = ["ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0"]
                call(*link, "netns", host.name)
                call("ip", "link", "set", host.link, "master", self.bridge, "up")
                inside = ["ip", "-n", host.name]
                call(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
                call(*inside, "link", "set", "eth0", "up")
                call(*inside, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def check(self):
        """Connect one host to another: a firewall of this machine may forbid it."""
        one, other = self.hosts[:2]
        words = one.words([sys.executable, "-c", LISTEN, one.address])
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listener:
            try:
                port = listener.stdout.readline().strip()
                call(*other.words([sys.executable, "-c", CONNECT, one.address, port]))
            finally:
                listener.kill()

    def close(self):
        """Take everything down; what still runs on a host keeps it from sight only."""
        for host in self.hosts:
            for words in (["link", "del", host.link], ["netns", "del", host.name]):
                with contextlib.suppress(OSError):
                    call("ip", *words)
        with contextlib.suppress(OSError):
            call("ip", "link", "del", self.bridge)
        self.hosts = []


def free_subnet():
    """A number that no address 10.77.number.* of this machine has."""
    links = json.loads(call("ip", "-json", "-4", "addr"))
    used = {address["local"] for link in links for address in link["addr_info"]}
    first = os.getpid()
    numbers = [(first + n) % 256 for n in range(256)]
    return next(n for n in numbers if not any(a.startswith(f"10.77.{n}.") for a in used))


def left():
    """Return the names of the namespaces and links, by the process that made them."""
    names = [line.split()[0] for line in call("ip", "netns", "list").splitlines() if line.strip()]
    names += [link["ifname"] for link in json.loads(call("ip", "-json", "link"))]
    found = {}
    for name in names:
        if match := re.match(r"pd(\d+)n\d+[bhv]", name):
            found.setdefault(int(match[1]), []).append(name)
    return found


def sweep():
    """Take down what tests left that were killed."""
    for pid, names in left().items():
        if os.path.exists(f"/proc/{pid}"):
            continue
        for name in names:
            kind = "netns" if re.search(r"h\d+$", name) else "link"
            with contextlib.suppress(OSError):
                call("ip", kind, "del", name)
