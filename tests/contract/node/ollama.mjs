// Ollama's Node SDK against a live gateway: one line per check, `ok <name>` or `not ok <name>` and why.
// The base URL, the key and what the target's models are called come from the environment.
import assert from 'node:assert/strict';
import { Ollama } from 'ollama';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const target = JSON.parse(process.env.TARGET);
const { model } = target;
const messages = [{ role: 'user', content: 'Tell me about the tides, please.' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city.',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const report = {
  type: 'object',
  properties: { title: { type: 'string' }, waves: { type: 'array', items: { type: 'number' } } },
  required: ['title', 'waves'],
};
const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const connect = (key = GATEWAY_KEY) =>
  new Ollama({ host: GATEWAY_URL, headers: { Authorization: `Bearer ${key}` } });
const client = connect();
const drain = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};
const refusal = (promise) =>
  promise.then(
    () => assert.fail('nothing was refused'),
    (caught) => caught,
  );

const checks = {
  async 'an Ollama chat is answered whole, with its measures'() {
    const found = await client.chat({ model, messages });
    assert.ok(found.message.content.includes(target.said));
    assert.equal(found.message.role, 'assistant');
    assert.equal(found.done, true);
    assert.equal(found.done_reason, 'stop');
    for (const name of ['total_duration', 'load_duration', 'prompt_eval_count', 'eval_count', 'eval_duration'])
      assert.ok(found[name] > 0, name);
    assert.ok(!Number.isNaN(new Date(found.created_at).getTime()));
  },
  async 'an Ollama chat streams the same answer'() {
    const whole = await client.chat({ model, messages });
    const found = await drain(await client.chat({ model, messages, stream: true }));
    assert.equal(found.map((part) => part.message.content).join(''), whole.message.content);
    assert.deepEqual([...new Set(found.slice(0, -1).map((part) => part.done))], [false]);
    assert.equal(found.at(-1).done, true);
    assert.equal(found.at(-1).eval_count, whole.eval_count);
    assert.ok(found.at(-1).prompt_eval_duration > 0);
  },
  async 'an Ollama tool is called and its result is read'() {
    const talk = [{ role: 'user', content: 'Use get_weather for Oslo.' }];
    const found = await client.chat({ model, messages: talk, tools: [weather] });
    const [call] = found.message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.equal(typeof call.function.arguments.city, 'string');
    talk.push(found.message, { role: 'tool', content: 'rain', tool_name: 'get_weather' });
    const answer = await client.chat({ model, messages: talk, tools: [weather] });
    assert.ok(answer.message.content);
    assert.equal(answer.message.tool_calls, undefined);
  },
  async 'an Ollama tool is called in one piece of a stream'() {
    const talk = [{ role: 'user', content: 'Use get_weather for Oslo.' }];
    const found = await drain(await client.chat({ model, messages: talk, tools: [weather], stream: true }));
    const calls = found.flatMap((part) => part.message.tool_calls ?? []);
    assert.equal(calls.length, 1);
    assert.equal(typeof calls[0].function.arguments, 'object');
  },
  async 'an Ollama answer follows a schema'() {
    const found = await client.chat({ model, messages, format: report });
    const value = JSON.parse(found.message.content);
    assert.equal(typeof value.title, 'string');
    assert.ok(value.waves.every((wave) => typeof wave === 'number'));
    assert.equal(typeof JSON.parse((await client.chat({ model, messages, format: 'json' })).message.content), 'object');
  },
  async 'an Ollama model thinks and sees where it can'() {
    const look = [{ role: 'user', content: 'What is this?', images: [pixel] }];
    const seen = await client.chat({ model, messages: look });
    const thought = await client.chat({ model, messages, think: true });
    assert.ok(seen.message.content && thought.message.content);
    if (target.name !== 'custom') {
      assert.equal(seen.message.content, '1 image');
      assert.equal(thought.message.thinking, 'hm');
    }
  },
  async 'an Ollama request that asks nothing loads'() {
    assert.equal((await client.generate({ model, prompt: '' })).done_reason, 'load');
    assert.equal((await client.generate({ model, prompt: '', keep_alive: 0 })).done_reason, 'unload');
    assert.equal((await client.chat({ model, messages: [] })).done_reason, 'load');
  },
  async 'Ollama generate answers whole and streamed, with an image'() {
    const ask = { model, prompt: 'Tell me.', system: 'Be brief.', images: [pixel], options: { seed: 1, top_k: 3 } };
    const whole = await client.generate(ask);
    const found = await drain(await client.generate({ ...ask, stream: true }));
    assert.equal(found.map((part) => part.response).join(''), whole.response);
    assert.ok(whole.response);
  },
  async 'Ollama embeddings come from both operations'() {
    const found = await client.embed({ model: target.embedding, input: ['first', 'second'], truncate: true });
    const older = await client.embeddings({ model: target.embedding, prompt: 'first' });
    assert.equal(found.embeddings.length, 2);
    assert.deepEqual(older.embedding, found.embeddings[0]);
    if (target.name === 'custom') {
      const short = await client.embed({ model: target.embedding, input: 'first', dimensions: 8 });
      assert.equal(short.embeddings[0].length, 8);
    }
  },
  async 'Ollama models are listed, shown, and none is loaded'() {
    const own = (found) => found.name.startsWith(model.split('/')[0]);
    let { models } = await client.list();
    // A list that once could not be had in time, on a busy machine, is asked for again half a minute later.
    for (let waited = 0; waited < 60 && !models.some(own); waited += 1) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ({ models } = await client.list());
    }
    const mine = models.filter(own);
    assert.ok(mine.every((found) => found.name.includes(':')));
    assert.equal(new Set(models.map((found) => found.digest)).size, models.length);
    const shown = await client.show({ model: mine[0].name });
    assert.ok(shown.capabilities.includes('completion'));
    assert.ok(shown.details && shown.model_info);
    assert.deepEqual((await client.ps()).models, []);
    assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);
  },
  async 'Ollama failures carry the status and the text'() {
    const missing = await refusal(client.chat({ model: target.missing, messages }));
    assert.equal(missing.status_code, 404);
    assert.ok(missing.error.startsWith(`model '${target.missing}' not found`));
    assert.equal((await refusal(client.chat({ model: target.busy, messages }))).status_code, 429);
    assert.equal((await refusal(connect('wrong').list())).status_code, 401);
    assert.equal((await refusal(client.pull({ model: 'm' }))).status_code, 501);
    assert.equal((await refusal(client.delete({ model: 'm' }))).status_code, 501);
  },
  async 'an Ollama stream that breaks is an error'() {
    const error = await refusal(client.chat({ model: target.broken, messages, stream: true }).then(drain));
    assert.ok(error instanceof Error);
    assert.ok(error.message);
  },
  async 'an Ollama stream that is aborted leaves the gateway well'() {
    const stream = await client.chat({ model: target.slow, messages, stream: true });
    for await (const part of stream) {
      assert.ok(part.message);
      stream.abort();
      break;
    }
    assert.ok((await client.chat({ model, messages })).message.content);
  },
};

await told(checks);
