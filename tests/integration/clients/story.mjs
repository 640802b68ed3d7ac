// The story of test_clients.py, for both TypeScript clients: their methods have the same names.

const failed = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error.code ?? String(error);
  }
  return null;
};

export async function tell(client, label, protocol, call, story) {
  const progress = [];
  const onprogress = ({ progress: done, message }) => progress.push([done, message]);
  const answer = await call("complete", story.ask, { onprogress });
  const results = {};
  for (const [name, args] of Object.entries(story.calls)) results[name] = (await call(name, args)).structuredContent;
  const wrong = await call("complete", story.wrong);
  const content = (await client.readResource({ uri: "orchestra://models" })).contents[0];
  const prompt = await client.getPrompt({ name: "compare_models", arguments: { question: "Why?" } });
  const completed = await client.complete({
    ref: { type: "ref/prompt", name: "second_opinion" },
    argument: { name: "model", value: "claude-" },
  });
  console.log(
    JSON.stringify({
      client: label,
      protocol: protocol(),
      instructions: client.getInstructions(),
      tools: (await client.listTools()).tools.map((one) => one.name),
      resources: (await client.listResources()).resources.map((one) => one.uri),
      templates: (await client.listResourceTemplates()).resourceTemplates.map((one) => one.uriTemplate),
      prompts: (await client.listPrompts()).prompts.map((one) => one.name),
      answer: answer.structuredContent,
      answer_text: answer.content[0].text,
      progress,
      results,
      wrong: [wrong.isError, wrong.content[0].text, wrong._meta],
      unknown_tool: await failed(call("nothing", {})),
      unknown_resource: await failed(client.readResource({ uri: "orchestra://nothing" })),
      unknown_prompt: await failed(client.getPrompt({ name: "nothing" })),
      resource: [content.uri, content.mimeType, JSON.parse(content.text).models[0]],
      prompt: prompt.messages[0].content.text,
      completed: completed.completion.values,
    }),
  );
  await client.close();
}
