package oracle;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.math.BigInteger;
import java.util.Base64;
import java.util.Date;
import java.util.List;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.springframework.boot.env.PropertiesPropertySourceLoader;
import org.springframework.boot.env.PropertySourceLoader;
import org.springframework.boot.env.YamlPropertySourceLoader;
import org.springframework.boot.origin.Origin;
import org.springframework.boot.origin.OriginTrackedValue;
import org.springframework.boot.origin.TextResourceOrigin;
import org.springframework.core.env.MapPropertySource;
import org.springframework.core.env.PropertySource;
import org.springframework.core.io.ByteArrayResource;

/**
 * Reads generated inputs (JSON lines) and writes what Spring Boot's own loaders make of them
 * (JSON lines, in the same order). The formats are described in tests/differential/README.md.
 */
public class Differential {

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PropertySourceLoader YAML = new YamlPropertySourceLoader();
    private static final PropertySourceLoader PROPERTIES = new PropertiesPropertySourceLoader();

    public static void main(String[] args) throws Exception {
        if (args.length < 1 || args.length > 2) {
            System.err.println("usage: oracle.Differential INPUT.jsonl [OUTPUT.jsonl]");
            System.exit(2);
        }
        PrintStream stdout = System.out;
        System.setOut(System.err);
        try (BufferedReader in = Files.newBufferedReader(Path.of(args[0]));
                BufferedWriter out = args.length == 2 ? Files.newBufferedWriter(Path.of(args[1]))
                        : new BufferedWriter(new OutputStreamWriter(stdout, StandardCharsets.UTF_8))) {
            for (String line; (line = in.readLine()) != null;) {
                if (!line.isBlank()) {
                    out.write(JSON.writeValueAsString(answer((ObjectNode) JSON.readTree(line))));
                    out.write('\n');
                }
            }
        }
    }

    private static ObjectNode answer(ObjectNode line) throws Exception {
        String kind = line.get("kind").asText();
        byte[] bytes = Base64.getDecoder().decode(line.get("base64").asText());
        List<PropertySource<?>> sources;
        try {
            sources = switch (kind) {
                case "scalar" -> load(YAML, concat("k: ".getBytes(StandardCharsets.UTF_8), bytes, "\n".getBytes(StandardCharsets.UTF_8)));
                case "yaml" -> load(YAML, bytes);
                case "properties" -> load(PROPERTIES, bytes);
                default -> throw new IllegalArgumentException("unknown kind " + kind);
            };
        }
        catch (Exception | StackOverflowError ex) {
            String message = ex.getMessage() == null ? "" : ex.getMessage().lines().findFirst().orElse("");
            message = whole(message);
            line.put("error", ex.getClass().getSimpleName() + (message.isEmpty() ? "" : ": " + message));
            return line;
        }
        ArrayNode documents = JSON.createArrayNode();
        for (PropertySource<?> source : sources) {
            documents.add(document((MapPropertySource) source));
        }
        if (kind.equals("scalar") && documents.size() == 1 && documents.get(0).size() == 1
                && documents.get(0).get(0).get(0).asText().equals("k")) {
            JsonNode entry = documents.get(0).get(0);
            line.set("type", entry.get(1));
            line.set("text", entry.get(2));
            line.set("origin", entry.get(3));
        }
        else {
            line.set("documents", documents);
        }
        return line;
    }

    private static List<PropertySource<?>> load(PropertySourceLoader loader, byte[] bytes) throws Exception {
        return loader.load("input", new ByteArrayResource(bytes));
    }

    private static ArrayNode document(MapPropertySource source) {
        ArrayNode keys = JSON.createArrayNode();
        source.getSource().forEach((key, tracked) -> {
            Object value = tracked;
            Origin origin = null;
            if (tracked instanceof OriginTrackedValue t) {
                value = t.getValue();
                origin = t.getOrigin();
            }
            ArrayNode entry = keys.addArray();
            entry.add(whole(key));
            entry.add(type(value));
            entry.add(whole(text(value)));
            if (origin instanceof TextResourceOrigin text && text.getLocation() != null) {
                entry.add((text.getLocation().getLine() + 1) + ":" + (text.getLocation().getColumn() + 1));
            }
            else {
                entry.addNull();
            }
        });
        return keys;
    }

    private static String type(Object value) {
        if (value instanceof CharSequence) {
            return "string";
        }
        if (value instanceof Integer || value instanceof Long || value instanceof BigInteger) {
            return "int";
        }
        if (value instanceof Double) {
            return "float";
        }
        if (value instanceof Boolean) {
            return "bool";
        }
        if (value instanceof byte[]) {
            return "binary";
        }
        if (value instanceof Date) {
            return "timestamp";
        }
        return value == null ? "null" : value.getClass().getName();
    }

    private static String text(Object value) {
        if (value instanceof byte[] bytes) {
            return Base64.getEncoder().encodeToString(bytes);
        }
        if (value instanceof Date date) {
            return Long.toString(date.getTime());
        }
        if (value instanceof Double number) {
            return number + " " + String.format("%016x", Double.doubleToLongBits(number));
        }
        return String.valueOf(value);
    }

    /** Half a surrogate pair cannot be written as UTF-8: U+FFFD stands for it. */
    private static String whole(String text) {
        StringBuilder whole = new StringBuilder(text.length());
        text.codePoints().forEach((c) -> whole.appendCodePoint(c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c));
        return whole.toString();
    }

    private static byte[] concat(byte[]... parts) {
        int length = 0;
        for (byte[] part : parts) {
            length += part.length;
        }
        byte[] all = new byte[length];
        int at = 0;
        for (byte[] part : parts) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }
}
