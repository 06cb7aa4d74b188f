// The official TypeScript client, for a test: node typescript.mjs sdk|auto|legacy WARP. `sdk` is version 1 of it.
// Takes lines {"id", "method", "arguments": [...]} for methods of the client, answers {"id", "result"} or {"id", "error"}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [generation, command] = process.argv.slice(2);
const installed = createRequire(process.env.CLIENTS + "/package.json");
const load = (name) => import(pathToFileURL(installed.resolve(name)));

const [{ Client }, { StdioClientTransport }] =
  generation === "sdk"
    ? [await load("@modelcontextprotocol/sdk/client/index.js"), await load("@modelcontextprotocol/sdk/client/stdio.js")]
    : [await load("@modelcontextprotocol/client"), await load("@modelcontextprotocol/client/stdio")];

const options = generation === "sdk" ? {} : { versionNegotiation: { mode: generation } };
const client = new Client({ name: "typescript", version: "1" }, options);
await client.connect(new StdioClientTransport({ command, env: process.env, stderr: "inherit" }));

const version = client.getNegotiatedProtocolVersion?.() ?? "";
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
say({ id: 0, result: { version, instructions: client.getInstructions() } });

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, arguments: given } = JSON.parse(line);
  client[method](...given).then(
    (result) => say({ id, result }),
    (error) => say({ id, error: { code: error.code, message: error.message } }),
  );
}
await client.close();
