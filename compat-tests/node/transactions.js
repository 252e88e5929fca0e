// The scenarios with transactions, played by kafkajs over the covers of client.js. That across kills is not among them: kafkajs ends a transaction
// whose coordinator is still loading, on Apache Kafka too.
'use strict'

const { scenario, check, equal, sleep, until, names, messagesOf, valuesOf } = require('./player')

module.exports = ({ kafka, admin, create: createOnly, send, GROUP }) => {
  // kafkajs does not try again where a transaction's topic is known but not yet led.
  async function create(topic, partitions) {
    await createOnly(topic, partitions)
    const client = await admin()
    await until(() => client.fetchTopicOffsets(topic).then(() => true, () => false), `${topic} is led`)
    return topic
  }

  // A producer that is ready to begin; kafkajs allows one request of a transaction at a time.
  async function transactional(transactionalId, options = {}) {
    const retry = { initialRetryTime: 50, maxRetryTime: 300, retries: 300 }
    const producer = kafka.producer({ transactionalId, maxInFlightRequests: 1, idempotent: true, retry, ...options })
    await producer.connect()
    return producer
  }

  const write = (transaction, topic, values, partitions = 1) => transaction.send({ topic, messages: messagesOf(values, partitions) })

  let readers = 0
  // Reads exactly count records from the start, or from an offset of partition 0, and looks that nothing follows.
  async function read(readUncommitted, topic, count, offset) {
    const consumer = kafka.consumer({ ...GROUP, groupId: `isolated-reader-${++readers}`, allowAutoTopicCreation: false, readUncommitted })
    const got = []
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => void got.push({ ...message, partition }) })
    if (offset !== undefined) consumer.seek({ topic, partition: 0, offset: String(offset) })
    await until(() => got.length >= count, () => `${count} records, got ${got.length}`)
    await sleep(400)
    equal(got.length, count, 'records')
    await consumer.disconnect()
    return got
  }

  const committed = async (topic, count, offset) => valuesOf(await read(false, topic, count, offset))

  async function refused(action, what) {
    try {
      await action()
    } catch (error) {
      const types = []
      for (let e = error; e; e = e.cause) types.push(e.type)
      return types
    }
    throw new Error(`${what} was not refused`)
  }

  scenario('transactions-commit', async () => {
    const topic = await create('tx-commit', 3)
    const producer = await transactional('committer')
    for (let t = 0; t < 5; t++) {
      const transaction = await producer.transaction()
      await write(transaction, topic, names(30, `t${t}-`), 3)
      await transaction.commit()
    }
    await producer.disconnect()
    const got = (await read(false, topic, 150)).map(m => `${m.partition} ${String(m.offset).padStart(2, '0')} ${m.value}`).sort()
    // Each transaction's marker takes an offset behind its ten records.
    const at = (p, i) => `${p} ${String(i + Math.floor(i / 10)).padStart(2, '0')} t${Math.floor(i / 10)}-${(i % 10) * 3 + p}`
    equal(got, [0, 1, 2].flatMap(p => Array.from({ length: 50 }, (_, i) => at(p, i))), 'partitions, offsets and values')
  })

  scenario('transactions-abort', async () => {
    const topic = await create('tx-abort')
    const producer = await transactional('aborter')
    for (const part of ['a', 'b', 'c']) {
      const transaction = await producer.transaction()
      await write(transaction, topic, names(4, part))
      await (part === 'b' ? transaction.abort() : transaction.commit())
    }
    await producer.disconnect()
    equal(await committed(topic, 8), [...names(4, 'a'), ...names(4, 'c')], 'read_committed')
    equal(valuesOf(await read(true, topic, 12)), [...names(4, 'a'), ...names(4, 'b'), ...names(4, 'c')], 'read_uncommitted')
    equal(await committed(topic, 4, 7), names(4, 'c'), 'from inside of the aborted transaction')
  })

  scenario('transactions-interleaved', async () => {
    const topic = await create('tx-interleaved')
    const producers = await Promise.all(['a', 'b', 'c'].map(name => transactional(`mixed-${name}`)))
    const [a, b] = [await producers[0].transaction(), await producers[1].transaction()]
    const seen = []
    for (let i = 0; i < 5; i++) {
      await write(a, topic, [`a${i}`])
      await write(b, topic, [`b${i}`])
      await send(topic, [{ value: `plain${i}`, partition: 0 }])
      seen.push(`a${i}`, `plain${i}`)
    }
    await a.commit()
    await b.abort()
    const c = await producers[2].transaction()
    await write(c, topic, names(3, 'c'))
    await send(topic, [{ value: 'behind', partition: 0 }])
    equal(await committed(topic, 10), seen, 'read_committed with an open transaction')
    await c.commit()
    equal(await committed(topic, 14), [...seen, 'c0', 'c1', 'c2', 'behind'], 'read_committed in the end')
    await Promise.all(producers.map(p => p.disconnect()))
  })

  scenario('transactions-consume-transform-produce', async () => {
    const [source, target] = [await create('tx-input', 2), await create('tx-output', 2)]
    await send(source, messagesOf(names(60), 2))
    const producer = await transactional('transformer')
    const client = await admin()
    const offset = async partition => {
      const [{ partitions }] = await client.fetchOffsets({ groupId: 'transform', topics: [source] })
      return Number(partitions.find(p => p.partition === partition).offset)
    }
    const records = await read(false, source, 60)
    let turns = 0
    for (const partition of [0, 1]) {
      const own = records.filter(r => r.partition === partition)
      for (let done = 0; done < 30; ) {
        const transaction = await producer.transaction()
        const part = own.slice(done, done + 10)
        await transaction.send({ topic: target, messages: part.map(m => ({ value: `${m.value}'`, partition })) })
        const topics = [{ topic: source, partitions: [{ partition, offset: String(done + part.length) }] }]
        await transaction.sendOffsets({ consumerGroupId: 'transform', topics })
        if (++turns % 2) {
          await transaction.abort()
        } else {
          await transaction.commit()
          done += part.length
        }
        const expected = done || -1
        await until(async () => (await offset(partition)) === expected, `the group's offset is ${expected}`)
      }
    }
    await producer.disconnect()
    equal(valuesOf(await read(false, target, 60)).sort(), names(60).map(v => `${v}'`).sort(), 'values, each once')
  })

  scenario('transactions-fence-zombie', async () => {
    const topic = await create('tx-fence')
    const zombie = await transactional('fenced', { retry: { retries: 3 } })
    const stale = await zombie.transaction()
    await write(stale, topic, names(5, 'zombie'))
    const heir = await transactional('fenced')
    const transaction = await heir.transaction()
    await write(transaction, topic, names(5, 'heir'))
    const types = await refused(() => stale.commit(), 'a commit of the fenced producer')
    check(types.includes('INVALID_PRODUCER_EPOCH') || types.includes('PRODUCER_FENCED'), `the fenced producer's error: ${types}`)
    await transaction.commit()
    await heir.disconnect()
    equal(await committed(topic, 5), names(5, 'heir'), 'read_committed')
  })

  scenario('transactions-timeout', async () => {
    const topic = await create('tx-timeout')
    const slow = await transactional('slow', { transactionTimeout: 2000, retry: { retries: 3 } })
    const transaction = await slow.transaction()
    await write(transaction, topic, names(5, 'slow'))
    await send(topic, [{ value: 'plain', partition: 0 }])
    equal(await committed(topic, 1), ['plain'], 'read_committed, once the broker has aborted it')
    await refused(() => transaction.commit(), 'a commit after the time-out')
    const next = await transactional('slow')
    const after = await next.transaction()
    await write(after, topic, ['next'])
    await after.commit()
    await next.disconnect()
    equal(await committed(topic, 2), ['plain', 'next'], 'read_committed in the end')
  })
}
