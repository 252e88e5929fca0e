package compat;

import static compat.Kafka.admin;
import static compat.Kafka.get;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidRequestException;

/**
 * What a client sees of the limits of connections. Plain sockets ask for ApiVersions from addresses of their own (all of 127.0.0.0/8 is this
 * machine), so that limits by address do not concern the admin client.
 */
final class Connections {
    private static final String TOTAL = "max.connections";
    private static final String PER_IP = "max.connections.per.ip";
    private static final String OVERRIDES = "max.connections.per.ip.overrides";
    private static final String RATE = "max.connection.creation.rate";
    private static final String LISTENER = "listener.name.plaintext.";
    private static final int QUICK_MS = 400, SLOW_MS = 10_000;

    private enum Fate { ANSWERED, CLOSED, WAITS }

    private Connections() {}

    static void register(Player player) {
        player
            .add("connections-per-ip", Connections::perIp)
            .add("connections-max", Connections::inAll)
            .add("connections-max-of-listener", Connections::ofListener)
            .add("connections-rate", Connections::rate);
    }

    private interface Play {
        void play() throws Exception;
    }

    /** Sets keys of the one broker, plays, and takes them back. */
    private static void with(Map<String, String> limits, Play play) throws Exception {
        alter(limits, OpType.SET);
        try {
            play.play();
        } finally {
            alter(limits, OpType.DELETE);
        }
    }

    private static void alter(Map<String, String> limits, OpType type) throws Exception {
        String broker = get(admin().describeCluster().nodes()).iterator().next().idString();
        List<AlterConfigOp> changes = new ArrayList<>();
        limits.forEach((key, value) -> changes.add(new AlterConfigOp(new ConfigEntry(key, value), type)));
        get(admin().incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.BROKER, broker), changes)).all());
    }

    private static void refused(String key, String value) throws Exception {
        try {
            alter(Map.of(key, value), OpType.SET);
            throw new AssertionError(key + "=" + value + " was not refused");
        } catch (ExecutionException error) {
            check(error.getCause() instanceof InvalidRequestException, key + "=" + value + ": " + error.getCause());
        }
    }

    /** A connection from the address that asks for ApiVersions, version 0. */
    private static Socket from(String address) {
        try {
            String[] broker = Player.BOOTSTRAP.split("[:,]");
            Socket socket = new Socket();
            socket.bind(new InetSocketAddress(InetAddress.getByName(address), 0));
            socket.connect(new InetSocketAddress(broker[0], Integer.parseInt(broker[1])), SLOW_MS);
            ask(socket);
            return socket;
        } catch (IOException error) {
            throw new AssertionError("connecting from " + address + ": " + error, error);
        }
    }

    private static void ask(Socket socket) {
        ByteBuffer request = ByteBuffer.allocate(14).putInt(10).putShort((short) 18).putShort((short) 0).putInt(7).putShort((short) -1);
        try {
            socket.getOutputStream().write(request.array());
        } catch (IOException closed) {
            // Whoever reads finds it out.
        }
    }

    private static Fate fate(Socket socket, int withinMs) {
        try {
            socket.setSoTimeout(withinMs);
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] answer = new byte[in.readInt()];
            in.readFully(answer);
            equal(ByteBuffer.wrap(answer).getInt(), 7, "correlation id");
            return Fate.ANSWERED;
        } catch (SocketTimeoutException silence) {
            return Fate.WAITS;
        } catch (IOException closed) {
            return Fate.CLOSED;
        }
    }

    private static void close(List<Socket> sockets) {
        for (Socket socket : sockets) {
            try {
                socket.close();
            } catch (IOException error) {
                throw new AssertionError("closing: " + error, error);
            }
        }
    }

    /** How many of the connections from an address are held at once: the others are closed. */
    private static int held(String address, int tries) {
        List<Socket> sockets = new ArrayList<>();
        int held = 0;
        for (int i = 0; i < tries; i++) {
            sockets.add(from(address));
            held += fate(sockets.get(i), SLOW_MS) == Fate.ANSWERED ? 1 : 0;
        }
        close(sockets);
        return held;
    }

    private static void untilHeld(String address, int expected) throws Exception {
        int[] last = new int[1];
        until(() -> (last[0] = held(address, expected + 2)) == expected, () -> expected + " from " + address + ", not " + last[0]);
    }

    private static void perIp() throws Exception {
        with(Map.of(PER_IP, "4", OVERRIDES, "127.0.0.1:1000,127.0.0.2:2"), () -> {
            untilHeld("127.0.0.2", 2);
            untilHeld("127.0.0.3", 4);
            untilHeld("127.0.0.3", 4);
            // A place that gets free can be taken at once; who was refused had to come again.
            List<Socket> first = List.of(from("127.0.0.2"), from("127.0.0.2"));
            for (Socket socket : first) equal(fate(socket, SLOW_MS), Fate.ANSWERED, "one of two");
            Socket third = from("127.0.0.2");
            equal(fate(third, SLOW_MS), Fate.CLOSED, "the third");
            close(first);
            untilHeld("127.0.0.2", 2);
            refused(PER_IP, "-1");
            refused(OVERRIDES, "127.0.0.2:many");
        });
        until(() -> held("127.0.0.3", 9) == 9, () -> "no limit any more");
    }

    /** Opens connections until one waits, which is the last of the result. Those of the scenario before may still count for a moment. */
    private static List<Socket> fill(int least, int most) throws Exception {
        List<Socket> sockets = new ArrayList<>();
        until(() -> {
            close(sockets);
            sockets.clear();
            return sockets.addAll(filled(most)) && sockets.size() > least;
        }, () -> "only " + sockets.size() + " connections, with the one too many");
        return sockets;
    }

    private static List<Socket> filled(int most) {
        List<Socket> sockets = new ArrayList<>();
        while (sockets.size() <= most) {
            sockets.add(from("127.0.0.4"));
            Fate fate = fate(sockets.get(sockets.size() - 1), QUICK_MS);
            if (fate == Fate.WAITS) return sockets;
            equal(fate, Fate.ANSWERED, "connection " + sockets.size());
        }
        throw new AssertionError(sockets.size() + " connections where there may be " + most);
    }

    /** What waits is served as soon as another one ends. */
    private static void waits(List<Socket> sockets) {
        Socket waiting = sockets.get(sockets.size() - 1);
        equal(fate(waiting, QUICK_MS), Fate.WAITS, "the one too many");
        close(sockets.subList(0, 1));
        equal(fate(waiting, SLOW_MS), Fate.ANSWERED, "the one too many, when another has ended");
    }

    private static void inAll() throws Exception {
        List<Socket> sockets = new ArrayList<>();
        with(Map.of(TOTAL, "30"), () -> {
            until(() -> describes(TOTAL, "30"), () -> TOTAL + " is described");
            sockets.addAll(fill(20, 30));
            waits(sockets);
            sockets.remove(0);
            refused(TOTAL, "0");
            // Of those that are too many now some are closed (by each network thread of Apache Kafka the longest silent of its own).
            alter(Map.of(TOTAL, "15"), OpType.SET);
            int[] open = new int[1];
            until(() -> (open[0] = alive(sockets)) <= 15, () -> "15 are left, not " + open[0]);
            check(open[0] >= 10, "only " + open[0] + " are left");
        });
        close(sockets);
        until(() -> held("127.0.0.4", 40) == 40, () -> "no limit any more");
    }

    private static boolean describes(String key, String value) {
        try {
            String broker = get(admin().describeCluster().nodes()).iterator().next().idString();
            ConfigResource resource = new ConfigResource(ConfigResource.Type.BROKER, broker);
            ConfigEntry entry = get(admin().describeConfigs(List.of(resource)).all()).get(resource).get(key);
            return entry != null && value.equals(entry.value());
        } catch (Exception error) {
            throw new AssertionError("describeConfigs: " + error, error);
        }
    }

    /** How many the broker has not closed. They ask nothing, so that none is younger by it. */
    private static int alive(List<Socket> sockets) {
        int alive = 0;
        for (Socket socket : sockets) alive += fate(socket, 1) == Fate.WAITS ? 1 : 0;
        return alive;
    }

    private static void ofListener() throws Exception {
        List<Socket> sockets = new ArrayList<>();
        with(Map.of(LISTENER + TOTAL, "20"), () -> {
            until(() -> describes(LISTENER + TOTAL, "20"), () -> "the listener's limit is described");
            sockets.addAll(fill(10, 20));
            waits(sockets);
            sockets.remove(0);
            refused(LISTENER + TOTAL, "0");
            // The limit of a listener closes nothing.
            int before = alive(sockets);
            alter(Map.of(LISTENER + TOTAL, "10"), OpType.SET);
            until(() -> describes(LISTENER + TOTAL, "10"), () -> "the lower limit is described");
            Socket late = from("127.0.0.4");
            equal(fate(late, QUICK_MS), Fate.WAITS, "one more");
            equal(alive(sockets), before, "of those before");
            sockets.add(late);
        });
        Socket late = sockets.remove(sockets.size() - 1);
        equal(fate(late, SLOW_MS), Fate.ANSWERED, "one more, without the limit");
        close(sockets);
        close(List.of(late));
    }

    /** Ten seconds' worth are free, unless that was used before; of the others each waits for its second. */
    private static double secondsOf(int connections) {
        long start = System.nanoTime();
        List<Socket> sockets = new ArrayList<>();
        for (int i = 0; i < connections; i++) {
            sockets.add(from("127.0.0.4"));
            equal(fate(sockets.get(i), SLOW_MS), Fate.ANSWERED, "connection " + i);
        }
        close(sockets);
        return (System.nanoTime() - start) / 1e9;
    }

    private static void rate() throws Exception {
        for (String key : List.of(RATE, LISTENER + RATE)) {
            Map<String, String> limit = new HashMap<>(Map.of(key, "2"));
            with(limit, () -> {
                until(() -> describes(key, "2"), () -> key + " is described");
                double seconds = secondsOf(30);
                check(seconds > 3 && seconds < 25, "30 connections at " + key + "=2 took " + seconds + " s");
                refused(key, "0");
            });
            until(() -> secondsOf(20) < 2, () -> "no wait without " + key);
        }
    }
}
