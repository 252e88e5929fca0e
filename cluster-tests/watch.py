"""Looks at a cluster all the time: who leads and controls, who is in sync, and that no high watermark goes back."""

import threading
import time

from cluster import BROKERS
from wire import Wire

EVERY_SECONDS = 0.05
PATIENCE = 1.0


class Watch:
    """A thread for each broker, which asks that one alone."""

    def __init__(self, cluster, topic):
        self.cluster, self.topic, self.lock, self.has_ended = cluster, topic, threading.Lock(), False
        # (partition, leader epoch, when it was answered, high watermark), of leaders who led under that epoch when they answered.
        self.watermarks = []
        self.epochs, self.controllers, self.shrunken = {}, {}, set()
        self.threads = [threading.Thread(target=self.look, args=(broker,), daemon=True) for broker in BROKERS]
        for thread in self.threads:
            thread.start()
        while not self.epochs:
            time.sleep(EVERY_SECONDS)

    def look(self, broker):
        wire = None
        while not self.has_ended:
            try:
                wire = wire or Wire(self.cluster.network.client_address(broker), PATIENCE)
                controller, topics = wire.topics((self.topic,))
                partitions = topics.get(self.topic, {})
                led = {index: epoch for index, (leader, epoch, _) in partitions.items() if leader == broker}
                watermarks = wire.high_watermarks(self.topic, led) if led else {}
                with self.lock:
                    self.take(broker, controller, partitions, {index: (led[index], offset) for index, offset in watermarks.items()})
            except OSError:
                if wire is not None:
                    wire.close()
                wire = None
            time.sleep(EVERY_SECONDS)

    def take(self, broker, controller, partitions, watermarks):
        now = time.monotonic()
        self.watermarks += [(index, epoch, now, offset) for index, (epoch, offset) in watermarks.items()]
        if controller > 0:
            self.controllers[broker] = controller
        for index, (_leader, epoch, in_sync) in partitions.items():
            self.epochs[index] = max(epoch, self.epochs.get(index, epoch))
            if len(in_sync) < len(BROKERS):
                self.shrunken.add(index)

    def begin(self):
        """Forgets what was seen before a fault; to be given to `changes`."""
        with self.lock:
            self.shrunken = set()
            return dict(self.epochs), self.controller()

    def controller(self):
        """Whom most brokers name."""
        named = list(self.controllers.values())
        return max(named, key=named.count, default=None)

    def changes(self, before):
        """What changed since, in words; empty if nothing did."""
        epochs, controller = before
        with self.lock:
            led = sum(epoch > epochs.get(index, epoch) for index, epoch in self.epochs.items())
            found = [
                (led, f"{led} partitions led anew"),
                (len(self.shrunken), f"{len(self.shrunken)} with fewer in sync"),
                (self.controller() != controller, "another controller"),
            ]
        return ", ".join(word for happened, word in found if happened)

    def end(self):
        self.has_ended = True
        for thread in self.threads:
            thread.join()
        return self.watermarks
