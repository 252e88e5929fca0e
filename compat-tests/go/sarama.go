package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Retry.Max = 200
	config.Producer.MaxMessageBytes = 3000000
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond
	config.Consumer.Group.Session.Timeout = membersSessionLimit
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Metadata.Retry.Max = 30
	return config
}

// saramaAdmin is fresh for each call: what a kill has ended is not met again.
func saramaAdmin[T any](call func(sarama.ClusterAdmin) T) T {
	admin, err := sarama.NewClusterAdmin(seeds, saramaConfig())
	must(err, "new admin")
	defer admin.Close()
	return call(admin)
}

func saramaClient(config *sarama.Config) sarama.Client {
	client, err := sarama.NewClient(seeds, config)
	must(err, "new client")
	return client
}

func saramaCode(err error) int {
	var code sarama.KError
	if errors.As(err, &code) {
		return int(code)
	}
	return -100
}

func saramaMessage(topic string, m *message) *sarama.ProducerMessage {
	out := &sarama.ProducerMessage{Topic: topic, Partition: m.partition, Timestamp: m.time}
	if m.key != nil {
		out.Key = sarama.ByteEncoder(m.key)
	}
	if m.value != nil {
		out.Value = sarama.ByteEncoder(m.value)
	}
	for _, h := range m.headers {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(h.key), Value: h.value})
	}
	return out
}

func saramaProduce(topic string, all []*message, how sending) error {
	config := saramaConfig()
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{"": sarama.WaitForAll, "all": sarama.WaitForAll, "1": sarama.WaitForLocal, "0": sarama.NoResponse}[how.acks]
	config.Producer.Partitioner = sarama.NewManualPartitioner
	if how.keyed {
		config.Producer.Partitioner = sarama.NewHashPartitioner
	}
	if how.codec != "" {
		must(config.Producer.Compression.UnmarshalText([]byte(how.codec)), "codec")
	}
	config.Metadata.AllowAutoTopicCreation = how.autoCreate
	producer, err := sarama.NewSyncProducer(seeds, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	var out []*sarama.ProducerMessage
	for _, m := range all {
		out = append(out, saramaMessage(topic, m))
	}
	err = producer.SendMessages(out)
	var refusals sarama.ProducerErrors
	if errors.As(err, &refusals) {
		return refusals[0].Err
	}
	return err
}

func saramaRead(topic string, partition int32, from int64, count int, wait time.Duration) ([]*message, error) {
	consumer, err := sarama.NewConsumer(seeds, saramaConfig())
	must(err, "new consumer")
	defer consumer.Close()
	reading, err := consumer.ConsumePartition(topic, partition, from)
	if err != nil {
		return nil, err
	}
	defer reading.Close()
	var got []*message
	for deadline := time.After(wait); len(got) < count; {
		select {
		case m := <-reading.Messages():
			in := &message{key: m.Key, value: m.Value, partition: m.Partition, offset: m.Offset, time: m.Timestamp}
			for _, h := range m.Headers {
				in.headers = append(in.headers, header{string(h.Key), h.Value})
			}
			got = append(got, in)
		case err := <-reading.Errors():
			return got, err
		case <-deadline:
			return got, nil
		}
	}
	return got, nil
}

type saramaHandler struct{ noted func(string) }

func (saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.noted(string(m.Value))
			session.MarkMessage(m, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func saramaJoin(group, topic, assignor, instance string, noted func(string)) func() {
	config := saramaConfig()
	config.Consumer.Group.InstanceId = instance
	strategies := map[string]func() sarama.BalanceStrategy{
		"range": sarama.NewBalanceStrategyRange, "roundrobin": sarama.NewBalanceStrategyRoundRobin, "sticky": sarama.NewBalanceStrategySticky,
	}
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[assignor]()}
	member, err := sarama.NewConsumerGroup(seeds, group, config)
	must(err, "new group member")
	running, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for running.Err() == nil {
			if member.Consume(running, []string{topic}, saramaHandler{noted}) != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
	go func() {
		for range member.Errors() {
		}
	}()
	return func() {
		cancel()
		done.Wait()
		member.Close()
	}
}

func saramaShares(group string) (string, [][]int32) {
	described, err := admined(func(a sarama.ClusterAdmin) ([]*sarama.GroupDescription, error) {
		return a.DescribeConsumerGroups([]string{group})
	})
	must(err, "describe group")
	var held [][]int32
	for _, member := range described[0].Members {
		assignment, err := member.GetMemberAssignment()
		must(err, "assignment")
		var share []int32
		if assignment != nil {
			for _, partitions := range assignment.Topics {
				share = append(share, partitions...)
			}
		}
		held = append(held, share)
	}
	return described[0].State, held
}

func admined[T any](call func(sarama.ClusterAdmin) (T, error)) (T, error) {
	var err error
	answer := saramaAdmin(func(a sarama.ClusterAdmin) T {
		var answer T
		answer, err = call(a)
		return answer
	})
	return answer, err
}

func saramaCluster() (string, []string, bool) {
	client := saramaClient(saramaConfig())
	defer client.Close()
	controller, err := client.Controller()
	must(err, "controller")
	answer, err := controller.GetMetadata(sarama.NewMetadataRequest(sarama.MaxVersion, []string{}))
	must(err, "metadata")
	var addresses []string
	for _, broker := range answer.Brokers {
		addresses = append(addresses, broker.Addr())
	}
	return *answer.ClusterID, addresses, controller.ID() >= 0
}

func saramaConfigOf(name, key string) string {
	entries, err := admined(func(a sarama.ClusterAdmin) ([]sarama.ConfigEntry, error) {
		return a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name, ConfigNames: []string{key}})
	})
	must(err, "describe configs")
	check(len(entries) == 1, "configs: %v", entries)
	return entries[0].Value
}

// Its idempotent producer is not played across a kill: it gives records up with EOF then, at Apache Kafka too.
func saramaDriver() *driver {
	return &driver{

		name: "sarama", cluster: saramaCluster, config: saramaConfigOf, produce: saramaProduce, read: saramaRead, join: saramaJoin,
		shares: saramaShares, code: saramaCode,
		codecs: []string{"none", "gzip", "snappy", "lz4", "zstd"}, assignors: []string{"range", "roundrobin", "sticky"},
		create: func(name string, partitions, replicas int, config map[string]string) error {
			entries := map[string]*string{}
			for key, value := range config {
				entries[key] = &value
			}
			detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: int16(replicas), ConfigEntries: entries}
			return saramaAdmin(func(a sarama.ClusterAdmin) error { return a.CreateTopic(name, detail, false) })
		},
		grow: func(name string, count int) error {
			return saramaAdmin(func(a sarama.ClusterAdmin) error { return a.CreatePartitions(name, int32(count), nil, false) })
		},
		remove: func(name string) error {
			return saramaAdmin(func(a sarama.ClusterAdmin) error { return a.DeleteTopic(name) })
		},
		topics: func() []string {
			all, err := admined(func(a sarama.ClusterAdmin) (map[string]sarama.TopicDetail, error) { return a.ListTopics() })
			must(err, "list topics")
			return keysOf(all)
		},
		count: func(name string) int {
			all, err := admined(func(a sarama.ClusterAdmin) ([]*sarama.TopicMetadata, error) { return a.DescribeTopics([]string{name}) })
			must(err, "describe topic")
			leaders := 0
			for _, partition := range all[0].Partitions {
				if partition.Leader >= 0 {
					leaders++
				}
			}
			return leaders
		},
		offsetAt: func(topic string, timestamp int64) int64 {
			client := saramaClient(saramaConfig())
			defer client.Close()
			offset, err := client.GetOffset(topic, 0, timestamp)
			must(err, fmt.Sprint("offset at ", timestamp))
			return offset
		},
		groups: func() []string {
			all, err := admined(func(a sarama.ClusterAdmin) (map[string]string, error) { return a.ListConsumerGroups() })
			must(err, "list groups")
			return keysOf(all)
		},
		committed: func(group, topic string, partition int32) int64 {
			answer, err := admined(func(a sarama.ClusterAdmin) (*sarama.OffsetFetchResponse, error) {
				return a.ListConsumerGroupOffsets(group, map[string][]int32{topic: {partition}})
			})
			if err != nil || answer.GetBlock(topic, partition) == nil {
				return -1 // The coordinator is not ready yet.
			}
			return answer.GetBlock(topic, partition).Offset
		},
		commit: func(group, topic string, offset int64) error {
			offsets := map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: offset, LeaderEpoch: -1}}}
			_, err := admined(func(a sarama.ClusterAdmin) (*sarama.OffsetCommitResponse, error) {
				return a.AlterConsumerGroupOffsets(group, offsets, nil)
			})
			return err
		},
		ungroup: func(group string) error {
			return saramaAdmin(func(a sarama.ClusterAdmin) error { return a.DeleteConsumerGroup(group) })
		},
	}
}

func keysOf[T any](all map[string]T) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	return names
}
