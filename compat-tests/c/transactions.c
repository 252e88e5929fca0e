// The scenarios with transactions.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "player.h"

static rd_kafka_t *transactional_with(const char *id, const char *const *more) {
    const char *pairs[16] = {"transactional.id", id, "linger.ms", "2"};
    for (size_t i = 4; more && *more && i < 14; i++, more++) pairs[i] = *more;
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, settings(pairs));
    rd_kafka_error_t *error = rd_kafka_init_transactions(producer, 40000);
    CHECK(!error, "init_transactions of %s: %s", id, rd_kafka_error_string(error));
    return producer;
}

// A producer that is ready to begin.
static rd_kafka_t *transactional(const char *id) { return transactional_with(id, NULL); }

static void fine(rd_kafka_error_t *error, const char *what) { CHECK(!error, "%s: %s", what, rd_kafka_error_string(error)); }

static void begin(rd_kafka_t *producer) { fine(rd_kafka_begin_transaction(producer), "begin"); }
static void commit(rd_kafka_t *producer) { fine(rd_kafka_commit_transaction(producer, 60000), "commit"); }
static void roll_back(rd_kafka_t *producer) { fine(rd_kafka_abort_transaction(producer, 60000), "abort"); }

// Sends in the open transaction.
static void put(rd_kafka_t *producer, const char *topic, const struct record *all, size_t count) {
    for (size_t i = 0; i < count; i++)
        EQUAL_ERROR(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(all[i].partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                      RD_KAFKA_V_VALUE((void *)all[i].value, all[i].value_size), RD_KAFKA_V_END),
                    RD_KAFKA_RESP_ERR_NO_ERROR, "producev");
}

// Sends records of a prefix and waits until the broker has them.
static void write_all(rd_kafka_t *producer, const char *topic, const char *prefix, size_t count, int partitions) {
    put(producer, topic, records(count, prefix, partitions), count);
    EQUAL_ERROR(rd_kafka_flush(producer, 60000), RD_KAFKA_RESP_ERR_NO_ERROR, "flush");
}

// Exactly count records of a partition from the offset on, and none behind them.
static struct record *read_under(const char *isolation, const char *topic, int32_t partition, int64_t offset, size_t count) {
    rd_kafka_t *consumer =
        client(RD_KAFKA_CONSUMER, "group.id", "reader", "enable.auto.commit", "false", "auto.offset.reset", "error", "isolation.level", isolation, NULL);
    rd_kafka_topic_partition_list_t *list = one(topic, partition, offset);
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    struct record *got = calloc(count + 1, sizeof *got);
    double deadline = now_s() + PATIENCE_S;
    for (size_t i = 0; i < count;) {
        CHECK(now_s() < deadline, "only %zu of %zu records of %s, %s", i, count, topic, isolation);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 200);
        if (!message) continue;
        EQUAL_ERROR(message->err, RD_KAFKA_RESP_ERR_NO_ERROR, "a message");
        got[i].value = strndup(message->payload, message->len);
        got[i].value_size = message->len;
        got[i++].offset = message->offset;
        rd_kafka_message_destroy(message);
    }
    rd_kafka_message_t *more = rd_kafka_consumer_poll(consumer, 400);
    CHECK(!more, "a record too many in %s, %s", topic, isolation);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return got;
}

// What read_committed sees in partition 0: the values of these prefixes, so many of each, and nothing else.
static void sees(const char *topic, int64_t offset, size_t each, const char *const *prefixes) {
    size_t count = 0;
    while (prefixes[count]) count++;
    struct record *got = read_under("read_committed", topic, 0, offset, count * each);
    for (size_t i = 0; i < count; i++) equal_values(got + i * each, records(each, prefixes[i], 1), each, prefixes[i]);
}

#define SEES(topic, offset, each, ...) sees(topic, offset, each, (const char *const[]){__VA_ARGS__, NULL})

// The last stable offset of partition 0; -1 while nobody leads it.
static int64_t stable(const char *topic) {
    rd_kafka_topic_partition_list_t *asked = one(topic, 0, RD_KAFKA_OFFSET_SPEC_LATEST);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin(), RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    fine(rd_kafka_AdminOptions_set_isolation_level(options, RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED), "isolation level");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_ListOffsets(admin(), asked, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_topic_partition_list_destroy(asked);
    rd_kafka_event_t *event = answer(queue);
    int64_t offset = -1;
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count;
        const rd_kafka_ListOffsetsResultInfo_t **infos = rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event), &count);
        const rd_kafka_topic_partition_t *found = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[0]);
        if (!found->err) offset = found->offset;
    }
    rd_kafka_event_destroy(event);
    return offset;
}

#define STABLE_IS(topic, expected, seconds) UNTIL(seconds, stable(topic) == (expected), "the last stable offset of %s", topic)

static void play_commit(void) {
    const char *topic = made("tx-commit", 3);
    rd_kafka_t *producer = transactional("committer");
    for (int t = 0; t < 5; t++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "t%d-", t);
        begin(producer);
        write_all(producer, topic, prefix, 30, 3);
        commit(producer);
    }
    rd_kafka_destroy(producer);
    for (int p = 0; p < 3; p++) {
        struct record *got = read_under("read_committed", topic, p, 0, 50);
        for (int i = 0; i < 50; i++) {
            char expected[24];
            snprintf(expected, sizeof expected, "t%d-%d", i / 10, i % 10 * 3 + p);
            CHECK(strcmp(got[i].value, expected) == 0, "value %d of partition %d: %s", i, p, (const char *)got[i].value);
            // Each transaction's marker takes an offset behind its ten records.
            EQUAL_NUMBER(got[i].offset, i + i / 10, "offset");
        }
    }
}

static void play_abort(void) {
    const char *topic = made("tx-abort", 1);
    rd_kafka_t *producer = transactional("aborter");
    static const char *const parts[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        begin(producer);
        write_all(producer, topic, parts[i], 4, 1);
        (i == 1 ? roll_back : commit)(producer);
    }
    rd_kafka_destroy(producer);
    SEES(topic, 0, 4, "a", "c");
    struct record *all = read_under("read_uncommitted", topic, 0, 0, 12);
    for (size_t i = 0; i < 3; i++) equal_values(all + 4 * i, records(4, parts[i], 1), 4, "read_uncommitted");
    SEES(topic, 7, 4, "c");
}

static void play_interleaved(void) {
    const char *topic = made("tx-interleaved", 1);
    rd_kafka_t *a = transactional("mixed-a"), *b = transactional("mixed-b"), *c = transactional("mixed-c");
    begin(a);
    begin(b);
    for (int i = 0; i < 5; i++) {
        write_all(a, topic, "a", 1, 1);
        write_all(b, topic, "b", 1, 1);
        produced(topic, records(1, "plain", 1), 1);
    }
    EQUAL_NUMBER(stable(topic), 0, "last stable offset with two open transactions");
    commit(a);
    STABLE_IS(topic, 1, PATIENCE_S);
    roll_back(b);
    STABLE_IS(topic, 17, PATIENCE_S);
    begin(c);
    write_all(c, topic, "c", 1, 1);
    produced(topic, records(1, "behind", 1), 1);
    EQUAL_NUMBER(stable(topic), 17, "last stable offset with one open transaction");
    SEES(topic, 0, 1, "a", "plain", "a", "plain", "a", "plain", "a", "plain", "a", "plain");
    commit(c);
    SEES(topic, 0, 1, "a", "plain", "a", "plain", "a", "plain", "a", "plain", "a", "plain", "c", "behind");
    rd_kafka_destroy(a);
    rd_kafka_destroy(b);
    rd_kafka_destroy(c);
}

static int64_t group_offset(rd_kafka_t *consumer, const char *topic) {
    rd_kafka_topic_partition_list_t *asked = one(topic, 0, RD_KAFKA_OFFSET_INVALID);
    EQUAL_ERROR(rd_kafka_committed(consumer, asked, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR, "committed");
    int64_t offset = asked->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(asked);
    return offset;
}

static void play_transform(void) {
    const char *source = made("tx-input", 1), *target = made("tx-output", 1);
    produced(source, records(40, "v", 1), 40);
    rd_kafka_t *producer = transactional("transformer");
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, "group.id", "transform", "enable.auto.commit", "false", "isolation.level", "read_committed", NULL);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    int64_t done = 0;
    for (int turn = 1; done < 40; turn++) {
        struct record *input = read_from(source, 0, done, 10);
        for (int i = 0; i < 10; i++) input[i].partition = 0;
        begin(producer);
        put(producer, target, input, 10);
        rd_kafka_topic_partition_list_t *offsets = one(source, 0, done + 10);
        fine(rd_kafka_send_offsets_to_transaction(producer, offsets, group, 40000), "send_offsets_to_transaction");
        rd_kafka_topic_partition_list_destroy(offsets);
        if (turn % 2) {
            roll_back(producer);
        } else {
            commit(producer);
            done += 10;
        }
        EQUAL_NUMBER(group_offset(consumer, source), done ? done : RD_KAFKA_OFFSET_INVALID, "the group's stable offset");
    }
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    equal_values(read_under("read_committed", target, 0, 0, 40), records(40, "v", 1), 40, "values, each once");
}

static void play_fence(void) {
    const char *topic = made("tx-fence", 1);
    rd_kafka_t *zombie = transactional("fenced");
    begin(zombie);
    write_all(zombie, topic, "zombie", 5, 1);
    rd_kafka_t *heir = transactional("fenced");
    STABLE_IS(topic, 6, PATIENCE_S);
    rd_kafka_error_t *error = rd_kafka_commit_transaction(zombie, 40000);
    CHECK(error && rd_kafka_error_is_fatal(error), "a commit of the fenced producer: %s", error ? rd_kafka_error_string(error) : "taken");
    EQUAL_ERROR(rd_kafka_error_code(error), RD_KAFKA_RESP_ERR__FENCED, "the fenced producer's error");
    rd_kafka_error_destroy(error);
    rd_kafka_destroy(zombie);
    begin(heir);
    write_all(heir, topic, "heir", 5, 1);
    commit(heir);
    rd_kafka_destroy(heir);
    SEES(topic, 0, 5, "heir");
}

static void play_timeout(void) {
    const char *topic = made("tx-timeout", 1);
    // librdkafka wants no message to outlive its transaction.
    static const char *const quick[] = {"transaction.timeout.ms", "2000", "message.timeout.ms", "2000", "socket.timeout.ms", "1900", NULL};
    rd_kafka_t *slow = transactional_with("slow", quick);
    begin(slow);
    write_all(slow, topic, "slow", 5, 1);
    produced(topic, records(1, "plain", 1), 1);
    EQUAL_NUMBER(stable(topic), 0, "last stable offset of the open transaction");
    STABLE_IS(topic, 7, PATIENCE_S);
    SEES(topic, 0, 1, "plain");
    rd_kafka_error_t *error = rd_kafka_commit_transaction(slow, 40000);
    CHECK(error, "a commit after the time-out was taken");
    rd_kafka_error_destroy(error);
    rd_kafka_destroy(slow);
    rd_kafka_t *next = transactional("slow");
    begin(next);
    write_all(next, topic, "next", 1, 1);
    commit(next);
    rd_kafka_destroy(next);
    SEES(topic, 0, 1, "plain", "next");
}

static void play_across_kill(void) {
    const char *topic = made("tx-kill", 1);
    rd_kafka_t *producer = transactional("survivor");
    for (int turn = 0; turn < 2; turn++) {
        begin(producer);
        write_all(producer, topic, "before", 5, 1);
        CHECK(control("/kill9-and-restart"), "the broker was not restarted");
        put(producer, topic, records(5, "after", 1), 5);
        (turn ? roll_back : commit)(producer);
        SEES(topic, 0, 5, "before", "after");
    }
    begin(producer);
    write_all(producer, topic, "left-open", 3, 1);
    CHECK(control("/kill9-and-restart"), "the broker was not restarted");
    rd_kafka_t *heir = transactional("survivor");
    begin(heir);
    write_all(heir, topic, "heir", 5, 1);
    commit(heir);
    rd_kafka_destroy(heir);
    rd_kafka_destroy_flags(producer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    SEES(topic, 0, 5, "before", "after", "heir");
}

const struct scenario transaction_scenarios[] = {
    {"transactions-commit", play_commit},
    {"transactions-abort", play_abort},
    {"transactions-interleaved", play_interleaved},
    {"transactions-consume-transform-produce", play_transform},
    {"transactions-fence-zombie", play_fence},
    {"transactions-timeout", play_timeout},
    {"transactions-across-kill", play_across_kill},
};
const size_t transaction_scenario_count = sizeof transaction_scenarios / sizeof *transaction_scenarios;
