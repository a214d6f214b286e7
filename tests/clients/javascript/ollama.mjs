import { Ollama } from "ollama";
import { gateway, equal, run, schema, text } from "./report.mjs";

const client = new Ollama({ host: gateway });
const messages = [{ role: "user", content: "Haruka waves" }];
const tools = [{ type: "function", function: { name: "look", description: "", parameters: schema } }];

await run({
  "whole answer": async () => {
    const answer = await client.chat({ model: "chat", messages });
    equal([answer.message.content, answer.done], [text, true]);
  },
  stream: async () => {
    let all = "";
    for await (const part of await client.chat({ model: "chat", messages, stream: true })) all += part.message.content;
    equal(all, text);
  },
  tool: async () => {
    const answer = await client.chat({ model: "chat", messages, tools });
    equal(answer.message.tool_calls[0].function.arguments, { at: "dusk" });
  },
  generate: async () => {
    const answer = await client.generate({ model: "chat", prompt: "Haruka waves" });
    equal(answer.response, text);
  },
  "list and show": async () => {
    const names = (await client.list()).models.map((model) => model.name);
    const shown = await client.show({ model: "chat:latest" });
    equal([names.includes("chat:latest"), shown.capabilities.includes("tools")], [true, true]);
  },
});
