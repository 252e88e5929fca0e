// The scenarios on consumer groups.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "player.h"

enum { MOST_VALUES = 1000, MOST_PARTITIONS = 6 };

// A group member with a thread of its own, which commits each record after it has noted it. The lock is for all that the thread writes.
struct member {
    pthread_t thread;
    pthread_mutex_t lock;
    rd_kafka_t *consumer;
    bool stopping, fenced, left;
    int rebalances;
    bool assigned[MOST_PARTITIONS];
    size_t count;
    char *values[MOST_VALUES];
};

static void rebalanced(rd_kafka_t *consumer, rd_kafka_resp_err_t kind, rd_kafka_topic_partition_list_t *list, void *opaque) {
    struct member *member = opaque;
    bool given = kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, cooperative = strcmp(rd_kafka_rebalance_protocol(consumer), "COOPERATIVE") == 0;
    pthread_mutex_lock(&member->lock);
    for (int i = 0; i < list->cnt; i++) member->assigned[list->elems[i].partition] = given;
    member->rebalances += given;
    pthread_mutex_unlock(&member->lock);
    if (cooperative && given) rd_kafka_error_destroy(rd_kafka_incremental_assign(consumer, list));
    else if (cooperative) rd_kafka_error_destroy(rd_kafka_incremental_unassign(consumer, list));
    else rd_kafka_assign(consumer, given ? list : NULL);
}

static void noted_error(rd_kafka_t *consumer, int error, const char *reason, void *opaque) {
    (void)consumer, (void)reason;
    struct member *member = opaque;
    if (error == RD_KAFKA_RESP_ERR__FATAL) __atomic_store_n(&member->fenced, true, __ATOMIC_RELEASE);
}

static void note(struct member *member, const rd_kafka_message_t *message) {
    pthread_mutex_lock(&member->lock);
    if (member->count < MOST_VALUES) member->values[member->count++] = strndup(message->payload, message->len);
    pthread_mutex_unlock(&member->lock);
}

static void *read_on(void *opaque) {
    struct member *member = opaque;
    while (!__atomic_load_n(&member->stopping, __ATOMIC_ACQUIRE)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(member->consumer, 100);
        if (!message) continue;
        if (!message->err) {
            note(member, message);
            // Where a rebalance came between, the record is read again by its new owner.
            rd_kafka_commit_message(member->consumer, message, 0);
        } else if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
            __atomic_store_n(&member->fenced, true, __ATOMIC_RELEASE);
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(member->consumer);
    rd_kafka_destroy(member->consumer);
    return NULL;
}

static struct member *join(const char *group, const char *topic, const char *name, const char *value) {
    const char *pairs[] = {"group.id", group, "session.timeout.ms", "6000", "heartbeat.interval.ms", "500", "auto.offset.reset", "earliest",
                           "enable.auto.commit", "false", name, value, NULL};
    struct member *member = calloc(1, sizeof *member);
    pthread_mutex_init(&member->lock, NULL);
    rd_kafka_conf_t *conf = settings(pairs);
    rd_kafka_conf_set_opaque(conf, member);
    rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
    rd_kafka_conf_set_error_cb(conf, noted_error);
    member->consumer = client_of(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_partition_list_t *wanted = one(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_OFFSET_INVALID);
    rd_kafka_subscribe(member->consumer, wanted);
    rd_kafka_topic_partition_list_destroy(wanted);
    pthread_create(&member->thread, NULL, read_on, member);
    return member;
}

// It leaves the group, if it has not done so.
static void leave(struct member *member) {
    if (member->left) return;
    member->left = true;
    __atomic_store_n(&member->stopping, true, __ATOMIC_RELEASE);
    pthread_join(member->thread, NULL);
}

static int held(struct member *member) {
    int count = 0;
    pthread_mutex_lock(&member->lock);
    for (int i = 0; i < MOST_PARTITIONS; i++) count += member->assigned[i];
    pthread_mutex_unlock(&member->lock);
    return count;
}

static size_t read_count(struct member *member) {
    pthread_mutex_lock(&member->lock);
    size_t count = member->count;
    pthread_mutex_unlock(&member->lock);
    return count;
}

// Whether one of the members has read the value.
static bool has_read(struct member *const *members, size_t count, const struct record *sought) {
    bool found = false;
    for (size_t m = 0; m < count; m++) {
        pthread_mutex_lock(&members[m]->lock);
        for (size_t i = 0; i < members[m]->count && !found; i++) found = strcmp(members[m]->values[i], sought->value) == 0;
        pthread_mutex_unlock(&members[m]->lock);
    }
    return found;
}

static size_t unread(struct member *const *members, size_t count, const struct record *sent, size_t sent_count) {
    size_t missing = 0;
    for (size_t i = 0; i < sent_count; i++) missing += !has_read(members, count, &sent[i]);
    return missing;
}

// Whether the members hold all partitions, each once, in shares that differ by at most one.
static bool even(struct member *const *members, int count, int partitions) {
    int owners[MOST_PARTITIONS] = {0};
    for (int m = 0; m < count; m++) {
        int share = held(members[m]);
        if (share < partitions / count || share > (partitions + count - 1) / count) return false;
        pthread_mutex_lock(&members[m]->lock);
        for (int i = 0; i < partitions; i++) owners[i] += members[m]->assigned[i];
        pthread_mutex_unlock(&members[m]->lock);
    }
    for (int i = 0; i < partitions; i++)
        if (owners[i] != 1) return false;
    return true;
}

// ---- the scenarios

// What the child prints goes into a member without a consumer.
static void *listen_to_child(void *opaque) {
    struct member *child = ((void **)opaque)[0];
    FILE *lines = ((void **)opaque)[1];
    char line[200];
    int count;
    while (fgets(line, sizeof line, lines)) {
        line[strcspn(line, "\n")] = 0;
        pthread_mutex_lock(&child->lock);
        if (sscanf(line, "assigned %d", &count) == 1)
            for (int i = 0; i < MOST_PARTITIONS; i++) child->assigned[i] = i < count;
        else if (child->count < MOST_VALUES) child->values[child->count++] = strdup(line);
        pthread_mutex_unlock(&child->lock);
    }
    return NULL;
}

_Noreturn void child_member(const char *group, const char *topic) {
    struct member *member = join(group, topic, NULL, NULL);
    int before = -1;
    for (size_t printed = 0;; nap()) {
        for (; printed < read_count(member); printed++) printf("%s\n", member->values[printed]);
        if (held(member) != before) printf("assigned %d\n", before = held(member));
        fflush(stdout);
    }
}

static pid_t start_child(const char *group, const char *topic, FILE **output) {
    int ends[2];
    CHECK(pipe(ends) == 0, "no pipe");
    pid_t child = fork();
    CHECK(child >= 0, "no child");
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/proc/self/exe", "c-client", "member", group, topic, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *output = fdopen(ends[0], "r");
    return child;
}

static void group_of_three(void) {
    const char *topic = made("shared", 6);
    struct member *members[] = {join("three", topic, NULL, NULL), join("three", topic, NULL, NULL), calloc(1, sizeof(struct member))};
    pthread_mutex_init(&members[2]->lock, NULL);
    FILE *output;
    pid_t child = start_child("three", topic, &output);
    void *listening[] = {members[2], output};
    pthread_t listener;
    pthread_create(&listener, NULL, listen_to_child, listening);
    UNTIL(PATIENCE_S, held(members[0]) == 2 && held(members[1]) == 2 && held(members[2]) == 2, "two partitions each");
    struct record *first = records(60, "v", 6), *second = records(60, "w", 6);
    produced(topic, first, 60);
    UNTIL(PATIENCE_S, unread(members, 3, first, 60) == 0, "60 values, %zu missing", unread(members, 3, first, 60));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    produced(topic, second, 60);
    UNTIL(PATIENCE_S, even(members, 2, 6), "all partitions taken over");
    UNTIL(PATIENCE_S, unread(members, 3, second, 60) == 0, "120 values, %zu missing", unread(members, 3, second, 60));
    leave(members[0]);
    leave(members[1]);
    pthread_join(listener, NULL);
    fclose(output);
}

static void assignors(void) {
    static const char *const all[] = {"range", "roundrobin", "cooperative-sticky"};
    for (size_t a = 0; a < 3; a++) {
        char topic[40];
        snprintf(topic, sizeof topic, "assigned-%s", all[a]);
        made(topic, 6);
        struct member *members[3];
        for (int count = 1; count <= 3; count++) {
            members[count - 1] = join(all[a], topic, "partition.assignment.strategy", all[a]);
            UNTIL(PATIENCE_S, even(members, count, 6), "%s: even shares of %d", all[a], count);
        }
        struct record *sent = records(30, "v", 6);
        produced(topic, sent, 30);
        UNTIL(PATIENCE_S, unread(members, 3, sent, 30) == 0, "%s: 30 values", all[a]);
        EQUAL_NUMBER(read_count(members[0]) + read_count(members[1]) + read_count(members[2]), 30, "each record once");
        leave(members[2]);
        UNTIL(PATIENCE_S, even(members, 2, 6), "%s: even shares after a leave", all[a]);
        leave(members[1]);
        leave(members[0]);
    }
}

static void static_membership(void) {
    const char *topic = made("static", 4);
    struct member *members[] = {join("static", topic, "group.instance.id", "one"), join("static", topic, "group.instance.id", "two")};
    UNTIL(PATIENCE_S, even(members, 2, 4), "two partitions each");
    bool before[MOST_PARTITIONS];
    memcpy(before, members[0]->assigned, sizeof before);
    int rebalances = members[1]->rebalances;
    leave(members[0]);
    struct member *back = join("static", topic, "group.instance.id", "one");
    UNTIL(PATIENCE_S, held(back) == 2, "the instance is back");
    CHECK(memcmp(before, back->assigned, sizeof before) == 0, "the returned instance has other partitions");
    EQUAL_NUMBER(members[1]->rebalances, rebalances, "rebalances of the other");
    struct member *twice = join("static", topic, "group.instance.id", "two");
    UNTIL(PATIENCE_S, __atomic_load_n(&members[1]->fenced, __ATOMIC_ACQUIRE), "the older double is fenced");
    leave(back);
    leave(twice);
    leave(members[1]);
}

// The committed offset, -1 without one.
static int64_t committed(const char *group, const char *topic, int32_t partition) {
    rd_kafka_topic_partition_list_t *partitions = one(topic, partition, RD_KAFKA_OFFSET_INVALID);
    rd_kafka_ListConsumerGroupOffsets_t *wanted = rd_kafka_ListConsumerGroupOffsets_new(group, partitions);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_ListConsumerGroupOffsets(admin(), &wanted, 1, NULL, queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(wanted);
    rd_kafka_topic_partition_list_destroy(partitions);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "ListConsumerGroupOffsets");
    size_t count;
    const rd_kafka_group_result_t **groups =
        rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    const rd_kafka_topic_partition_list_t *found = rd_kafka_group_result_partitions(groups[0]);
    int64_t offset = found && found->cnt == 1 && found->elems[0].offset >= 0 ? found->elems[0].offset : -1;
    rd_kafka_event_destroy(event);
    return offset;
}

static rd_kafka_consumer_group_state_t listed(const char *group) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_ListConsumerGroups(admin(), NULL, queue);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "ListConsumerGroups");
    size_t count;
    const rd_kafka_ConsumerGroupListing_t **all =
        rd_kafka_ListConsumerGroups_result_valid(rd_kafka_event_ListConsumerGroups_result(event), &count);
    rd_kafka_consumer_group_state_t state = RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN;
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConsumerGroupListing_group_id(all[i]), group) == 0) state = rd_kafka_ConsumerGroupListing_state(all[i]);
    rd_kafka_event_destroy(event);
    return state;
}

static void check_description(const char *group, const char *topic, const char *client_id) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DescribeConsumerGroups(admin(), &group, 1, NULL, queue);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "DescribeConsumerGroups");
    size_t count;
    const rd_kafka_ConsumerGroupDescription_t **all =
        rd_kafka_DescribeConsumerGroups_result_groups(rd_kafka_event_DescribeConsumerGroups_result(event), &count);
    EQUAL_NUMBER(rd_kafka_ConsumerGroupDescription_state(all[0]), RD_KAFKA_CONSUMER_GROUP_STATE_STABLE, "state");
    CHECK(strcmp(rd_kafka_ConsumerGroupDescription_partition_assignor(all[0]), "range") == 0, "assignor");
    EQUAL_NUMBER(rd_kafka_ConsumerGroupDescription_member_count(all[0]), 1, "members");
    const rd_kafka_MemberDescription_t *member = rd_kafka_ConsumerGroupDescription_member(all[0], 0);
    CHECK(strcmp(rd_kafka_MemberDescription_client_id(member), client_id) == 0, "client id %s", rd_kafka_MemberDescription_client_id(member));
    const rd_kafka_topic_partition_list_t *share = rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(member));
    CHECK(share->cnt == 1 && share->elems[0].partition == 0 && strcmp(share->elems[0].topic, topic) == 0, "assignment");
    rd_kafka_event_destroy(event);
}

static rd_kafka_resp_err_t delete_group(const char *group) {
    rd_kafka_DeleteGroup_t *wanted = rd_kafka_DeleteGroup_new(group);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_DeleteGroups(admin(), &wanted, 1, NULL, queue);
    rd_kafka_DeleteGroup_destroy(wanted);
    rd_kafka_event_t *event = answer(queue);
    size_t count;
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    const rd_kafka_group_result_t **groups = rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &count);
    if (!error) error = rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
    rd_kafka_event_destroy(event);
    return error;
}

static void reset_offset(const char *group, const char *topic, int64_t offset) {
    rd_kafka_topic_partition_list_t *partitions = one(topic, 0, offset);
    rd_kafka_AlterConsumerGroupOffsets_t *wanted = rd_kafka_AlterConsumerGroupOffsets_new(group, partitions);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin());
    rd_kafka_AlterConsumerGroupOffsets(admin(), &wanted, 1, NULL, queue);
    rd_kafka_AlterConsumerGroupOffsets_destroy(wanted);
    rd_kafka_topic_partition_list_destroy(partitions);
    rd_kafka_event_t *event = answer(queue);
    EQUAL_ERROR(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR, "AlterConsumerGroupOffsets");
    rd_kafka_event_destroy(event);
}

static void group_admin(void) {
    const char *topic = made("administered", 1);
    produced(topic, records(10, "v", 1), 10);
    struct member *member = join("admin", topic, "client.id", "administered-client");
    UNTIL(PATIENCE_S, committed("admin", topic, 0) == 10, "the commit of 10");
    EQUAL_NUMBER(listed("admin"), RD_KAFKA_CONSUMER_GROUP_STATE_STABLE, "state in the list");
    check_description("admin", topic, "administered-client");
    EQUAL_ERROR(delete_group("admin"), RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP, "delete of a live group");
    leave(member);
    UNTIL(PATIENCE_S, listed("admin") == RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY, "the group is empty");
    reset_offset("admin", topic, 2);
    EQUAL_NUMBER(committed("admin", topic, 0), 2, "reset offset");
    EQUAL_ERROR(delete_group("admin"), RD_KAFKA_RESP_ERR_NO_ERROR, "delete");
    EQUAL_NUMBER(listed("admin"), RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN, "the deleted group in the list");
    EQUAL_ERROR(delete_group("admin"), RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND, "a second delete");
}

static void resume_after_kill(void) {
    const char *topic = made("resumed", 1);
    struct record *first = records(40, "v", 1), *second = records(60, "w", 1);
    produced(topic, first, 40);
    struct member *member = join("resume", topic, NULL, NULL);
    UNTIL(PATIENCE_S, committed("resume", topic, 0) == 40, "the commit of 40");
    leave(member);
    produced(topic, second, 60);
    CHECK(control("/kill9-and-restart"), "the broker was not restarted");
    member = join("resume", topic, NULL, NULL);
    UNTIL(PATIENCE_S, unread(&member, 1, second, 60) == 0, "60 values after the restart");
    EQUAL_NUMBER(read_count(member), 60, "values after the restart");
    leave(member);
}

static void survives_kill(void) {
    const char *topic = made("survived", 3);
    struct member *member = join("survivor", topic, NULL, NULL);
    struct record *first = records(30, "v", 3), *second = records(30, "w", 3);
    produced(topic, first, 30);
    UNTIL(PATIENCE_S, unread(&member, 1, first, 30) == 0, "30 values before the kill");
    CHECK(control("/kill9-and-restart"), "the broker was not restarted");
    produced(topic, second, 30);
    UNTIL(45, unread(&member, 1, second, 30) == 0, "60 values, %zu missing", unread(&member, 1, second, 30));
    for (int32_t partition = 0; partition < 3; partition++)
        UNTIL(PATIENCE_S, committed("survivor", topic, partition) == 20, "the commit of 20 in partition %d", partition);
    leave(member);
}

const struct scenario group_scenarios[] = {
    {"group-of-three-one-killed", group_of_three},
    {"assignors", assignors},
    {"static-membership", static_membership},
    {"group-admin", group_admin},
    {"commit-and-resume-after-kill", resume_after_kill},
    {"member-survives-kill", survives_kill},
};
const size_t group_scenario_count = sizeof group_scenarios / sizeof *group_scenarios;
