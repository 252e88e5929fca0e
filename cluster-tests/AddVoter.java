import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AddRaftVoterOptions;
import org.apache.kafka.clients.admin.RaftVoterEndpoint;
import org.apache.kafka.common.Uuid;

/** AddVoter BOOTSTRAP ID DIRECTORY HOST PORT: Kafka's own client has a broker vote. Its tool can do that only beside a controller's file. */
class AddVoter {
    public static void main(String[] words) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", words[0]))) {
            var endpoints = Set.of(new RaftVoterEndpoint("PLAINTEXT", words[3], Integer.parseInt(words[4])));
            admin.addRaftVoter(Integer.parseInt(words[1]), Uuid.fromString(words[2]), endpoints, new AddRaftVoterOptions()).all().get();
        }
    }
}
