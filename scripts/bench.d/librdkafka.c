// A load by librdkafka, with its default settings but for what is named below: how fast it produces to a topic's partitions in turn, or reads all of them.
//
//     librdkafka-load produce|consume ADDRESS TOPIC PARTITIONS RECORD_BYTES RECORDS ACKS
//
// Prints a line of JSON. Code 1 with a sentence if a record was not delivered or did not come.

#include <rdkafka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000, PATIENCE_MS = 60000 };

struct load {
    const char *topic;
    int32_t partitions;
    size_t record_bytes;
    int64_t records;
    int64_t delivered;
    int64_t failed;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void stop(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        stop(key, error);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[512];
    rd_kafka_t *made = rd_kafka_new(type, conf, error, sizeof error);
    if (made == NULL)
        stop("no client", error);
    return made;
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    struct load *load = opaque;
    (void)client;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        load->delivered += 1;
    else if (load->failed++ == 0)
        fprintf(stderr, "the first record that was not delivered: %s\n", rd_kafka_err2str(message->err));
}

static double produce(struct load *load, rd_kafka_conf_t *conf, const char *acks) {
    // Room enough that the broker is waited for, and not this program's own queue.
    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "1048576");
    set(conf, "acks", acks);
    rd_kafka_conf_set_opaque(conf, load);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, load->topic, NULL);
    char *value = malloc(load->record_bytes);
    if (value == NULL)
        stop("no memory", "for a record");
    memset(value, 'v', load->record_bytes);
    double began = now();
    for (int64_t number = 0; number < load->records; number++) {
        int32_t partition = (int32_t)(number % load->partitions);
        while (rd_kafka_produce(topic, partition, 0, value, load->record_bytes, NULL, 0, NULL) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                stop("a record is not taken", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(producer, 10);
        }
        if (number % BATCH == 0)
            rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, PATIENCE_MS);
    double seconds = now() - began;
    if (load->failed > 0 || load->delivered != load->records)
        stop("not all is delivered", "see above");
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    free(value);
    return seconds;
}

static double consume(struct load *load, rd_kafka_conf_t *conf) {
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer, load->topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer);
    rd_kafka_message_t *messages[BATCH];
    double began = now(), heard = began;
    for (int32_t partition = 0; partition < load->partitions; partition++)
        if (rd_kafka_consume_start_queue(topic, partition, RD_KAFKA_OFFSET_BEGINNING, queue) != 0)
            stop("a partition is not read", rd_kafka_err2str(rd_kafka_last_error()));
    while (load->delivered < load->records) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, messages, BATCH);
        if (count > 0)
            heard = now();
        else if (now() - heard > PATIENCE_MS / 1000.0)
            stop("no record comes any more", "for a minute");
        for (ssize_t index = 0; index < count; index++) {
            if (messages[index]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                load->delivered += 1;
            else if (messages[index]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                stop("an error in the place of a record", rd_kafka_message_errstr(messages[index]));
            rd_kafka_message_destroy(messages[index]);
        }
    }
    double seconds = now() - began;
    for (int32_t partition = 0; partition < load->partitions; partition++)
        rd_kafka_consume_stop(topic, partition);
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(consumer);
    return seconds;
}

int main(int count, char **words) {
    if (count != 8 || (strcmp(words[1], "produce") != 0 && strcmp(words[1], "consume") != 0)) {
        fprintf(stderr, "usage: %s produce|consume ADDRESS TOPIC PARTITIONS RECORD_BYTES RECORDS ACKS\n", words[0]);
        return 2;
    }
    struct load load = {.topic = words[3], .partitions = atoi(words[4]), .record_bytes = (size_t)atol(words[5]), .records = atoll(words[6])};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", words[2]);
    double seconds = strcmp(words[1], "produce") == 0 ? produce(&load, conf, words[7]) : consume(&load, conf);
    double bytes = (double)load.delivered * (double)load.record_bytes;
    printf("{\"mb_per_s\": %.3f, \"payload_bytes\": %.0f, \"records\": %" PRId64 ", \"seconds\": %.4f}\n", bytes / 1e6 / seconds, bytes, load.delivered, seconds);
    return 0;
}
