package oracle;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

import com.fasterxml.jackson.databind.ObjectMapper;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.context.WebServerInitializedEvent;
import org.springframework.cloud.config.server.EnableConfigServer;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.event.EventListener;

/**
 * The real Spring Cloud Config Server. It listens on a free port of the loopback interface and
 * prints one line {@code PORT <n>} once it answers requests.
 * <p>
 * With arguments ({@code --spring.cloud.config.server.git.uri=file:...}) it is one server until it
 * is stopped. Without arguments it reads JSON arrays of arguments from standard input, one per
 * line: each line stops the server of the line before and starts the next one, in the same process;
 * a start that fails prints {@code FAILED <message>}. It ends with the input. The log goes to
 * standard error.
 */
@SpringBootApplication
@EnableConfigServer
public class ConfigServer {

    private static final String[] ALWAYS = { "--server.address=127.0.0.1", "--server.port=0",
            "--spring.main.banner-mode=off", "--logging.level.root=ERROR" };

    private static final PrintStream OUT = System.out;

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        if (args.length > 0) {
            start(args);
            return;
        }
        ConfigurableApplicationContext running = null;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null;) {
            if (running != null) {
                running.close();
                running = null;
            }
            try {
                running = start(new ObjectMapper().readValue(line, String[].class));
            }
            catch (Exception ex) {
                OUT.println("FAILED " + String.valueOf(ex.getMessage()).replace('\n', ' '));
            }
        }
        System.exit(0);
    }

    private static ConfigurableApplicationContext start(String[] args) {
        String[] all = new String[ALWAYS.length + args.length];
        System.arraycopy(ALWAYS, 0, all, 0, ALWAYS.length);
        System.arraycopy(args, 0, all, ALWAYS.length, args.length);
        return SpringApplication.run(ConfigServer.class, all);
    }

    @EventListener
    public void listening(WebServerInitializedEvent event) {
        OUT.println("PORT " + event.getWebServer().getPort());
        OUT.flush();
    }
}
