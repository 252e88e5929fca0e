package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var transactionScenarios = map[string]func(){
	"transactions-commit":                    txCommit,
	"transactions-abort":                     txAbort,
	"transactions-interleaved":               txInterleaved,
	"transactions-consume-transform-produce": txTransform,
	"transactions-fence-zombie":              txFence,
	"transactions-timeout":                   txTimeout,
	"transactions-across-kill":               txAcrossKill,
	"transactions-admin":                     txAdmin,
}

// transactional is a producer of one transactional id; the first begin asks for its producer id.
func transactional(id string, options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("none")}
	return newClient(append(base, options...)...)
}

func begin(client *kgo.Client) { must(client.BeginTransaction(), "begin") }

// write sends in the open transaction and waits until the broker has all.
func write(client *kgo.Client, topic string, partitions int32, values []string) {
	must(client.ProduceSync(background(), records(topic, partitions, values)...).FirstErr(), "produce")
}

func end(client *kgo.Client, commit kgo.TransactionEndTry) {
	must(client.EndTransaction(background(), commit), "end")
}

func readUnder(level kgo.IsolationLevel, topic string, partitions int32, offset kgo.Offset, count int) []*kgo.Record {
	client := reader(topic, partitions, offset, kgo.FetchIsolationLevel(level))
	defer client.Close()
	got := poll(client, count)
	nothingFollows(client)
	return got
}

func committedValues(topic string, count int) []string {
	return valuesOf(readUnder(kgo.ReadCommitted(), topic, 1, kgo.NewOffset().AtStart(), count))
}

// stable is the last stable offset of partition 0.
func stable(topic string) int64 {
	offsets, err := admin().ListCommittedOffsets(background(), topic)
	must(err, "list committed offsets")
	must(offsets.Error(), "list committed offsets")
	return offsets[topic][0].Offset
}

func stableIs(topic string, offset int64) {
	told := func() string { return fmt.Sprintf("the last stable offset is %d, not %d", stable(topic), offset) }
	until(patience, told, func() bool { return stable(topic) == offset })
}

func txCommit() {
	const topic = "tx-commit"
	create(topic, 3, nil)
	producer := transactional("committer")
	defer producer.Close()
	for t := 0; t < 5; t++ {
		begin(producer)
		write(producer, topic, 3, names(30, fmt.Sprintf("t%d-", t)))
		end(producer, kgo.TryCommit)
	}
	var got, expected []string
	for _, r := range readUnder(kgo.ReadCommitted(), topic, 3, kgo.NewOffset().AtStart(), 150) {
		got = append(got, fmt.Sprintf("%d %02d %s", r.Partition, r.Offset, r.Value))
	}
	for p := 0; p < 3; p++ {
		for i := 0; i < 50; i++ {
			// Each transaction's marker takes an offset behind its ten records.
			expected = append(expected, fmt.Sprintf("%d %02d t%d-%d", p, i+i/10, i/10, i%10*3+p))
		}
	}
	slices.Sort(got)
	equal(got, expected, "partitions, offsets and values")
}

func txAbort() {
	const topic = "tx-abort"
	create(topic, 1, nil)
	producer := transactional("aborter")
	defer producer.Close()
	for _, part := range []string{"a", "b", "c"} {
		begin(producer)
		write(producer, topic, 1, names(4, part))
		end(producer, kgo.TransactionEndTry(part != "b"))
	}
	begin(producer)
	end(producer, kgo.TryAbort)
	equal(committedValues(topic, 8), slices.Concat(names(4, "a"), names(4, "c")), "read_committed")
	all := slices.Concat(names(4, "a"), names(4, "b"), names(4, "c"))
	equal(valuesOf(readUnder(kgo.ReadUncommitted(), topic, 1, kgo.NewOffset().AtStart(), 12)), all, "read_uncommitted")
	equal(valuesOf(readUnder(kgo.ReadCommitted(), topic, 1, kgo.NewOffset().At(7), 4)), names(4, "c"), "from inside of the aborted transaction")
}

func txInterleaved() {
	const topic = "tx-interleaved"
	create(topic, 1, nil)
	a, b, c := transactional("mixed-a"), transactional("mixed-b"), transactional("mixed-c")
	for _, client := range []*kgo.Client{a, b, c} {
		defer client.Close()
	}
	begin(a)
	begin(b)
	var seen []string
	for i := 0; i < 5; i++ {
		write(a, topic, 1, []string{fmt.Sprint("a", i)})
		write(b, topic, 1, []string{fmt.Sprint("b", i)})
		must(send(records(topic, 1, []string{fmt.Sprint("plain", i)})), "produce")
		seen = append(seen, fmt.Sprint("a", i), fmt.Sprint("plain", i))
	}
	equal(stable(topic), int64(0), "last stable offset with two open transactions")
	end(a, kgo.TryCommit)
	stableIs(topic, 1)
	end(b, kgo.TryAbort)
	stableIs(topic, 17)
	begin(c)
	write(c, topic, 1, names(3, "c"))
	must(send(records(topic, 1, []string{"behind"})), "produce")
	equal(stable(topic), int64(17), "last stable offset with one open transaction")
	equal(committedValues(topic, 10), seen, "read_committed with an open transaction")
	end(c, kgo.TryCommit)
	equal(committedValues(topic, 14), append(seen, "c0", "c1", "c2", "behind"), "read_committed in the end")
}

func txTransform() {
	const source, target = "tx-input", "tx-output"
	create(source, 2, nil)
	create(target, 2, nil)
	must(send(records(source, 2, names(60, "v"))), "produce")
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(seeds...), kgo.TransactionalID("transformer"), kgo.ConsumerGroup("transform"), kgo.ConsumeTopics(source),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.FetchMaxWait(300*time.Millisecond),
	)
	must(err, "session")
	committed := func() map[int32]int64 {
		all, err := admin().FetchOffsets(background(), "transform")
		must(err, "fetch offsets")
		offsets := map[int32]int64{}
		all.Each(func(o kadm.OffsetResponse) { offsets[o.Partition] = o.At })
		return offsets
	}
	at := map[int32]int64{}
	for done, turns := 0, 0; done < 60; {
		fetches := session.PollRecords(background(), 10)
		must(fetches.Err(), "fetch")
		if fetches.NumRecords() == 0 {
			continue
		}
		must(session.Begin(), "begin")
		for _, r := range fetches.Records() {
			session.Produce(context.Background(), &kgo.Record{Topic: target, Partition: r.Partition, Value: append(slices.Clone(r.Value), '\'')}, nil)
		}
		turns++
		ended, err := session.End(background(), kgo.TransactionEndTry(turns%2 == 0))
		must(err, "end of the session's transaction")
		equal(ended, turns%2 == 0, "whether it was committed")
		if ended {
			done += fetches.NumRecords()
			fetches.EachRecord(func(r *kgo.Record) { at[r.Partition] = r.Offset + 1 })
		}
		// The coordinator answers before the markers are written.
		told := func() string { return fmt.Sprintf("the group's offsets are %v, not %v", committed(), at) }
		until(patience, told, func() bool { return reflect.DeepEqual(committed(), at) })
		check(done < 60 || turns >= 12, "only %d transactions", turns)
	}
	session.Close()
	equal(committed(), map[int32]int64{0: 30, 1: 30}, "committed offsets")
	got, expected := valuesOf(readUnder(kgo.ReadCommitted(), target, 2, kgo.NewOffset().AtStart(), 60)), []string{}
	for _, value := range names(60, "v") {
		expected = append(expected, value+"'")
	}
	slices.Sort(got)
	slices.Sort(expected)
	equal(got, expected, "values, each once")
}

// fenced tells whether the error is one of those that say so.
func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidTxnState)
}

func txFence() {
	const topic = "tx-fence"
	create(topic, 1, nil)
	// KIP-360 lets a client take its epoch up again; a zombie must not.
	zombie, heir := transactional("fenced"), transactional("fenced")
	defer zombie.Close()
	defer heir.Close()
	begin(zombie)
	write(zombie, topic, 1, names(5, "zombie"))
	begin(heir)
	write(heir, topic, 1, names(5, "heir"))
	err := zombie.EndTransaction(background(), kgo.TryCommit)
	check(fenced(err), "a commit of the fenced producer: %v", err)
	end(heir, kgo.TryCommit)
	equal(committedValues(topic, 5), names(5, "heir"), "read_committed")
	stableIs(topic, 12)
}

func txTimeout() {
	const topic = "tx-timeout"
	create(topic, 1, nil)
	slow := transactional("slow", kgo.TransactionTimeout(2*time.Second))
	defer slow.Close()
	begin(slow)
	write(slow, topic, 1, names(5, "slow"))
	must(send(records(topic, 1, []string{"plain"})), "produce")
	equal(stable(topic), int64(0), "last stable offset of the open transaction")
	stableIs(topic, 7)
	equal(committedValues(topic, 1), []string{"plain"}, "read_committed")
	err := slow.EndTransaction(background(), kgo.TryCommit)
	check(err != nil, "a commit after the time-out was taken")
	after := transactional("slow")
	defer after.Close()
	begin(after)
	write(after, topic, 1, []string{"next"})
	end(after, kgo.TryCommit)
	equal(committedValues(topic, 2), []string{"plain", "next"}, "read_committed in the end")
}

func txAcrossKill() {
	const topic = "tx-kill"
	create(topic, 1, nil)
	producer := transactional("survivor")
	defer producer.Close()
	var expected []string
	for i, commits := range []bool{true, false} {
		first, second := names(5, fmt.Sprint("before", i, "-")), names(5, fmt.Sprint("after", i, "-"))
		begin(producer)
		write(producer, topic, 1, first)
		must(control("/kill9-and-restart"), "restart")
		write(producer, topic, 1, second)
		end(producer, kgo.TransactionEndTry(commits))
		if commits {
			expected = append(append(expected, first...), second...)
		}
		equal(committedValues(topic, len(expected)), expected, fmt.Sprint("read_committed after turn ", i))
	}
	begin(producer)
	write(producer, topic, 1, names(3, "left-open"))
	must(control("/kill9-and-restart"), "restart")
	heir := transactional("survivor")
	defer heir.Close()
	begin(heir)
	write(heir, topic, 1, []string{"heir"})
	end(heir, kgo.TryCommit)
	equal(committedValues(topic, len(expected)+1), append(expected, "heir"), "read_committed in the end")
}

func txAdmin() {
	const topic, id = "tx-admin", "administered"
	create(topic, 1, nil)
	producer := transactional(id)
	defer producer.Close()
	begin(producer)
	write(producer, topic, 1, []string{"a", "b"})
	described, err := admin().DescribeTransactions(background(), id, "nobody")
	must(err, "describe")
	equal([]any{described[id].State, described[id].TimeoutMillis}, []any{"Ongoing", int32(40000)}, "state and time-out")
	equal(described[id].Topics.Lookup(topic, 0), true, "partitions")
	refused(described["nobody"].Err, kerr.TransactionalIDNotFound, "an unknown id")
	listed, err := admin().ListTransactions(background(), nil, []string{"Ongoing"})
	must(err, "list")
	equal(listed[id].ProducerID, described[id].ProducerID, "producer id in the list")
	producers, err := admin().DescribeProducers(background(), kadm.TopicsSet{topic: {0: {}}})
	must(err, "describe producers")
	for _, each := range producers.SortedProducers() {
		equal([]any{each.ProducerID, each.LastSequence, each.CurrentTxnStartOffset}, []any{described[id].ProducerID, int32(1), int64(0)}, "producer")
	}
	abort := kadm.TxnMarkers{ProducerID: described[id].ProducerID, ProducerEpoch: described[id].ProducerEpoch, Topics: kadm.TopicsSet{topic: {0: {}}}}
	written, err := admin().WriteTxnMarkers(background(), abort)
	must(err, "write the marker")
	for _, each := range written.Sorted() {
		for _, answer := range each.Topics.Sorted() {
			for _, partition := range answer.Partitions.Sorted() {
				must(partition.Err, "write the marker")
			}
		}
	}
	stableIs(topic, 3)
	end(producer, kgo.TryAbort)
}
