package oracle;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.context.WebServerInitializedEvent;
import org.springframework.cloud.config.server.EnableConfigServer;
import org.springframework.context.event.EventListener;

/**
 * The real Spring Cloud Config Server. Settings are given as arguments
 * ({@code --spring.cloud.config.server.git.uri=file:...}); it listens on a free port of the
 * loopback interface and prints one line {@code PORT <n>} once it answers requests.
 */
@SpringBootApplication
@EnableConfigServer
public class ConfigServer {

    public static void main(String[] args) {
        SpringApplication.run(ConfigServer.class, args);
    }

    @EventListener
    public void listening(WebServerInitializedEvent event) {
        System.out.println("PORT " + event.getWebServer().getPort());
        System.out.flush();
    }
}
