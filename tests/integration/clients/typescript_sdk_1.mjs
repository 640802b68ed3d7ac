// The story of test_clients.py through the TypeScript SDK 1.x, which is inside many hosts.
import { createRequire } from "node:module";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { tell } from "./story.mjs";

const [how, story] = JSON.parse(process.argv[2]);
const { version } = createRequire(import.meta.url)("./node_modules/@modelcontextprotocol/sdk/package.json");
const transport = how.url
  ? new StreamableHTTPClientTransport(new URL(how.url), { requestInit: { headers: how.headers } })
  : new StdioClientTransport({ command: how.command, args: how.args, env: how.env });
let protocol = "";
transport.setProtocolVersion = ((original) => (negotiated) => {
  protocol = negotiated;
  original?.call(transport, negotiated);
})(transport.setProtocolVersion);

const client = new Client({ name: "story", version: "1" });
await client.connect(transport);
const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
await tell(client, `@modelcontextprotocol/sdk ${version}`, () => protocol, call, story);
