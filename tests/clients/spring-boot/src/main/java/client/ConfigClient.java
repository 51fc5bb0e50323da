package client;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.databind.ObjectMapper;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.PropertySource;

/**
 * An ordinary Spring Boot application that fetches its configuration at start-up, prints one JSON
 * line with what it got and ends. The Config Server, the profiles and the label are given as for
 * any such application:
 *
 * <pre>
 * --spring.config.import=configserver:http://127.0.0.1:8888 --spring.application.name=cart
 * --spring.profiles.active=dev --spring.cloud.config.label=main --show=some.key,other[0]
 * </pre>
 */
@SpringBootApplication
@EnableConfigurationProperties(ConfigClient.Bound.class)
public class ConfigClient {

    /** Bound from the keys below {@code client.}, whatever of them there is. */
    @ConfigurationProperties("client")
    public record Bound(String text, Integer number, Boolean flag, Double ratio, List<String> list, Map<String, String> map,
            Nested nested, List<Nested> routes) {

        public record Nested(String name, Integer weight) {
        }
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        SpringApplication application = new SpringApplication(ConfigClient.class);
        application.setWebApplicationType(WebApplicationType.NONE);
        application.setDefaultProperties(Map.of("spring.cloud.config.fail-fast", "true", "spring.main.banner-mode", "off",
                "logging.level.root", "WARN", "spring.cloud.config.retry.max-attempts", "2"));
        try (ConfigurableApplicationContext context = application.run(args)) {
            out.println(new ObjectMapper().writeValueAsString(report(context)));
            out.flush();
        }
        System.exit(0);
    }

    private static Map<String, Object> report(ConfigurableApplicationContext context) {
        ConfigurableEnvironment environment = context.getEnvironment();
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("bound", context.getBean(Bound.class));
        report.put("version", environment.getProperty("config.client.version"));
        report.put("profiles", environment.getActiveProfiles());
        List<String> sources = new ArrayList<>();
        for (PropertySource<?> source : environment.getPropertySources()) {
            if (source.getName().startsWith("configserver:")) {
                sources.add(source.getName());
            }
        }
        report.put("sources", sources);
        Map<String, String> shown = new LinkedHashMap<>();
        String keys = environment.getProperty("show", "");
        for (String key : keys.isEmpty() ? new String[0] : keys.split(",")) {
            shown.put(key, environment.getProperty(key));
        }
        report.put("values", shown);
        return report;
    }
}
