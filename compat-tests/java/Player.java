package compat;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.io.PrintStream;

/** What the Java programs share: the scenario table, the control of the broker, and the result lines. */
final class Player {
    static final String BOOTSTRAP = System.getenv().getOrDefault("COMPAT_BOOTSTRAP", "");
    /** How many brokers there are; with several, each can be killed, by its id, and topics have a replica on all. */
    static final int BROKERS = Integer.parseInt(System.getenv().getOrDefault("COMPAT_BROKERS", "1"));
    /** The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes. */
    static final int LARGEST_VALUE_BYTES = 1048516;
    /** The tools replace System.out; result lines go to the process's own. */
    static final PrintStream OUT = System.out;

    /** Whether the class path holds an older kafka-clients than the one that this was compiled against. */
    static final boolean OLD = Boolean.getBoolean("compat.old");

    private final Map<String, Scenario> table = new LinkedHashMap<>();

    interface Scenario {
        void play() throws Exception;
    }

    Player add(String name, Scenario scenario) {
        table.put(name, scenario);
        return this;
    }

    /** Plays the scenarios that the runner asks for and this program knows, in the runner's order. */
    void play() {
        for (String name : System.getenv("COMPAT_SCENARIOS").split(",")) {
            Scenario scenario = table.get(name);
            if (scenario == null) continue;
            emit("{\"scenario\":\"" + name + "\"}");
            long started = System.nanoTime();
            String result = "pass", reason = "";
            try {
                scenario.play();
            } catch (Throwable error) {
                error.printStackTrace();
                // An old kafka-clients.jar lacks a class or method that the scenario needs: it cannot be expressed with it.
                boolean lacking = OLD && (error instanceof NoSuchMethodError || error instanceof NoClassDefFoundError);
                result = lacking ? "-" : "fail";
                reason = String.valueOf(cause(error));
            }
            double seconds = Math.round((System.nanoTime() - started) / 1e7) / 100.0;
            emit("{\"scenario\":\"" + name + "\",\"result\":\"" + result + "\",\"reason\":\"" + escape(reason) + "\",\"seconds\":" + seconds + "}");
        }
    }

    private static void emit(String line) {
        OUT.println(line);
        OUT.flush();
    }

    private static String escape(String text) {
        StringBuilder out = new StringBuilder();
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ') out.append(' ');
            else out.append(c);
        }
        return out.toString();
    }

    static Throwable cause(Throwable error) {
        return error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
    }

    /** Asks the runner for /kill9, /start or /kill9-and-restart and returns when that is done. */
    static void control(String step) throws Exception {
        URI address = URI.create(System.getenv("COMPAT_CONTROL") + step);
        HttpRequest request = HttpRequest.newBuilder(address).timeout(Duration.ofSeconds(80)).POST(HttpRequest.BodyPublishers.noBody()).build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        equal(answer.statusCode(), 200, "control " + step + ": " + answer.body());
    }

    /** A thread that will kill and restart the broker; what goes wrong is added to the failures. */
    static Thread restarting(List<Throwable> failures) {
        return new Thread(() -> {
            try {
                control("/kill9-and-restart");
            } catch (Exception error) {
                failures.add(error);
            }
        });
    }

    static void equal(Object got, Object expected, String what) {
        if (!Objects.equals(got, expected)) throw new AssertionError(what + ": expected " + brief(expected) + ", got " + brief(got));
    }

    private static String brief(Object value) {
        String text = String.valueOf(value);
        return text.length() > 300 ? text.substring(0, 300) + "..." : text;
    }

    static void check(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static void until(BooleanSupplier condition, Supplier<Object> what) throws InterruptedException {
        until(condition, what, 30);
    }

    /** Polls the condition until it holds. */
    static void until(BooleanSupplier condition, Supplier<Object> what, int timeoutS) throws InterruptedException {
        long deadline = System.nanoTime() + timeoutS * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) throw new AssertionError("not within " + timeoutS + " s: " + what.get());
            Thread.sleep(20);
        }
    }

    /** The scenario must fail with the exception, as it is or as a cause. */
    static void refused(Class<? extends Throwable> expected, Scenario scenario, String what) {
        try {
            scenario.play();
        } catch (Throwable error) {
            for (Throwable t = error; t != null; t = t.getCause()) if (expected.isInstance(t)) return;
            throw new AssertionError(what + ": expected " + expected.getSimpleName() + ", got " + cause(error));
        }
        throw new AssertionError(what + " was not refused");
    }
}
