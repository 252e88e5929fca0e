package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const patience = 30 * time.Second

func main() {
	drivers := map[string]func() *driver{"sarama": saramaDriver, "kafka-go": kafkaGoDriver}
	if len(os.Args) > 1 && drivers[os.Args[1]] != nil {
		d := drivers[os.Args[1]]()
		if len(os.Args) == 5 {
			d.childMember(os.Args[3], os.Args[4])
		}
		play(d.table())
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "member" {
		childMember(os.Args[2], os.Args[3])
		return
	}
	table := map[string]func(){
		"describe-cluster":             describeCluster,
		"create-describe-delete-topic": createDescribeDelete,
		"create-partitions":            createPartitions,
		"unknown-topic":                unknownTopic,
		"auto-create":                  autoCreate,
		"readme-example":               readmeExample,
		"recreate-topic":               recreate,
		"codecs":                       codecs,
		"acks":                         acks,
		"keys-and-partitions":          keys,
		"headers":                      headers,
		"null-key-and-value":           nulls,
		"record-near-limit":            nearLimit,
		"record-over-limit":            overLimit,
		"log-append-time":              logAppendTime,
		"read-from-start":              fromStart,
		"read-from-offset":             fromOffset,
		"read-from-timestamp":          fromTimestamp,
		"list-offsets":                 listOffsets,
		"group-of-three-one-killed":    groupOfThree,
		"assignors":                    assignors,
		"static-membership":            staticMembership,
		"group-admin":                  groupAdmin,
		"commit-and-resume-after-kill": resume,
		"member-survives-kill":         survive,
		"idempotent-across-kill":       idempotent,
	}
	maps.Copy(table, transactionScenarios)
	play(table)
}

func newClient(options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	}
	client, err := kgo.NewClient(append(base, options...)...)
	must(err, "new client")
	return client
}

var adminClient *kadm.Client

// admin shares one client over all scenarios; tools keep theirs too.
func admin() *kadm.Client {
	if adminClient == nil {
		adminClient = kadm.NewClient(newClient())
	}
	return adminClient
}

func background() context.Context {
	limited, cancel := context.WithTimeout(context.Background(), patience)
	context.AfterFunc(limited, cancel)
	return limited
}

func create(name string, partitions int32, configs map[string]*string) kadm.CreateTopicResponse {
	created, err := admin().CreateTopic(background(), partitions, 1, configs, name)
	must(err, "create "+name)
	// Apache Kafka's controller answers before its broker knows the topic.
	until(patience, saying(name+" is known to the broker"), func() bool { return listed(name) })
	return created
}

func remove(name string) error {
	deleted, err := admin().DeleteTopic(background(), name)
	if err != nil {
		return err
	}
	return deleted.Err
}

// listed asks for all topics, so that the question itself creates nothing.
func listed(name string) bool {
	topics, err := admin().ListTopics(background())
	must(err, "list topics")
	return topics.Has(name)
}

func names(count int, prefix string) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

func records(topic string, partitions int32, values []string) []*kgo.Record {
	all := make([]*kgo.Record, len(values))
	for i, value := range values {
		all[i] = &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: []byte(value)}
	}
	return all
}

// send produces to the partitions that the records name and returns the first error.
func send(all []*kgo.Record, options ...kgo.Opt) error {
	base := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client := newClient(append(base, options...)...)
	defer client.Close()
	return client.ProduceSync(background(), all...).FirstErr()
}

// reader consumes partitions 0 .. partitions from an offset.
func reader(topic string, partitions int32, offset kgo.Offset, options ...kgo.Opt) *kgo.Client {
	from := map[int32]kgo.Offset{}
	for p := int32(0); p < partitions; p++ {
		from[p] = offset
	}
	base := []kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxWait(300 * time.Millisecond)}
	return newClient(append(base, options...)...)
}

// poll returns count records; more than that are an error.
func poll(client *kgo.Client, count int) []*kgo.Record {
	var got []*kgo.Record
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(got) < count {
		fetches := client.PollFetches(limited)
		must(limited.Err(), fmt.Sprintf("%d of %d records", len(got), count))
		must(fetches.Err(), "fetch")
		got = append(got, fetches.Records()...)
	}
	equal(len(got), count, "records")
	return got
}

func nothingFollows(client *kgo.Client) {
	limited, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	check(client.PollFetches(limited).NumRecords() == 0, "a record too many")
}

// read reads exactly count records of the partitions from the start.
func read(topic string, partitions int32, count int) []*kgo.Record {
	client := reader(topic, partitions, kgo.NewOffset().AtStart())
	defer client.Close()
	got := poll(client, count)
	nothingFollows(client)
	return got
}

func valuesOf(got []*kgo.Record) []string {
	all := make([]string, len(got))
	for i, record := range got {
		all[i] = string(record.Value)
	}
	return all
}

func describeCluster() {
	first, err := admin().BrokerMetadata(background())
	must(err, "metadata")
	second, err := admin().BrokerMetadata(background())
	must(err, "metadata")
	equal(len(first.Brokers), 1, "brokers")
	equal(fmt.Sprintf("%s:%d", first.Brokers[0].Host, first.Brokers[0].Port), bootstrap, "address")
	equal(first.Controller, first.Brokers[0].NodeID, "controller")
	check(first.Cluster != "" && first.Cluster == second.Cluster, "cluster ids %q and %q", first.Cluster, second.Cluster)
	client := newClient()
	defer client.Close()
	described, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(background(), client)
	must(err, "DescribeCluster")
	equal(described.ClusterID, first.Cluster, "cluster id of DescribeCluster")
}

func createDescribeDelete() {
	const name = "topic-life"
	created := create(name, 3, map[string]*string{"retention.ms": kadm.StringPtr("123456789")})
	equal([]int{int(created.NumPartitions), int(created.ReplicationFactor)}, []int{3, 1}, "what create answered")
	refusals := map[string]error{name: kerr.TopicAlreadyExists, "bad/name": kerr.InvalidTopicException}
	for topic, expected := range refusals {
		_, err := admin().CreateTopic(background(), 1, 1, nil, topic)
		refused(err, expected, "create "+topic)
	}
	_, err := admin().CreateTopic(background(), 0, 1, nil, "no-partitions")
	refused(err, kerr.InvalidPartitions, "0 partitions")
	_, err = admin().CreateTopic(background(), 1, 2, nil, "two")
	refused(err, kerr.InvalidReplicationFactor, "2 replicas on one broker")
	topics, err := admin().ListTopics(background(), name)
	must(err, "describe")
	detail := topics[name]
	equal(detail.ID, created.ID, "topic id")
	equal(detail.Partitions.Numbers(), []int32{0, 1, 2}, "partitions")
	for _, partition := range detail.Partitions {
		check(partition.Leader >= 0 && len(partition.ISR) == 1, "leader and in-sync replicas of %v", partition)
	}
	configs, err := admin().DescribeTopicConfigs(background(), name)
	must(err, "configs")
	seen := map[string]string{}
	for _, config := range configs[0].Configs {
		seen[config.Key] = config.MaybeValue() + " " + config.Source.String()
	}
	equal(seen["retention.ms"], "123456789 DYNAMIC_TOPIC_CONFIG", "retention.ms")
	equal(seen["cleanup.policy"], "delete DEFAULT_CONFIG", "cleanup.policy")
	must(remove(name), "delete")
	until(patience, saying("the topic is gone"), func() bool { return !listed(name) })
	refused(remove(name), kerr.UnknownTopicOrPartition, "a second delete")
}

func createPartitions() {
	const name = "growing"
	create(name, 2, nil)
	grown, err := admin().UpdatePartitions(background(), 4, name)
	must(err, "grow")
	must(grown.Error(), "grow")
	shrunk, err := admin().UpdatePartitions(background(), 3, name)
	must(err, "shrink")
	refused(shrunk.Error(), kerr.InvalidPartitions, "shrinking")
	until(patience, saying("four partitions"), func() bool {
		topics, err := admin().ListTopics(background(), name)
		must(err, "describe")
		return len(topics[name].Partitions) == 4
	})
	must(send([]*kgo.Record{{Topic: name, Partition: 3, Value: []byte("x")}}), "produce")
	equal(read(name, 4, 1)[0].Partition, int32(3), "partition")
}

func unknownTopic() {
	err := send([]*kgo.Record{{Topic: "never-created", Value: []byte("x")}}, kgo.UnknownTopicRetries(0))
	refused(err, kerr.UnknownTopicOrPartition, "produce")
	topics, err := admin().ListTopics(background(), "never-created")
	must(err, "describe")
	refused(topics["never-created"].Err, kerr.UnknownTopicOrPartition, "describe")
	client := reader("never-created", 1, kgo.NewOffset().AtStart(), kgo.KeepRetryableFetchErrors(), kgo.UnknownTopicRetries(0))
	defer client.Close()
	refused(client.PollFetches(background()).Err(), kerr.UnknownTopicOrPartition, "consume")
	check(!listed("never-created"), "it was created by asking")
}

func autoCreate() {
	must(send(records("made-by-producing", 1, []string{"x"}), kgo.AllowAutoTopicCreation()), "produce")
	equal(valuesOf(read("made-by-producing", 1, 1)), []string{"x"}, "values")
}

func shownInTheReadme(ctx context.Context) error {
	// README: begin
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	err = client.ProduceSync(ctx, &kgo.Record{Topic: "orders", Key: []byte("1"), Value: []byte("one")}).FirstErr()
	// README: end
	client.Close()
	return err
}

func readmeExample() {
	must(shownInTheReadme(context.Background()), "the README's example")
	got := read("orders", 1, 1)[0]
	equal(string(got.Key)+"="+string(got.Value), "1=one", "record")
}

func recreate() {
	const name = "again"
	old := create(name, 1, nil)
	must(send(records(name, 1, names(5, "old"))), "produce")
	// This reader knows the old topic, and its fetch is parked when the topic goes.
	parked := reader(name, 1, kgo.NewOffset().AtStart(), kgo.FetchMaxWait(5*time.Second))
	defer parked.Close()
	poll(parked, 5)
	must(remove(name), "delete")
	until(patience, saying("the topic is gone"), func() bool { return !listed(name) })
	check(create(name, 1, nil).ID != old.ID, "the topic id is the old one")
	record := &kgo.Record{Topic: name, Value: []byte("new")}
	must(send([]*kgo.Record{record}), "produce")
	equal(record.Offset, int64(0), "offset")
	equal(valuesOf(read(name, 1, 1)), []string{"new"}, "values")
}

func codecs() {
	all := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	stored := map[string]uint8{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
	sent := names(200, strings.Repeat("compressible ", 20))
	for codec, option := range all {
		name := "codec-" + codec
		create(name, 1, nil)
		must(send(records(name, 1, sent), kgo.ProducerBatchCompression(option), kgo.ProducerLinger(50*time.Millisecond)), codec)
		got := read(name, 1, 200)
		equal(valuesOf(got), sent, codec)
		equal(got[0].Attrs.CompressionType(), stored[codec], codec+" as stored")
	}
	for codec, code := range stored {
		// The broker compresses anew where the topic says so.
		name := "recompressed-" + codec
		kind := map[bool]string{true: "uncompressed", false: codec}[codec == "none"]
		create(name, 1, map[string]*string{"compression.type": &kind})
		must(send(records(name, 1, sent), kgo.ProducerBatchCompression(kgo.SnappyCompression())), name)
		got := read(name, 1, 200)
		equal(valuesOf(got), sent, name)
		equal(got[0].Attrs.CompressionType(), code, name+" as stored")
	}
}

func acks() {
	const name = "acks"
	create(name, 1, nil)
	var sent []string
	// 0 comes last: what a new partition refuses for a moment would be lost without a word.
	levels := map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}
	for _, level := range []string{"all", "1", "0"} {
		options := []kgo.Opt{kgo.RequiredAcks(levels[level])}
		if level != "all" {
			options = append(options, kgo.DisableIdempotentWrite())
		}
		must(send(records(name, 1, names(20, level+"-")), options...), "acks "+level)
		sent = append(sent, names(20, level+"-")...)
		equal(valuesOf(read(name, 1, len(sent))), sent, "values with acks "+level)
	}
}

func keys() {
	const name = "keyed"
	create(name, 6, nil)
	var sent []*kgo.Record
	for i := 0; i < 80; i++ {
		sent = append(sent, &kgo.Record{Topic: name, Key: []byte(fmt.Sprint("k", i%40)), Value: []byte(fmt.Sprint(i))})
	}
	must(send(sent, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))), "produce")
	used, expected, got := map[int32]bool{}, map[string]int32{}, map[string]int32{}
	for i, record := range sent {
		equal(record.Partition, sent[i%40].Partition, "partition of key "+string(record.Key))
		used[record.Partition] = true
		expected[string(record.Key)+"="+string(record.Value)] = record.Partition
	}
	equal(len(used), 6, "partitions used")
	for _, record := range read(name, 6, 80) {
		got[string(record.Key)+"="+string(record.Value)] = record.Partition
	}
	equal(got, expected, "records")
	explicit := &kgo.Record{Topic: name, Partition: 4, Key: []byte("k0"), Value: []byte("x")}
	must(send([]*kgo.Record{explicit}), "produce")
	equal(explicit.Partition, int32(4), "explicit partition")
}

func headers() {
	const name = "headed"
	create(name, 1, nil)
	sent := []kgo.RecordHeader{
		{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{}}, {Key: "a", Value: []byte("2")},
		{Key: "c"}, {Key: "a", Value: []byte("1")}, {Key: "ü", Value: []byte{0, 255}},
	}
	must(send([]*kgo.Record{{Topic: name, Value: []byte("x"), Headers: sent}, {Topic: name, Value: []byte("y")}}), "produce")
	got := read(name, 1, 2)
	equal(len(got[0].Headers), len(sent), "headers")
	for i, header := range got[0].Headers {
		same := header.Key == sent[i].Key && bytes.Equal(header.Value, sent[i].Value) && (header.Value == nil) == (sent[i].Value == nil)
		check(same, "header %d: expected %q, got %q", i, sent[i], header)
	}
	equal(len(got[1].Headers), 0, "headers of the second record")
}

func nulls() {
	const name = "nulls"
	create(name, 1, nil)
	empty, k, v := []byte{}, []byte("k"), []byte("v")
	sent := [][2][]byte{{nil, v}, {empty, v}, {k, nil}, {k, empty}, {nil, nil}}
	var all []*kgo.Record
	for _, pair := range sent {
		all = append(all, &kgo.Record{Topic: name, Key: pair[0], Value: pair[1]})
	}
	must(send(all), "produce")
	for i, record := range read(name, 1, 5) {
		for part, got := range [][]byte{record.Key, record.Value} {
			same := bytes.Equal(got, sent[i][part]) && (got == nil) == (sent[i][part] == nil)
			check(same, "record %d part %d: expected %q, got %q", i, part, sent[i][part], got)
		}
	}
}

func nearLimit() {
	const name = "near"
	create(name, 1, nil)
	value := bytes.Repeat([]byte{7}, largestValueBytes)
	must(send([]*kgo.Record{{Topic: name, Value: value}}, kgo.ProducerBatchMaxBytes(3000000)), "produce")
	check(bytes.Equal(read(name, 1, 1)[0].Value, value), "the value differs")
}

func overLimit() {
	const name = "over"
	create(name, 1, nil)
	value := bytes.Repeat([]byte{7}, largestValueBytes+1)
	err := send([]*kgo.Record{{Topic: name, Value: value}}, kgo.ProducerBatchMaxBytes(3000000))
	refused(err, kerr.MessageTooLarge, "one byte more")
	small := &kgo.Record{Topic: name, Value: []byte("small")}
	must(send([]*kgo.Record{small}), "produce")
	equal(small.Offset, int64(0), "offset of the next record")
}

func logAppendTime() {
	const name = "stamped"
	create(name, 1, map[string]*string{"message.timestamp.type": kadm.StringPtr("LogAppendTime")})
	before := time.Now()
	must(send([]*kgo.Record{{Topic: name, Value: []byte("x"), Timestamp: before.Add(-500 * time.Second)}}), "produce")
	got := read(name, 1, 1)[0]
	equal(got.Attrs.TimestampType(), int8(1), "timestamp type")
	check(got.Timestamp.Sub(before).Abs() < time.Minute, "timestamp %v is not the broker's", got.Timestamp)
}

func fromStart() {
	const name = "start"
	create(name, 1, nil)
	must(send(records(name, 1, names(100, "v"))), "produce")
	got := read(name, 1, 100)
	equal(valuesOf(got), names(100, "v"), "values")
	for i, record := range got {
		equal(record.Offset, int64(i), "offset")
	}
}

func fromOffset() {
	const name = "middle"
	create(name, 1, nil)
	must(send(records(name, 1, names(100, "v"))), "produce")
	for offset, first := range map[kgo.Offset]int{kgo.NewOffset().At(37): 37, kgo.NewOffset().AtEnd().Relative(-10): 90} {
		client := reader(name, 1, offset)
		equal(valuesOf(poll(client, 100-first)), names(100, "v")[first:], "from the middle")
		client.Close()
	}
	tail := reader(name, 1, kgo.NewOffset().AtEnd())
	defer tail.Close()
	nothingFollows(tail)
	must(send(records(name, 1, []string{"last"})), "produce")
	equal(valuesOf(poll(tail, 1)), []string{"last"}, "from the end")
	beyond := reader(name, 1, kgo.NewOffset().At(500), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer beyond.Close()
	refused(beyond.PollFetches(background()).Err(), kerr.OffsetOutOfRange, "an offset beyond the end")
}

// timedTopic makes a topic whose record i has the time base + i seconds.
func timedTopic(name string) int64 {
	base := time.Now().Add(-time.Hour).UnixMilli()
	create(name, 1, nil)
	all := records(name, 1, names(50, "v"))
	for i, record := range all {
		record.Timestamp = time.UnixMilli(base + int64(i)*1000)
	}
	must(send(all), "produce")
	return base
}

func fromTimestamp() {
	base := timedTopic("timed")
	for after, first := range map[int64]int{20000: 20, 20001: 21, -5: 0} {
		client := reader("timed", 1, kgo.NewOffset().AfterMilli(base+after))
		got := poll(client, 50-first)
		equal(valuesOf(got), names(50, "v")[first:], fmt.Sprintf("from base + %d ms", after))
		equal(got[0].Timestamp.UnixMilli(), base+int64(first)*1000, "timestamp")
		client.Close()
	}
}

func listOffsets() {
	base := timedTopic("offsets")
	late, early := time.UnixMilli(base+100000), time.UnixMilli(base+1)
	must(send([]*kgo.Record{{Topic: "offsets", Value: []byte("late"), Timestamp: late}, {Topic: "offsets", Value: []byte("early"), Timestamp: early}}), "produce")
	expect := func(what string, offsets kadm.ListedOffsets, err error, offset int64) {
		must(err, what)
		must(offsets.Error(), what)
		equal(offsets["offsets"][0].Offset, offset, what)
	}
	offsets, err := admin().ListStartOffsets(background(), "offsets")
	expect("earliest", offsets, err, 0)
	offsets, err = admin().ListEndOffsets(background(), "offsets")
	expect("latest", offsets, err, 52)
	offsets, err = admin().ListMaxTimestampOffsets(background(), "offsets")
	expect("largest timestamp", offsets, err, 50)
	equal(offsets["offsets"][0].Timestamp, base+100000, "largest timestamp")
	offsets, err = admin().ListLocalLogStartOffsets(background(), "offsets")
	expect("earliest local", offsets, err, 0)
	offsets, err = admin().ListOffsetsAfterMilli(background(), base+30000, "offsets")
	expect("a time", offsets, err, 30)
}
