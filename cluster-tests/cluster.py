"""Three klamm processes as one cluster, each on its own network if that can be had, and on a disk of its own where that is wanted."""

import fcntl
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time
import uuid

from wire import Wire

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "klamm"
BROKERS = (1, 2, 3)
# Joins while the others serve, and leaves again.
NEWCOMER = 4
HEAL_SECONDS_MAX = 90.0
DISK_BYTES = 512 << 20
# No network card has it.
NOBODY = "02:00:00:00:00:99"
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "default.replication.factor": "3",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.min.isr": "2",
    "min.insync.replicas": "2",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Loopback:
    """All brokers on this host; their controller listeners have loopback addresses of their own."""

    def __init__(self):
        self.prefix = f"127.20.{os.getpid() % 250 + 1}"
        self.ports = {broker: free_port() for broker in (*BROKERS, NEWCOMER)}

    def client_address(self, broker):
        return f"127.0.0.1:{self.ports[broker]}"

    def controller_address(self, broker):
        return f"{self.prefix}.{broker}:9093"

    def inside(self, _broker):
        return []

    def remove(self):
        pass


class Namespaces:
    """A network namespace for each broker, on one bridge; the clients stand on this host."""

    def __init__(self):
        self.name = f"kl{os.getpid() % 100000}"
        self.prefix = f"10.{os.getpid() // 250 % 200 + 20}.{os.getpid() % 250 + 1}"
        self.run("link", "add", "name", self.name, "type", "bridge")
        self.run("addr", "add", f"{self.prefix}.254/24", "dev", self.name)
        self.run("link", "set", self.name, "up")
        for broker in (*BROKERS, NEWCOMER):
            space, wire = self.space(broker), self.wire(broker)
            self.run("netns", "add", space)
            self.run("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
            self.run("link", "set", wire, "master", self.name, "up")
            self.run("-n", space, "addr", "add", f"{self.prefix}.{broker}/24", "dev", "eth0")
            self.run("-n", space, "link", "set", "eth0", "up")
            self.run("-n", space, "link", "set", "lo", "up")

    @staticmethod
    def run(*words, check=True):
        subprocess.run(["ip", *words], check=check, stderr=subprocess.DEVNULL if not check else None)

    def space(self, broker):
        return f"{self.name}-{broker}"

    def wire(self, broker):
        return f"{self.name}w{broker}"

    def client_address(self, broker):
        return f"{self.prefix}.{broker}:9092"

    def controller_address(self, broker):
        return f"{self.prefix}.{broker}:9093"

    def inside(self, broker):
        return ["ip", "netns", "exec", self.space(broker)]

    def cut(self, broker, seconds):
        self.run("link", "set", self.wire(broker), "down")
        time.sleep(seconds)
        self.run("link", "set", self.wire(broker), "up")

    def mislead(self, places, seconds):
        """What goes from these senders to these addresses is lost, and nothing else is: they have a hardware address for them that nobody has."""
        try:
            for sender, address in places:
                self.run("-n", self.space(sender), "neigh", "replace", address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
            time.sleep(seconds)
        finally:
            for sender, address in places:
                self.run("-n", self.space(sender), "neigh", "del", address, "dev", "eth0", check=False)

    def mute(self, broker, seconds, with_clients):
        """What it sends is lost; it still hears the others."""
        others = [self.address(other) for other in BROKERS if other != broker]
        clients = [f"{self.prefix}.254"] if with_clients else []
        self.mislead([(broker, address) for address in others + clients], seconds)

    def deafen(self, broker, seconds):
        """What the other brokers send to it is lost; it is still heard by them, and hears its clients."""
        self.mislead([(other, self.address(broker)) for other in BROKERS if other != broker], seconds)

    def address(self, broker):
        return f"{self.prefix}.{broker}"

    def remove(self):
        for broker in (*BROKERS, NEWCOMER):
            self.run("netns", "delete", self.space(broker), check=False)
        self.run("link", "delete", self.name, check=False)


class Disk:
    """An ext4 image that only its broker's process has mounted: it can be filled, and its power can be cut.

    A cut shuts the file system down without flushing its journal (the ioctl that ext4 has for tests), so that what was not synced is gone. The next
    process finds another boot id, as after a real one.
    """

    SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2

    def __init__(self, directory, broker):
        self.image, self.point, self.boot = (directory / f"{what}-{broker}" for what in ("image", "disk", "boot"))
        self.point.mkdir()
        self.forget()
        self.boot_again()

    def forget(self):
        """A new disk."""
        self.await_unmounted()
        with self.image.open("wb") as image:
            image.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image)], check=True)

    def boot_again(self):
        self.boot.write_text(f"{uuid.uuid4()}\n")

    def inside(self):
        """Before the command that is to have it mounted. The mount ends with the process."""
        script = 'mount -o loop "$0" "$1" && mount --bind "$2" /proc/sys/kernel/random/boot_id && shift 2 && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.image), str(self.point), str(self.boot)]

    def await_unmounted(self):
        patience = time.monotonic() + 30
        while self.image.exists() and subprocess.run(["losetup", "-j", str(self.image)], check=True, capture_output=True).stdout:
            if time.monotonic() > patience:
                raise RuntimeError(f"{self.image} is still mounted")
            time.sleep(0.01)

    def seen_by(self, process):
        """Its root, as the process sees it."""
        return pathlib.Path(f"/proc/{process.pid}/root{self.point}")

    def cut(self, process):
        """From now on every write and every sync fails."""
        root = os.open(self.seen_by(process), os.O_RDONLY)
        try:
            fcntl.ioctl(root, self.SHUTDOWN, struct.pack("I", self.NO_LOG_FLUSH))
        finally:
            os.close(root)
        self.boot_again()

    def fill(self, process):
        """Takes all the space."""
        with (self.seen_by(process) / "filler").open("wb", buffering=0) as filler:
            size = 64 << 20
            while size >= 4096:
                try:
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, size)
                except OSError:
                    size //= 2

    def free(self, process):
        """Gives the space back, for good: a cut of the power does not bring it back."""
        root = os.open(self.seen_by(process), os.O_RDONLY)
        try:
            os.unlink("filler", dir_fd=root)
            os.fsync(root)
        finally:
            os.close(root)


class Cluster:
    """Three processes."""

    def __init__(self, binary, directory, network, disks=None):
        self.binary, self.directory, self.network = binary, directory, network
        self.processes, self.settings = {}, {}
        # Of each broker, if they have disks of their own.
        self.disks = disks or {}
        # Where a broker shows its metrics, if it is to do so.
        self.http = {}
        self.bootstrap = ",".join(network.client_address(broker) for broker in BROKERS)

    def data(self, broker):
        return self.disks[broker].point / "data" if broker in self.disks else self.directory / f"data-{broker}"

    def start(self, broker):
        network = self.network
        own = {
            "node.id": broker,
            "listeners": f"PLAINTEXT://{network.client_address(broker)},CONTROLLER://{network.controller_address(broker)}",
            "controller.quorum.voters": ",".join(f"{voter}@{network.controller_address(voter)}" for voter in BROKERS),
            "log.dirs": self.data(broker),
        }
        command = ["server"]
        for key, value in {**SETTINGS, **self.settings, **own}.items():
            command += ["--override", f"{key}={value}"]
        if broker in self.http:
            command += ["--http", self.http[broker]]
        self.run(broker, command)

    def join(self, seed):
        """Starts the newcomer; by a voter it becomes one of the cluster, without one it is what it was."""
        command = ["--data", self.data(NEWCOMER), "--listen", self.network.client_address(NEWCOMER)]
        if seed is not None:
            command += ["--join", self.network.controller_address(seed), "--broker-id", str(NEWCOMER)]
        self.run(NEWCOMER, command)

    def run(self, broker, command):
        disk = self.disks.get(broker)
        if disk is not None:
            disk.await_unmounted()
        command = [*self.network.inside(broker), *(disk.inside() if disk else []), self.binary, *command]
        log = (self.directory / f"broker-{broker}.log").open("a")
        environment = {**os.environ, "KLAMM_LOG": "info,openraft=off"}
        self.processes[broker] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)

    def await_ready(self, broker):
        line = self.processes[broker].stdout.readline().decode()
        if not line.startswith("klamm is ready on"):
            raise RuntimeError(f"broker {broker} did not start: {line!r}, see {self.directory}/broker-{broker}.log")

    def kill(self, broker, how=signal.SIGKILL):
        self.processes[broker].send_signal(how)
        self.processes[broker].wait()

    def metadata(self):
        """Of kcat, by whichever broker answers; None if none does."""
        asked = subprocess.run(["kcat", "-b", self.bootstrap, "-L", "-J", "-m", "5"], capture_output=True, text=True)
        return json.loads(asked.stdout) if asked.returncode == 0 and asked.stdout else None

    def standing(self, metadata, broker):
        """How many partitions it leads, and whether it is the controller."""
        partitions = [partition for topic in metadata["topics"] for partition in topic["partitions"]]
        return sum(partition["leader"] == broker for partition in partitions), metadata["controllerid"] == broker

    def heal(self):
        """Waits until all three have everything; how long that took."""
        began = time.monotonic()
        metadata = None
        while time.monotonic() - began < HEAL_SECONDS_MAX:
            metadata = self.metadata()
            partitions = [] if metadata is None else [partition for topic in metadata["topics"] for partition in topic["partitions"]]
            if partitions and all(len(partition["isrs"]) == len(BROKERS) and partition["leader"] > 0 for partition in partitions):
                return time.monotonic() - began
            time.sleep(0.1)
        views = {broker: self.view(broker) for broker in BROKERS}
        raise RuntimeError(f"the cluster does not heal; by broker the controller, and by topic and partition leader, epoch and in-sync replicas: {views}")

    def view(self, broker):
        """What this broker tells of the cluster."""
        try:
            wire = Wire(self.network.client_address(broker))
            try:
                return wire.topics()
            finally:
                wire.close()
        except OSError as error:
            return str(error)

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            process.wait()
