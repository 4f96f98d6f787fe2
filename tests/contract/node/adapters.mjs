// The AI SDK and OpenAI's agents on the Responses API over providers of other wires, streamed: one line of JSON for each.
// The base URL, the key and the models come from the environment.
import { createOpenAI } from '@ai-sdk/openai';
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool as agentTool } from '@openai/agents';
import { stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { z } from 'zod';

const { GATEWAY_URL, GATEWAY_KEY, MODELS } = process.env;
const baseURL = `${GATEWAY_URL}/v1`;
const prompt = 'How is the weather in Oslo?';
const inputSchema = z.object({ z: z.string(), n: z.number() });
const description = 'The weather in a city.';
let called = 0;
const execute = async () => {
  called += 1;
  return 'rain';
};

async function sdk(name) {
  const model = createOpenAI({ baseURL, apiKey: GATEWAY_KEY }).responses(name);
  const openai = { store: false, include: ['reasoning.encrypted_content'], reasoningEffort: 'low', forceReasoning: true };
  const tools = { zebra: tool({ description, inputSchema, execute }) };
  const streamed = streamText({ model, prompt, tools, stopWhen: stepCountIs(4), providerOptions: { openai }, onError() {} });
  for await (const part of streamed.fullStream) if (part.type === 'error') throw part.error;
  return streamed.text;
}

async function agents(name) {
  const model = new OpenAIResponsesModel(new OpenAI({ baseURL, apiKey: GATEWAY_KEY, maxRetries: 0 }), name);
  const modelSettings = { reasoning: { effort: 'low' }, providerData: { include: ['reasoning.encrypted_content'] } };
  const tools = [agentTool({ name: 'zebra', description, parameters: inputSchema, execute })];
  const streamed = await run(new Agent({ name: 'tester', model, tools, modelSettings }), prompt, { stream: true });
  for await (const event of streamed) void event;
  await streamed.completed;
  return streamed.finalOutput;
}

setTracingDisabled(true);
for (const model of MODELS.split(',')) {
  for (const [name, work] of Object.entries({ sdk, 'agents-js': agents })) {
    called = 0;
    const told = await work(model).catch((error) => `${error?.name}: ${error?.message}`);
    console.log(JSON.stringify({ key: `${name} ${model}`, told, called }));
  }
}
process.exit(0);
