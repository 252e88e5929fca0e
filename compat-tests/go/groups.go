package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a group member that commits what it has noted.
type member struct {
	client     *kgo.Client
	noted      func(value string)
	mutex      sync.Mutex
	values     []string
	assigned   map[int32]bool
	rebalances int
	err        error
	cancel     context.CancelFunc
	done       chan struct{}
}

func newMember(group, topic string, options ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}, done: make(chan struct{})}
	base := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond), kgo.FetchMaxWait(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) { m.change(given[topic], nil) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) { m.change(nil, taken[topic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) { m.change(nil, taken[topic]) }),
	}
	m.client = newClient(append(base, options...)...)
	running, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.run(running)
	return m
}

func (m *member) change(given, taken []int32) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, partition := range given {
		m.assigned[partition] = true
	}
	if taken == nil {
		m.rebalances++
	}
	for _, partition := range taken {
		delete(m.assigned, partition)
	}
}

func (m *member) run(running context.Context) {
	defer close(m.done)
	for running.Err() == nil {
		fetches := m.client.PollFetches(running)
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) {
				m.mutex.Lock()
				m.err = err
				m.mutex.Unlock()
			}
		})
		got := fetches.Records()
		m.mutex.Lock()
		for _, record := range got {
			m.values = append(m.values, string(record.Value))
			if m.noted != nil {
				m.noted(string(record.Value))
			}
		}
		m.mutex.Unlock()
		// A commit that a rebalance refuses is made by the new owner, who reads the records again.
		_ = m.client.CommitRecords(running, got...)
	}
}

func (m *member) stop() {
	m.cancel()
	<-m.done
	m.client.Close()
}

func (m *member) held() []int32 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	held := []int32{}
	for partition := range m.assigned {
		held = append(held, partition)
	}
	slices.Sort(held)
	return held
}

func (m *member) seen() []string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.values)
}

func (m *member) failure() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.err
}

func (m *member) rebalanced() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.rebalances
}

// sharedEvenly tells whether the members hold all partitions, each once, in shares that differ by at most one.
func sharedEvenly(members []*member, partitions int) func() bool {
	return func() bool {
		all, sum, least, most := map[int32]bool{}, 0, partitions, 0
		for _, m := range members {
			held := m.held()
			for _, partition := range held {
				all[partition] = true
			}
			sum, least, most = sum+len(held), min(least, len(held)), max(most, len(held))
		}
		return sum == partitions && len(all) == partitions && most-least <= 1
	}
}

func shares(members []*member) func() string {
	return func() string {
		text := "an even share:"
		for _, m := range members {
			text += fmt.Sprint(" ", m.held(), m.failure())
		}
		return text
	}
}

func groupOfThree() {
	const topic = "shared"
	create(topic, 6, nil)
	members := []*member{newMember("three", topic), newMember("three", topic)}
	child := exec.Command(os.Args[0], "member", "three", topic)
	output, err := child.StdoutPipe()
	must(err, "child's output")
	must(child.Start(), "child")
	defer child.Process.Kill()
	var mutex sync.Mutex
	childValues, childHeld := []string{}, ""
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			mutex.Lock()
			if value, got := strings.CutPrefix(lines.Text(), "got "); got {
				childValues = append(childValues, value)
			} else {
				childHeld = lines.Text()
			}
			mutex.Unlock()
		}
	}()
	seen := func() int {
		mutex.Lock()
		defer mutex.Unlock()
		all := map[string]bool{}
		for _, values := range [][]string{childValues, members[0].seen(), members[1].seen()} {
			for _, value := range values {
				all[value] = true
			}
		}
		return len(all)
	}
	until(patience, shares(members), func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(members[0].held()) == 2 && len(members[1].held()) == 2 && childHeld == "assigned 2"
	})
	must(send(records(topic, 6, names(60, "v"))), "produce")
	until(patience, func() string { return fmt.Sprintf("60 values, got %d", seen()) }, func() bool { return seen() == 60 })
	must(child.Process.Kill(), "kill")
	must(send(records(topic, 6, names(60, "w"))), "produce")
	until(patience, shares(members), sharedEvenly(members, 6))
	until(patience, func() string { return fmt.Sprintf("120 values, got %d", seen()) }, func() bool { return seen() == 120 })
	for _, m := range members {
		m.stop()
	}
}

// childMember is the third member, a process of its own that can be killed.
func childMember(group, topic string) {
	m := newMember(group, topic)
	m.mutex.Lock()
	m.noted = func(value string) { fmt.Println("got", value) }
	m.mutex.Unlock()
	for before := -1; ; time.Sleep(20 * time.Millisecond) {
		if now := len(m.held()); now != before {
			before = now
			fmt.Println("assigned", now)
		}
	}
}

func assignors() {
	all := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	for name, balancer := range all {
		topic := "assigned-" + name
		create(topic, 6, nil)
		var members []*member
		for count := 1; count <= 3; count++ {
			members = append(members, newMember(name, topic, kgo.Balancers(balancer)))
			until(patience, shares(members), sharedEvenly(members, 6))
		}
		must(send(records(topic, 6, names(30, "v"))), "produce")
		until(patience, saying(name+": each record once"), func() bool {
			got := slices.Concat(members[0].seen(), members[1].seen(), members[2].seen())
			expected := names(30, "v")
			slices.Sort(got)
			slices.Sort(expected)
			return slices.Equal(got, expected)
		})
		members[2].stop()
		until(patience, shares(members[:2]), sharedEvenly(members[:2], 6))
		members[0].stop()
		members[1].stop()
	}
}

func staticMembership() {
	const topic = "static"
	create(topic, 4, nil)
	first, second := newMember("static", topic, kgo.InstanceID("one")), newMember("static", topic, kgo.InstanceID("two"))
	pair := []*member{first, second}
	until(patience, shares(pair), sharedEvenly(pair, 4))
	held, rebalances := first.held(), second.rebalanced()
	first.stop()
	back := newMember("static", topic, kgo.InstanceID("one"))
	until(patience, saying("the instance is back"), func() bool { return len(back.held()) > 0 })
	equal(back.held(), held, "assignment of the returned instance")
	equal(second.rebalanced(), rebalances, "rebalances of the other")
	double := newMember("static", topic, kgo.InstanceID("two"))
	until(patience, shares(pair), func() bool { return errors.Is(second.failure(), kerr.FencedInstanceID) })
	for _, m := range []*member{back, double, second} {
		m.stop()
	}
}

func describedGroup(group string) kadm.DescribedGroup {
	groups, err := admin().DescribeGroups(background(), group)
	must(err, "describe group")
	return groups[group]
}

func committedOffset(group, topic string) int64 {
	offsets, err := admin().FetchOffsets(background(), group)
	must(err, "fetch offsets")
	offset, found := offsets.Lookup(topic, 0)
	check(found && offset.Err == nil, "no committed offset: %v", offset.Err)
	return offset.At
}

func deleteGroup(group string) error {
	deleted, err := admin().DeleteGroup(background(), group)
	if err != nil {
		return err
	}
	return deleted.Err
}

func groupAdmin() {
	const topic, group = "administered", "admin"
	create(topic, 1, nil)
	must(send(records(topic, 1, names(10, "v"))), "produce")
	consumer := newClient(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ClientID("administered-client"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.RangeBalancer()), kgo.HeartbeatInterval(500*time.Millisecond))
	got := poll(consumer, 10)
	must(consumer.CommitRecords(background(), got[:4]...), "commit")
	equal(committedOffset(group, topic), int64(4), "committed offset")
	lags, err := admin().Lag(background(), group)
	must(err, "lag")
	equal(lags[group].Lag.Total(), int64(6), "lag")
	groups, err := admin().ListGroups(background())
	must(err, "list groups")
	equal([]string{groups[group].State, groups[group].ProtocolType}, []string{"Stable", "consumer"}, "the group in the list")
	empty, err := admin().ListGroups(background(), "Empty")
	must(err, "list groups by state")
	check(!slices.Contains(empty.Groups(), group), "the group is in the list of empty ones")
	described := describedGroup(group)
	equal([]string{described.State, described.Protocol}, []string{"Stable", "range"}, "description")
	equal(len(described.Members), 1, "members")
	equal(described.Members[0].ClientID, "administered-client", "client id")
	check(described.AssignedPartitions().Lookup(topic, 0), "the assignment lacks the partition")
	refused(deleteGroup(group), kerr.NonEmptyGroup, "delete of a live group")
	consumer.Close()
	until(patience, saying("the group is empty"), func() bool { return describedGroup(group).State == "Empty" })
	reset := kadm.Offsets{}
	reset.AddOffset(topic, 0, 2, -1)
	must(admin().CommitAllOffsets(background(), group, reset), "reset")
	equal(committedOffset(group, topic), int64(2), "reset offset")
	removed, err := admin().DeleteOffsets(background(), group, kadm.TopicsSet{topic: {0: {}}})
	must(err, "delete offsets")
	must(removed.Error(), "delete offsets")
	offsets, err := admin().FetchOffsets(background(), group)
	check(err == nil && len(offsets) == 0 || errors.Is(err, kerr.GroupIDNotFound), "offsets after their delete: %v, %v", offsets, err)
	must(admin().CommitAllOffsets(background(), group, reset), "commit again")
	must(deleteGroup(group), "delete")
	groups, err = admin().ListGroups(background())
	must(err, "list groups")
	check(!slices.Contains(groups.Groups(), group), "still listed")
	refused(deleteGroup(group), kerr.GroupIDNotFound, "a second delete")
}

func resume() {
	const topic = "resumed"
	create(topic, 1, nil)
	must(send(records(topic, 1, names(100, "v"))), "produce")
	options := []kgo.Opt{kgo.ConsumerGroup("resume"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6 * time.Second)}
	consumer := newClient(options...)
	must(consumer.CommitRecords(background(), poll(consumer, 100)[:40]...), "commit")
	consumer.Close()
	must(control("/kill9-and-restart"), "restart")
	consumer = newClient(options...)
	defer consumer.Close()
	equal(valuesOf(poll(consumer, 60)), names(100, "v")[40:], "values after the restart")
}

func survive() {
	const topic = "survived"
	create(topic, 3, nil)
	m := newMember("survivor", topic)
	different := func() int {
		all := m.seen()
		slices.Sort(all)
		return len(slices.Compact(all))
	}
	must(send(records(topic, 3, names(30, "v"))), "produce")
	until(patience, saying("30 values before the kill"), func() bool { return different() == 30 })
	must(control("/kill9-and-restart"), "restart")
	must(send(records(topic, 3, names(30, "w"))), "produce")
	until(45*time.Second, func() string { return fmt.Sprintf("60 values, got %d, %v", different(), m.failure()) }, func() bool { return different() == 60 })
	m.stop()
	// A new client: the shared one may still hold a connection to the broker that was killed.
	client := newClient()
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(background(), "survivor")
	must(err, "fetch offsets")
	for partition := int32(0); partition < 3; partition++ {
		offset, _ := offsets.Lookup(topic, partition)
		equal(offset.At, int64(20), "committed offset")
	}
}

func idempotent() {
	const topic = "once"
	create(topic, 1, nil)
	client := newClient(kgo.ProducerLinger(2*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	var mutex sync.Mutex
	var failures []error
	restarted := make(chan error, 1)
	sent, restarting := 0, true
	for sent < 1500 || restarting {
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(sent))}, func(_ *kgo.Record, err error) {
			if err != nil {
				mutex.Lock()
				failures = append(failures, err)
				mutex.Unlock()
			}
		})
		if sent++; sent == 500 {
			go func() { restarted <- control("/kill9-and-restart") }()
		}
		if sent%5 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		select {
		case err := <-restarted:
			must(err, "restart")
			restarting = false
		default:
		}
	}
	flushing, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(client.Flush(flushing), "flush")
	mutex.Lock()
	check(len(failures) == 0, "failed deliveries: %v", failures)
	mutex.Unlock()
	equal(valuesOf(read(topic, 1, sent)), names(sent, ""), "each value once, in order")
}
