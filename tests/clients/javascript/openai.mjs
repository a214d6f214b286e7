import OpenAI from "openai";
import { door, equal, run, schema, statusOf, text } from "./report.mjs";

const client = new OpenAI({ baseURL: `${door}/v1`, apiKey: "any" });
const messages = [{ role: "user", content: "Haruka waves" }];
const tools = [{ type: "function", function: { name: "look", parameters: schema } }];
const responseTools = [{ type: "function", name: "look", parameters: schema, strict: false }];

await run({
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
  "models": async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    equal(ids.includes("chat"), true);
  },
  "unknown model": async () => {
    equal(await statusOf(() => client.chat.completions.create({ model: "chatt", messages })), 404);
  },
});
