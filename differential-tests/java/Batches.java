package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/** Record batches from a scenario's words and to readable JSON, by Kafka's own builder and reader. */
final class Batches {
    private Batches() {}

    private static final int MAGIC_AT = 16;
    private static final int CRC_AT = 17;
    private static final int ATTRIBUTES_AT = 21;
    private static final int LAST_OFFSET_DELTA_AT = 23;
    private static final int COUNT_AT = 57;

    /** {count, first, timestamp, codec, magic, producerId, epoch, sequence, transactional, control, nullKey, size, batches, break}. */
    static BinaryNode build(JsonNode words) {
        ByteBuffer all = ByteBuffer.allocate(4 << 20);
        for (int batch = 0; batch < words.path("batches").asInt(1); batch++) {
            all.put(batch(words));
        }
        all.flip();
        byte[] bytes = new byte[all.remaining()];
        all.get(bytes);
        return BinaryNode.valueOf(damaged(bytes, words.path("break").asText("")));
    }

    private static ByteBuffer batch(JsonNode words) {
        byte magic = (byte) words.path("magic").asInt(2);
        TimestampType type = TimestampType.CREATE_TIME;
        Compression codec = Compression.of(words.path("codec").asText("none")).build();
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(
            ByteBuffer.allocate(2 << 20), magic, codec, type, words.path("first").asLong(0), RecordBatch.NO_TIMESTAMP,
            words.path("producerId").asLong(-1), (short) words.path("epoch").asInt(-1), words.path("sequence").asInt(-1),
            words.path("transactional").asBoolean(false), words.path("control").asBoolean(false), -1, 2 << 20);
        long timestamp = words.path("timestamp").asLong(1000);
        for (int i = 0; i < words.path("count").asInt(1); i++) {
            byte[] key = words.path("nullKey").asBoolean(false) ? null : ("k" + i).getBytes(StandardCharsets.UTF_8);
            byte[] value = words.has("size") ? new byte[words.get("size").asInt()] : ("v" + i).getBytes(StandardCharsets.UTF_8);
            builder.append(timestamp + i * 10L, key, value);
        }
        return builder.build().buffer().duplicate();
    }

    private static byte[] damaged(byte[] bytes, String how) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        switch (how) {
            case "" -> { }
            case "empty" -> { return new byte[0]; }
            case "crc" -> buffer.put(CRC_AT, (byte) (buffer.get(CRC_AT) ^ 1));
            case "body" -> buffer.put(bytes.length - 1, (byte) (buffer.get(bytes.length - 1) ^ 1));
            case "magic" -> buffer.put(MAGIC_AT, (byte) 9);
            case "codec" -> { buffer.putShort(ATTRIBUTES_AT, (short) 7); sum(buffer); }
            case "not-compressed" -> { buffer.putShort(ATTRIBUTES_AT, (short) 1); sum(buffer); }
            case "log-append-time" -> { buffer.putShort(ATTRIBUTES_AT, (short) 8); sum(buffer); }
            case "delta" -> { buffer.putInt(LAST_OFFSET_DELTA_AT, 7); sum(buffer); }
            case "count" -> { buffer.putInt(COUNT_AT, 7); sum(buffer); }
            case "negative-count" -> { buffer.putInt(COUNT_AT, -1); sum(buffer); }
            case "length" -> buffer.putInt(8, bytes.length + 100);
            case "short-length" -> buffer.putInt(8, 5);
            case "cut" -> { return java.util.Arrays.copyOf(bytes, bytes.length - 3); }
            default -> throw new IllegalArgumentException("break: " + how);
        }
        return bytes;
    }

    private static void sum(ByteBuffer batch) {
        java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
        crc.update(batch.array(), ATTRIBUTES_AT, batch.capacity() - ATTRIBUTES_AT);
        batch.putInt(CRC_AT, (int) crc.getValue());
    }

    static JsonNode toJson(BaseRecords records) {
        if (records == null) {
            return NullNode.getInstance();
        }
        ArrayNode batches = JsonNodeFactory.instance.arrayNode();
        for (RecordBatch batch : ((MemoryRecords) records).batches()) {
            ObjectNode node = batches.addObject();
            node.put("offsets", batch.baseOffset() + "-" + batch.lastOffset()).put("magic", batch.magic());
            node.put("codec", batch.compressionType().name).put("timestamps", batch.timestampType().name).put("maxTimestamp", batch.maxTimestamp());
            node.put("producerId", batch.producerId()).put("producerEpoch", batch.producerEpoch()).put("sequence", batch.baseSequence());
            node.put("leaderEpoch", batch.partitionLeaderEpoch()).put("valid", batch.isValid());
            ArrayNode each = node.putArray("contents");
            if (batch.isTransactional()) {
                node.put("transactional", true);
            }
            for (Record record : batch) {
                if (batch.isControlBatch()) {
                    // A marker's time is that of its writing.
                    each.add(record.offset() + " " + ControlRecordType.parse(record.key()) + " " + EndTransactionMarker.deserialize(record).coordinatorEpoch());
                    continue;
                }
                each.add(record.offset() + " " + record.timestamp() + " " + text(record.key()) + " " + text(record.value()));
            }
        }
        return batches;
    }

    private static String text(ByteBuffer bytes) {
        if (bytes == null) {
            return "null";
        }
        if (bytes.remaining() > 50) {
            return bytes.remaining() + "B";
        }
        return StandardCharsets.UTF_8.decode(bytes.duplicate()).toString();
    }
}
