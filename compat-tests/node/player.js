// What the clients of Node share: the scenario table, the checks, the control of the broker, and the result lines.
'use strict'

const BOOTSTRAP = process.env.COMPAT_BOOTSTRAP
// The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes.
const LARGEST_VALUE_BYTES = 1048516
const table = {}

function scenario(name, play) {
  table[name] = play
}

function check(condition, what) {
  if (!condition) throw new Error(what)
}

function equal(got, expected, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: expected ${String(b).slice(0, 300)}, got ${String(a).slice(0, 300)}`)
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function until(condition, what, timeoutS = 30) {
  for (const deadline = Date.now() + timeoutS * 1000; !(await condition()); await sleep(20)) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutS} s: ${typeof what === 'function' ? what() : what}`)
  }
}

async function control(step) {
  const answer = await fetch(process.env.COMPAT_CONTROL + step, { method: 'POST', signal: AbortSignal.timeout(80000) })
  equal(answer.status, 200, `control ${step}: ${await answer.text()}`)
}

const names = (count, prefix = 'v') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const messagesOf = (values, partitions = 1) => values.map((value, i) => ({ value, partition: i % partitions }))
const valuesOf = messages => messages.map(m => m.value.toString())

function even(members, partitions) {
  const sizes = members.map(m => m.assigned.length)
  const all = new Set(members.flatMap(m => m.assigned))
  return all.size === partitions && sizes.reduce((a, b) => a + b) === partitions && Math.max(...sizes) - Math.min(...sizes) <= 1
}

const shares = members => () => `an even share: ${JSON.stringify(members.map(m => [m.assigned, String(m.error)]))}`

// Plays the scenarios that the runner asks for and this client knows, in the runner's order.
async function play() {
  const emit = event => process.stdout.write(`${JSON.stringify(event)}\n`)
  for (const name of process.env.COMPAT_SCENARIOS.split(',')) {
    if (!table[name]) continue
    emit({ scenario: name })
    const started = Date.now()
    let [result, reason] = ['pass', '']
    try {
      await table[name]()
    } catch (error) {
      console.error(error)
      ;[result, reason] = ['fail', String(error)]
    }
    emit({ scenario: name, result, reason, seconds: (Date.now() - started) / 1000 })
  }
  process.exit(0)
}

module.exports = { BOOTSTRAP, LARGEST_VALUE_BYTES, scenario, check, equal, sleep, until, control, names, messagesOf, valuesOf, even, shares, play }
