// The story of test_clients.py through the TypeScript client 2.x.
import { createRequire } from "node:module";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { tell } from "./story.mjs";

const [how, story] = JSON.parse(process.argv[2]);
const { version } = createRequire(import.meta.url)("./node_modules/@modelcontextprotocol/client/package.json");
const transport = how.url
  ? new StreamableHTTPClientTransport(new URL(how.url), { requestInit: { headers: how.headers } })
  : new StdioClientTransport({ command: how.command, args: how.args, env: how.env });

const client = new Client({ name: "story", version: "1" }, { versionNegotiation: { mode: how.era } });
await client.connect(transport);
const call = (name, args, options) => client.callTool({ name, arguments: args }, options);
await tell(client, `@modelcontextprotocol/client ${version}`, () => client.getNegotiatedProtocolVersion(), call, story);
