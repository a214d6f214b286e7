import OpenAI, { toFile } from "openai";
import { gateway, equal, everyRefusal, printedByExample, run, schema, statusOf, text } from "./report.mjs";

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: "any" });
const messages = [{ role: "user", content: "Haruka waves" }];
const tools = [{ type: "function", function: { name: "look", parameters: schema } }];
const endOf = async (job) => {
  for (;;) {
    const found = await (await fetch(`${gateway}/v1/jobs/${job}`)).json();
    if (found.result) return found.result.status;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const errorOf = async (work) => {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return { status: 200 };
};
const responseTools = [{ type: "function", name: "look", parameters: schema, strict: false }];

await run({
  "example of the page": async () => equal(printedByExample("openai"), text),
  "whole answer": async () => {
    const answer = await client.chat.completions.create({ model: "chat", messages });
    equal(answer.choices[0].message.content, text);
  },
  "careless stream": async () => {
    const stream = await client.chat.completions.create({ model: "chat", messages, stream: true });
    let all = "";
    for await (const chunk of stream) all += chunk.choices[0].delta.content ?? "";
    equal(all, text);
  },
  "stream helper with a tool": async () => {
    const stream = client.chat.completions.stream({ model: "chat", messages, tools });
    const answer = await stream.finalChatCompletion();
    equal(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments), { at: "dusk" });
  },
  "response stream helper": async () => {
    const stream = client.responses.stream({ model: "chat", input: "wave", reasoning: { effort: "low" } });
    let events = 0;
    for await (const event of stream) events += event.type.startsWith("response.") ? 1 : 0;
    const final = await stream.finalResponse();
    equal([final.output.map((item) => item.type), events > 5], [["reasoning", "message"], true]);
  },
  "response with a tool": async () => {
    const answer = await client.responses.create({ model: "chat", input: "wave", tools: responseTools });
    equal(JSON.parse(answer.output[0].arguments), { at: "dusk" });
  },
  "background, resumed": async () => {
    const begun = await client.responses.create({ model: "chat", input: "later", background: true });
    equal(begun.status, "queued");
    const stream = await client.responses.retrieve(begun.id, { stream: true, starting_after: 1 });
    const numbers = [];
    for await (const event of stream) numbers.push(event.sequence_number);
    equal(numbers[0], 2);
    equal((await client.responses.retrieve(begun.id)).output_text, text);
  },
  "files and a batch": async () => {
    const line = (id) => JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body: { model: "chat", messages } });
    const file = await client.files.create({
      file: await toFile(Buffer.from(`${line("a")}\n${line("b")}\n`), "in.jsonl"),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 3600 },
    });
    equal([file.filename, file.expires_at - file.created_at], ["in.jsonl", 3600]);
    let batch = await client.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
    });
    while (!["completed", "failed"].includes(batch.status)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      batch = await client.batches.retrieve(batch.id);
    }
    equal(batch.request_counts, { total: 2, completed: 2, failed: 0 });
    const rows = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map(JSON.parse);
    equal(rows.map((row) => row.custom_id).sort(), ["a", "b"]);
    equal(rows[0].response.body.choices[0].message.content, text);
    equal(await statusOf(() => client.batches.cancel(batch.id)), 400);
    equal((await client.files.delete(file.id)).deleted, true);
    const listed = [];
    for await (const each of client.batches.list()) listed.push(each.id);
    equal(listed.includes(batch.id), true);
  },
  "models": async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    equal(ids.includes("chat"), true);
  },
  "a repeat by the SDK joins the job": async () => {
    const patient = client.withOptions({ maxRetries: 8 });
    const options = { headers: { "X-Openfall-Wait": "1s" } };
    const request = { model: "chat", messages: [{ role: "user", content: "slowly, repeated" }], stream: false };
    const { data, response } = await patient.chat.completions.create(request, options).withResponse();
    equal([data.choices[0].message.content, response.headers.get("x-openfall-joined")], [text, "true"]);
  },
  "an abort in mid-stream ends the job": async () => {
    const controller = new AbortController();
    const request = { model: "chat", messages: [{ role: "user", content: "slowly, aborted" }], stream: true };
    const { data: stream, response } = await client.chat.completions
      .create(request, { signal: controller.signal })
      .withResponse();
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    controller.abort();
    equal(await endOf(response.headers.get("x-openfall-job")), "cancelled");
  },
  "a Response survives a model that breaks off": async () => {
    const stream = client.responses.stream({ model: "chat", input: "cut, streamed" });
    const kinds = new Set();
    for await (const event of stream) kinds.add(event.type);
    const final = await stream.finalResponse();
    equal([final.output_text, final.status, kinds.has("response.failed")], [text, "completed", false]);
  },
  "a chat whose model breaks off joins its job": async () => {
    const request = { model: "chat", messages: [{ role: "user", content: "cut, again" }], stream: true };
    const { data: stream, response } = await client.chat.completions.create(request).withResponse();
    let code = "";
    try {
      for await (const _ of stream);
    } catch (error) {
      code = error.code ?? error.error?.code;
    }
    const again = await client.chat.completions.create(request).withResponse();
    let all = "";
    for await (const chunk of again.data) all += chunk.choices[0].delta.content ?? "";
    const jobs = [response, again.response].map((each) => each.headers.get("x-openfall-job"));
    equal([code, all, jobs[0] === jobs[1]], ["restarted", text, true]);
  },
  "every row of the error table": async () => {
    const ask = (base) => {
      const own = new OpenAI({ baseURL: `${base}/v1`, apiKey: "any", maxRetries: 1 });
      return errorOf(() => own.chat.completions.create({ model: "chat", messages }));
    };
    const expected = (row) => [row.status, row.code, row.type];
    await everyRefusal("openai", ask, expected, (error) => [error.status, error.code, error.type]);
  },
  "errors have their status, code and parameter": async () => {
    const ask = (content, more = {}, options = {}) =>
      client.chat.completions.create({ model: "chat", messages: [{ role: "user", content }], ...more }, options);
    const rows = [
      [() => ask("x", { model: "chatt" }), 404, "model_not_found", "model"],
      [() => ask("x", { messages: "x" }), 400, "bad_request", undefined],
      [() => ask("too long"), 400, "context_length_exceeded", undefined],
      [() => ask("filtered"), 400, "content_filter", undefined],
      [() => ask("one", {}, { headers: { "X-Openfall-Urgency": "soon" } }), 400, "bad_request", undefined],
      [() => client.responses.retrieve("resp_unknown"), 404, "not_found", undefined],
      [() => client.responses.create({ model: "chat", input: "x", previous_response_id: "resp_x" }), 400, "previous_response_not_found", "previous_response_id"],
      [() => client.files.retrieve("file-unknown"), 404, "not_found", undefined],
      [() => client.batches.create({ input_file_id: "file-x", endpoint: "/v1/chat/completions", completion_window: "24h" }), 400, "bad_request", "input_file_id"],
      [() => client.post("/no/such/path", { body: {} }), 404, "unknown_url", undefined],
    ];
    const keyed = { headers: { "Idempotency-Key": crypto.randomUUID() } };
    await ask("one", {}, keyed);
    rows.push([() => ask("another", {}, keyed), 422, "idempotency_conflict", undefined]);
    for (const [work, status, code, param] of rows) {
      const error = await errorOf(work);
      equal([error.status, error.code, param === undefined || error.param === param], [status, code, true]);
    }
  },
});
