//! What is sent to a broker that will be killed: idempotent producers that retry what was not acknowledged, and a client that makes and
//! deletes topics. Both know what they were told, so that it can be compared with what is there afterwards.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use model::{ProducerEpoch, ProducerId, Sequence};
use protocol::StrBytes;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, InitProducerIdRequest, ProduceRequest};
use record_batch::{BatchBuilder, Codec};
use uuid::Uuid;

use crate::client::{Client, PATIENCE, Random, now_ms, topic_name};

/// What Kafka's brokers remember of a producer, and so what may be under way.
const IN_FLIGHT_MAX: usize = 5;
const RECORDS_MAX: usize = 10;
const PRODUCE: i16 = 9;
/// Of records with keys one in so many has no value.
const TOMBSTONE_IN: usize = 6;
/// The smallest that the configuration allows, so that segments roll often.
const SEGMENT_BYTES: &str = "1048576";

/// A partition of a topic's present life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

pub(crate) fn places(topic: &str, partitions: i32) -> impl Iterator<Item = Place> + '_ {
    (0..partitions).map(move |partition| Place { topic: topic.to_owned(), partition })
}

/// A batch that was sent at least once.
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) records: i32,
    pub(crate) first_sequence: i32,
    /// The base offset that the broker acknowledged.
    pub(crate) acknowledged: Option<i64>,
    /// The base offset at which it was read.
    pub(crate) found: Option<i64>,
}

/// The batches of one request.
struct Sent {
    correlation_id: i32,
    batches: Vec<(Place, usize)>,
}

/// A producer that lives through all kills.
pub(crate) struct Producer {
    pub(crate) id: i64,
    epoch: i16,
    random: Random,
    /// What was sent to each partition, in order.
    pub(crate) lanes: HashMap<Place, Vec<Batch>>,
    in_flight: VecDeque<Sent>,
    /// Batches that were there already when they were sent again, and acknowledged with the offset that they had.
    pub(crate) duplicates: usize,
    /// Whether an error ends its work like a lost connection: nothing is known of the request then.
    pub(crate) may_be_refused: bool,
    /// So many keys its records have, some of them without a value, with the time of now; otherwise there is one key and one old time.
    pub(crate) keys: Option<usize>,
    /// The highest log start that an answer told.
    pub(crate) log_starts: HashMap<Place, i64>,
    /// Set when answers do not count any more, nor those of the topics' client.
    pub(crate) deaf: Arc<AtomicBool>,
}

/// A producer id that nobody had.
pub(crate) fn new_producer_id(client: &mut Client) -> (i64, i16) {
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let response = client.call(4, &request);
    assert_eq!(response.error_code, 0);
    (response.producer_id.0, response.producer_epoch)
}

/// That a connection was lost is what we want; that nothing came over a living one is not, and a refusal only where the disk may be gone.
fn expect_lost(outcome: io::Result<()>, may_be_refused: bool) {
    let error = outcome.expect_err("it goes on until the connection is lost");
    assert!(!matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "the broker lives but does not answer");
    assert!(may_be_refused || error.kind() != io::ErrorKind::Other, "{error}");
}

/// What an error code becomes.
fn refused(what: &str, code: i16) -> io::Error {
    io::Error::other(format!("{what}: error {code}"))
}

impl Producer {
    pub(crate) fn new(client: &mut Client, seed: u64) -> Self {
        let (id, epoch) = new_producer_id(client);
        Self {
            id,
            epoch,
            random: Random(seed),
            lanes: HashMap::new(),
            in_flight: VecDeque::new(),
            duplicates: 0,
            may_be_refused: false,
            keys: None,
            log_starts: HashMap::new(),
            deaf: Arc::default(),
        }
    }

    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Forgets a topic that is gone.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.lanes.retain(|place, _| place.topic != topic);
        self.log_starts.retain(|place, _| place.topic != topic);
        for sent in &mut self.in_flight {
            sent.batches.retain(|(place, _)| place.topic != topic);
        }
        self.in_flight.retain(|sent| !sent.batches.is_empty());
    }

    /// Retries what is not acknowledged, then sends drawn batches, until the connection is lost.
    pub(crate) fn produce_until_lost(&mut self, address: &str, places: &[Place], value_bytes_max: usize, acknowledgements: &Sender<()>) {
        let mut produce = || {
            let mut client = Client::try_connect(address, PATIENCE)?.until(&self.deaf);
            self.send_again(&mut client)?;
            loop {
                let window = 1 + self.random.below(IN_FLIGHT_MAX);
                while self.in_flight.len() < window {
                    let first = self.random.below(places.len());
                    let second = (first + 1 + self.random.below(places.len().saturating_sub(1))) % places.len();
                    let count = if self.random.once_in(4) && second != first { 2 } else { 1 };
                    let drawn: Vec<_> = [first, second][..count].iter().map(|place| places[*place].clone()).collect();
                    self.send_new(&mut client, &drawn, value_bytes_max)?;
                }
                self.receive(&mut client)?;
                // Nobody listens any more when the broker was killed.
                let _ended = acknowledgements.send(());
            }
        };
        let outcome = produce();
        expect_lost(outcome, self.may_be_refused);
    }

    /// Retries what is not acknowledged and waits until it is.
    pub(crate) fn settle(&mut self, client: &mut Client) -> io::Result<()> {
        self.send_again(client)?;
        self.receive_all(client)
    }

    fn receive_all(&mut self, client: &mut Client) -> io::Result<()> {
        while self.has_in_flight() {
            self.receive(client)?;
        }
        Ok(())
    }

    fn send_again(&mut self, client: &mut Client) -> io::Result<()> {
        for place in 0..self.in_flight.len() {
            let request = self.request(&self.in_flight[place].batches);
            self.in_flight[place].correlation_id = client.post(PRODUCE, &request)?;
        }
        Ok(())
    }

    /// Sends one new batch to each of the partitions, in one request.
    fn send_new(&mut self, client: &mut Client, places: &[Place], value_bytes_max: usize) -> io::Result<()> {
        let batches = places.iter().map(|place| (place.clone(), self.draw(place, value_bytes_max))).collect::<Vec<_>>();
        let request = self.request(&batches);
        // It counts as sent before it is, since a part of it may arrive.
        self.in_flight.push_back(Sent { correlation_id: 0, batches });
        let correlation_id = client.post(PRODUCE, &request)?;
        self.in_flight.back_mut().unwrap().correlation_id = correlation_id;
        Ok(())
    }

    /// The next batch of a partition; its place among those sent there.
    fn draw(&mut self, place: &Place, value_bytes_max: usize) -> usize {
        let lane = self.lanes.entry(place.clone()).or_default();
        let first_sequence = lane.last().map_or(0, |last| last.first_sequence + last.records);
        let codec = if self.random.once_in(8) { Codec::Lz4 } else { Codec::None };
        let (id, epoch) = (ProducerId::new(self.id).unwrap(), ProducerEpoch::new(self.epoch).unwrap());
        let mut builder = BatchBuilder::new().with_codec(codec, None).with_producer(id, epoch, Sequence::new(first_sequence));
        let timestamp = self.keys.map_or(1_000, |_| now_ms());
        for _ in 0..=self.random.below(RECORDS_MAX) {
            let key = self.keys.map_or_else(|| format!("{place:?}"), |keys| self.random.below(keys).to_string());
            if self.keys.is_some() && self.random.once_in(TOMBSTONE_IN) {
                builder.append(timestamp, Some(key.as_bytes()), None, &[]);
                continue;
            }
            let mut value = Vec::new();
            let value_bytes = self.random.below(value_bytes_max);
            while value.len() < value_bytes {
                value.extend_from_slice(&self.random.next().to_be_bytes());
            }
            builder.append(timestamp, Some(key.as_bytes()), Some(&value), &[]);
        }
        let records = builder.record_count();
        lane.push(Batch { bytes: builder.build(), records, first_sequence, acknowledged: None, found: None });
        lane.len() - 1
    }

    fn request(&self, batches: &[(Place, usize)]) -> ProduceRequest {
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for (place, batch) in batches {
            let records = self.lanes[place][*batch].bytes.clone();
            let data = PartitionProduceData::default().with_index(place.partition).with_records(Some(records));
            topics.entry(&place.topic).or_default().push(data);
        }
        let topics =
            topics.into_iter().map(|(name, data)| TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data));
        ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(topics.collect())
    }

    /// Receives the acknowledgement of the oldest request.
    fn receive(&mut self, client: &mut Client) -> io::Result<()> {
        let response = client.answer::<ProduceRequest>(PRODUCE, self.in_flight[0].correlation_id)?;
        let mut answers =
            response.responses.iter().flat_map(|topic| topic.partition_responses.iter().map(|answer| (topic.name.as_str(), answer)));
        if let Some((topic, answer)) = answers.find(|(_, answer)| answer.error_code != 0) {
            let message = answer.error_message.as_ref().map_or("", |message| message.as_str());
            return Err(refused(&format!("producer {} on {topic}-{}, {message}", self.id, answer.index), answer.error_code));
        }
        let sent = self.in_flight.pop_front().unwrap();
        for (place, batch) in sent.batches {
            let mut topics = response.responses.iter().filter(|topic| topic.name == topic_name(&place.topic));
            let appended = topics.find_map(|topic| topic.partition_responses.iter().find(|answer| answer.index == place.partition));
            let appended = appended.unwrap_or_else(|| panic!("no answer for {place:?}"));
            let told = self.log_starts.entry(place.clone()).or_default();
            *told = appended.log_start_offset.max(*told);
            let batch = &mut self.lanes.get_mut(&place).unwrap()[batch];
            if let Some(found) = batch.found {
                assert_eq!(appended.base_offset, found, "{place:?}: a retry was appended once more");
                self.duplicates += 1;
            }
            batch.acknowledged = Some(appended.base_offset);
        }
        Ok(())
    }
}

/// What was asked and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// With so many partitions.
    Create(i32),
    Delete,
}

/// A name that is sometimes a topic.
pub(crate) struct Slot {
    pub(crate) name: String,
    /// Set while it is a topic.
    pub(crate) id: Option<Uuid>,
    pub(crate) partitions: i32,
    pub(crate) pending: Option<Pending>,
    /// The ids of its earlier lives.
    pub(crate) past_ids: HashSet<Uuid>,
    /// The last things that were asked, answered and found, for whoever must explain a failure.
    pub(crate) history: VecDeque<String>,
}

const HISTORY_MAX: usize = 12;

/// A client that makes topics, writes to them and deletes them.
pub(crate) struct Topics {
    pub(crate) slots: Vec<Slot>,
    pub(crate) producer: Producer,
    random: Random,
    /// Topics that were made and deleted, as far as acknowledged.
    pub(crate) created: usize,
    pub(crate) deleted: usize,
}

/// Makes a topic with small segments; its id.
pub(crate) fn create_topic(client: &mut Client, name: &str, partitions: i32) -> io::Result<Uuid> {
    create_topic_with(client, name, partitions, &[])
}

/// The same with more configuration.
pub(crate) fn create_topic_with(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) -> io::Result<Uuid> {
    let config = |(name, value): &(&str, &str)| {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let configs = [("segment.bytes", SEGMENT_BYTES)].iter().chain(configs).map(config).collect();
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs);
    let response = client.try_call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000))?;
    match response.topics[0].error_code {
        0 => Ok(response.topics[0].topic_id),
        code => Err(refused(&format!("creating {name}, {:?}", response.topics[0].error_message), code)),
    }
}

pub(crate) fn delete_topic(client: &mut Client, name: &str) -> io::Result<()> {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    let response = client.try_call(6, &DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000))?;
    match response.responses[0].error_code {
        0 => Ok(()),
        code => Err(refused(&format!("deleting {name}, {:?}", response.responses[0].error_message), code)),
    }
}

impl Slot {
    pub(crate) fn note(&mut self, event: String) {
        self.history.truncate(HISTORY_MAX - 1);
        self.history.push_front(event);
    }

    /// What is known for sure when the topic is there, with this id.
    pub(crate) fn is_there(&mut self, id: Uuid) {
        assert!(!self.past_ids.contains(&id), "{} has the id of a deleted topic", self.name);
        if let Some(Pending::Create(partitions)) = self.pending.take() {
            self.partitions = partitions;
        }
        self.note(format!("there: {id} with {}", self.partitions));
        self.id = Some(id);
    }

    /// What is known for sure when it is not.
    pub(crate) fn is_gone(&mut self) {
        self.note("gone".to_owned());
        self.past_ids.extend(self.id.take());
        self.pending = None;
    }
}

impl Topics {
    pub(crate) fn new(client: &mut Client, names: usize, seed: u64) -> Self {
        let slot = |number| Slot {
            name: format!("passing-{number}"),
            id: None,
            partitions: 0,
            pending: None,
            past_ids: HashSet::new(),
            history: VecDeque::new(),
        };
        let producer = Producer::new(client, seed ^ 1);
        Self { slots: (0..names).map(slot).collect(), producer, random: Random(seed), created: 0, deleted: 0 }
    }

    /// Retries what is not acknowledged, uses each topic, then makes and deletes topics, until the connection is lost.
    pub(crate) fn change_until_lost(&mut self, address: &str, makes_new_ones: bool) {
        let mut change = || {
            let mut client = Client::try_connect(address, PATIENCE)?.until(&self.producer.deaf);
            self.use_all(&mut client)?;
            loop {
                let slot = self.random.below(self.slots.len());
                if !makes_new_ones {
                    // It waits for the end.
                    client.receive()?;
                } else if self.slots[slot].id.is_none() {
                    self.create(&mut client, slot)?;
                    self.touch(&mut client, slot)?;
                } else if self.random.once_in(3) {
                    self.touch(&mut client, slot)?;
                } else {
                    self.delete(&mut client, slot)?;
                }
            }
        };
        let outcome = change();
        expect_lost(outcome, self.producer.may_be_refused);
    }

    /// Settles what is under way and writes to every topic.
    pub(crate) fn use_all(&mut self, client: &mut Client) -> io::Result<()> {
        self.producer.settle(client)?;
        (0..self.slots.len()).try_for_each(|slot| self.touch(client, slot))
    }

    /// Writes to each partition of a topic, if it is one.
    fn touch(&mut self, client: &mut Client, slot: usize) -> io::Result<()> {
        let Slot { name, id: Some(_), partitions, .. } = &self.slots[slot] else { return Ok(()) };
        let places: Vec<_> = places(name, *partitions).collect();
        self.producer.send_new(client, &places, 100)?;
        self.producer.receive_all(client)
    }

    fn create(&mut self, client: &mut Client, slot: usize) -> io::Result<()> {
        let partitions = 1 + i32::try_from(self.random.below(3)).unwrap();
        self.slots[slot].pending = Some(Pending::Create(partitions));
        self.slots[slot].note(format!("create with {partitions}?"));
        let id = create_topic(client, &self.slots[slot].name, partitions)?;
        self.slots[slot].is_there(id);
        self.created += 1;
        Ok(())
    }

    fn delete(&mut self, client: &mut Client, slot: usize) -> io::Result<()> {
        self.slots[slot].pending = Some(Pending::Delete);
        self.slots[slot].note("delete?".to_owned());
        delete_topic(client, &self.slots[slot].name)?;
        self.slots[slot].is_gone();
        self.producer.forget(&self.slots[slot].name);
        self.deleted += 1;
        Ok(())
    }
}
