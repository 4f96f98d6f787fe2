// The AI SDK and OpenAI's agents against a live gateway, on the wires that they take by default: one line per check,
// `ok <name>` or `not ok <name>` and why. The base URL and the key come from the environment.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool as agentTool } from '@openai/agents';
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { z } from 'zod';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const baseURL = `${GATEWAY_URL}/custom/v1`;
const prompt = 'Tell me about the tides, please.';
const toolPrompt = 'Use get_weather for Oslo.';
const openai = createOpenAI({ baseURL, apiKey: GATEWAY_KEY });
const anthropic = createAnthropic({ baseURL, apiKey: GATEWAY_KEY });

const weather = {
  get_weather: tool({
    description: 'The weather in a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
};
const report = z.object({ title: z.string(), waves: z.array(z.number()) });

async function tells(model) {
  const whole = await generateText({ model, prompt });
  assert.match(whole.text, /test double/);
  assert.equal(whole.finishReason, 'stop');
  assert.ok(whole.usage.outputTokens > 0);
  const streamed = streamText({ model, prompt });
  const pieces = [];
  for await (const piece of streamed.textStream) pieces.push(piece);
  assert.ok(pieces.length > 5);
  assert.equal(pieces.join(''), whole.text);
  assert.equal(await streamed.finishReason, 'stop');
  assert.equal((await streamed.usage).outputTokens, whole.usage.outputTokens);
}

async function callsTools(model) {
  const asked = { model, prompt: toolPrompt, tools: weather, stopWhen: stepCountIs(3) };
  const whole = await generateText(asked);
  assert.deepEqual(whole.steps.map((step) => step.toolCalls.length), [1, 0]);
  const streamed = streamText(asked);
  const kinds = [];
  for await (const part of streamed.fullStream) kinds.push(part.type);
  assert.ok(kinds.includes('tool-input-delta'));
  assert.ok(kinds.includes('tool-result'));
  assert.equal(await streamed.text, whole.text);
}

async function fillsSchemas(model) {
  const { object } = await generateObject({ model, prompt, schema: report });
  assert.ok(report.parse(object).title);
}

async function ends(model, finish) {
  const streamed = streamText({ model, prompt, onError() {} });
  const parts = [];
  for await (const part of streamed.fullStream) parts.push(part);
  const told = parts.find((part) => part.type === 'finish')?.finishReason;
  const failed = parts.some((part) => part.type === 'error');
  assert.equal(failed ? 'error' : told, finish);
}

async function reasons(model, providerOptions) {
  const streamed = streamText({ model, prompt, providerOptions });
  const kinds = new Set();
  for await (const part of streamed.fullStream) kinds.add(part.type);
  assert.ok(kinds.has('reasoning-delta'));
  assert.match(await streamed.reasoningText, /Let me think/);
}

const client = () => new OpenAI({ baseURL, apiKey: GATEWAY_KEY, maxRetries: 0 });
const agent = (model) =>
  new Agent({
    name: 'tester',
    model: new OpenAIResponsesModel(client(), model),
    tools: [
      agentTool({
        name: 'get_weather',
        description: 'The weather in a city.',
        parameters: z.object({ city: z.string() }),
        execute: async ({ city }) => `rain in ${city}`,
      }),
    ],
  });

const checks = {
  async 'the AI SDK tells a text by its default, Responses'() {
    await tells(openai('gpt-custom'));
  },
  async 'the AI SDK tells a text over Messages'() {
    await tells(anthropic('claude-custom'));
  },
  async 'the AI SDK calls tools by its default'() {
    await callsTools(openai('gpt-custom'));
  },
  async 'the AI SDK calls tools over Messages'() {
    await callsTools(anthropic('claude-custom'));
  },
  async 'the AI SDK fills a schema by its default'() {
    await fillsSchemas(openai('gpt-custom'));
  },
  async 'the AI SDK fills a schema over Messages'() {
    await fillsSchemas(anthropic('claude-custom'));
  },
  async 'the AI SDK shows reasoning by its default'() {
    await reasons(openai('gpt-5'), { openai: { reasoningEffort: 'low', reasoningSummary: 'auto' } });
  },
  async 'the AI SDK shows reasoning over Messages'() {
    await reasons(anthropic('claude-custom'), { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } });
  },
  async 'the AI SDK is told of every end by its default'() {
    await ends(openai('fault-length'), 'length');
    await ends(openai('fault-content-filter'), 'content-filter');
    await ends(openai('fault-truncate'), 'error');
    await ends(openai('fault-midstream-429'), 'error');
  },
  async 'the AI SDK is told of every end over Messages'() {
    await ends(anthropic('fault-length'), 'length');
    await ends(anthropic('fault-content-filter'), 'content-filter');
    await ends(anthropic('fault-truncate'), 'error');
  },
  async 'an agent runs its tools and answers'() {
    const done = await run(agent('m'), toolPrompt);
    assert.ok(done.finalOutput);
    assert.ok(done.newItems.some((item) => item.type === 'tool_call_output_item'));
  },
  async 'an agent streams its tools and its answer'() {
    const streamed = await run(agent('m'), toolPrompt, { stream: true });
    const kinds = [];
    for await (const event of streamed) kinds.push(event.type === 'raw_model_stream_event' ? event.data.type : event.type);
    await streamed.completed;
    assert.ok(kinds.filter((kind) => kind === 'output_text_delta').length > 5);
    assert.ok(streamed.finalOutput);
  },
  async 'an agent is told of a stream that is cut'() {
    await assert.rejects(async () => {
      const streamed = await run(agent('fault-truncate'), prompt, { stream: true });
      for await (const event of streamed) assert.ok(event);
      await streamed.completed;
    });
  },
};

setTracingDisabled(true);
await told(checks);
