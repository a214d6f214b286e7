import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";
import { gateway, equal, printedByExample, run, schema, text } from "./report.mjs";

const openai = createOpenAI({ baseURL: `${gateway}/v1`, apiKey: "any" });
const compatible = createOpenAICompatible({ name: "openfall", baseURL: `${gateway}/v1`, apiKey: "any", includeUsage: true });
const anthropic = createAnthropic({ baseURL: `${gateway}/v1`, apiKey: "any" });
const providers = {
  "openai responses": openai("chat"),
  "openai chat": openai.chat("chat"),
  "openai-compatible": compatible("chat"),
  "anthropic": anthropic("chat"),
};
const look = tool({ inputSchema: jsonSchema(schema), execute: async () => "lanterns" });

const checks = { "example of the page": async () => equal(printedByExample("ai"), text) };
for (const [name, model] of Object.entries(providers)) {
  checks[`${name}: whole answer`] = async () => {
    equal((await generateText({ model, prompt: "Haruka waves", maxRetries: 0 })).text, text);
  };
  checks[`${name}: stream`] = async () => {
    const kinds = new Set();
    let all = "";
    const { fullStream } = streamText({ model, prompt: "Haruka waves", maxRetries: 0, onError: () => {} });
    for await (const part of fullStream) {
      kinds.add(part.type);
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") all += part.text;
    }
    equal([all, kinds.has("finish")], [text, true]);
  };
  checks[`${name}: tool`] = async () => {
    const answer = await generateText({ model, prompt: "look around", tools: { look }, maxRetries: 0 });
    equal([answer.toolCalls[0].input, answer.toolResults[0].output], [{ at: "dusk" }, "lanterns"]);
  };
}
await run(checks);
