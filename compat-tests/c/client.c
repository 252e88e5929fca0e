// The named scenarios played by librdkafka's C API; those of groups are in groups.c. README.md in the folder above tells the contract with the runner.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "player.h"

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// ---- topics

static char *cluster_id(void) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DescribeCluster(admin(), NULL, queue);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "DescribeCluster");
    const rd_kafka_DescribeCluster_result_t *result = rd_kafka_event_DescribeCluster_result(event);
    size_t count;
    const rd_kafka_Node_t **nodes = rd_kafka_DescribeCluster_result_nodes(result, &count);
    EQUAL_NUMBER(count, 1, "nodes");
    char address[300];
    snprintf(address, sizeof address, "%s:%d", rd_kafka_Node_host(nodes[0]), rd_kafka_Node_port(nodes[0]));
    CHECK(strcmp(address, bootstrap) == 0, "address %s", address);
    CHECK(rd_kafka_DescribeCluster_result_controller(result), "no controller");
    char *id = strdup(rd_kafka_DescribeCluster_result_cluster_id(result));
    rd_kafka_event_destroy(event);
    return id;
}

static void describe_cluster(void) {
    char *first = cluster_id(), *second = cluster_id();
    CHECK(*first && strcmp(first, second) == 0, "cluster ids %s and %s", first, second);
}

// The value of a topic's setting; whether it is the default goes to *is_default.
static char *setting(const char *topic, const char *name, bool *is_default) {
    rd_kafka_ConfigResource_t *wanted = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DescribeConfigs(admin(), &wanted, 1, NULL, queue);
    rd_kafka_ConfigResource_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "DescribeConfigs");
    size_t resources, entries;
    const rd_kafka_ConfigResource_t **all = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &resources);
    const rd_kafka_ConfigEntry_t **each = rd_kafka_ConfigResource_configs(all[0], &entries);
    char *value = NULL;
    for (size_t i = 0; i < entries; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(each[i]), name) != 0) continue;
        value = strdup(rd_kafka_ConfigEntry_value(each[i]));
        *is_default = rd_kafka_ConfigEntry_is_default(each[i]);
    }
    rd_kafka_event_destroy(event);
    CHECK(value, "%s has no %s", topic, name);
    return value;
}

// The topic's id and its description's error.
static rd_kafka_resp_err_t describe(const char *topic, char *id, size_t size, size_t *partitions) {
    const char *names[] = {topic};
    rd_kafka_TopicCollection_t *wanted = rd_kafka_TopicCollection_of_topic_names(names, 1);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DescribeTopics(admin(), wanted, NULL, queue);
    rd_kafka_TopicCollection_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "DescribeTopics");
    size_t count;
    const rd_kafka_TopicDescription_t **all = rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(event), &count);
    rd_kafka_resp_err_t error = rd_kafka_error_code(rd_kafka_TopicDescription_error(all[0]));
    if (!error) {
        snprintf(id, size, "%s", rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(all[0])));
        const rd_kafka_TopicPartitionInfo_t **infos = rd_kafka_TopicDescription_partitions(all[0], partitions);
        for (size_t i = 0; i < *partitions; i++) {
            size_t in_sync;
            rd_kafka_TopicPartitionInfo_isr(infos[i], &in_sync);
            CHECK(rd_kafka_TopicPartitionInfo_leader(infos[i]) && in_sync == 1, "leader and in-sync replicas of partition %zu", i);
        }
    }
    rd_kafka_event_destroy(event);
    return error;
}

static void create_describe_delete(void) {
    const char *topic = "topic-life";
    char id[64];
    size_t partitions;
    bool is_default;
    EQUAL_ERROR(create(topic, 3, 1, "retention.ms", "123456789"), RD_KAFKA_RESP_ERR_NO_ERROR, "create");
    UNTIL(PATIENCE_S, count_partitions(topic) == 3, "%s is known to the broker", topic);
    EQUAL_ERROR(create(topic, 3, 1, NULL, NULL), RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, "a second create");
    EQUAL_ERROR(create("bad/name", 1, 1, NULL, NULL), RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "a bad name");
    EQUAL_ERROR(create("no-partitions", 0, 1, NULL, NULL), RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, "0 partitions");
    EQUAL_ERROR(create("two", 1, 2, NULL, NULL), RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, "2 replicas on one broker");
    EQUAL_ERROR(describe(topic, id, sizeof id, &partitions), RD_KAFKA_RESP_ERR_NO_ERROR, "describe");
    EQUAL_NUMBER(partitions, 3, "partitions");
    CHECK(strcmp(setting(topic, "retention.ms", &is_default), "123456789") == 0 && !is_default, "retention.ms");
    CHECK(strcmp(setting(topic, "cleanup.policy", &is_default), "delete") == 0 && is_default, "cleanup.policy");
    EQUAL_ERROR(delete_topic(topic), RD_KAFKA_RESP_ERR_NO_ERROR, "delete");
    UNTIL(PATIENCE_S, count_partitions(topic) == 0, "the topic is gone");
    EQUAL_ERROR(delete_topic(topic), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "a second delete");
}

static void create_partitions(void) {
    const char *topic = made("growing", 2);
    EQUAL_ERROR(grow(topic, 4), RD_KAFKA_RESP_ERR_NO_ERROR, "grow");
    EQUAL_ERROR(grow(topic, 3), RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, "shrinking");
    UNTIL(PATIENCE_S, count_partitions(topic) == 4, "four partitions");
    struct record *sent = records(1, "x", 1);
    sent->partition = 3;
    produced(topic, sent, 1);
    EQUAL_NUMBER(sent->offset, 0, "offset");
    equal_values(read_from(topic, 3, 0, 1), sent, 1, "partition 3");
}

static void unknown_topic(void) {
    char id[64];
    size_t partitions;
    EQUAL_ERROR(describe("never-created", id, sizeof id, &partitions), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "describe");
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, "group.id", "unknown", "allow.auto.create.topics", "false", NULL);
    rd_kafka_topic_partition_list_t *wanted = one("never-created", RD_KAFKA_PARTITION_UA, RD_KAFKA_OFFSET_INVALID);
    rd_kafka_subscribe(consumer, wanted);
    rd_kafka_topic_partition_list_destroy(wanted);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, PATIENCE_MS);
    CHECK(message, "nothing came of a subscription to an unknown topic");
    EQUAL_ERROR(message->err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "subscription");
    rd_kafka_message_destroy(message);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    EQUAL_NUMBER(count_partitions("never-created"), 0, "partitions after asking");
}

static void auto_create(void) {
    struct record *sent = records(1, "x", 1);
    sent->partition = RD_KAFKA_PARTITION_UA;
    produced("made-by-producing", sent, 1);
    EQUAL_NUMBER(sent->offset, 0, "offset");
    equal_values(exactly("made-by-producing", 0, 1), sent, 1, "values");
}

static void recreate_topic(void) {
    const char *topic = made("again", 1);
    char old[64] = "", new[64] = "";
    size_t partitions;
    describe(topic, old, sizeof old, &partitions);
    produced(topic, records(5, "old", 1), 5);
    EQUAL_ERROR(delete_topic(topic), RD_KAFKA_RESP_ERR_NO_ERROR, "delete");
    UNTIL(PATIENCE_S, count_partitions(topic) == 0, "the topic is gone");
    made(topic, 1);
    describe(topic, new, sizeof new, &partitions);
    CHECK(*old && *new && strcmp(old, new) != 0, "topic ids %s and %s", old, new);
    struct record *sent = records(1, "new", 1);
    produced(topic, sent, 1);
    EQUAL_NUMBER(sent->offset, 0, "offset");
    equal_values(exactly(topic, 0, 1), sent, 1, "values");
}

// ---- records

static void codecs(void) {
    static const char *const all[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "codec-%s", all[i]);
        made(topic, 1);
        struct record *sent = records(200, "compressible compressible compressible compressible compressible ", 1);
        EQUAL_ERROR(produce(topic, sent, 200, "compression.type", all[i], "linger.ms", "50", NULL), RD_KAFKA_RESP_ERR_NO_ERROR, all[i]);
        equal_values(exactly(topic, 0, 200), sent, 200, all[i]);
    }
}

static void acks(void) {
    // 0 comes last: what a new partition refuses for a moment would be lost without a word.
    static const char *const all[] = {"all", "1", "0"};
    const char *topic = made("acks", 1);
    struct record *sent = records(60, "v", 1);
    for (size_t i = 0; i < 3; i++) {
        EQUAL_ERROR(produce(topic, sent + i * 20, 20, "acks", all[i], NULL), RD_KAFKA_RESP_ERR_NO_ERROR, all[i]);
        equal_values(exactly(topic, 0, (i + 1) * 20), sent, (i + 1) * 20, all[i]);
    }
}

static void keys_and_partitions(void) {
    const char *topic = made("keyed", 6);
    struct record *sent = records(80, "v", 1), *keys = records(40, "k", 1);
    for (size_t i = 0; i < 80; i++) {
        sent[i].key = keys[i % 40].value;
        sent[i].key_size = keys[i % 40].value_size;
        sent[i].partition = RD_KAFKA_PARTITION_UA;
    }
    EQUAL_ERROR(produce(topic, sent, 80, "partitioner", "murmur2_random", "linger.ms", "5", NULL), RD_KAFKA_RESP_ERR_NO_ERROR, "produce");
    for (size_t i = 0; i < 40; i++) EQUAL_NUMBER(sent[i + 40].partition, sent[i].partition, "partition of a key");
    for (int32_t partition = 0; partition < 6; partition++) {
        size_t count = 0;
        for (size_t i = 0; i < 80; i++) count += sent[i].partition == partition;
        CHECK(count > 0, "no key went to partition %d", partition);
        struct record *got = read_from(topic, partition, 0, count);
        for (size_t i = 0; i < 80; i++) {
            if (sent[i].partition != partition) continue;
            struct record *found = &got[sent[i].offset];
            CHECK(same(found->key, found->key_size, sent[i].key, sent[i].key_size), "key of record %zu", i);
            CHECK(same(found->value, found->value_size, sent[i].value, sent[i].value_size), "value of record %zu", i);
        }
    }
    sent[0].partition = 4;
    produced(topic, sent, 1);
    EQUAL_NUMBER(sent[0].partition, 4, "explicit partition");
}

static void headers(void) {
    static const struct { const char *name, *value; ssize_t size; } all[] = {{"a", "1", 1}, {"b", "", 0}, {"a", "2", 1}, {"c", NULL, 0}, {"\xc3\xbc", "\0\xff", 2}};
    const size_t count = sizeof all / sizeof *all;
    const char *topic = made("headed", 1);
    struct record *sent = records(2, "x", 1);
    sent->headers = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count; i++) rd_kafka_header_add(sent->headers, all[i].name, -1, all[i].value, all[i].size);
    produced(topic, sent, 2);
    struct record *got = exactly(topic, 0, 2);
    CHECK(got[0].headers && !got[1].headers, "headers of the first record, none of the second");
    EQUAL_NUMBER(rd_kafka_header_cnt(got[0].headers), count, "headers");
    for (size_t i = 0; i < count; i++) {
        const char *name;
        const void *value;
        size_t size;
        rd_kafka_header_get_all(got[0].headers, i, &name, &value, &size);
        CHECK(strcmp(name, all[i].name) == 0 && same(value, size, all[i].value, (size_t)all[i].size), "header %zu is %s", i, name);
    }
}

static void null_key_and_value(void) {
    static const char *const pairs[][2] = {{NULL, "v"}, {"", "v"}, {"k", NULL}, {"k", ""}, {NULL, NULL}};
    const char *topic = made("nulls", 1);
    struct record sent[5] = {0};
    for (size_t i = 0; i < 5; i++) {
        sent[i].key = pairs[i][0];
        sent[i].value = pairs[i][1];
        sent[i].key_size = pairs[i][0] ? strlen(pairs[i][0]) : 0;
        sent[i].value_size = pairs[i][1] ? strlen(pairs[i][1]) : 0;
    }
    produced(topic, sent, 5);
    struct record *got = exactly(topic, 0, 5);
    for (size_t i = 0; i < 5; i++) CHECK(same(got[i].key, got[i].key_size, sent[i].key, sent[i].key_size), "key %zu", i);
    equal_values(got, sent, 5, "values");
}

static struct record large(size_t size) { return (struct record){.value = memset(malloc(size), 7, size), .value_size = size}; }

static void record_near_limit(void) {
    const char *topic = made("near", 1);
    struct record sent = large(LARGEST_VALUE_BYTES);
    produced(topic, &sent, 1);
    struct record *got = exactly(topic, 0, 1);
    CHECK(same(got->value, got->value_size, sent.value, sent.value_size), "the value differs");
}

static void record_over_limit(void) {
    const char *topic = made("over", 1);
    struct record sent = large(LARGEST_VALUE_BYTES + 1), *small = records(1, "small", 1);
    EQUAL_ERROR(produce(topic, &sent, 1, NULL), RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "one byte more");
    produced(topic, small, 1);
    EQUAL_NUMBER(small->offset, 0, "offset of the next record");
}

static void log_append_time(void) {
    const char *topic = "stamped";
    EQUAL_ERROR(create(topic, 1, 1, "message.timestamp.type", "LogAppendTime"), RD_KAFKA_RESP_ERR_NO_ERROR, "create");
    UNTIL(PATIENCE_S, count_partitions(topic) == 1, "%s is known to the broker", topic);
    int64_t before = now_ms();
    struct record *sent = records(1, "x", 1);
    sent->timestamp = before - 500000;
    produced(topic, sent, 1);
    struct record *got = exactly(topic, 0, 1);
    EQUAL_NUMBER(got->timestamp_type, RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, "timestamp type");
    CHECK(got->timestamp >= before - 1000 && got->timestamp <= now_ms() + 1000, "timestamp %lld is not the broker's", (long long)got->timestamp);
}

// ---- reading

static void read_from_start(void) {
    const char *topic = made("start", 1);
    struct record *sent = records(100, "v", 1);
    produced(topic, sent, 100);
    struct record *got = exactly(topic, RD_KAFKA_OFFSET_BEGINNING, 100);
    equal_values(got, sent, 100, "values");
    for (size_t i = 0; i < 100; i++) EQUAL_NUMBER(got[i].offset, i, "offset");
}

static void read_from_offset(void) {
    const char *topic = made("middle", 1);
    struct record *sent = records(100, "v", 1), *last = records(1, "last", 1);
    produced(topic, sent, 100);
    equal_values(read_from(topic, 0, 37, 63), sent + 37, 63, "from offset 37");
    EQUAL_ERROR(refusal_of_reading(topic, 500), RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, "an offset beyond the end");
    produced(topic, last, 1);
    equal_values(read_from(topic, 0, RD_KAFKA_OFFSET_TAIL(1), 1), last, 1, "one before the end");
}

// A topic whose record i has the time base + i seconds.
static int64_t timed(const char *topic) {
    int64_t base = now_ms() - 3600000;
    struct record *sent = records(50, "v", 1);
    for (int i = 0; i < 50; i++) sent[i].timestamp = base + i * 1000;
    made(topic, 1);
    produced(topic, sent, 50);
    return base;
}

static int64_t offset_for_time(const char *topic, int64_t time) {
    rd_kafka_topic_partition_list_t *asked = one(topic, 0, time);
    EQUAL_ERROR(rd_kafka_offsets_for_times(admin(), asked, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR, "offsets for times");
    int64_t offset = asked->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(asked);
    return offset;
}

static void read_from_timestamp(void) {
    static const int after[][2] = {{20000, 20}, {20001, 21}, {-5, 0}, {999999, RD_KAFKA_OFFSET_END}};
    int64_t base = timed("timed");
    for (size_t i = 0; i < 4; i++) EQUAL_NUMBER(offset_for_time("timed", base + after[i][0]), after[i][1], "offset for a time");
    struct record *got = read_from("timed", 0, 21, 1);
    equal_values(got, records(22, "v", 1) + 21, 1, "value");
    EQUAL_NUMBER(got->timestamp, base + 21000, "timestamp");
}

static int64_t listed_offset(const char *topic, int64_t spec) {
    rd_kafka_topic_partition_list_t *asked = one(topic, 0, spec);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_ListOffsets(admin(), asked, NULL, queue);
    rd_kafka_topic_partition_list_destroy(asked);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "ListOffsets");
    size_t count;
    const rd_kafka_ListOffsetsResultInfo_t **infos = rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event), &count);
    const rd_kafka_topic_partition_t *found = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[0]);
    EQUAL_ERROR(found->err, RD_KAFKA_RESP_ERR_NO_ERROR, "ListOffsets of the partition");
    int64_t offset = found->offset;
    rd_kafka_event_destroy(event);
    return offset;
}

static void list_offsets(void) {
    int64_t base = timed("offsets"), low, high;
    struct record *more = records(2, "w", 1);
    more[0].timestamp = base + 100000;
    more[1].timestamp = base + 1;
    produced("offsets", more, 2);
    EQUAL_NUMBER(listed_offset("offsets", RD_KAFKA_OFFSET_SPEC_EARLIEST), 0, "earliest");
    EQUAL_NUMBER(listed_offset("offsets", RD_KAFKA_OFFSET_SPEC_LATEST), 52, "latest");
    EQUAL_NUMBER(listed_offset("offsets", RD_KAFKA_OFFSET_SPEC_MAX_TIMESTAMP), 50, "largest timestamp");
    EQUAL_NUMBER(listed_offset("offsets", base + 30000), 30, "a time");
    EQUAL_NUMBER(listed_offset("offsets", base + 100001), -1, "a time beyond");
    EQUAL_ERROR(rd_kafka_query_watermark_offsets(admin(), "offsets", 0, &low, &high, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR, "watermarks");
    EQUAL_NUMBER(low, 0, "low watermark");
    EQUAL_NUMBER(high, 52, "high watermark");
}

// ---- an idempotent producer across a kill

static bool restarted;

static void *restart(void *over) {
    restarted = control("/kill9-and-restart");
    __atomic_store_n((bool *)over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void count_failure(rd_kafka_t *producer, const rd_kafka_message_t *message, void *failures) {
    (void)producer;
    if (message->err) ++*(int *)failures;
}

static void idempotent_across_kill(void) {
    const char *topic = made("once", 1);
    static const char *const pairs[] = {"enable.idempotence", "true", "linger.ms", "2", "message.timeout.ms", "60000", NULL};
    int failures = 0;
    bool over = false;
    pthread_t thread;
    size_t sent = 0;
    rd_kafka_conf_t *conf = settings(pairs);
    rd_kafka_conf_set_opaque(conf, &failures);
    rd_kafka_conf_set_dr_msg_cb(conf, count_failure);
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, conf);
    while (sent < 1500 || !__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        char value[24];
        int size = snprintf(value, sizeof value, "%zu", sent);
        EQUAL_ERROR(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                      RD_KAFKA_V_VALUE(value, (size_t)size), RD_KAFKA_V_END),
                    RD_KAFKA_RESP_ERR_NO_ERROR, "producev");
        if (++sent == 500) pthread_create(&thread, NULL, restart, &over);
        if (sent % 5 == 0) rd_kafka_poll(producer, 5);
    }
    pthread_join(thread, NULL);
    CHECK(restarted, "the broker was not restarted");
    EQUAL_ERROR(rd_kafka_flush(producer, 60000), RD_KAFKA_RESP_ERR_NO_ERROR, "flush");
    rd_kafka_destroy(producer);
    EQUAL_NUMBER(failures, 0, "failed deliveries");
    equal_values(exactly(topic, 0, sent), records(sent, "", 1), sent, "each value once, in order");
}

static const struct scenario scenarios[] = {
    {"describe-cluster", describe_cluster},
    {"create-describe-delete-topic", create_describe_delete},
    {"create-partitions", create_partitions},
    {"unknown-topic", unknown_topic},
    {"auto-create", auto_create},
    {"recreate-topic", recreate_topic},
    {"codecs", codecs},
    {"acks", acks},
    {"keys-and-partitions", keys_and_partitions},
    {"headers", headers},
    {"null-key-and-value", null_key_and_value},
    {"record-near-limit", record_near_limit},
    {"record-over-limit", record_over_limit},
    {"log-append-time", log_append_time},
    {"read-from-start", read_from_start},
    {"read-from-offset", read_from_offset},
    {"read-from-timestamp", read_from_timestamp},
    {"list-offsets", list_offsets},
    {"idempotent-across-kill", idempotent_across_kill},
};

int main(int count, char **arguments) {
    bootstrap = getenv("COMPAT_BOOTSTRAP");
    if (count == 4 && strcmp(arguments[1], "member") == 0) child_member(arguments[2], arguments[3]);
    fprintf(stderr, "librdkafka %s\n", rd_kafka_version_str());
    struct scenario all[64];
    size_t own = sizeof scenarios / sizeof *scenarios;
    memcpy(all, scenarios, sizeof scenarios);
    memcpy(all + own, group_scenarios, group_scenario_count * sizeof *group_scenarios);
    memcpy(all + own + group_scenario_count, transaction_scenarios, transaction_scenario_count * sizeof *transaction_scenarios);
    play(all, own + group_scenario_count + transaction_scenario_count);
    return 0;
}
