import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

// Runs checks one after another, and prints one JSON line for each.
export async function run(checks) {
  for (const [check, work] of Object.entries(checks)) {
    let why = "";
    try {
      await work();
    } catch (error) {
      why = `${error.name}: ${error.message}`.slice(0, 300) || "failed";
    }
    console.log(JSON.stringify({ check, why }));
  }
}

export function equal(actual, expected) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${left} instead of ${right}`);
}

export const gateway = process.env.GATEWAY_URL;
export const text = "A lantern festival.";
export const schema = { type: "object", properties: { at: { type: "string" } }, required: ["at"] };

export async function statusOf(work) {
  try {
    await work();
  } catch (error) {
    return error.status ?? error.statusCode;
  }
  return 200;
}

// What the example of docs/clients.md prints that imports this package.
export function printedByExample(name) {
  const page = readFileSync("../../docs/clients.md", "utf8");
  const example = [...page.matchAll(/^```js\n(.*?)^```$/gms)].find(([, code]) => code.includes(`from "${name}"`))[1];
  writeFileSync("example.mjs", example.replaceAll("http://127.0.0.1:8309", gateway));
  return execFileSync("node", ["example.mjs"], { encoding: "utf8" }).trim();
}
