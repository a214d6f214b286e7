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

// Refuses a request with each row of the gateway's error table. `ask` sends it to a base URL and returns the SDK's error,
// `expected` are the status and further fields of a row, `found` those of the error. Rows that may be repeated are.
export async function everyRefusal(api, ask, expected, found) {
  const base = process.env.REFUSALS_URL;
  const rows = async () => (await fetch(`${base}/rows`)).json();
  for (const row of await rows()) {
    const error = await ask(`${base}/${row.cause}`);
    const after = (await rows()).find((each) => each.cause === row.cause).received[api] - row.received[api];
    const printed = `${error.message}`.includes(row.message);
    equal([row.cause, ...found(error), printed, after], [row.cause, ...expected(row), true, row.requests]);
  }
}

// What the example of docs/clients.md prints that imports this package.
export function printedByExample(name) {
  const page = readFileSync("../../docs/clients.md", "utf8");
  const example = [...page.matchAll(/^```js\n(.*?)^```$/gms)].find(([, code]) => code.includes(`from "${name}"`))[1];
  writeFileSync("example.mjs", example.replaceAll("http://127.0.0.1:8309", gateway));
  return execFileSync("node", ["example.mjs"], { encoding: "utf8" }).trim();
}
