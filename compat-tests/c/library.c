// Thin covers over librdkafka's C API.
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "player.h"

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char problem[300];
    CHECK(rd_kafka_conf_set(conf, name, value, problem, sizeof problem) == RD_KAFKA_CONF_OK, "%s=%s: %s", name, value, problem);
}

rd_kafka_conf_t *settings(const char *const *pairs) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "reconnect.backoff.ms", "50");
    set(conf, "reconnect.backoff.max.ms", "300");
    for (; pairs && *pairs; pairs += 2) set(conf, pairs[0], pairs[1]);
    return conf;
}

rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char problem[300];
    rd_kafka_t *made_client = rd_kafka_new(type, conf, problem, sizeof problem);
    CHECK(made_client, "no client: %s", problem);
    if (type == RD_KAFKA_CONSUMER) rd_kafka_poll_set_consumer(made_client);
    return made_client;
}

static rd_kafka_conf_t *settings_of(const char *first, va_list arguments) {
    const char *pairs[21] = {first};
    for (size_t i = 1; pairs[i - 1] && i < 20; i++) pairs[i] = va_arg(arguments, const char *);
    return settings(pairs);
}

rd_kafka_t *client(rd_kafka_type_t type, const char *first, ...) {
    va_list arguments;
    va_start(arguments, first);
    rd_kafka_conf_t *conf = settings_of(first, arguments);
    va_end(arguments);
    return client_of(type, conf);
}

rd_kafka_t *admin(void) {
    static rd_kafka_t *shared;
    if (!shared) shared = client(RD_KAFKA_PRODUCER, NULL);
    return shared;
}

rd_kafka_event_t *answer(rd_kafka_queue_t *queue) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, PATIENCE_MS);
    CHECK(event, "no answer to an admin call");
    rd_kafka_queue_destroy(queue);
    return event;
}

// The one topic's error, or that of the whole call.
static rd_kafka_resp_err_t topic_error(rd_kafka_event_t *event, const rd_kafka_topic_result_t **results) {
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    if (!error) error = rd_kafka_topic_result_error(results[0]);
    rd_kafka_event_destroy(event);
    return error;
}

rd_kafka_resp_err_t create(const char *topic, int partitions, int replicas, const char *config_name, const char *config_value) {
    char problem[300];
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, partitions, replicas, problem, sizeof problem);
    CHECK(wanted, "NewTopic %s: %s", topic, problem);
    if (config_name) rd_kafka_NewTopic_set_config(wanted, config_name, config_value);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_CreateTopics(admin(), &wanted, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    size_t count;
    return topic_error(event, rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count));
}

rd_kafka_resp_err_t delete_topic(const char *topic) {
    rd_kafka_DeleteTopic_t *wanted = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DeleteTopics(admin(), &wanted, 1, NULL, queue);
    rd_kafka_DeleteTopic_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    size_t count;
    return topic_error(event, rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count));
}

rd_kafka_resp_err_t grow(const char *topic, size_t partitions) {
    char problem[300];
    rd_kafka_NewPartitions_t *wanted = rd_kafka_NewPartitions_new(topic, partitions, problem, sizeof problem);
    CHECK(wanted, "NewPartitions %s: %s", topic, problem);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_CreatePartitions(admin(), &wanted, 1, NULL, queue);
    rd_kafka_NewPartitions_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    size_t count;
    return topic_error(event, rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &count));
}

int count_partitions(const char *topic) {
    const struct rd_kafka_metadata *all;
    EQUAL_ERROR(rd_kafka_metadata(admin(), 1, NULL, &all, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR, "metadata");
    int count = 0;
    for (int i = 0; i < all->topic_cnt; i++)
        if (strcmp(all->topics[i].topic, topic) == 0) count = all->topics[i].partition_cnt;
    rd_kafka_metadata_destroy(all);
    return count;
}

const char *made(const char *topic, int partitions) {
    EQUAL_ERROR(create(topic, partitions, 1, NULL, NULL), RD_KAFKA_RESP_ERR_NO_ERROR, topic);
    UNTIL(PATIENCE_S, count_partitions(topic) == partitions, "%s is known to the broker", topic);
    return topic;
}

struct record *records(size_t count, const char *prefix, int partitions) {
    struct record *all = calloc(count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        char *value;
        all[i].value_size = (size_t)asprintf(&value, "%s%zu", prefix, i);
        all[i].value = value;
        all[i].partition = (int32_t)(i % (size_t)partitions);
    }
    return all;
}

static void delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
    (void)producer, (void)opaque;
    struct record *record = message->_private;
    record->error = message->err;
    record->partition = message->partition;
    record->offset = message->offset;
}

rd_kafka_resp_err_t produce(const char *topic, struct record *all, size_t count, const char *first, ...) {
    va_list arguments;
    va_start(arguments, first);
    rd_kafka_conf_t *conf = settings_of(first, arguments);
    va_end(arguments);
    set(conf, "message.max.bytes", "3000000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, conf);
    for (size_t i = 0; i < count; i++) {
        struct record *record = &all[i];
        record->error = RD_KAFKA_RESP_ERR__IN_PROGRESS;
        rd_kafka_resp_err_t error = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(record->partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY((void *)record->key, record->key_size), RD_KAFKA_V_VALUE((void *)record->value, record->value_size),
            RD_KAFKA_V_TIMESTAMP(record->timestamp), RD_KAFKA_V_HEADERS(record->headers), RD_KAFKA_V_OPAQUE(record), RD_KAFKA_V_END);
        EQUAL_ERROR(error, RD_KAFKA_RESP_ERR_NO_ERROR, "producev");
    }
    EQUAL_ERROR(rd_kafka_flush(producer, 60000), RD_KAFKA_RESP_ERR_NO_ERROR, "flush");
    rd_kafka_destroy(producer);
    for (size_t i = 0; i < count; i++)
        if (all[i].error) return all[i].error;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void produced(const char *topic, struct record *all, size_t count) {
    EQUAL_ERROR(produce(topic, all, count, "linger.ms", "5", NULL), RD_KAFKA_RESP_ERR_NO_ERROR, "produce");
}

rd_kafka_topic_partition_list_t *one(const char *topic, int32_t partition, int64_t offset) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    return list;
}

static rd_kafka_t *assigned(const char *topic, int32_t partition, int64_t offset) {
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, "group.id", "reader", "enable.auto.commit", "false", "auto.offset.reset", "error", NULL);
    rd_kafka_topic_partition_list_t *list = one(topic, partition, offset);
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return consumer;
}

static void *copy(const void *bytes, size_t size) { return bytes ? memcpy(malloc(size + 1), bytes, size) : NULL; }

static struct record copied(const rd_kafka_message_t *message) {
    struct record record = {.key = copy(message->key, message->key_len), .key_size = message->key_len, .value = copy(message->payload, message->len),
                            .value_size = message->len, .partition = message->partition, .offset = message->offset};
    record.timestamp = rd_kafka_message_timestamp(message, &record.timestamp_type);
    rd_kafka_headers_t *headers;
    if (!rd_kafka_message_headers(message, &headers)) record.headers = rd_kafka_headers_copy(headers);
    return record;
}

static struct record *read_and_look(const char *topic, int32_t partition, int64_t offset, size_t count, int further_ms) {
    rd_kafka_t *consumer = assigned(topic, partition, offset);
    struct record *got = calloc(count, sizeof *got);
    double deadline = now_s() + PATIENCE_S;
    for (size_t i = 0; i < count;) {
        CHECK(now_s() < deadline, "only %zu of %zu records of %s", i, count, topic);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 200);
        if (!message) continue;
        EQUAL_ERROR(message->err, RD_KAFKA_RESP_ERR_NO_ERROR, "a message");
        got[i++] = copied(message);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_message_t *more = further_ms ? rd_kafka_consumer_poll(consumer, further_ms) : NULL;
    CHECK(!more, "a record too many in %s", topic);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return got;
}

struct record *read_from(const char *topic, int32_t partition, int64_t offset, size_t count) {
    return read_and_look(topic, partition, offset, count, 0);
}

struct record *exactly(const char *topic, int64_t offset, size_t count) { return read_and_look(topic, 0, offset, count, 300); }

rd_kafka_resp_err_t refusal_of_reading(const char *topic, int64_t offset) {
    rd_kafka_t *consumer = assigned(topic, 0, offset);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, PATIENCE_MS);
    rd_kafka_resp_err_t error = message ? message->err : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (message) rd_kafka_message_destroy(message);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return error;
}

bool same(const void *a, size_t a_size, const void *b, size_t b_size) {
    return a_size == b_size && !a == !b && (!a || memcmp(a, b, a_size) == 0);
}

void equal_values(const struct record *got, const struct record *expected, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        CHECK(same(got[i].value, got[i].value_size, expected[i].value, expected[i].value_size), "%s: value %zu is %.*s", what, i,
              (int)got[i].value_size, (const char *)got[i].value);
}
