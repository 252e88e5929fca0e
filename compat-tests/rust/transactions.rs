//! The scenarios with transactions, played by rdkafka.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Message, Offset};

use crate::player::{PATIENCE, Played, Table, check, control, equal, names};
use crate::rdkafka_driver::{Rdkafka, config, next, reader, refusal};

pub fn table() -> Table<Rdkafka> {
    vec![
        ("transactions-commit", commit),
        ("transactions-abort", abort),
        ("transactions-interleaved", interleaved),
        ("transactions-consume-transform-produce", transform),
        ("transactions-fence-zombie", fence),
        ("transactions-timeout", timeout),
        ("transactions-across-kill", across_kill),
        ("transactions-kill-behind-end", kill_behind_end),
    ]
}

/// A producer that is ready to begin.
fn transactional(id: &str, more: &[(&str, &str)]) -> Played<FutureProducer> {
    let producer: FutureProducer = config(&[&[("transactional.id", id), ("linger.ms", "2")], more].concat()).create()?;
    producer.init_transactions(PATIENCE).map_err(refusal)?;
    Ok(producer)
}

/// Sends the values in the open transaction and waits until the broker has them.
fn write(client: &Rdkafka, producer: &FutureProducer, topic: &str, partitions: i32, values: &[String]) -> Played {
    let mut waiting = Vec::new();
    for (value, partition) in values.iter().zip((0..partitions).cycle()) {
        let record: FutureRecord<'_, [u8], str> = FutureRecord::to(topic).payload(value.as_str()).partition(partition);
        waiting.push(producer.send_result(record).map_err(|(error, _)| refusal(error))?);
    }
    for delivery in waiting {
        client.runtime.block_on(delivery)?.map_err(|(error, _)| refusal(error))?;
    }
    Ok(())
}

fn end(producer: &FutureProducer, commits: bool) -> Played {
    let patience = PATIENCE * 2;
    let ended = if commits { producer.commit_transaction(patience) } else { producer.abort_transaction(patience) };
    Ok(ended.map_err(refusal)?)
}

fn assigned(isolation: &str, topic: &str, partition: i32, offset: i64) -> Played<BaseConsumer> {
    let (consumer, mut wanted) = (reader(&[("isolation.level", isolation)])?, TopicPartitionList::new());
    wanted.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    consumer.assign(&wanted)?;
    Ok(consumer)
}

/// The records of a partition from the offset on, their offset before their value: exactly count.
fn read(isolation: &str, topic: &str, partition: i32, offset: i64, count: usize) -> Played<Vec<(i64, String)>> {
    let consumer = assigned(isolation, topic, partition, offset)?;
    let (mut got, mut silent) = (Vec::new(), Duration::ZERO);
    // One more poll than needed looks that nothing follows.
    while got.len() <= count && silent < if got.len() == count { Duration::from_millis(400) } else { PATIENCE * 2 } {
        match next(&consumer, Duration::from_millis(100)) {
            None => silent += Duration::from_millis(100),
            Some(message) => {
                let message = message.map_err(refusal)?;
                got.push((message.offset(), String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()));
                silent = Duration::ZERO;
            }
        }
    }
    equal(got.len(), count, &format!("records of {topic}, {isolation}"))?;
    Ok(got)
}

fn values(isolation: &str, topic: &str, offset: i64, count: usize) -> Played<Vec<String>> {
    Ok(read(isolation, topic, 0, offset, count)?.into_iter().map(|(_, value)| value).collect())
}

fn commit(client: &Rdkafka) -> Played {
    let (topic, producer) = (client.made("tx-commit", 3, &[])?, transactional("committer", &[])?);
    for t in 0..5 {
        producer.begin_transaction()?;
        write(client, &producer, topic, 3, &names(30, &format!("t{t}-")))?;
        end(&producer, true)?;
    }
    for partition in 0..3 {
        // Each transaction's marker takes an offset behind its ten records.
        let expected: Vec<_> = (0..50).map(|i| (i + i / 10, format!("t{}-{}", i / 10, i % 10 * 3 + i64::from(partition)))).collect();
        equal(read("read_committed", topic, partition, 0, 50)?, expected, "offsets and values")?;
    }
    Ok(())
}

fn abort(client: &Rdkafka) -> Played {
    let (topic, producer) = (client.made("tx-abort", 1, &[])?, transactional("aborter", &[])?);
    for part in ["a", "b", "c"] {
        producer.begin_transaction()?;
        write(client, &producer, topic, 1, &names(4, part))?;
        end(&producer, part != "b")?;
    }
    equal(values("read_committed", topic, 0, 8)?, [names(4, "a"), names(4, "c")].concat(), "read_committed")?;
    equal(values("read_uncommitted", topic, 0, 12)?, [names(4, "a"), names(4, "b"), names(4, "c")].concat(), "read_uncommitted")?;
    equal(values("read_committed", topic, 7, 4)?, names(4, "c"), "from inside of the aborted transaction")
}

fn interleaved(client: &Rdkafka) -> Played {
    let topic = client.made("tx-interleaved", 1, &[])?;
    let (a, b, c) = (transactional("mixed-a", &[])?, transactional("mixed-b", &[])?, transactional("mixed-c", &[])?);
    let plain: FutureProducer = config(&[]).create()?;
    a.begin_transaction()?;
    b.begin_transaction()?;
    let mut seen = Vec::new();
    for i in 0..5 {
        write(client, &a, topic, 1, &[format!("a{i}")])?;
        write(client, &b, topic, 1, &[format!("b{i}")])?;
        write(client, &plain, topic, 1, &[format!("plain{i}")])?;
        seen.extend([format!("a{i}"), format!("plain{i}")]);
    }
    end(&a, true)?;
    end(&b, false)?;
    c.begin_transaction()?;
    write(client, &c, topic, 1, &names(3, "c"))?;
    write(client, &plain, topic, 1, &["behind".into()])?;
    equal(values("read_committed", topic, 0, 10)?, seen.clone(), "read_committed with an open transaction")?;
    end(&c, true)?;
    seen.extend(["c0", "c1", "c2", "behind"].map(String::from));
    equal(values("read_committed", topic, 0, 14)?, seen, "read_committed in the end")
}

fn transform(client: &Rdkafka) -> Played {
    let (source, target) = (client.made("tx-input", 1, &[])?, client.made("tx-output", 1, &[])?);
    let plain: FutureProducer = config(&[]).create()?;
    write(client, &plain, source, 1, &names(40, "v"))?;
    let producer = transactional("transformer", &[])?;
    let group: BaseConsumer = config(&[("group.id", "transform"), ("isolation.level", "read_committed")]).create()?;
    let metadata = group.group_metadata().ok_or("no metadata of the group")?;
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(source, 0);
    let (mut done, mut turn) = (0, 0);
    while done < 40 {
        turn += 1;
        let input: Vec<String> = values("read_committed", source, done, usize::try_from(40 - done)?)?.into_iter().take(10).collect();
        producer.begin_transaction()?;
        write(client, &producer, target, 1, &input)?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(source, 0, Offset::Offset(done + 10))?;
        producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE).map_err(refusal)?;
        end(&producer, turn % 2 == 0)?;
        if turn % 2 == 0 {
            done += 10;
        }
        let stable = group.committed_offsets(wanted.clone(), PATIENCE)?.elements().first().map(|element| element.offset());
        equal(stable, Some(if done == 0 { Offset::Invalid } else { Offset::Offset(done) }), "the group's stable offset")?;
    }
    equal(values("read_committed", target, 0, 40)?, names(40, "v"), "values, each once")
}

fn fence(client: &Rdkafka) -> Played {
    let (topic, zombie) = (client.made("tx-fence", 1, &[])?, transactional("fenced", &[])?);
    zombie.begin_transaction()?;
    write(client, &zombie, topic, 1, &names(5, "zombie"))?;
    let heir = transactional("fenced", &[])?;
    match zombie.commit_transaction(PATIENCE) {
        Err(KafkaError::Transaction(error)) => check(error.is_fatal(), || format!("a commit of the fenced producer: {error}"))?,
        other => return Err(format!("a commit of the fenced producer: {other:?}").into()),
    }
    heir.begin_transaction()?;
    write(client, &heir, topic, 1, &names(5, "heir"))?;
    end(&heir, true)?;
    equal(values("read_committed", topic, 0, 5)?, names(5, "heir"), "read_committed")
}

fn timeout(client: &Rdkafka) -> Played {
    let topic = client.made("tx-timeout", 1, &[])?;
    // librdkafka wants no message to outlive its transaction.
    let quick = [("transaction.timeout.ms", "2000"), ("message.timeout.ms", "2000"), ("socket.timeout.ms", "1900")];
    let (slow, plain): (_, FutureProducer) = (transactional("slow", &quick)?, config(&[]).create()?);
    slow.begin_transaction()?;
    write(client, &slow, topic, 1, &names(5, "slow"))?;
    write(client, &plain, topic, 1, &["plain".into()])?;
    // Comes when the broker has aborted what is before it.
    equal(values("read_committed", topic, 0, 1)?, vec!["plain".to_owned()], "read_committed")?;
    check(slow.commit_transaction(PATIENCE).is_err(), || "a commit after the time-out was taken".into())?;
    drop(slow);
    let next = transactional("slow", &[])?;
    next.begin_transaction()?;
    write(client, &next, topic, 1, &["next".into()])?;
    end(&next, true)?;
    equal(values("read_committed", topic, 0, 2)?, vec!["plain".to_owned(), "next".to_owned()], "read_committed in the end")
}

fn across_kill(client: &Rdkafka) -> Played {
    let (topic, producer) = (client.made("tx-kill", 1, &[])?, transactional("survivor", &[])?);
    let expected = [names(5, "before"), names(5, "after")].concat();
    for commits in [true, false] {
        producer.begin_transaction()?;
        write(client, &producer, topic, 1, &names(5, "before"))?;
        control("/kill9-and-restart")?;
        write(client, &producer, topic, 1, &names(5, "after"))?;
        end(&producer, commits)?;
        equal(values("read_committed", topic, 0, 10)?, expected.clone(), "read_committed")?;
    }
    producer.begin_transaction()?;
    write(client, &producer, topic, 1, &names(3, "left-open"))?;
    control("/kill9-and-restart")?;
    let heir = transactional("survivor", &[])?;
    heir.begin_transaction()?;
    write(client, &heir, topic, 1, &["heir".into()])?;
    end(&heir, true)?;
    equal(values("read_committed", topic, 0, 11)?, [expected, vec!["heir".into()]].concat(), "read_committed in the end")
}

fn kill_behind_end(client: &Rdkafka) -> Played {
    let (topic, producer) = (client.made("tx-answered", 1, &[])?, transactional("answered", &[])?);
    for (part, commits) in [("aborted", false), ("v", true)] {
        producer.begin_transaction()?;
        write(client, &producer, topic, 1, &names(5, part))?;
        end(&producer, commits)?;
    }
    control("/kill9-and-restart")?;
    equal(values("read_committed", topic, 0, 5)?, names(5, "v"), "read_committed")
}
