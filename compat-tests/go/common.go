package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// message is a record on its way in or out.
type message struct {
	key, value []byte
	headers    []header
	partition  int32
	offset     int64
	time       time.Time
}

type header struct {
	key   string
	value []byte
}

type sending struct {
	acks       string // "all", "1" or "0"; empty is all
	codec      string // empty is none
	keyed      bool   // the partitioner chooses, else the message's partition is kept
	idempotent bool
	autoCreate bool
}

// Where a reader starts, besides an offset.
const (
	fromEarliest = -2
	fromLatest   = -1
)

// driver is what the scenarios below need of a client library; each as its library calls it.
type driver struct {
	name      string
	lacks     []string // scenarios that the library cannot express
	cluster   func() (id string, addresses []string, controller bool)
	create    func(name string, partitions, replicas int, config map[string]string) error
	grow      func(name string, count int) error
	remove    func(name string) error
	topics    func() []string
	count     func(name string) int
	config    func(name, key string) string
	produce   func(topic string, all []*message, how sending) error
	read      func(topic string, partition int32, from int64, count int, wait time.Duration) ([]*message, error)
	offsetAt  func(topic string, timestamp int64) int64 // -2 earliest, -1 latest, else milliseconds
	codecs    []string
	assignors []string
	join      func(group, topic, assignor, instance string, noted func(string)) (stop func())
	groups    func() []string
	shares    func(group string) (state string, held [][]int32)
	committed func(group, topic string, partition int32) int64
	commit    func(group, topic string, offset int64) error
	ungroup   func(group string) error
	code      func(error) int
}

// Kafka's error codes.
const (
	messageTooLarge     = 10
	invalidTopic        = 17
	unknownTopicOrPart  = 3
	topicExists         = 36
	invalidPartitions   = 37
	invalidReplication  = 38
	nonEmptyGroup       = 68
	groupIDNotFound     = 69
	offsetOutOfRange    = 1
	membersSessionLimit = 6 * time.Second
)

func (d *driver) table() map[string]func() {
	all := map[string]func(){
		"describe-cluster": d.describeCluster, "create-describe-delete-topic": d.createDescribeDelete, "create-partitions": d.createPartitions,
		"unknown-topic": d.unknownTopic, "auto-create": d.autoCreated, "recreate-topic": d.recreated, "codecs": d.allCodecs, "acks": d.allAcks,
		"keys-and-partitions": d.keyed, "headers": d.headed, "null-key-and-value": d.nulled, "record-near-limit": d.near, "record-over-limit": d.over,
		"log-append-time": d.appendTime, "read-from-start": d.start, "read-from-offset": d.middle, "read-from-timestamp": d.timestamp,
		"list-offsets": d.offsets, "group-of-three-one-killed": d.three, "assignors": d.allAssignors, "group-admin": d.administer,
		"commit-and-resume-after-kill": d.resumed, "member-survives-kill": d.survived,
	}
	for _, name := range d.lacks {
		delete(all, name)
	}
	return all
}

func (d *driver) refusedWith(err error, code int, what string) {
	check(err != nil && d.code(err) == code, "%s: expected error code %d, got %v", what, code, err)
}

func (d *driver) made(name string, partitions int, config map[string]string) string {
	must(d.create(name, partitions, 1, config), "create "+name)
	until(patience, saying(name+" is known to the broker"), func() bool { return d.count(name) == partitions })
	return name
}

func (d *driver) sent(topic string, partitions int, values []string, how sending) []*message {
	all := make([]*message, len(values))
	for i, value := range values {
		all[i] = &message{value: []byte(value), partition: int32(i % partitions)}
	}
	must(d.produce(topic, all, how), "produce")
	return all
}

// exactly reads count records from the partition and looks that no further one follows.
func (d *driver) exactly(topic string, partition int32, from int64, count int) []*message {
	got, err := d.read(topic, partition, from, count, patience)
	must(err, "read")
	equal(len(got), count, "records of "+topic)
	more, err := d.read(topic, partition, got[count-1].offset+1, 1, 300*time.Millisecond)
	check(err != nil || len(more) == 0, "a record too many: %v", more)
	return got
}

func texts(all []*message) []string {
	values := make([]string, len(all))
	for i, m := range all {
		values[i] = string(m.value)
	}
	return values
}

func (d *driver) describeCluster() {
	first, addresses, controller := d.cluster()
	equal(addresses, []string{bootstrap}, "addresses")
	second, _, _ := d.cluster()
	check(controller && first == second, "controller %v, cluster ids %q and %q", controller, first, second)
}

func (d *driver) createDescribeDelete() {
	name := d.made("topic-life", 3, map[string]string{"retention.ms": "123456789"})
	d.refusedWith(d.create(name, 3, 1, nil), topicExists, "a second create")
	d.refusedWith(d.create("bad/name", 1, 1, nil), invalidTopic, "a bad name")
	d.refusedWith(d.create("no-partitions", 0, 1, nil), invalidPartitions, "0 partitions")
	d.refusedWith(d.create("two", 1, 2, nil), invalidReplication, "2 replicas on one broker")
	equal(d.config(name, "retention.ms"), "123456789", "retention.ms")
	equal(d.config(name, "cleanup.policy"), "delete", "cleanup.policy")
	check(slices.Contains(d.topics(), name), "not listed")
	must(d.remove(name), "delete")
	until(patience, saying("the topic is gone"), func() bool { return !slices.Contains(d.topics(), name) })
	d.refusedWith(d.remove(name), unknownTopicOrPart, "a second delete")
}

func (d *driver) createPartitions() {
	name := d.made("growing", 2, nil)
	must(d.grow(name, 4), "grow")
	d.refusedWith(d.grow(name, 3), invalidPartitions, "shrinking")
	until(patience, saying("four partitions"), func() bool { return d.count(name) == 4 })
	must(d.produce(name, []*message{{value: []byte("x"), partition: 3}}, sending{}), "produce")
	equal(texts(d.exactly(name, 3, 0, 1)), []string{"x"}, "values")
}

func (d *driver) unknownTopic() {
	equal(d.count("never-created"), 0, "partitions of an unknown topic")
	d.refusedWith(d.grow("never-created", 4), unknownTopicOrPart, "grow")
	check(!slices.Contains(d.topics(), "never-created"), "it was created by asking")
}

func (d *driver) autoCreated() {
	d.sent("made-by-producing", 1, []string{"x"}, sending{autoCreate: true})
	equal(texts(d.exactly("made-by-producing", 0, 0, 1)), []string{"x"}, "values")
}

func (d *driver) recreated() {
	name := d.made("again", 1, nil)
	d.sent(name, 1, names(5, "old"), sending{})
	must(d.remove(name), "delete")
	until(patience, saying("the topic is gone"), func() bool { return !slices.Contains(d.topics(), name) })
	d.made(name, 1, nil)
	d.sent(name, 1, []string{"new"}, sending{})
	equal(texts(d.exactly(name, 0, 0, 1)), []string{"new"}, "values")
}

func (d *driver) allCodecs() {
	for _, codec := range d.codecs {
		name, values := d.made("codec-"+codec, 1, nil), names(200, strings.Repeat("compressible ", 20))
		d.sent(name, 1, values, sending{codec: codec})
		equal(texts(d.exactly(name, 0, 0, 200)), values, codec)
	}
}

func (d *driver) allAcks() {
	name := d.made("acks", 1, nil)
	var all []string
	// 0 comes last: what a new partition refuses for a moment would be lost without a word.
	for _, level := range []string{"all", "1", "0"} {
		d.sent(name, 1, names(20, level+"-"), sending{acks: level})
		all = append(all, names(20, level+"-")...)
		equal(texts(d.exactly(name, 0, 0, len(all))), all, "values with acks "+level)
	}
}

func (d *driver) keyed() {
	name := d.made("keyed", 6, nil)
	var all []*message
	for i := 0; i < 80; i++ {
		all = append(all, &message{key: []byte(fmt.Sprint("k", i%40)), value: []byte(fmt.Sprint(i))})
	}
	must(d.produce(name, all, sending{keyed: true}), "produce")
	where, counts := map[string]int32{}, 0
	for partition := int32(0); partition < 6; partition++ {
		held := int(d.offsetIn(name, partition))
		check(held > 0, "partition %d is unused", partition)
		counts += held
		for _, m := range d.exactly(name, partition, 0, held) {
			before, known := where[string(m.key)]
			check(!known || before == partition, "key %s is in two partitions", m.key)
			where[string(m.key)] = partition
		}
	}
	equal(counts, 80, "records")
	must(d.produce(name, []*message{{key: []byte("k0"), value: []byte("x"), partition: 4}}, sending{}), "produce")
	got, err := d.read(name, 4, d.offsetIn(name, 4)-1, 1, patience)
	must(err, "read")
	equal(texts(got), []string{"x"}, "the record of the explicit partition")
}

// offsetIn finds a partition's end by reading it out.
func (d *driver) offsetIn(topic string, partition int32) int64 {
	got, err := d.read(topic, partition, 0, 1000, 700*time.Millisecond)
	must(err, "read")
	return int64(len(got))
}

func (d *driver) headed() {
	name := d.made("headed", 1, nil)
	sent := []header{{"a", []byte("1")}, {"b", []byte{}}, {"a", []byte("2")}, {"a", []byte("1")}, {"ü", []byte{0, 255}}}
	must(d.produce(name, []*message{{value: []byte("x"), headers: sent}, {value: []byte("y")}}, sending{}), "produce")
	got := d.exactly(name, 0, 0, 2)
	equal(len(got[0].headers), len(sent), "headers")
	for i, h := range got[0].headers {
		check(h.key == sent[i].key && bytes.Equal(h.value, sent[i].value), "header %d: %q", i, h)
	}
	equal(len(got[1].headers), 0, "headers of the second record")
}

func (d *driver) nulled() {
	name := d.made("nulls", 1, nil)
	k, v, empty := []byte("k"), []byte("v"), []byte{}
	sent := [][2][]byte{{nil, v}, {empty, v}, {k, nil}, {k, empty}, {nil, nil}}
	var all []*message
	for _, pair := range sent {
		all = append(all, &message{key: pair[0], value: pair[1]})
	}
	must(d.produce(name, all, sending{}), "produce")
	for i, m := range d.exactly(name, 0, 0, 5) {
		for part, got := range [][]byte{m.key, m.value} {
			same := bytes.Equal(got, sent[i][part]) && (got == nil) == (sent[i][part] == nil)
			check(same, "record %d part %d: expected %#v, got %#v", i, part, sent[i][part], got)
		}
	}
}

func (d *driver) near() {
	value := bytes.Repeat([]byte{7}, largestValueBytes)
	must(d.produce(d.made("near", 1, nil), []*message{{value: value}}, sending{}), "produce")
	check(bytes.Equal(d.exactly("near", 0, 0, 1)[0].value, value), "the value differs")
}

func (d *driver) over() {
	value := bytes.Repeat([]byte{7}, largestValueBytes+1)
	d.refusedWith(d.produce(d.made("over", 1, nil), []*message{{value: value}}, sending{}), messageTooLarge, "one byte more")
	d.sent("over", 1, []string{"small"}, sending{})
	equal(texts(d.exactly("over", 0, 0, 1)), []string{"small"}, "values")
}

func (d *driver) appendTime() {
	name, before := d.made("stamped", 1, map[string]string{"message.timestamp.type": "LogAppendTime"}), time.Now()
	must(d.produce(name, []*message{{value: []byte("x"), time: before.Add(-500 * time.Second)}}, sending{}), "produce")
	got := d.exactly(name, 0, 0, 1)[0].time
	check(got.Sub(before).Abs() < time.Minute, "timestamp %v is not the broker's", got)
}

func (d *driver) start() {
	name := d.made("start", 1, nil)
	d.sent(name, 1, names(100, "v"), sending{})
	got := d.exactly(name, 0, fromEarliest, 100)
	equal(texts(got), names(100, "v"), "values")
	for i, m := range got {
		equal(m.offset, int64(i), "offset")
	}
}

func (d *driver) middle() {
	name := d.made("middle", 1, nil)
	d.sent(name, 1, names(100, "v"), sending{})
	equal(texts(d.exactly(name, 0, 37, 63)), names(100, "v")[37:], "from offset 37")
	none, err := d.read(name, 0, fromLatest, 1, 700*time.Millisecond)
	check(err != nil || len(none) == 0, "a record before the end")
	_, err = d.read(name, 0, 500, 1, 5*time.Second)
	d.refusedWith(err, offsetOutOfRange, "an offset beyond the end")
}

func (d *driver) timed(name string) int64 {
	base := time.Now().Add(-time.Hour).UnixMilli()
	d.made(name, 1, nil)
	var all []*message
	for i, value := range names(50, "v") {
		all = append(all, &message{value: []byte(value), time: time.UnixMilli(base + int64(i)*1000)})
	}
	must(d.produce(name, all, sending{}), "produce")
	return base
}

func (d *driver) timestamp() {
	base := d.timed("timed")
	for after, first := range map[int64]int{20000: 20, 20001: 21, -5: 0} {
		got := d.exactly("timed", 0, d.offsetAt("timed", base+after), 50-first)
		equal(texts(got), names(50, "v")[first:], fmt.Sprintf("from base + %d ms", after))
		equal(got[0].time.UnixMilli(), base+int64(first)*1000, "timestamp")
	}
}

func (d *driver) offsets() {
	base := d.timed("offsets")
	equal(d.offsetAt("offsets", fromEarliest), int64(0), "earliest")
	equal(d.offsetAt("offsets", fromLatest), int64(50), "latest")
	equal(d.offsetAt("offsets", base+30000), int64(30), "a time")
	equal(d.offsetAt("offsets", base+100001), int64(-1), "a time beyond")
}

// noting collects the values that members read.
type noting struct {
	mutex  sync.Mutex
	values []string
}

func (n *noting) note(value string) {
	n.mutex.Lock()
	n.values = append(n.values, value)
	n.mutex.Unlock()
}

func (n *noting) all() []string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return slices.Sorted(slices.Values(n.values))
}

func (n *noting) different() int { return len(slices.Compact(n.all())) }

// even waits until the group is stable and its members hold all partitions in shares that differ by at most one.
func (d *driver) even(group string, members, partitions int) {
	told := ""
	until(patience, func() string { return "even shares of " + group + ": " + told }, func() bool {
		state, held := d.shares(group)
		told = fmt.Sprint(state, held)
		if state != "Stable" || len(held) != members {
			return false
		}
		all, most, least := []int32{}, 0, partitions
		for _, share := range held {
			all, most, least = append(all, share...), max(most, len(share)), min(least, len(share))
		}
		slices.Sort(all)
		return len(all) == partitions && len(slices.Compact(all)) == partitions && most-least <= 1
	})
}

func (d *driver) three() {
	topic, own := d.made("shared", 6, nil), &noting{}
	defer d.join("three", topic, "range", "", own.note)()
	defer d.join("three", topic, "range", "", own.note)()
	child := exec.Command(os.Args[0], d.name, "member", "three", topic)
	output, err := child.StdoutPipe()
	must(err, "child's output")
	must(child.Start(), "child")
	defer child.Process.Kill()
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			own.note(lines.Text())
		}
	}()
	d.even("three", 3, 6)
	d.sent(topic, 6, names(60, "v"), sending{})
	until(patience, saying("60 values"), func() bool { return own.different() == 60 })
	must(child.Process.Kill(), "kill")
	d.sent(topic, 6, names(60, "w"), sending{})
	d.even("three", 2, 6)
	until(patience, func() string { return fmt.Sprintf("120 values, got %d", own.different()) }, func() bool { return own.different() == 120 })
}

// childMember is the third member, a process of its own that can be killed.
func (d *driver) childMember(group, topic string) {
	d.join(group, topic, "range", "", func(value string) { fmt.Println(value) })
	select {}
}

func (d *driver) allAssignors() {
	for _, assignor := range d.assignors {
		topic, seen := d.made("assigned-"+assignor, 6, nil), &noting{}
		var stops []func()
		for count := 1; count <= 3; count++ {
			stops = append(stops, d.join(assignor, topic, assignor, "", seen.note))
			d.even(assignor, count, 6)
		}
		d.sent(topic, 6, names(30, "v"), sending{})
		until(patience, saying(assignor+": each record once"), func() bool { return slices.Equal(seen.all(), slices.Sorted(slices.Values(names(30, "v")))) })
		stops[2]()
		d.even(assignor, 2, 6)
		stops[0]()
		stops[1]()
	}
}

func (d *driver) administer() {
	topic, seen := d.made("administered", 1, nil), &noting{}
	d.sent(topic, 1, names(10, "v"), sending{})
	stop := d.join("admin", topic, "range", "", seen.note)
	until(patience, saying("10 values"), func() bool { return seen.different() == 10 })
	until(patience, saying("the commit of 10"), func() bool { return d.committed("admin", topic, 0) == 10 })
	check(slices.Contains(d.groups(), "admin"), "not listed")
	state, held := d.shares("admin")
	equal([]any{state, held}, []any{"Stable", [][]int32{{0}}}, "state and shares")
	d.refusedWith(d.ungroup("admin"), nonEmptyGroup, "delete of a live group")
	stop()
	until(patience, saying("the group is empty"), func() bool { state, _ := d.shares("admin"); return state == "Empty" })
	must(d.commit("admin", topic, 2), "reset")
	equal(d.committed("admin", topic, 0), int64(2), "reset offset")
	must(d.ungroup("admin"), "delete")
	check(!slices.Contains(d.groups(), "admin"), "still listed")
	d.refusedWith(d.ungroup("admin"), groupIDNotFound, "a second delete")
}

func (d *driver) resumed() {
	topic, seen := d.made("resumed", 1, nil), &noting{}
	d.sent(topic, 1, names(40, "v"), sending{})
	stop := d.join("resume", topic, "range", "", seen.note)
	until(patience, saying("the commit of 40"), func() bool { return d.committed("resume", topic, 0) == 40 })
	stop()
	d.sent(topic, 1, names(60, "w"), sending{})
	must(control("/kill9-and-restart"), "restart")
	after := &noting{}
	defer d.join("resume", topic, "range", "", after.note)()
	until(patience, saying("60 values"), func() bool { return len(after.all()) >= 60 })
	equal(after.all(), slices.Sorted(slices.Values(names(60, "w"))), "values after the restart")
}

func (d *driver) survived() {
	topic, seen := d.made("survived", 3, nil), &noting{}
	stop := d.join("survivor", topic, "range", "", seen.note)
	d.sent(topic, 3, names(30, "v"), sending{})
	until(patience, saying("30 values before the kill"), func() bool { return seen.different() == 30 })
	must(control("/kill9-and-restart"), "restart")
	d.sent(topic, 3, names(30, "w"), sending{})
	until(45*time.Second, func() string { return fmt.Sprintf("60 values, got %d", seen.different()) }, func() bool { return seen.different() == 60 })
	for partition := int32(0); partition < 3; partition++ {
		// More than 20 where a library has sent again what was on its way at the kill.
		until(patience, saying("the commit of 20"), func() bool { return d.committed("survivor", topic, partition) >= 20 })
	}
	stop()
}
