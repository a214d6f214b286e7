import OpenAI, { toFile } from "openai";
import { door, equal, printedByExample, run, schema, statusOf, text } from "./report.mjs";

const client = new OpenAI({ baseURL: `${door}/v1`, apiKey: "any" });
const messages = [{ role: "user", content: "Haruka waves" }];
const tools = [{ type: "function", function: { name: "look", parameters: schema } }];
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
  "unknown model": async () => {
    equal(await statusOf(() => client.chat.completions.create({ model: "chatt", messages })), 404);
  },
});
