/** The HTTP client of the JDK: it asks for HTTP/2 with its first request, as libraries on top of it do. */

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

public class JdkClient {
    static final String URL = System.getenv("GATEWAY_URL");
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        check("whole answer", send(BodyPublishers.ofString(body(false)), false), "A lantern festival.");
        check("stream", send(BodyPublishers.ofString(body(true)), false), "data: [DONE]");
        byte[] bytes = body(false).getBytes();
        BodyPublisher chunked = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes));
        check("a body in chunks", send(chunked, false), "A lantern festival.");
        check("expect: 100-continue", send(BodyPublishers.ofString(body(false)), true), "A lantern festival.");
        HttpRequest models = HttpRequest.newBuilder(URI.create(URL + "/v1/models")).GET().build();
        check("models", CLIENT.send(models, BodyHandlers.ofString()), "\"chat\"");
    }

    static String body(boolean stream) {
        return "{\"model\": \"chat\", \"stream\": " + stream
            + ", \"messages\": [{\"role\": \"user\", \"content\": \"Haruka waves\"}]}";
    }

    static HttpResponse<String> send(BodyPublisher body, boolean expectContinue) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(URL + "/v1/chat/completions"));
        request.header("Content-Type", "application/json").expectContinue(expectContinue).POST(body);
        return CLIENT.send(request.build(), BodyHandlers.ofString());
    }

    static void check(String name, HttpResponse<String> response, String words) {
        boolean isFine = response.statusCode() == 200 && response.body().contains(words);
        String why = isFine ? "" : "status " + response.statusCode();
        System.out.println("{\"check\": \"" + name + "\", \"why\": \"" + why + "\"}");
    }
}
