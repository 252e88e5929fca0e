// The named scenarios played by @confluentinc/kafka-javascript (librdkafka under the API of kafkajs). README.md tells the contract with the runner.
// Its API has no description of the cluster or of configurations, no more partitions for a topic;
// it shows an empty value as null, and does not tell its caller that another took its group instance.
'use strict'

const { spawn } = require('node:child_process')
const { Kafka, logLevel, PartitionAssigners, CompressionTypes, ErrorCodes, ConsumerGroupStates } = require('@confluentinc/kafka-javascript').KafkaJS
const { BOOTSTRAP, LARGEST_VALUE_BYTES, scenario, check, equal, sleep, until, control, names, messagesOf, valuesOf, even, shares, play } = require('./player')

const kafka = new Kafka({
  kafkaJS: { clientId: 'confluent-js-scenarios', brokers: [BOOTSTRAP], logLevel: logLevel.NOTHING },
  'reconnect.backoff.ms': 50,
  'reconnect.backoff.max.ms': 300,
})

async function refused(action, name, what) {
  try {
    await action()
  } catch (error) {
    const codes = [error, ...(error.errors || []), ...(error.groups || []).map(group => group.error)].filter(Boolean).map(e => e.code)
    check(codes.includes(ErrorCodes[name]), `${what}: expected ${name} (${ErrorCodes[name]}), got ${codes} ${error.message}`)
    return
  }
  throw new Error(`${what} was not refused`)
}

let sharedAdmin
async function admin() {
  if (!sharedAdmin) {
    sharedAdmin = kafka.admin()
    await sharedAdmin.connect()
  }
  return sharedAdmin
}

async function listed(topic) {
  return (await (await admin()).listTopics()).includes(topic)
}

async function create(topic, numPartitions = 1, config = {}) {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  check(await (await admin()).createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] }), `${topic} exists already`)
  // Apache Kafka's controller answers before its broker knows the topic.
  await until(() => listed(topic), `${topic} is known to the broker`)
  return topic
}

async function send(topic, messages, options = {}, settings = {}) {
  const producer = kafka.producer({ kafkaJS: { allowAutoTopicCreation: false, ...options }, 'message.max.bytes': 3000000, 'linger.ms': 5, ...settings })
  await producer.connect()
  try {
    return await producer.send({ topic, messages })
  } finally {
    await producer.disconnect()
  }
}

function consumerOf(groupId, { fromBeginning = true, autoCommit = false, rebalanced = () => {}, ...more } = {}) {
  const timing = { sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10000 }
  return kafka.consumer({ kafkaJS: { groupId, fromBeginning, autoCommit, allowAutoTopicCreation: false, ...timing, ...more }, rebalance_cb: rebalanced })
}

let readers = 0
// Reads exactly count records: from the start, from the end, or from an offset of partition 0. It reads through groups only.
async function read(topic, count, { offset, fromBeginning = true, started } = {}) {
  let joined = false
  const consumer = consumerOf(`reader-${++readers}`, { fromBeginning, rebalanced: () => void (joined = true) })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topic })
  await consumer.run({ eachMessage: async ({ partition, message }) => void got.push({ ...message, partition }) })
  if (offset !== undefined) consumer.seek({ topic, partition: 0, offset: String(offset) })
  if (started) {
    await until(() => joined && consumer.assignment().length > 0, 'the assignment')
    // The end of the log is looked up after the assignment.
    await sleep(1000)
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
    const rebalanced = (error, assignment) => {
      const given = error.code === ErrorCodes.ERR__ASSIGN_PARTITIONS
      const partitions = assignment.map(a => a.partition)
      this.assigned = [...this.assigned.filter(p => !partitions.includes(p)), ...(given ? partitions : [])]
      this.joined(this.assigned.length)
    }
    this.consumer = consumerOf(groupId, { rebalanced, ...options })
  }

  joined() {}

  noted(value) {
    this.values.push(value)
  }

  async start() {
    await this.consumer.connect()
    await this.consumer.subscribe({ topic: this.topic })
    await this.consumer.run({
      eachMessage: async ({ partition, message }) => {
        this.noted(message.value.toString())
        const next = { topic: this.topic, partition, offset: String(Number(message.offset) + 1) }
        // Where a rebalance came between, the record is read again by its new owner.
        await this.consumer.commitOffsets([next]).catch(error => (this.error = error))
      },
    })
    return this
  }

  stop() {
    return this.consumer.disconnect()
  }
}

// ---- topics

scenario('unknown-topic', async () => {
  await refused(async () => (await admin()).fetchTopicMetadata({ topics: ['never-created'] }), 'ERR_UNKNOWN_TOPIC_OR_PART', 'its description')
  await refused(async () => (await admin()).deleteTopics({ topics: ['never-created'] }), 'ERR_UNKNOWN_TOPIC_OR_PART', 'its deletion')
  check(!(await listed('never-created')), 'it was created by asking')
})

scenario('auto-create', async () => {
  await send('made-by-producing', [{ value: 'x' }], { allowAutoTopicCreation: true })
  equal(valuesOf(await read('made-by-producing', 1)), ['x'], 'values')
})

scenario('recreate-topic', async () => {
  const client = await admin()
  const id = async () => (await client.fetchTopicMetadata({ topics: ['again'] }))[0].topicId.base64
  const topic = await create('again')
  const old = await id()
  await send(topic, messagesOf(names(5, 'old')))
  await client.deleteTopics({ topics: [topic] })
  await until(async () => !(await listed(topic)), 'the topic is gone')
  await create(topic)
  check(old && old !== (await id()), `the topic id is ${old} as before`)
  equal((await send(topic, [{ value: 'new' }]))[0].baseOffset, '0', 'offset')
  equal(valuesOf(await read(topic, 1)), ['new'], 'values')
})

// ---- records

scenario('codecs', async () => {
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
  await send(topic, sent.map(m => ({ ...m })), {}, { partitioner: 'murmur2_random' })
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
  equal(Object.keys(second.headers || {}), [], 'headers of the second record')
})

scenario('record-near-limit', async () => {
  const topic = await create('near')
  const value = Buffer.alloc(LARGEST_VALUE_BYTES, 7)
  await send(topic, [{ value }])
  check((await read(topic, 1))[0].value.equals(value), 'the value differs')
})

scenario('record-over-limit', async () => {
  const topic = await create('over')
  await refused(() => send(topic, [{ value: Buffer.alloc(LARGEST_VALUE_BYTES + 1, 7) }]), 'ERR_MSG_SIZE_TOO_LARGE', 'one byte more')
  equal((await send(topic, [{ value: 'small' }]))[0].baseOffset, '0', 'offset of the next record')
})

scenario('log-append-time', async () => {
  const topic = await create('stamped', 1, { 'message.timestamp.type': 'LogAppendTime' })
  const before = Date.now()
  await send(topic, [{ value: 'x', timestamp: String(before - 500000) }])
  const [got] = await read(topic, 1)
  check(Math.abs(Number(got.timestamp) - before) < 60000, `timestamp ${got.timestamp} is not the broker's`)
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
  // It answers the end where the broker has no record at or after the time.
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
  for (const assigner of [PartitionAssigners.range, PartitionAssigners.roundRobin, PartitionAssigners.cooperativeSticky]) {
    const topic = await create(`assigned-${assigner}`, 6)
    const members = []
    try {
      for (let count = 1; count <= 3; count++) {
        members.push(await new Member(assigner, topic, { partitionAssigners: [assigner] }).start())
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
  }
})

async function committed(groupId, topic) {
  const [found] = await (await admin()).fetchOffsets({ groupId, topics: [topic] })
  return found ? found.partitions.sort((a, b) => a.partition - b.partition).map(p => Number(p.offset)) : []
}

// It cannot reset a group's offsets.
scenario('group-admin', async () => {
  const client = await admin()
  const topic = await create('administered')
  await send(topic, messagesOf(names(10)))
  const member = await new Member('admin', topic).start()
  await until(async () => (await committed('admin', topic))[0] === 10, 'the commit of 10')
  const listedGroup = async () => (await client.listGroups()).groups.find(g => g.groupId === 'admin')
  equal((await listedGroup()).state, ConsumerGroupStates.STABLE, 'state in the list')
  const group = (await client.describeGroups(['admin'])).groups[0]
  equal([group.state, group.protocol, group.members.length], [ConsumerGroupStates.STABLE, 'roundrobin', 1], 'description')
  equal(group.members[0].clientId, 'confluent-js-scenarios', 'client id')
  await refused(() => client.deleteGroups(['admin']), 'ERR_NON_EMPTY_GROUP', 'delete of a live group')
  await member.stop()
  await until(async () => (await listedGroup()).state === ConsumerGroupStates.EMPTY, 'the group is empty')
  await client.deleteGroups(['admin'])
  equal(await listedGroup(), undefined, 'the deleted group in the list')
  await refused(() => client.deleteGroups(['admin']), 'ERR_GROUP_ID_NOT_FOUND', 'a second delete')
})

// ---- kills

scenario('commit-and-resume-after-kill', async () => {
  const topic = await create('resumed')
  await send(topic, messagesOf(names(40)))
  const before = await new Member('resume', topic).start()
  await until(async () => (await committed('resume', topic))[0] === 40, 'the commit of 40')
  await before.stop()
  await send(topic, messagesOf(names(60, 'w')))
  await control('/kill9-and-restart')
  const after = await new Member('resume', topic).start()
  await until(() => after.values.length >= 60, () => `60 values, got ${after.values.length}`)
  equal(after.values, names(60, 'w'), 'values after the restart')
  await after.stop()
})

scenario('member-survives-kill', async () => {
  const topic = await create('survived', 3)
  const member = await new Member('survivor', topic).start()
  await send(topic, messagesOf(names(30), 3))
  await until(() => new Set(member.values).size === 30, '30 values before the kill')
  await control('/kill9-and-restart')
  await send(topic, messagesOf(names(30, 'w'), 3))
  await until(() => new Set(member.values).size === 60, () => `60 values, got ${new Set(member.values).size} ${member.error}`, 45)
  await until(async () => JSON.stringify(await committed('survivor', topic)) === '[20,20,20]', 'all that was read is committed', 60)
  await member.stop()
})

scenario('idempotent-across-kill', async () => {
  const topic = await create('once')
  const producer = kafka.producer({ kafkaJS: { idempotent: true }, 'linger.ms': 2, 'message.timeout.ms': 60000 })
  await producer.connect()
  let sent = 0
  let restarting = true
  let restart
  const waiting = []
  while (sent < 1500 || restarting) {
    waiting.push(producer.send({ topic, messages: Array.from({ length: 5 }, () => ({ value: String(sent++) })) }))
    if (sent === 500) restart = control('/kill9-and-restart').then(() => (restarting = false))
    await sleep(2)
  }
  await restart
  await Promise.all(waiting)
  await producer.disconnect()
  equal(valuesOf(await read(topic, sent)), names(sent, ''), 'each value once, in order')
})

if (process.argv[2] === 'member') childMember(process.argv[3], process.argv[4])
else play()
