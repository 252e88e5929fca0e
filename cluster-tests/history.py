"""Judges what producers were told and a consumer read: the rules by which a log must stand any fault.

A write is (value, partition, offset), as acknowledged; a read is (value, partition, offset), in the order of reading. Values are numbers that a producer
sends once each, rising, and each producer's values are its own (value % producers). Each rule gives one sentence per breach.
"""

import shutil
import sys


def lost(acknowledged, read):
    """What was acknowledged and never read, although all partitions were read to their ends."""
    seen = {value for value, _, _ in read}
    return [f"value {value} was acknowledged at {partition}:{offset} and is lost" for value, partition, offset in acknowledged if value not in seen]


def doubled(_acknowledged, read):
    """A value that lies in the log twice."""
    places = {}
    for value, partition, offset in read:
        places.setdefault(value, set()).add((partition, offset))
    return [f"value {value} lies at {sorted(where)}" for value, where in places.items() if len(where) > 1]


def overwritten(acknowledged, read):
    """An offset that has been seen with two values, or an acknowledged one with another value than was read there."""
    values = {}
    for value, partition, offset in [*acknowledged, *read]:
        values.setdefault((partition, offset), set()).add(value)
    return [f"offset {partition}:{offset} has the values {sorted(found)}" for (partition, offset), found in values.items() if len(found) > 1]


def reordered(_acknowledged, read, producers=1):
    """Values of one producer that do not rise with the offsets of a partition."""
    breaches = []
    last = {}
    for value, partition, offset in sorted(set(read), key=lambda row: (row[1], row[2])):
        key = (partition, value % producers)
        before = last.get(key)
        if before is not None and before[0] > value:
            breaches.append(f"value {value} at {partition}:{offset} lies behind {before[0]} at {partition}:{before[1]}")
        last[key] = (value, offset)
    return breaches


def went_back(_acknowledged, read):
    """A consumer that is given an offset again or leaves one out, without having been moved. (Groups read again what they did not commit.)"""
    breaches = []
    next_offset = {}
    for _, partition, offset in read:
        expected = next_offset.get(partition, offset)
        if offset > expected:
            breaches.append(f"the consumer left out {partition}:{expected} to {offset - 1}")
        next_offset[partition] = max(offset + 1, next_offset.get(partition, 0))
    return breaches


def fell(watermarks):
    """A high watermark below one that was told before: by the same leader earlier, or by a leader of an earlier epoch at any time. Rows are (partition, leader
    epoch, time, high watermark)."""
    breaches, highest = [], {}
    for partition, epoch, _, offset in sorted(watermarks):
        known_epoch, known = highest.get(partition, (epoch, offset))
        if offset < known:
            breaches.append(f"the high watermark of partition {partition} is {offset} under epoch {epoch} and was {known} under {known_epoch}")
        highest[partition] = max((known_epoch, known), (epoch, offset), key=lambda row: row[1])
    return breaches


RULES = (lost, doubled, overwritten, reordered, went_back)


def judge(acknowledged, read, producers=1):
    """All breaches, by rule."""
    found = {}
    for rule in RULES:
        breaches = rule(acknowledged, read, producers) if rule is reordered else rule(acknowledged, read)
        if breaches:
            found[rule.__name__] = breaches
    return found


def conclude(breaches, keep, directory, logs):
    """Prints what was found, with the ends of these logs; keeps the directory where there is something to look at; ends the program."""
    for rule, found in breaches.items():
        print(f"FAILED {rule}: {len(found)} times, as: {found[0]}")
    if breaches or keep:
        print(f"data and logs are in {directory}")
        for log in logs if breaches else ():
            print(f"--- {log}\n" + (directory / log).read_text()[-3000:])
    else:
        shutil.rmtree(directory)
    print(f"{0 if breaches else 1} passed, {1 if breaches else 0} failed")
    sys.exit(1 if breaches else 0)


def check_itself():
    """Each rule finds the history that was made to break it, and only that one."""
    good_writes = [(0, 0, 0), (2, 0, 1), (1, 1, 0), (3, 1, 1)]
    good_reads = [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)]
    assert judge(good_writes, good_reads, 2) == {}, "a good history is refused"
    bad = {
        "lost": (good_writes, good_reads[:3]),
        "doubled": (good_writes, [*good_reads, (3, 1, 2)]),
        "overwritten": ([*good_writes[:3], (3, 1, 2)], [*good_reads, (5, 1, 2)]),
        "reordered": ([], [(4, 0, 0), (2, 0, 1)]),
        "went_back": ([], [(0, 0, 0), (2, 0, 2)]),
    }
    for rule, (writes, reads) in bad.items():
        found = judge(writes, reads, 2)
        assert rule in found, f"{rule} is not found in {writes} {reads}: {found}"
    assert fell([(0, 1, 0.5, 7), (0, 2, 0.1, 7), (1, 2, 0.0, 3), (0, 2, 0.6, 9)]) == [], "watermarks that rise are refused"
    assert len(fell([(0, 1, 0.5, 7), (0, 2, 0.1, 6)])) == 1, "a later leader that tells less is not found"
    assert len(fell([(0, 1, 0.1, 7), (0, 1, 0.2, 6), (0, 1, 0.3, 7)])) == 1, "a leader that tells less later is not found"
