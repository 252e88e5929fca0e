package compat;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/**
 * A job of Flink in local mode: counts words of one topic into another. It starts at the offsets that it has committed to its group, which it
 * does with each checkpoint. Its sink is at-least-once: exactly-once needs transactions. It runs twice in one process, the second time with
 * nothing but those offsets, once a byte on standard input says so.
 */
@SuppressWarnings("deprecation") // The connector's own signature has a class that Kafka deprecates.
public final class FlinkJob {
    public static void main(String[] arguments) throws Exception {
        var first = run(arguments[0]);
        if (System.in.read() < 0) {
            throw new IllegalStateException("standard input was closed");
        }
        first.cancel().get();
        first.getJobExecutionResult().handle((result, cancelled) -> null).get();
        System.out.println("the first run is over");
        run(arguments[0]).getJobExecutionResult().get();
    }

    private static JobClient run(String bootstrap) throws Exception {
        var environment = StreamExecutionEnvironment.createLocalEnvironment(1);
        environment.enableCheckpointing(300);
        var source = KafkaSource.<String>builder().setBootstrapServers(bootstrap).setTopics("flink-in").setGroupId("flink")
            .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
            .setValueOnlyDeserializer(new SimpleStringSchema()).build();
        var records = KafkaRecordSerializationSchema.<String>builder().setTopic("flink-out").setValueSerializationSchema(new SimpleStringSchema()).build();
        var sink = KafkaSink.<String>builder().setBootstrapServers(bootstrap).setRecordSerializer(records)
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE).build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "words")
            .map(word -> Tuple2.of(word, 1)).returns(Types.TUPLE(Types.STRING, Types.INT))
            .keyBy(counted -> counted.f0, Types.STRING).sum(1)
            .map(counted -> counted.f0 + "=" + counted.f1).returns(Types.STRING)
            .sinkTo(sink);
        return environment.executeAsync("count words");
    }
}
