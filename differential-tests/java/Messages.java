package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.Iterator;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.internal.BaseRecords;

/** Between JSON and frames, by Kafka's own message classes and their JSON converters. */
final class Messages {
    private static final Pattern UNKNOWN_FIELD = Pattern.compile("non-default (\\w+) at version");

    private Messages() {}

    private static Class<?> converter(Class<?> data) throws ClassNotFoundException {
        String name = data.getName();
        int nested = name.indexOf('$');
        if (nested < 0) {
            return Class.forName(name + "JsonConverter");
        }
        return Class.forName(name.substring(0, nested) + "JsonConverter$" + name.substring(nested + 1) + "JsonConverter");
    }

    static JsonNode toJson(Message data, short version) throws ReflectiveOperationException {
        return (JsonNode) call(converter(data.getClass()).getMethod("write", data.getClass(), short.class), data, version);
    }

    private static Object call(java.lang.reflect.Method method, Object... arguments) throws ReflectiveOperationException {
        try {
            return method.invoke(null, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof RuntimeException) {
                throw (RuntimeException) e.getCause();
            }
            throw e;
        }
    }

    /** Gives each field that the scenario leaves out its default, at all depths. */
    private static void fill(ObjectNode node, Class<?> type, short version) throws ReflectiveOperationException {
        Message empty = (Message) type.getConstructor().newInstance();
        Iterator<Map.Entry<String, JsonNode>> defaults = toJson(empty, version).fields();
        while (defaults.hasNext()) {
            Map.Entry<String, JsonNode> field = defaults.next();
            if (!node.has(field.getKey())) {
                node.set(field.getKey(), field.getValue());
            }
        }
        Iterator<Map.Entry<String, JsonNode>> fields = node.fields();
        while (fields.hasNext()) {
            Map.Entry<String, JsonNode> field = fields.next();
            Type result;
            try {
                result = type.getMethod(field.getKey()).getGenericReturnType();
            } catch (NoSuchMethodException e) {
                throw new IllegalArgumentException(type.getSimpleName() + " has no field " + field.getKey());
            }
            if (field.getValue().isArray()) {
                Class<?> element = element(result);
                for (JsonNode each : (ArrayNode) field.getValue()) {
                    if (each.isObject()) {
                        fill((ObjectNode) each, element, version);
                    }
                }
            } else if (field.getValue().isObject()) {
                fill((ObjectNode) field.getValue(), (Class<?>) result, version);
            }
        }
    }

    private static Class<?> element(Type list) {
        if (list instanceof ParameterizedType) {
            return (Class<?>) ((ParameterizedType) list).getActualTypeArguments()[0];
        }
        return element(((Class<?>) list).getGenericSuperclass());
    }

    /** The frame of a request, its length included; what the version cannot say is left out of the JSON. */
    static ByteBuffer frame(ApiMessageType api, short version, int correlation, ObjectNode json) throws ReflectiveOperationException {
        while (true) {
            try {
                return wholeFrame(api, version, correlation, json);
            } catch (UnsupportedVersionException e) {
                Matcher unknown = UNKNOWN_FIELD.matcher(e.getMessage());
                if (!unknown.find() || !remove(json, unknown.group(1))) {
                    throw e;
                }
            }
        }
    }

    private static boolean remove(JsonNode node, String field) {
        boolean removed = node.isObject() && ((ObjectNode) node).remove(field) != null;
        for (JsonNode child : node) {
            removed |= remove(child, field);
        }
        return removed;
    }

    private static ByteBuffer wholeFrame(ApiMessageType api, short version, int correlation, ObjectNode json) throws ReflectiveOperationException {
        ApiMessage request = api.newRequest();
        fill(json, request.getClass(), version);
        request = (ApiMessage) call(converter(request.getClass()).getMethod("read", JsonNode.class, short.class), json, version);
        RequestHeaderData header = new RequestHeaderData();
        header.setRequestApiKey(api.apiKey()).setRequestApiVersion(version).setCorrelationId(correlation).setClientId("differential");
        short headerVersion = api.requestHeaderVersion(version);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        // The sizes must be asked for before writing: they fill the cache.
        int size = header.size(cache, headerVersion) + request.size(cache, version);
        ByteBuffer head = MessageUtil.toByteBufferAccessor(header, headerVersion).buffer();
        ByteBuffer body = MessageUtil.toByteBufferAccessor(request, version).buffer();
        ByteBuffer frame = ByteBuffer.allocate(4 + size);
        frame.putInt(size).put(head).put(body).flip();
        return frame;
    }

    /** An answer without its length, as JSON; what follows its end is told. */
    static ObjectNode answer(ApiMessageType api, short version, ByteBuffer frame) throws ReflectiveOperationException {
        ByteBufferAccessor reader = new ByteBufferAccessor(frame);
        new ResponseHeaderData(reader, api.responseHeaderVersion(version));
        ApiMessage response = api.newResponse();
        response.read(reader, version);
        ObjectNode json = (ObjectNode) toJson(response, version);
        if (response instanceof FetchResponseData) {
            showRecords((FetchResponseData) response, json);
        }
        if (frame.hasRemaining()) {
            json.put("$bytesBehindTheEnd", frame.remaining());
        }
        return json;
    }

    /** The converters give no records. */
    private static void showRecords(FetchResponseData response, ObjectNode json) {
        for (int topic = 0; topic < response.responses().size(); topic++) {
            for (int partition = 0; partition < response.responses().get(topic).partitions().size(); partition++) {
                BaseRecords records = response.responses().get(topic).partitions().get(partition).records();
                ObjectNode shown = (ObjectNode) json.get("responses").get(topic).get("partitions").get(partition);
                shown.remove("recordsSizeInBytes");
                shown.set("records", Batches.toJson(records));
            }
        }
    }
}
