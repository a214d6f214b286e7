import Anthropic from "@anthropic-ai/sdk";
import { gateway, equal, everyRefusal, printedByExample, run, schema, statusOf, text } from "./report.mjs";

const client = new Anthropic({ baseURL: gateway, apiKey: "any" });
const messages = [{ role: "user", content: "Haruka waves" }];
const tools = [{ name: "look", input_schema: schema }];
const common = { model: "chat", max_tokens: 64, messages };

await run({
  "example of the page": async () => equal(printedByExample("@anthropic-ai/sdk"), text),
  "message batch": async () => {
    const params = { model: "chat", max_tokens: 64, messages: [{ role: "user", content: "Haruka waves" }] };
    let batch = await client.messages.batches.create({ requests: [{ custom_id: "a", params }] });
    while (batch.processing_status !== "ended") {
      await new Promise((resolve) => setTimeout(resolve, 50));
      batch = await client.messages.batches.retrieve(batch.id);
    }
    equal(batch.request_counts.succeeded, 1);
    const rows = [];
    for await (const row of await client.messages.batches.results(batch.id)) rows.push(row);
    equal([rows[0].custom_id, rows[0].result.message.content[0].text], ["a", text]);
    const listed = [];
    for await (const each of client.messages.batches.list()) listed.push(each.id);
    equal(listed.includes(batch.id), true);
    equal((await client.messages.batches.delete(batch.id)).type, "message_batch_deleted");
    equal(await statusOf(() => client.messages.batches.retrieve(batch.id)), 404);
  },
  "whole answer": async () => {
    const answer = await client.messages.create(common);
    equal(answer.content[0].text, text);
  },
  "raw stream": async () => {
    const stream = await client.messages.create({ ...common, stream: true });
    let all = "";
    for await (const event of stream) if (event.type === "content_block_delta") all += event.delta.text ?? "";
    equal(all, text);
  },
  "stream helper with a tool": async () => {
    const message = await client.messages.stream({ ...common, tools }).finalMessage();
    equal([message.stop_reason, message.content.at(-1).input], ["tool_use", { at: "dusk" }]);
  },
  "count tokens": async () => {
    const counted = await client.messages.countTokens({ model: "chat", messages });
    equal(counted.input_tokens > 0, true);
  },
  "models": async () => {
    const ids = [];
    for await (const model of client.models.list({ limit: 1000 })) ids.push(model.id);
    equal(ids.includes("chat"), true);
  },
  "every row of the error table": async () => {
    const ask = async (base) => {
      try {
        await new Anthropic({ baseURL: base, apiKey: "any", maxRetries: 1 }).messages.create(common);
      } catch (error) {
        return error;
      }
      return { status: 200 };
    };
    const expected = (row) => [row.anthropic_status, row.anthropic];
    await everyRefusal("anthropic", ask, expected, (error) => [error.status, error.error?.error?.type]);
  },
  "unknown model": async () => {
    equal(await statusOf(() => client.messages.create({ ...common, model: "chatt" })), 404);
  },
});
