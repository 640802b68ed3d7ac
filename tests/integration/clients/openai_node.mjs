// The story of test_openai_clients.py through OpenAI's own SDK for JavaScript.
import OpenAI from "openai";

const how = JSON.parse(process.argv[2]);
const { model, tools } = how;
const client = new OpenAI({ baseURL: how.base_url, apiKey: how.key, maxRetries: 0 });
const messages = [{ role: "user", content: how.question }];
const create = (body, options) => client.chat.completions.create({ model, messages, ...body }, options);
const saw = { models: [], model: (await client.models.retrieve("auto")).id, errors: [] };
for await (const listed of client.models.list()) saw.models.push(listed.id);

const plain = await create({ user: "ada", metadata: { app: "story" } });
saw.plain = { text: plain.choices[0].message.content, tokens: plain.usage.total_tokens };
const { response } = await create({ user: "ada" }, { headers: { "x-trace-id": "story-1" } }).withResponse();
saw.headers = Object.fromEntries(["x-trace-id", "x-orchestra-cache"].map((name) => [name, response.headers.get(name)]));

saw.stream = { text: "" };
for await (const chunk of await create({ stream: true, stream_options: { include_usage: true } })) {
  saw.stream.text += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) saw.stream.tokens = chunk.usage.total_tokens;
}

const asked = [{ role: "user", content: how.tool_question }];
const first = (await create({ messages: asked, tools })).choices[0];
const call = first.message.tool_calls[0];
const result = { role: "tool", tool_call_id: call.id, content: "rain" };
const second = await create({ messages: [...asked, first.message, result], tools });
saw.tools = {
  name: call.function.name,
  arguments: JSON.parse(call.function.arguments),
  finish: first.finish_reason,
  then: second.choices[0].message.content,
};
const streamed = client.chat.completions.stream({ model, messages: asked, tools });
const final = (await streamed.finalChatCompletion()).choices[0].message.tool_calls[0].function;
saw.streamed_tools = { name: final.name, arguments: JSON.parse(final.arguments) };

const schema = {
  type: "object",
  properties: { city: { type: "string" }, country: { type: "string" } },
  required: ["city", "country"],
  additionalProperties: false,
};
const placed = await create({
  response_format: { type: "json_schema", json_schema: { name: "place", strict: true, schema } },
});
saw.schema = JSON.parse(placed.choices[0].message.content);

const content = [{ type: "text", text: how.question }, { type: "image_url", image_url: { url: how.image } }];
saw.image = (await create({ messages: [{ role: "user", content }] })).choices[0].message.content;

const stranger = new OpenAI({ baseURL: how.base_url, apiKey: "wrong", maxRetries: 0 });
for (const ask of [
  () => stranger.chat.completions.create({ model, messages }),
  () => create({ model: "no-such-model" }),
  () => create({ n: 2 }),
]) {
  await ask().then(
    () => saw.errors.push("none"),
    (error) => saw.errors.push([error.status, error.code]),
  );
}
console.log(JSON.stringify(saw));
