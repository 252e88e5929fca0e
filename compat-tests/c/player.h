// What the scenarios share: the contract with the runner, the checks, and thin covers over librdkafka's C API.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdkafka.h"

// The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes.
enum { LARGEST_VALUE_BYTES = 1048516, PATIENCE_S = 30, PATIENCE_MS = PATIENCE_S * 1000 };

struct scenario {
    const char *name;
    void (*play)(void);
};

extern const char *bootstrap;

// Plays the scenarios that the runner asks for and the table knows, in the runner's order.
void play(const struct scenario *table, size_t count);

// Ends the scenario with this reason. For the player's thread only.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Asks the runner for /kill9, /start or /kill9-and-restart and returns when that is done; false if it was not.
bool control(const char *step);

double now_s(void);
void nap(void);

#define CHECK(condition, ...) ((condition) ? (void)0 : fail(__VA_ARGS__))

// Polls the condition until it holds.
#define UNTIL(seconds, condition, ...)                     \
    for (double deadline_ = now_s() + (seconds); !(condition); nap()) \
    CHECK(now_s() < deadline_, "not in time: " __VA_ARGS__)

#define EQUAL_NUMBER(got, expected, what)                                                    \
    do {                                                                                     \
        long long got_ = (got), expected_ = (expected);                                      \
        CHECK(got_ == expected_, "%s: expected %lld, got %lld", (what), expected_, got_);     \
    } while (0)

#define EQUAL_ERROR(got, expected, what)                                                                                 \
    do {                                                                                                                 \
        rd_kafka_resp_err_t got_ = (got), expected_ = (expected);                                                        \
        CHECK(got_ == expected_, "%s: expected %s, got %s", (what), rd_kafka_err2name(expected_), rd_kafka_err2name(got_)); \
    } while (0)

// ---- clients. The settings are pairs of strings and end with NULL.

rd_kafka_t *client(rd_kafka_type_t type, const char *first, ...);
rd_kafka_conf_t *settings(const char *const *pairs);
rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf);
// One client for all calls of administration.
rd_kafka_t *admin(void);

// ---- topics

rd_kafka_resp_err_t create(const char *topic, int partitions, int replicas, const char *config_name, const char *config_value);
// Creates it and waits until the broker knows it: Apache Kafka's controller answers before.
const char *made(const char *topic, int partitions);
rd_kafka_resp_err_t delete_topic(const char *topic);
rd_kafka_resp_err_t grow(const char *topic, size_t count);
// Its partitions; 0 for a topic that is not listed.
int count_partitions(const char *topic);
// Waits for the result of an admin call that was sent to the queue.
rd_kafka_event_t *answer(rd_kafka_queue_t *queue);

// ---- records

struct record {
    const void *key, *value;  // NULL is null
    size_t key_size, value_size;
    int32_t partition;   // on its way out RD_KAFKA_PARTITION_UA lets the partitioner choose
    int64_t timestamp;   // milliseconds; 0 lets the client stamp it
    rd_kafka_timestamp_type_t timestamp_type;
    rd_kafka_headers_t *headers;  // taken over by the producer
    int64_t offset;      // told by the broker, as is the partition
    rd_kafka_resp_err_t error;
};

// Records v0, v1, .. of a prefix, dealt to the partitions in turn.
struct record *records(size_t count, const char *prefix, int partitions);
// Sends them in order and waits; the first error is returned, each is in its record.
rd_kafka_resp_err_t produce(const char *topic, struct record *all, size_t count, const char *first, ...);
void produced(const char *topic, struct record *all, size_t count);
// Exactly count records of a partition from the offset on.
struct record *read_from(const char *topic, int32_t partition, int64_t offset, size_t count);
// As before of partition 0, and looks that no further one follows. An offset that is to be asked for, as that of the beginning, costs half a
// second: librdkafka asks before it knows the leader, and then waits that long.
struct record *exactly(const char *topic, int64_t offset, size_t count);
// The error of the first poll from the offset on.
rd_kafka_resp_err_t refusal_of_reading(const char *topic, int64_t offset);
// Whether the bytes are the same, null being another thing than empty.
bool same(const void *a, size_t a_size, const void *b, size_t b_size);
void equal_values(const struct record *got, const struct record *expected, size_t count, const char *what);
rd_kafka_topic_partition_list_t *one(const char *topic, int32_t partition, int64_t offset);

extern const struct scenario group_scenarios[];
extern const size_t group_scenario_count;
extern const struct scenario transaction_scenarios[];
extern const size_t transaction_scenario_count;
// The third member of a group, a process of its own that can be killed.
_Noreturn void child_member(const char *group, const char *topic);
