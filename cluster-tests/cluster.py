"""Three klamm processes as one cluster, each on its own network if that can be had."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "klamm"
BROKERS = (1, 2, 3)
HEAL_SECONDS_MAX = 90.0
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
        self.ports = {broker: free_port() for broker in BROKERS}

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
        for broker in BROKERS:
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

    def remove(self):
        for broker in BROKERS:
            self.run("netns", "delete", self.space(broker), check=False)
        self.run("link", "delete", self.name, check=False)


class Cluster:
    """Three processes."""

    def __init__(self, binary, directory, network):
        self.binary, self.directory, self.network = binary, directory, network
        self.processes = {}
        # Where a broker shows its metrics, if it is to do so.
        self.http = {}
        self.bootstrap = ",".join(network.client_address(broker) for broker in BROKERS)

    def start(self, broker):
        network = self.network
        own = {
            "node.id": broker,
            "listeners": f"PLAINTEXT://{network.client_address(broker)},CONTROLLER://{network.controller_address(broker)}",
            "controller.quorum.voters": ",".join(f"{voter}@{network.controller_address(voter)}" for voter in BROKERS),
            "log.dirs": self.directory / f"data-{broker}",
        }
        command = [*network.inside(broker), self.binary, "server"]
        for key, value in {**SETTINGS, **own}.items():
            command += ["--override", f"{key}={value}"]
        if broker in self.http:
            command += ["--http", self.http[broker]]
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
        raise RuntimeError(f"the cluster does not heal: {json.dumps(metadata)}")

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            process.wait()
