// Anthropic's Node SDK, and the AI SDK's provider for it, against a live gateway: one line per check, `ok <name>` or
// `not ok <name>` and why. The base URL, the key and what the target's models are called come from the environment.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, streamText } from 'ai';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const target = JSON.parse(process.env.TARGET);
const { model } = target;
const messages = [{ role: 'user', content: 'Tell me about the tides, please.' }];
const weather = {
  name: 'get_weather',
  description: 'The weather in a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const connect = (options = {}) =>
  new Anthropic({ baseURL: GATEWAY_URL, apiKey: GATEWAY_KEY, maxRetries: 0, ...options });
const client = connect();
const ask = { max_tokens: 1024, messages };
const said = (message) =>
  message.content
    .filter((block) => block.type === 'text')
    .map((block) => block.text)
    .join('');
const refusal = (promise) =>
  promise.then(
    () => assert.fail('nothing was refused'),
    (caught) => caught,
  );

const checks = {
  async 'a message is answered whole'() {
    const found = await client.messages.create({ model, ...ask });
    assert.ok(said(found).includes(target.said));
    assert.equal(found.stop_reason, 'end_turn');
    assert.equal(found.model, model.replace(/^anthropic./, '')); // which is relayed, and says its own name
    assert.ok(found.usage.input_tokens > 0 && found.usage.output_tokens > 0);
    assert.ok(found._request_id);
  },
  async 'a message is streamed by the helper'() {
    const stream = client.messages.stream({ model, ...ask });
    const deltas = [];
    stream.on('text', (text) => deltas.push(text));
    const found = await stream.finalMessage();
    assert.equal(deltas.join(''), said(found));
    assert.ok(said(found).includes(target.said));
    assert.equal(found.stop_reason, 'end_turn');
  },
  async 'a streamed message tells its events in order'() {
    const kinds = [];
    for await (const event of await client.messages.create({ model, ...ask, stream: true })) kinds.push(event.type);
    assert.equal(kinds[0], 'message_start');
    assert.deepEqual(kinds.slice(-2), ['message_delta', 'message_stop']);
  },
  async 'a tool of a message is called'() {
    const found = await client.messages.create({
      model: target.tool,
      ...ask,
      tools: [weather],
      tool_choice: { type: 'any' },
    });
    const call = found.content.at(-1);
    assert.equal(call.type, 'tool_use');
    if (target.name !== 'anthropic') assert.deepEqual(call.caller, { type: 'direct' }); // whose replies are relayed
    assert.equal(typeof call.input, 'object');
    assert.equal(found.stop_reason, 'tool_use');
  },
  async 'tokens of a message are counted'() {
    const few = await client.messages.countTokens({ model, messages });
    const more = await client.messages.countTokens({ model, messages, tools: [weather] });
    assert.ok(5 < few.input_tokens && few.input_tokens < more.input_tokens);
  },
  async 'models have the shape of this API'() {
    const ids = [];
    for await (const each of client.models.list({ limit: 2 })) ids.push(each.id);
    assert.ok(new Set(ids).size === ids.length && ids.length > 2);
    assert.equal((await client.models.retrieve('custom-chat')).type, 'model');
  },
  async 'errors are of the classes of this API'() {
    const busy = await refusal(client.messages.create({ model: target.busy, ...ask }));
    assert.ok(busy instanceof Anthropic.RateLimitError);
    assert.equal(busy.error.error.type, 'rate_limit_error');
    assert.ok((await refusal(client.messages.create({ model: target.missing, ...ask }))) instanceof Anthropic.NotFoundError);
    const wrong = connect({ apiKey: 'wrong' });
    assert.ok((await refusal(wrong.messages.create({ model, ...ask }))) instanceof Anthropic.AuthenticationError);
    const broken = client.messages.stream({ model: target.broken, ...ask });
    assert.ok((await refusal(broken.finalMessage())) instanceof Anthropic.APIError);
  },
  async "the AI SDK's provider answers and streams"() {
    const provider = createAnthropic({ baseURL: `${GATEWAY_URL}/v1`, apiKey: GATEWAY_KEY });
    const prompt = messages[0].content;
    const found = await generateText({ model: provider(model), prompt, maxOutputTokens: 1024, maxRetries: 0 });
    assert.ok(found.text.includes(target.said));
    assert.equal(found.finishReason, 'stop');
    const stream = streamText({ model: provider(model), prompt, maxOutputTokens: 1024, maxRetries: 0 });
    assert.equal(await stream.text, found.text);
    assert.ok((await stream.usage).outputTokens > 0);
  },
};

await told(checks);
