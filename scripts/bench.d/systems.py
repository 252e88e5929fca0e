"""The systems under test: how each starts, and what the kernel says of its process."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time

import wire

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KAFKA = os.path.join(ROOT, "compat-tests", "kafka", "kafka.sh")
# What Kafka's own start script gives its JVM.
KAFKA_FLAGS = (
    "-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15 -Djava.awt.headless=true"
)


def free_port():
    """A port that is free, and so is the one above it (Kafka's controller takes that). It lies below those that the system gives to clients."""
    while True:
        port = random.randrange(15000, 30000)
        try:
            for candidate in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
            return port
        except OSError:
            continue


class System:
    """One broker process at a time, in a directory of its own."""

    def __init__(self, name, work, binaries, label=None, settings=()):
        self.kind = name
        self.name = label or name
        # Lines of a properties file.
        self.settings = list(settings)
        # Brokers take a comma in a directory for the beginning of another one.
        self.directory = os.path.join(work, self.name.replace(", ", "-"))
        self.binaries = binaries
        self.port = free_port()
        self.process = None

    def command(self):
        listen, data = f"127.0.0.1:{self.port}", os.path.join(self.directory, "data")
        if self.kind == "klamm":
            overrides = [word for setting in self.settings for word in ("--override", setting)]
            return [os.path.join(self.binaries, "klamm"), "--listen", listen, "--data", data, *overrides]
        if self.kind == "yardstick":
            return [os.path.join(self.binaries, "yardstick"), "--listen", listen, "--data", data]
        return [KAFKA, "run", str(self.port), data]

    def start(self, prefix=(), extra=""):
        """Starts the broker and returns the seconds from exec to the first answered Metadata."""
        os.makedirs(self.directory, exist_ok=True)
        environment = dict(os.environ, KAFKA_JVM_FLAGS=KAFKA_FLAGS, KAFKA_EXTRA="\n".join([*self.settings, extra]))
        if self.kind != "kafka":
            # klamm reads KAFKA_ variables as configuration.
            environment = {key: value for key, value in os.environ.items() if not key.startswith("KAFKA_")}
        with open(os.path.join(self.directory, "log"), "ab") as log:
            began = time.monotonic()
            self.process = subprocess.Popen([*prefix, *self.command()], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        wire.wait_ready(self.port, self.process)
        return time.monotonic() - began

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def last_words(self):
        """The last error that it logged."""
        try:
            with open(os.path.join(self.directory, "log"), errors="replace") as log:
                lines = [line.strip() for line in log if "ERROR" in line or "FATAL" in line or "Error" in line]
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "it logged no error"

    def wipe(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.port = free_port()

    def cpu_seconds(self):
        # The kernel's clock of that process (`man 2 clock_gettime`), which counts nanoseconds where /proc counts hundredths of a second.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def written_bytes(self):
        with open(f"/proc/{self.process.pid}/io") as file:
            values = dict(line.strip().split(": ") for line in file)
        return int(values["write_bytes"]) - int(values["cancelled_write_bytes"])

    def resident_mb(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

    def wake_ups(self):
        """How often any of its threads was put on a processor after it had waited."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/status") as file:
                    total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
            except OSError:
                continue
        return total
