import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** One node of OpenSearch on the loopback address, until the process is killed: FOLDER HTTP_PORT TRANSPORT_PORT. */
public final class Server {
  private static final class Single extends Node {
    Single(Environment environment) {
      // The plugins of a distribution lie in folders of their own; this one is on the class path.
      super(environment, List.of(Netty4Plugin.class), false);
    }
  }

  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]);
    Path config = Files.createDirectories(home.resolve("config"));
    Settings settings =
        Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "custody-test")
            .put("node.name", "single")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.type", "netty4")
            .put("http.port", arguments[1])
            .put("transport.type", "netty4")
            .put("transport.port", arguments[2])
            // What a test leaves of the machine's disk is not the node's concern.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    new Single(new Environment(settings, config)).start();
    Thread.currentThread().join();
  }
}
