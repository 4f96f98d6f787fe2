// What OpenAI's Node SDK does with the Responses API, one check for each name given.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { told } from './told.mjs';

const client = new OpenAI({ baseURL: `${process.env.GATEWAY_URL}/custom/v1`, apiKey: process.env.GATEWAY_KEY, maxRetries: 0 });
const model = 'custom-chat';
const tools = [
  {
    type: 'function',
    name: 'get_weather',
    strict: true,
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
];

const checks = {
  async 'a response is the same whole and streamed'() {
    const whole = await client.responses.create({ model, input: 'Tell me about the tides.' });
    assert.ok(whole.output_text);
    let text = '';
    let last;
    for await (const event of await client.responses.create({ model, input: 'Tell me about the tides.', stream: true })) {
      if (event.type === 'response.output_text.delta') text += event.delta;
      last = event;
    }
    assert.equal(text, whole.output_text);
    assert.equal(last.type, 'response.completed');
    assert.deepEqual(last.response.usage, whole.usage);
  },

  async 'the stream helper gathers the whole response'() {
    const stream = client.responses.stream({ model, input: 'Tell me about the tides.' });
    for await (const event of stream) assert.ok(event.type);
    assert.ok((await stream.finalResponse()).output_text);
  },

  async 'a tool is called and its output answered'() {
    const input = [{ role: 'user', content: 'Use get_weather for Oslo.' }];
    const first = await client.responses.create({ model, input, tools });
    const call = first.output.find((item) => item.type === 'function_call');
    assert.equal(call.name, 'get_weather');
    const output = { type: 'function_call_output', call_id: call.call_id, output: 'sunny' };
    const second = await client.responses.create({ model, input: [...input, ...first.output, output], tools });
    assert.ok(second.output_text);
  },

  async 'a conversation is kept and read again'() {
    const first = await client.responses.create({ model, input: 'one' });
    const second = await client.responses.create({ model, input: 'two', previous_response_id: first.id });
    assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
    const items = await client.responses.inputItems.list(second.id);
    assert.equal(items.data.length, 3);
    await client.responses.delete(first.id);
    await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
  },

  async 'a response in the background is read again from a number on'() {
    const input = 'Tell me about the tides.';
    const events = [];
    for await (const event of await client.responses.create({ model, input, background: true, stream: true })) {
      events.push(event);
      if (event.sequence_number === 10) break;
    }
    const id = events[0].response.id;
    for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: 10 })) events.push(event);
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    assert.equal(events.at(-1).type, 'response.completed');
    const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');
    assert.equal(text, events.at(-1).response.output[0].content[0].text);
    const stream = client.responses.stream({ response_id: id, starting_after: 20 });
    assert.equal((await stream.finalResponse()).output_text, text);
  },
};

await told(checks);
