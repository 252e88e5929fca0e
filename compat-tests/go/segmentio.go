package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

func kafkaGo() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(seeds...), Timeout: 20 * time.Second, Transport: &kafka.Transport{MetadataTTL: 5 * time.Second, IdleTimeout: time.Second}}
}

func kafkaGoCode(err error) int {
	var code kafka.Error
	var many kafka.WriteErrors
	if errors.As(err, &many) {
		for _, one := range many {
			if one != nil {
				return kafkaGoCode(one)
			}
		}
	}
	if errors.As(err, &code) {
		return int(code)
	}
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) {
		return -messageTooLarge
	}
	return -100
}

func kafkaGoProduce(topic string, all []*message, how sending) error {
	next := 0
	writer := &kafka.Writer{
		Addr: kafka.TCP(seeds...), Topic: topic, BatchBytes: 3000000, BatchTimeout: 5 * time.Millisecond, MaxAttempts: 100, WriteBackoffMax: 200 * time.Millisecond,
		AllowAutoTopicCreation: how.autoCreate, Transport: &kafka.Transport{MetadataTTL: 5 * time.Second},
		RequiredAcks: map[string]kafka.RequiredAcks{"": kafka.RequireAll, "all": kafka.RequireAll, "1": kafka.RequireOne, "0": kafka.RequireNone}[how.acks],
		Balancer:     kafka.BalancerFunc(func(kafka.Message, ...int) int { next++; return int(all[next-1].partition) }),
	}
	if how.autoCreate {
		writer.MaxAttempts = 1
	}
	if how.keyed {
		writer.Balancer = kafka.Murmur2Balancer{}
	}
	codecs := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	writer.Compression = codecs[how.codec]
	defer writer.Close()
	var out []kafka.Message
	for _, m := range all {
		one := kafka.Message{Key: m.key, Value: m.value, Time: m.time}
		for _, h := range m.headers {
			one.Headers = append(one.Headers, kafka.Header{Key: h.key, Value: h.value})
		}
		out = append(out, one)
	}
	err := writer.WriteMessages(background(), out...)
	// It leaves it to its caller to try again while a topic is being created.
	for attempt := 0; attempt < 30 && err != nil && how.autoCreate; attempt++ {
		time.Sleep(200 * time.Millisecond)
		next = 0
		err = writer.WriteMessages(background(), out...)
	}
	return err
}

func kafkaGoRead(topic string, partition int32, from int64, count int, wait time.Duration) ([]*message, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: seeds, Topic: topic, Partition: int(partition), MaxWait: 100 * time.Millisecond, MinBytes: 1, MaxBytes: 10000000,
		OffsetOutOfRangeError: true, ReadBackoffMin: 10 * time.Millisecond, MaxAttempts: 3,
	})
	defer reader.Close()
	// Its constants for the first and the last offset are Kafka's the other way round.
	switch from {
	case fromEarliest:
		from = kafka.FirstOffset
	case fromLatest:
		from = kafka.LastOffset
	}
	if err := reader.SetOffset(from); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var got []*message
	for len(got) < count {
		m, err := reader.ReadMessage(limited)
		if limited.Err() != nil {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		in := &message{key: m.Key, value: m.Value, partition: int32(m.Partition), offset: m.Offset, time: m.Time}
		for _, h := range m.Headers {
			in.headers = append(in.headers, header{h.Key, h.Value})
		}
		got = append(got, in)
	}
	return got, nil
}

func kafkaGoJoin(group, topic, assignor, _ string, noted func(string)) func() {
	balancers := map[string]kafka.GroupBalancer{"range": kafka.RangeGroupBalancer{}, "roundrobin": kafka.RoundRobinGroupBalancer{}}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: seeds, GroupID: group, Topic: topic, GroupBalancers: []kafka.GroupBalancer{balancers[assignor]}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: membersSessionLimit, RebalanceTimeout: membersSessionLimit, MaxWait: 100 * time.Millisecond,
		MinBytes: 1, MaxBytes: 10000000, JoinGroupBackoff: 200 * time.Millisecond, MaxAttempts: 30,
	})
	running, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for running.Err() == nil {
			m, err := reader.FetchMessage(running)
			if err != nil {
				continue
			}
			noted(string(m.Value))
			// A commit that a rebalance or a kill refuses is made with a later one, or its record is read again.
			_ = reader.CommitMessages(running, m)
		}
	})
	return func() {
		cancel()
		done.Wait()
		reader.Close()
	}
}

func kafkaGoMetadata(topics ...string) *kafka.MetadataResponse {
	answer, err := kafkaGo().Metadata(background(), &kafka.MetadataRequest{Topics: topics})
	must(err, "metadata")
	return answer
}

func kafkaGoShares(group string) (string, [][]int32) {
	answer, err := kafkaGo().DescribeGroups(background(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	must(err, "describe group")
	described, held := answer.Groups[0], [][]int32(nil)
	for _, member := range described.Members {
		var share []int32
		for _, topic := range member.MemberAssignments.Topics {
			for _, partition := range topic.Partitions {
				share = append(share, int32(partition))
			}
		}
		held = append(held, share)
	}
	return described.GroupState, held
}

func kafkaGoOffsetAt(topic string, timestamp int64) int64 {
	answer, err := kafkaGo().ListOffsets(background(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {{Partition: 0, Timestamp: timestamp}}}})
	must(err, "list offsets")
	offsets := answer.Topics[topic][0]
	must(offsets.Error, "list offsets")
	switch timestamp {
	case fromEarliest:
		return offsets.FirstOffset
	case fromLatest:
		return offsets.LastOffset
	}
	for offset := range offsets.Offsets {
		return offset
	}
	return -1
}

func kafkaGoDriver() *driver {
	return &driver{
		// Its reader shows an empty key or value as null, and the producer's time where the broker has set its own; it has no idempotent producer.
		lacks: []string{"null-key-and-value", "log-append-time"},
		name:  "kafka-go", produce: kafkaGoProduce, read: kafkaGoRead, join: kafkaGoJoin, shares: kafkaGoShares, offsetAt: kafkaGoOffsetAt, code: kafkaGoCode,
		codecs: []string{"none", "gzip", "snappy", "lz4", "zstd"}, assignors: []string{"range", "roundrobin"},
		cluster: func() (string, []string, bool) {
			answer := kafkaGoMetadata()
			var addresses []string
			for _, broker := range answer.Brokers {
				addresses = append(addresses, net.JoinHostPort(broker.Host, strconv.Itoa(broker.Port)))
			}
			return answer.ClusterID, addresses, answer.Controller.ID == answer.Brokers[0].ID
		},
		create: func(name string, partitions, replicas int, config map[string]string) error {
			topic := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: replicas}
			for key, value := range config {
				topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
			}
			answer, err := kafkaGo().CreateTopics(background(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
			if err != nil {
				return err
			}
			return answer.Errors[name]
		},
		grow: func(name string, count int) error {
			answer, err := kafkaGo().CreatePartitions(background(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: name, Count: int32(count)}}})
			if err != nil {
				return err
			}
			return answer.Errors[name]
		},
		remove: func(name string) error {
			answer, err := kafkaGo().DeleteTopics(background(), &kafka.DeleteTopicsRequest{Topics: []string{name}})
			if err != nil {
				return err
			}
			return answer.Errors[name]
		},
		topics: func() []string {
			var all []string
			for _, topic := range kafkaGoMetadata().Topics {
				all = append(all, topic.Name)
			}
			return all
		},
		count: func(name string) int {
			leaders := 0
			for _, topic := range kafkaGoMetadata().Topics {
				for _, partition := range topic.Partitions {
					if topic.Name == name && partition.Leader.Host != "" {
						leaders++
					}
				}
			}
			return leaders
		},
		config: func(name, key string) string {
			resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name, ConfigNames: []string{key}}
			answer, err := kafkaGo().DescribeConfigs(background(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{resource}})
			must(err, "describe configs")
			return answer.Resources[0].ConfigEntries[0].ConfigValue
		},
		groups: func() []string {
			answer, err := kafkaGo().ListGroups(background(), &kafka.ListGroupsRequest{})
			must(err, "list groups")
			var all []string
			for _, group := range answer.Groups {
				all = append(all, group.GroupID)
			}
			return all
		},
		committed: func(group, topic string, partition int32) int64 {
			answer, err := kafkaGo().OffsetFetch(background(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {int(partition)}}})
			if err != nil || len(answer.Topics[topic]) == 0 {
				return -1 // The coordinator is not ready yet.
			}
			return answer.Topics[topic][0].CommittedOffset
		},
		commit: func(group, topic string, offset int64) error {
			_, err := kafkaGo().OffsetCommit(background(), &kafka.OffsetCommitRequest{
				GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: offset}}},
			})
			return err
		},
		ungroup: func(group string) error {
			answer, err := kafkaGo().DeleteGroups(background(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
			if err != nil {
				return err
			}
			return answer.Errors[group]
		},
	}
}
