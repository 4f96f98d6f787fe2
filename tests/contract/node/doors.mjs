// Tools that the gateway runs under the names of Anthropic's and OpenAI's own APIs: one line per check, as in checks.mjs.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, streamText } from 'ai';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const baseURL = `${GATEWAY_URL}/v1`;
const claude = new Anthropic({ baseURL: GATEWAY_URL, apiKey: GATEWAY_KEY, maxRetries: 0 });
const client = new OpenAI({ baseURL, apiKey: GATEWAY_KEY, maxRetries: 0 });
const anthropic = createAnthropic({ baseURL, apiKey: GATEWAY_KEY });
const openai = createOpenAI({ baseURL, apiKey: GATEWAY_KEY });
const model = 'custom-chat';
const prompt = 'Use gateway_web_search {"query": "tea"}.';
const messages = [{ role: 'user', content: prompt }];
const search = { type: 'web_search_20250305', name: 'web_search' };
const asked = { model, max_tokens: 500, messages, tools: [search] };

const ofSearch = (message) => {
  const [use, result, text] = message.content;
  assert.deepEqual([use.type, use.name, use.input], ['server_tool_use', 'web_search', { query: 'tea' }]);
  assert.equal(result.tool_use_id, use.id);
  assert.equal(result.content.length, 5);
  assert.equal(text.citations[0].type, 'web_search_result_location');
  assert.equal(message.usage.server_tool_use.web_search_requests, 1);
};

const checks = {
  async 'a message has the search and what it cites'() {
    ofSearch(await claude.messages.create(asked));
  },
  async 'a streamed message has the same and can be sent back'() {
    const message = await claude.messages.stream(asked).finalMessage();
    ofSearch(message);
    const next = [...messages, { role: 'assistant', content: message.content }, { role: 'user', content: 'And?' }];
    const reply = await claude.messages.create({ ...asked, messages: next });
    assert.equal(reply.stop_reason, 'end_turn');
  },
  async 'a streamed response tells of the search while it runs'() {
    const kinds = [];
    const stream = await client.responses.create({ model, input: prompt, tools: [{ type: 'web_search' }], stream: true });
    for await (const event of stream) kinds.push(event.type);
    const states = kinds.filter((kind) => kind.startsWith('response.web_search_call.'));
    assert.deepEqual(states.map((kind) => kind.split('.')[2]), ['in_progress', 'searching', 'completed']);
  },
  async 'the AI SDK has a search of messages run by the server'() {
    const tools = { web_search: anthropic.tools.webSearch_20250305() };
    const reply = await generateText({ model: anthropic(model), prompt, tools, maxRetries: 0 });
    assert.deepEqual(reply.toolCalls.map((call) => [call.providerExecuted, call.input.query]), [[true, 'tea']]);
    assert.equal(reply.toolResults[0].output.length, 5);
    assert.ok(reply.sources.length > 0);
    assert.ok(reply.text);
  },
  async 'the AI SDK streams a search of messages'() {
    const tools = { web_search: anthropic.tools.webSearch_20250305() };
    const stream = streamText({ model: anthropic(model), prompt, tools, maxRetries: 0 });
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part.type);
    assert.ok(!parts.includes('error'), parts.join());
    assert.ok(parts.indexOf('tool-call') < parts.indexOf('tool-result'));
    assert.deepEqual((await stream.toolCalls).map((call) => call.input.query), ['tea']);
    assert.ok((await stream.text).includes('[1]'));
  },
  async 'the AI SDK streams a search of responses'() {
    const tools = { web_search: openai.tools.webSearch() };
    const stream = streamText({ model: openai.responses(model), prompt, tools, maxRetries: 0 });
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part.type);
    assert.ok(!parts.includes('error'), parts.join());
    assert.ok(parts.includes('tool-result'));
    assert.ok((await stream.text).includes('[1]'));
  },
};

await told(checks);
