// Tools that the gateway runs, through OpenAI's Node SDK and the AI SDK: one line per check, as in checks.mjs.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const baseURL = `${GATEWAY_URL}/v1`;
const client = new OpenAI({ baseURL, apiKey: GATEWAY_KEY, maxRetries: 0 });
const model = 'custom-chat';
const search = { type: 'gateway:web_search', max_results: 2 };
const ask = (content) => [{ role: 'user', content }];
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { type: 'function', function: { name: 'get_weather', parameters } };

// The AI SDK has no word for such a tool: it goes into the body beside the client's own.
const gateway = createOpenAICompatible({
  name: 'gateway',
  baseURL,
  apiKey: GATEWAY_KEY,
  includeUsage: true,
  transformRequestBody: (body) => ({ ...body, tools: [...(body.tools ?? []), search] }),
});
const own = {
  get_weather: tool({
    description: 'The weather in a city.',
    inputSchema: jsonSchema(parameters),
    execute: async ({ city }) => `Rain in ${city}.`,
  }),
};

const checks = {
  async 'a search is run and the answer cites it'() {
    const reply = await client.chat.completions.create({
      model,
      messages: ask('Use gateway_web_search {"query": "tea"}.'),
      tools: [search],
    });
    const { message, finish_reason } = reply.choices[0];
    assert.equal(finish_reason, 'stop');
    assert.equal(message.tool_calls, undefined);
    const [run] = message.gateway_tool_calls;
    assert.equal(run.status, 'completed');
    assert.match(run.result.content, /Results for: tea/);
    const { start_index, end_index } = message.annotations[0].url_citation;
    assert.equal(message.content.slice(start_index, end_index), '[1]');
  },
  async 'a stream adds up to the message of a whole reply'() {
    const body = { model, messages: ask('Use gateway_web_search {"query": "tea"}.'), tools: [search] };
    const whole = (await client.chat.completions.create(body)).choices[0].message;
    let content = '';
    const runs = [];
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      const delta = chunk.choices[0].delta;
      content += delta.content ?? '';
      for (const { index, ...run } of delta.gateway_tool_calls ?? []) runs[index] = { ...runs[index], index, ...run };
    }
    assert.equal(content, whole.content);
    assert.deepEqual(runs, whole.gateway_tool_calls);
  },
  async 'the stream helper ends with the whole message'() {
    const stream = client.chat.completions.stream({
      model,
      messages: ask('Use gateway_web_search {"query": "tea"}.'),
      tools: [search],
      stream_options: { include_usage: true },
    });
    const reply = await stream.finalChatCompletion();
    assert.equal(reply.choices[0].finish_reason, 'stop');
    assert.ok(reply.choices[0].message.content.includes('[1]'));
    assert.ok(reply.usage.total_tokens > 0);
  },
  async 'calls of own functions come back alone and what was run can be sent back'() {
    const messages = ask('Use gateway_web_search and get_weather {"city": "Oslo"}.');
    const { message } = (await client.chat.completions.create({ model, messages, tools: [search, weather] })).choices[0];
    assert.deepEqual(message.tool_calls.map((call) => call.function.name), ['get_weather']);
    const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'Rain.' };
    const next = [...messages, message, result];
    const reply = await client.chat.completions.create({ model, messages: next, tools: [search, weather] });
    assert.equal(reply.choices[0].finish_reason, 'stop');
  },
  async 'the AI SDK has its own tools called and the gateway runs the other'() {
    const reply = await generateText({
      model: gateway(model),
      prompt: 'Use gateway_web_search and get_weather {"city": "Oslo"}.',
      tools: own,
      stopWhen: stepCountIs(4),
      maxRetries: 0,
    });
    assert.deepEqual(reply.steps.flatMap((step) => step.toolResults.map((each) => each.output)), ['Rain in Oslo.']);
    assert.equal(reply.finishReason, 'stop');
    assert.ok(reply.text);
  },
  async 'the AI SDK streams text and its own calls'() {
    const stream = streamText({
      model: gateway(model),
      prompt: 'Use gateway_web_search and get_weather {"city": "Oslo"}.',
      tools: own,
      stopWhen: stepCountIs(4),
      maxRetries: 0,
    });
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part.type);
    assert.ok(!parts.includes('error'));
    assert.deepEqual((await stream.steps).flatMap((step) => step.toolCalls.map((call) => call.toolName)), ['get_weather']);
    assert.equal(await stream.finishReason, 'stop');
    assert.ok((await stream.totalUsage).totalTokens > 0);
  },
  async 'a tool that is not switched on is a bad request'() {
    const asked = client.chat.completions.create({ model, messages: ask('Hello'), tools: [{ type: 'gateway:mcp' }] });
    const error = await asked.then(() => assert.fail('nothing was refused'), (caught) => caught);
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, 'tool_not_available');
  },
};

await told(checks);
