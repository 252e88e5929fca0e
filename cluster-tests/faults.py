"""What happens to brokers under load. Each fault ends when what was done is undone; then the cluster has to heal by itself."""

import pathlib
import shutil
import signal
import subprocess
import time

from cluster import BROKERS, NEWCOMER
from wire import Wire

# Where each broker has a network of its own.
OF_NETWORKS = ("cut", "mute", "mute-controller", "deaf", "flap")
# Where each has a disk of its own.
OF_DISKS = ("power", "power-all", "full")


class Faults:
    """Inflicts them on brokers that are drawn; `controller` and `leader` say on whom instead."""

    def __init__(self, cluster, rng):
        self.cluster, self.rng, self.network, self.processes = cluster, rng, cluster.network, cluster.processes

    def inflict(self, kind):
        """One fault; a word on it."""
        metadata = self.cluster.metadata()
        if metadata is None:
            raise RuntimeError("no broker answers before the fault")
        standings = {broker: self.cluster.standing(metadata, broker) for broker in BROKERS}
        victim = self.rng.choice(BROKERS)
        if kind in ("leader", "mute", "deaf", "flap", "full", "power"):
            victim = max(BROKERS, key=lambda broker: standings[broker][0])
        elif kind in ("controller", "mute-controller"):
            victim = next((broker for broker in BROKERS if standings[broker][1]), victim)
        led, controls = standings[victim]
        how = getattr(self, kind.replace("-", "_"))(victim)
        return f"{kind} of broker {victim} (led {led}{', controller' if controls else ''}){f': {how}' if how else ''}"

    def some_seconds(self):
        return self.rng.uniform(1.0, 12.0)

    def start(self, *brokers):
        for broker in brokers:
            self.cluster.start(broker)
        for broker in brokers:
            self.cluster.await_ready(broker)

    def kill(self, victim, how=signal.SIGKILL):
        """kill -9, and a new start after up to three seconds."""
        self.cluster.kill(victim, how)
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.start(victim)

    leader = controller = kill

    def stop(self, victim):
        self.kill(victim, signal.SIGTERM)

    def all(self, _victim):
        for broker in BROKERS:
            self.processes[broker].send_signal(signal.SIGKILL)
        for broker in BROKERS:
            self.processes[broker].wait()
        self.start(*BROKERS)
        return "and of the others"

    def wipe(self, victim):
        """kill -9, and its data is gone."""
        self.cluster.kill(victim)
        if victim in self.cluster.disks:
            self.cluster.disks[victim].forget()
        else:
            shutil.rmtree(self.cluster.data(victim))
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.start(victim)

    def pause(self, victim):
        """SIGSTOP for a while."""
        self.processes[victim].send_signal(signal.SIGSTOP)
        time.sleep(self.some_seconds())
        self.processes[victim].send_signal(signal.SIGCONT)

    def cut(self, victim):
        """Neither hears nor is heard for a while."""
        self.network.cut(victim, self.some_seconds())

    def mute(self, victim):
        """Hears the others, who do not hear it; every other time clients do not hear it either."""
        with_clients = self.rng.random() < 0.5
        self.network.mute(victim, self.some_seconds(), with_clients)
        return "for its clients, too" if with_clients else "for brokers only"

    mute_controller = mute

    def deaf(self, victim):
        """Is heard by the others and does not hear them."""
        self.network.deafen(victim, self.some_seconds())

    def flap(self, victim):
        """Its network goes and comes."""
        times = self.rng.randint(4, 12)
        for _ in range(times):
            self.network.cut(victim, self.rng.uniform(0.05, 1.0))
            time.sleep(self.rng.uniform(0.05, 1.0))
        return f"{times} times"

    def full(self, victim):
        """Its disk is full for a while; every fourth time it is killed and started meanwhile."""
        disk = self.cluster.disks[victim]
        disk.fill(self.processes[victim])
        time.sleep(self.some_seconds())
        dies = self.rng.random() < 0.25
        if dies:
            self.cluster.kill(victim)
            self.start(victim)
        disk.free(self.processes[victim])
        return "and killed meanwhile" if dies else ""

    def power(self, victim):
        """The power of one fails, and comes back."""
        self.cut_power(victim)
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.start(victim)

    def power_all(self, _victim):
        """The power of all fails."""
        self.cut_power(*BROKERS)
        self.start(*BROKERS)
        return "and of the others"

    def cut_power(self, *brokers):
        for broker in brokers:
            self.cluster.disks[broker].cut(self.processes[broker])
        for broker in brokers:
            self.processes[broker].send_signal(signal.SIGKILL)
        for broker in brokers:
            self.processes[broker].wait()

    def join(self, victim):
        """A fourth broker joins, takes over all that the victim has, gives it back and leaves for good. Every other time it is killed meanwhile."""
        cluster, seed = self.cluster, next(broker for broker in BROKERS if broker != victim)
        cluster.join(seed)
        cluster.await_ready(NEWCOMER)
        dies = self.rng.random() < 0.5
        drain = subprocess.Popen(self.drain_command(victim), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if dies:
            time.sleep(self.rng.uniform(0.0, 1.0))
            cluster.kill(NEWCOMER)
            cluster.join(None)
            cluster.await_ready(NEWCOMER)
        moved = self.ended(drain)
        cluster.heal()
        back = self.ended(subprocess.Popen(self.drain_command(NEWCOMER), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        cluster.kill(NEWCOMER, signal.SIGTERM)
        patience = time.monotonic() + 30
        while True:
            wire = Wire(self.network.client_address(seed))
            code = wire.unregister(NEWCOMER)
            wire.close()
            if code == 0:
                break
            if time.monotonic() > patience:
                raise RuntimeError(f"broker {NEWCOMER} has stopped and is not forgotten: {code}")
            time.sleep(0.1)
        shutil.rmtree(pathlib.Path(cluster.data(NEWCOMER)))
        return f"broker {NEWCOMER} joined{', died' if dies else ''} and left; {moved}; {back}"

    def drain_command(self, broker):
        asked = next(other for other in BROKERS if other != broker)
        return [str(self.cluster.binary), "drain", str(broker), "-b", self.network.client_address(asked)]

    @staticmethod
    def ended(drain):
        said, problem = drain.communicate(timeout=120)
        if drain.returncode != 0:
            raise RuntimeError(f"{' '.join(drain.args[1:])} ended with code {drain.returncode}: {problem[-300:]}{said[-300:]}")
        return said.strip()


KINDS = ("leader", "kill", "controller", "cut", "pause", "wipe", "stop", "all", "mute", "mute-controller", "deaf", "flap", "join", *OF_DISKS)
