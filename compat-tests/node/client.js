// The named scenarios played by kafkajs. README.md tells the contract with the runner.
'use strict'

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const { spawn } = require('node:child_process')
const { Kafka, Partitioners, PartitionAssigners, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const { BOOTSTRAP, LARGEST_VALUE_BYTES, scenario, check, equal, sleep, until, control, names, messagesOf, valuesOf, even, shares, play } = require('./player')

const GROUP = { sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10000, maxWaitTimeInMs: 200 }
const kafka = new Kafka({
  clientId: 'node-scenarios',
  brokers: BOOTSTRAP.split(','),
  logLevel: logLevel.NOTHING,
  connectionTimeout: 3000,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 40 },
})

async function refused(action, type, what) {
  try {
    await action()
  } catch (error) {
    const types = []
    for (let e = error; e; e = e.cause) types.push(e.type, ...(e.errors || []).map(inner => inner.type), ...(e.groups || []).map(g => g.error && g.error.type))
    check(types.includes(type), `${what}: expected ${type}, got ${types} ${error.message}`)
    return
  }
  throw new Error(`${what} was not refused`)
}

// ---- the clients as the scenarios use them

let sharedAdmin
async function admin() {
  if (!sharedAdmin) {
    sharedAdmin = kafka.admin()
    await sharedAdmin.connect()
  }
  return sharedAdmin
}

async function create(topic, numPartitions = 1, config = {}) {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  const created = await (await admin()).createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] })
  check(created, `${topic} exists already`)
  // Apache Kafka's controller answers before its broker knows the topic.
  await until(() => listed(topic), `${topic} is known to the broker`)
  return topic
}

async function listed(topic) {
  return (await (await admin()).listTopics()).includes(topic)
}

async function send(topic, messages, { options = {}, ...more } = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, allowAutoTopicCreation: false, ...options })
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...more })
  } finally {
    await producer.disconnect()
  }
}

let readers = 0
// Reads exactly count records: from the start, from the end, or from an offset of partition 0. kafkajs reads through groups only.
async function read(topic, count, { offset, fromBeginning = true, started } = {}) {
  const consumer = kafka.consumer({ ...GROUP, groupId: `reader-${++readers}`, allowAutoTopicCreation: false })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning })
  const joined = new Promise(resolve => consumer.on(consumer.events.FETCH, resolve))
  await consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => void got.push({ ...message, partition }) })
  if (offset !== undefined) consumer.seek({ topic, partition: 0, offset: String(offset) })
  if (started) {
    await joined
    await started()
  }
  await until(() => got.length >= count, () => `${count} records, got ${got.length}`)
  await sleep(300)
  equal(got.length, count, 'records')
  await consumer.disconnect()
  return got
}

// A group member that commits each record after it has noted it.
class Member {
  constructor(groupId, topic, options = {}) {
    this.values = []
    this.assigned = []
    this.topic = topic
    this.consumer = kafka.consumer({ ...GROUP, groupId, allowAutoTopicCreation: false, ...options })
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[topic] || []
      this.joined(this.assigned.length)
    })
    this.consumer.on(this.consumer.events.REBALANCING, () => (this.assigned = []))
    this.consumer.on(this.consumer.events.CRASH, ({ payload }) => (this.error = payload.error))
  }

  joined() {}

  noted(value) {
    this.values.push(value)
  }

  async start() {
    await this.consumer.connect()
    await this.consumer.subscribe({ topic: this.topic, fromBeginning: true })
    await this.consumer.run({
      autoCommitThreshold: 1,
      eachMessage: async ({ message }) => this.noted(message.value.toString()),
    })
    return this
  }

  stop() {
    this.assigned = []
    return this.consumer.disconnect()
  }
}

// ---- topics

scenario('describe-cluster', async () => {
  const [first, second] = [await (await admin()).describeCluster(), await (await admin()).describeCluster()]
  equal(first.brokers.map(b => `${b.host}:${b.port}`), [BOOTSTRAP], 'brokers')
  equal(first.controller, first.brokers[0].nodeId, 'controller')
  check(first.clusterId, 'no cluster id')
  equal(second.clusterId, first.clusterId, 'cluster id')
})

scenario('create-describe-delete-topic', async () => {
  const client = await admin()
  const topic = await create('topic-life', 3, { 'retention.ms': '123456789' })
  equal(await client.createTopics({ topics: [{ topic }] }), false, 'a second create')
  await refused(() => create('bad/name'), 'INVALID_TOPIC_EXCEPTION', 'a bad name')
  await refused(() => create('no-partitions', 0), 'INVALID_PARTITIONS', '0 partitions')
  const { topics } = await client.fetchTopicMetadata({ topics: [topic] })
  equal(topics[0].partitions.map(p => p.partitionId).sort(), [0, 1, 2], 'partitions')
  check(topics[0].partitions.every(p => p.leader >= 0 && p.isr.length === 1), 'leaders and in-sync replicas')
  const configs = await client.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
  const entry = name => configs.resources[0].configEntries.find(e => e.configName === name)
  equal([entry('retention.ms').configValue, entry('retention.ms').isDefault], ['123456789', false], 'retention.ms')
  equal([entry('cleanup.policy').configValue, entry('cleanup.policy').isDefault], ['delete', true], 'cleanup.policy')
  check(await listed(topic), 'not listed')
  await client.deleteTopics({ topics: [topic] })
  await until(async () => !(await listed(topic)), 'the topic is gone')
  const hasty = kafka.admin({ retry: { retries: 0 } })
  await hasty.connect()
  await refused(() => hasty.deleteTopics({ topics: [topic] }), 'UNKNOWN_TOPIC_OR_PARTITION', 'a second delete')
  await hasty.disconnect()
})

scenario('create-partitions', async () => {
  const topic = await create('growing', 2)
  await (await admin()).createPartitions({ topicPartitions: [{ topic, count: 4 }] })
  await refused(async () => (await admin()).createPartitions({ topicPartitions: [{ topic, count: 3 }] }), 'INVALID_PARTITIONS', 'shrinking')
  const count = async () => (await (await admin()).fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
  await until(async () => (await count()) === 4, 'four partitions')
  await send(topic, [{ value: 'x', partition: 3 }])
  equal((await read(topic, 1))[0].partition, 3, 'partition')
})

scenario('unknown-topic', async () => {
  const hasty = { options: { retry: { retries: 0 } } }
  await refused(() => send('never-created', [{ value: 'x' }], hasty), 'UNKNOWN_TOPIC_OR_PARTITION', 'produce')
  await refused(async () => (await admin()).fetchTopicMetadata({ topics: ['never/created'] }), 'INVALID_TOPIC_EXCEPTION', 'a bad name')
  check(!(await listed('never-created')), 'it was created by asking')
})

scenario('auto-create', async () => {
  await send('made-by-producing', [{ value: 'x' }], { options: { allowAutoTopicCreation: true } })
  equal(valuesOf(await read('made-by-producing', 1)), ['x'], 'values')
})

scenario('readme-example', async () => {
  // README: begin
  const producer = new Kafka({ brokers: [BOOTSTRAP] }).producer()
  await producer.connect()
  await producer.send({ topic: 'orders', messages: [{ key: '1', value: 'one' }] })
  // README: end
  await producer.disconnect()
  const [message] = await read('orders', 1)
  equal([message.key.toString(), message.value.toString()], ['1', 'one'], 'record')
})

scenario('recreate-topic', async () => {
  const client = await admin()
  const topic = await create('again')
  await send(topic, messagesOf(names(5, 'old')))
  await client.deleteTopics({ topics: [topic] })
  await until(async () => !(await listed(topic)), 'the topic is gone')
  await create(topic)
  equal((await send(topic, [{ value: 'new' }]))[0].baseOffset, '0', 'offset')
  equal(valuesOf(await read(topic, 1)), ['new'], 'values')
})

// ---- records

function installCodecs(zstd) {
  const lz4 = require('lz4-napi')
  const streaming = new zstd.Streaming()
  const codec = (compress, decompress) => () => ({
    compress: async encoder => Buffer.from(await compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(await decompress(buffer)),
  })
  CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
  CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compressFrame, lz4.decompressFrame)
  CompressionCodecs[CompressionTypes.ZSTD] = codec(b => streaming.compress(b), b => streaming.decompress(b))
}

scenario('codecs', async () => {
  installCodecs(await new Promise(resolve => require('zstd-codec').ZstdCodec.run(resolve)))
  const sent = names(200, 'compressible '.repeat(20))
  for (const [name, compression] of Object.entries(CompressionTypes)) {
    const topic = await create(`codec-${name}`)
    await send(topic, messagesOf(sent), { compression })
    equal(valuesOf(await read(topic, 200)), sent, name)
  }
})

scenario('acks', async () => {
  const topic = await create('acks')
  const sent = []
  // 0 comes last: what a new partition refuses for a moment would be lost without a word.
  for (const acks of [-1, 1, 0]) {
    await send(topic, messagesOf(names(20, acks)), { acks })
    sent.push(...names(20, acks))
    equal(valuesOf(await read(topic, sent.length)), sent, `values with acks=${acks}`)
  }
})

scenario('keys-and-partitions', async () => {
  const topic = await create('keyed', 6)
  const sent = Array.from({ length: 80 }, (_, i) => ({ key: `k${i % 40}`, value: String(i) }))
  await send(topic, sent)
  const got = await read(topic, 80)
  equal(got.map(m => `${m.key}=${m.value}`).sort(), sent.map(m => `${m.key}=${m.value}`).sort(), 'records')
  const where = new Map()
  for (const m of got) {
    const key = m.key.toString()
    if (!where.has(key)) where.set(key, m.partition)
    equal(m.partition, where.get(key), `partition of key ${key}`)
  }
  equal(new Set(where.values()).size, 6, 'partitions used')
  equal((await send(topic, [{ key: 'k0', value: 'x', partition: 4 }]))[0].partition, 4, 'explicit partition')
})

scenario('headers', async () => {
  const topic = await create('headed')
  const headers = { a: ['1', '2', '1'], b: '', ü: Buffer.from([0, 255]) }
  await send(topic, [{ value: 'x', headers }, { value: 'y' }])
  const [first, second] = await read(topic, 2)
  equal(first.headers.a.map(String), ['1', '2', '1'], 'repeated header')
  equal(first.headers.b.toString(), '', 'empty header')
  equal([...first.headers['ü']], [0, 255], 'binary header')
  equal(Object.keys(first.headers), ['a', 'b', 'ü'], 'header keys')
  equal(second.headers, {}, 'headers of the second record')
})

scenario('null-key-and-value', async () => {
  const topic = await create('nulls')
  const sent = [[null, 'v'], ['', 'v'], ['k', null], ['k', ''], [null, null]]
  await send(topic, sent.map(([key, value]) => ({ key, value })))
  const text = buffer => (buffer === null ? null : buffer.toString())
  equal((await read(topic, 5)).map(m => [text(m.key), text(m.value)]), sent, 'records')
})

scenario('record-near-limit', async () => {
  const topic = await create('near')
  const value = Buffer.alloc(LARGEST_VALUE_BYTES, 7)
  await send(topic, [{ value }])
  check((await read(topic, 1))[0].value.equals(value), 'the value differs')
})

scenario('record-over-limit', async () => {
  const topic = await create('over')
  await refused(() => send(topic, [{ value: Buffer.alloc(LARGEST_VALUE_BYTES + 1, 7) }]), 'MESSAGE_TOO_LARGE', 'one byte more')
  equal((await send(topic, [{ value: 'small' }]))[0].baseOffset, '0', 'offset of the next record')
})

scenario('log-append-time', async () => {
  const topic = await create('stamped', 1, { 'message.timestamp.type': 'LogAppendTime' })
  const before = Date.now()
  const [where] = await send(topic, [{ value: 'x', timestamp: String(before - 500000) }])
  check(Math.abs(Number(where.logAppendTime) - before) < 60000, `time told to the producer: ${where.logAppendTime}`)
  const [got] = await read(topic, 1)
  equal(got.timestamp, where.logAppendTime, 'timestamp')
})

// ---- reading

scenario('read-from-start', async () => {
  const topic = await create('start')
  await send(topic, messagesOf(names(100)))
  const got = await read(topic, 100)
  equal(got.map(m => `${m.offset} ${m.value}`), names(100).map((v, i) => `${i} ${v}`), 'offsets and values')
})

scenario('read-from-offset', async () => {
  const topic = await create('middle')
  await send(topic, messagesOf(names(100)))
  equal(valuesOf(await read(topic, 63, { offset: 37 })), names(100).slice(37), 'from offset 37')
  const last = () => send(topic, [{ value: 'last' }])
  equal(valuesOf(await read(topic, 1, { fromBeginning: false, started: last })), ['last'], 'from the end')
})

// Record i of the topic has the time base + i seconds.
async function timedTopic(topic) {
  const base = Date.now() - 3600000
  await create(topic)
  await send(topic, names(50).map((value, i) => ({ value, timestamp: String(base + i * 1000) })))
  return base
}

scenario('read-from-timestamp', async () => {
  const base = await timedTopic('timed')
  for (const [after, first] of [[20000, 20], [20001, 21], [-5, 0]]) {
    const [{ offset }] = await (await admin()).fetchTopicOffsetsByTimestamp('timed', base + after)
    equal(offset, String(first), `offset for base + ${after} ms`)
  }
  const got = await read('timed', 29, { offset: 21 })
  equal([valuesOf(got), got[0].timestamp], [names(50).slice(21), String(base + 21000)], 'records')
})

scenario('list-offsets', async () => {
  const base = await timedTopic('offsets')
  const client = await admin()
  const [{ low, high, offset }] = await client.fetchTopicOffsets('offsets')
  equal([low, high, offset], ['0', '50', '50'], 'earliest and latest')
  equal((await client.fetchTopicOffsetsByTimestamp('offsets', base + 30000))[0].offset, '30', 'a time')
  // kafkajs answers the end where the broker has no record at or after the time.
  equal((await client.fetchTopicOffsetsByTimestamp('offsets', base + 100000))[0].offset, '50', 'a time beyond')
})

// ---- groups

scenario('group-of-three-one-killed', async () => {
  const topic = await create('shared', 6)
  const members = await Promise.all([new Member('three', topic).start(), new Member('three', topic).start()])
  const child = spawn(process.execPath, [__filename, 'member', 'three', topic], { stdio: ['ignore', 'pipe', 'ignore'] })
  const childValues = []
  let childHeld
  require('node:readline')
    .createInterface({ input: child.stdout })
    .on('line', line => (line.startsWith('got ') ? childValues.push(line.slice(4)) : (childHeld = line)))
  const seen = () => new Set([...childValues, ...members.flatMap(m => m.values)]).size
  try {
    await until(() => childHeld === 'assigned 2' && members.every(m => m.assigned.length === 2), shares(members))
    await send(topic, messagesOf(names(60), 6))
    await until(() => seen() === 60, () => `60 values, got ${seen()}`)
    child.kill('SIGKILL')
    await send(topic, messagesOf(names(60, 'w'), 6))
    await until(() => even(members, 6), shares(members))
    await until(() => seen() === 120, () => `120 values, got ${seen()}`)
  } finally {
    child.kill('SIGKILL')
    await Promise.all(members.map(m => m.stop()))
  }
})

// The third member, a process of its own that can be killed.
async function childMember(group, topic) {
  const member = new Member(group, topic)
  member.joined = count => console.log(`assigned ${count}`)
  member.noted = value => console.log(`got ${value}`)
  await member.start()
}

scenario('assignors', async () => {
  const topic = await create('assigned', 6)
  const members = []
  try {
    for (let count = 1; count <= 3; count++) {
      members.push(await new Member('assigned', topic, { partitionAssigners: [PartitionAssigners.roundRobin] }).start())
      await until(() => even(members, 6), shares(members))
    }
    await send(topic, messagesOf(names(30), 6))
    await until(() => members.flatMap(m => m.values).length >= 30, 'all records')
    equal(members.flatMap(m => m.values).sort(), names(30).sort(), 'each record once')
    await members.pop().stop()
    await until(() => even(members, 6), shares(members))
  } finally {
    await Promise.all(members.map(m => m.stop()))
  }
})

scenario('group-admin', async () => {
  const client = await admin()
  const topic = await create('administered')
  await send(topic, messagesOf(names(10)))
  const member = kafka.consumer({ ...GROUP, groupId: 'admin' })
  await member.connect()
  await member.subscribe({ topic, fromBeginning: true })
  let count = 0
  await member.run({ autoCommit: false, eachMessage: async () => void count++ })
  await until(() => count === 10, 'ten records')
  await member.commitOffsets([{ topic, partition: 0, offset: '4', metadata: 'a note' }])
  const committed = async () => (await client.fetchOffsets({ groupId: 'admin', topics: [topic] }))[0].partitions[0]
  equal(await committed(), { partition: 0, offset: '4', metadata: 'a note' }, 'committed offset')
  const [{ high }] = await client.fetchTopicOffsets(topic)
  equal(Number(high) - Number((await committed()).offset), 6, 'lag')
  const listedGroup = (await client.listGroups()).groups.find(g => g.groupId === 'admin')
  equal(listedGroup && listedGroup.protocolType, 'consumer', 'protocol type in the list')
  const described = async () => (await client.describeGroups(['admin'])).groups[0]
  const group = await described()
  equal([group.state, group.protocol, group.members.length], ['Stable', 'RoundRobinAssigner', 1], 'description')
  equal(group.members[0].clientId, 'node-scenarios', 'client id')
  const hasty = kafka.admin({ retry: { retries: 0 } })
  await hasty.connect()
  await refused(() => hasty.deleteGroups(['admin']), 'NON_EMPTY_GROUP', 'delete of a live group')
  await member.disconnect()
  equal((await described()).state, 'Empty', 'state after the leave')
  await client.setOffsets({ groupId: 'admin', topic, partitions: [{ partition: 0, offset: '2' }] })
  equal((await committed()).offset, '2', 'reset offset')
  await until(async () => (await described()).state === 'Empty', 'the group is empty again')
  await client.deleteGroups(['admin'])
  check(!(await client.listGroups()).groups.some(g => g.groupId === 'admin'), 'still listed')
  await refused(() => hasty.deleteGroups(['admin']), 'GROUP_ID_NOT_FOUND', 'a second delete')
  await hasty.disconnect()
})

// ---- kills

scenario('commit-and-resume-after-kill', async () => {
  const topic = await create('resumed')
  await send(topic, messagesOf(names(100)))
  async function member(count, commitAt) {
    const consumer = kafka.consumer({ ...GROUP, groupId: 'resume' })
    const got = []
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => void got.push(message.value.toString()) })
    await until(() => got.length >= count, () => `${count} records, got ${got.length}`)
    if (commitAt) await consumer.commitOffsets([{ topic, partition: 0, offset: String(commitAt) }])
    await consumer.disconnect()
    return got
  }
  await member(40, 40)
  await control('/kill9-and-restart')
  equal(await member(60), names(100).slice(40), 'values after the restart')
})

scenario('member-survives-kill', async () => {
  const topic = await create('survived', 3)
  const member = await new Member('survivor', topic).start()
  await send(topic, messagesOf(names(30), 3))
  await until(() => new Set(member.values).size === 30, '30 values before the kill')
  await control('/kill9-and-restart')
  await send(topic, messagesOf(names(30, 'w'), 3))
  await until(() => new Set(member.values).size === 60, () => `60 values, got ${new Set(member.values).size} ${member.error}`, 45)
  // Not 20 each: a producer that is not idempotent may have sent some twice across the restart.
  const client = await admin()
  const offsets = async () => {
    const [{ partitions }] = await client.fetchOffsets({ groupId: 'survivor', topics: [topic] })
    const ends = await client.fetchTopicOffsets(topic)
    const text = list => JSON.stringify(list.sort((a, b) => a.partition - b.partition).map(p => p.offset))
    return [text(partitions), text(ends)]
  }
  await until(async () => {
    const [committed, ends] = await offsets()
    return committed === ends
  }, 'all that was read is committed')
  await member.stop()
})

scenario('idempotent-across-kill', async () => {
  const topic = await create('once')
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, retry: { initialRetryTime: 50, maxRetryTime: 300, retries: 300 } })
  await producer.connect()
  let sent = 0
  let restarting = true
  let restart
  while (sent < 1500 || restarting) {
    await producer.send({ topic, messages: Array.from({ length: 5 }, () => ({ value: String(sent++) })) })
    if (sent === 500) restart = control('/kill9-and-restart').then(() => (restarting = false))
  }
  await restart
  await producer.disconnect()
  equal(valuesOf(await read(topic, sent)), names(sent, ''), 'each value once, in order')
})

require('./transactions')({ kafka, admin, create, send, GROUP })

if (process.argv[2] === 'member') childMember(process.argv[3], process.argv[4])
else play()
