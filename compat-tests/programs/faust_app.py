"""A Faust application: counts words in a table, whose changes Faust keeps in a compacted topic of its own."""

import os

import faust

app = faust.App("faust-counter", broker=f"kafka://{os.environ['COMPAT_BOOTSTRAP']}", value_serializer="raw", topic_partitions=1, topic_replication_factor=1)
words = app.topic("faust-in", value_type=bytes)
counted = app.topic("faust-out", value_type=bytes)
counts = app.Table("counts", default=int, key_type=str, value_type=int, partitions=1)


@app.agent(words)
async def count(stream):
    async for word in stream:
        name = word.decode()
        counts[name] += 1
        await counted.send(value=f"{name}={counts[name]}".encode())
