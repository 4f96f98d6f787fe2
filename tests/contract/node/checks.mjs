// OpenAI's Node SDK against a live gateway: one line per check, `ok <name>` or `not ok <name>` and why.
// The base URL and the key come from the environment.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const model = 'custom-model';
const messages = [{ role: 'user', content: 'Tell me about the tides, please.' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city.',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        unit: { type: 'string', enum: ['celsius', 'fahrenheit'] },
        place: { type: 'object', properties: { lat: { type: 'number' } }, required: ['lat'], additionalProperties: false },
      },
      required: ['city', 'unit', 'place'],
      additionalProperties: false,
    },
  },
};
const report = {
  type: 'json_schema',
  json_schema: {
    name: 'report',
    strict: true,
    schema: {
      type: 'object',
      properties: { title: { type: 'string' }, waves: { type: 'array', items: { type: 'number' } } },
      required: ['title', 'waves'],
      additionalProperties: false,
    },
  },
};

const connect = (path = '/custom/v1', more = {}) =>
  new OpenAI({ baseURL: GATEWAY_URL + path, apiKey: GATEWAY_KEY, maxRetries: 0, timeout: 20_000, ...more });
const client = connect();
const ask = (more = {}, options) => client.chat.completions.create({ model, messages, ...more }, options);
const drain = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};
const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
const checkWeather = (json) => {
  const value = JSON.parse(json);
  assert.deepEqual(Object.keys(value).sort(), ['city', 'place', 'unit']);
  assert.ok(['celsius', 'fahrenheit'].includes(value.unit));
  assert.equal(typeof value.place.lat, 'number');
};
const refusal = async (promise, kind) => {
  const error = await promise.then(
    () => assert.fail('nothing was refused'),
    (caught) => caught,
  );
  assert.ok(error instanceof kind, `${error}`);
  return error;
};

const checks = {
  async 'a chat is answered at both doors'() {
    for (const path of ['/custom/v1', '/v1']) {
      const done = await connect(path).chat.completions.create({ model, messages });
      assert.equal(done.choices[0].finish_reason, 'stop');
      assert.ok(done.choices[0].message.content);
      assert.equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens);
    }
  },
  async 'a streamed chat is the whole answer in pieces'() {
    const whole = await ask();
    const chunks = await drain(await ask({ stream: true }));
    assert.ok(chunks.length > 3);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(text(chunks), whole.choices[0].message.content);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  },
  async 'usage comes last and only when asked'() {
    const chunks = await drain(await ask({ stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
    assert.ok(chunks.slice(0, -1).every((chunk) => !chunk.usage));
  },
  async 'the stream helper gathers the whole answer'() {
    const whole = await ask();
    const stream = client.chat.completions.stream({ model, messages });
    let gathered = '';
    stream.on('content', (delta) => (gathered += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(gathered, whole.choices[0].message.content);
    assert.equal(final.choices[0].message.content, gathered);
    assert.equal(await stream.finalContent(), gathered);
  },
  async 'n answers are numbered in order'() {
    const done = await ask({ n: 3 });
    assert.deepEqual(done.choices.map((choice) => choice.index), [0, 1, 2]);
  },
  async 'a stop word ends the answer before it'() {
    const whole = (await ask()).choices[0].message.content;
    const word = whole.split(' ')[1];
    assert.equal((await ask({ stop: word })).choices[0].message.content, whole.slice(0, whole.indexOf(word)));
  },
  async 'a token limit cuts the answer and says so'() {
    const done = await ask({ max_tokens: 2 });
    assert.equal(done.choices[0].finish_reason, 'length');
    assert.equal(done.usage.completion_tokens, 2);
  },
  async 'logprobs are given when asked for'() {
    const { content } = (await ask({ logprobs: true, top_logprobs: 2 })).choices[0].logprobs;
    assert.ok(content.length > 0);
    assert.ok(content.every((token) => token.logprob <= 0 && token.top_logprobs.length === 2));
  },
  async 'auto calls the tool that the user names'() {
    const named = [{ role: 'user', content: 'Use get_weather for Oslo.' }];
    const done = await ask({ messages: named, tools: [weather] });
    assert.equal(done.choices[0].finish_reason, 'tool_calls');
    checkWeather(done.choices[0].message.tool_calls[0].function.arguments);
  },
  async 'required and a named tool are called, none is not'() {
    const named = { type: 'function', function: { name: 'get_weather' } };
    for (const tool_choice of ['required', named]) {
      checkWeather((await ask({ tools: [weather], tool_choice })).choices[0].message.tool_calls[0].function.arguments);
    }
    const none = await ask({ tools: [weather], tool_choice: 'none' });
    assert.ok(!none.choices[0].message.tool_calls?.length);
  },
  async 'streamed tool calls add up to valid arguments'() {
    const chunks = await drain(await ask({ tools: [weather], tool_choice: 'required', stream: true }));
    const parts = chunks.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []);
    assert.ok(parts[0].id);
    assert.equal(parts[0].function.name, 'get_weather');
    checkWeather(parts.map((part) => part.function.arguments ?? '').join(''));
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
  },
  async 'the stream helper gathers tool calls'() {
    const stream = client.chat.completions.stream({ model, messages, tools: [weather], tool_choice: 'required' });
    const final = await stream.finalChatCompletion();
    checkWeather(final.choices[0].message.tool_calls[0].function.arguments);
  },
  async 'runTools calls the function and comes to an end'() {
    let calls = 0;
    const own = { ...weather.function, function: () => `sunny ${++calls}`, parse: JSON.parse };
    const runner = client.chat.completions.runTools({
      model,
      messages: [{ role: 'user', content: 'Use get_weather for Oslo.' }],
      tools: [{ type: 'function', function: own }],
    });
    assert.ok(await runner.finalContent());
    assert.equal(calls, 1);
  },
  async 'streamed runTools comes to an end too'() {
    let calls = 0;
    const own = { ...weather.function, function: () => `sunny ${++calls}`, parse: JSON.parse };
    const runner = client.chat.completions.runTools({
      model,
      stream: true,
      messages: [{ role: 'user', content: 'Use get_weather for Oslo.' }],
      tools: [{ type: 'function', function: own }],
    });
    assert.ok(await runner.finalContent());
    assert.equal(calls, 1);
  },
  async 'parse gives the structured answer'() {
    const done = await client.chat.completions.parse({ model, messages, response_format: report });
    const value = JSON.parse(done.choices[0].message.content);
    assert.equal(typeof value.title, 'string');
    assert.ok(value.waves.every((wave) => typeof wave === 'number'));
  },
  async 'json_object gives an object'() {
    const done = await ask({ response_format: { type: 'json_object' } });
    assert.equal(typeof JSON.parse(done.choices[0].message.content), 'object');
  },
  async 'a completion is answered whole and streamed'() {
    const whole = await client.completions.create({ model, prompt: 'Once upon a time' });
    const chunks = await drain(await client.completions.create({ model, prompt: 'Once upon a time', stream: true }));
    assert.equal(whole.object, 'text_completion');
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), whole.choices[0].text);
  },
  async 'embeddings are the same by default and as floats'() {
    const coded = await client.embeddings.create({ model, input: 'the sea' });
    const plain = await client.embeddings.create({ model, input: 'the sea', encoding_format: 'float' });
    assert.equal(coded.data[0].embedding.length, 1536);
    coded.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - plain.data[0].embedding[i]) < 1e-6));
  },
  async 'the default embedding is base64 on the wire'() {
    const response = await client.embeddings.create({ model, input: 'x', encoding_format: 'base64' }).asResponse();
    const { data } = await response.json();
    assert.equal(Buffer.from(data[0].embedding, 'base64').length, 1536 * 4);
  },
  async 'each form of input is embedded'() {
    for (const [input, count] of [['one', 1], [['one', 'two'], 2], [[1, 2, 3], 1], [[[1, 2], [3]], 2]]) {
      const done = await client.embeddings.create({ model, input, dimensions: 64 });
      assert.deepEqual(done.data.map((item) => item.embedding.length), Array(count).fill(64));
    }
  },
  async 'models are listed and retrieved at both doors'() {
    for (const path of ['/custom/v1', '/v1']) {
      const own = connect(path);
      const listed = await drain(own.models.list());
      assert.ok(listed.length > 0);
      assert.equal((await own.models.retrieve(listed[0].id)).id, listed[0].id);
    }
  },
  async 'ids with slashes and colons reach the provider'() {
    for (const id of ['a/b', 'hf.co/a/b:q4']) {
      const error = await refusal(client.models.retrieve(id), OpenAI.NotFoundError);
      assert.match(error.message, /lists only custom-chat/); // in the provider's own words
    }
  },
  async 'a wrong key is an AuthenticationError'() {
    const wrong = connect('/custom/v1', { apiKey: 'wrong' });
    const error = await refusal(wrong.models.list(), OpenAI.AuthenticationError);
    assert.equal(error.code, 'invalid_api_key');
    assert.ok(error.requestID);
  },
  async 'a bad request is a BadRequestError that names its field'() {
    const error = await refusal(ask({ temperature: 9 }), OpenAI.BadRequestError);
    assert.equal(error.param, 'temperature');
    assert.equal(error.type, 'invalid_request_error');
  },
  async 'an unknown provider is a NotFoundError'() {
    const error = await refusal(connect('/nobody/v1').models.list(), OpenAI.NotFoundError);
    assert.equal(error.code, 'provider_not_found');
  },
  async 'fault models raise their classes'() {
    const limited = await refusal(ask({ model: 'fault-429' }), OpenAI.RateLimitError);
    assert.ok(Number(limited.headers.get('retry-after')) > 0);
    assert.equal(limited.code, 'rate_limit_exceeded');
    await refusal(ask({ model: 'fault-500' }), OpenAI.InternalServerError);
    await refusal(ask({ model: 'fault-model-not-found' }), OpenAI.NotFoundError);
    await refusal(ask({ model: 'fault-500', stream: true }), OpenAI.InternalServerError);
  },
  async 'an error in the middle of a stream is raised'() {
    const stream = await ask({ model: 'fault-midstream-error', stream: true });
    await refusal(drain(stream), OpenAI.APIError);
  },
  async 'a truncated stream is raised as truncated'() {
    const stream = await ask({ model: 'fault-truncate', stream: true });
    const error = await refusal(drain(stream), OpenAI.APIError);
    assert.equal(error.code, 'upstream_stream_truncated');
  },
  async 'replies carry request ids and headers'() {
    const { data, response, request_id } = await client.chat.completions
      .create({ model, messages }, { headers: { 'X-Request-ID': 'my-request.1' } })
      .withResponse();
    assert.equal(data._request_id, 'my-request.1');
    assert.equal(request_id, 'my-request.1');
    assert.equal(response.headers.get('openai-version'), '2020-10-01');
    assert.ok(Number(response.headers.get('openai-processing-ms')) >= 0);
    assert.equal(response.headers.get('x-gateway-provider'), 'custom');
    assert.ok((await ask())._request_id);
  },
  async 'the SDK retries as often as it was told'() {
    let sent = 0;
    const counting = (url, init) => (sent++, fetch(url, init));
    const own = connect('/custom/v1', { maxRetries: 1, fetch: counting });
    await refusal(own.chat.completions.create({ model: 'fault-500', messages }), OpenAI.InternalServerError);
    assert.equal(sent, 2);
    await refusal(own.chat.completions.create({ model, messages, temperature: 9 }), OpenAI.BadRequestError);
    assert.equal(sent, 3);
  },
  async 'a slow answer runs into the timeout'() {
    const call = ask({ model: 'fault-slow' }, { timeout: 300 });
    await refusal(call, OpenAI.APIConnectionTimeoutError);
  },
  async 'a stream that is aborted leaves the gateway well'() {
    for (let round = 0; round < 3; round++) {
      const stream = await ask({ model: 'fault-slow', stream: true });
      for await (const chunk of stream) {
        assert.ok(chunk.id);
        stream.controller.abort();
        break;
      }
    }
    assert.ok((await ask()).choices[0].message.content);
  },
  async 'an aborted request is an APIUserAbortError'() {
    const controller = new AbortController();
    const call = ask({ model: 'fault-slow' }, { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await refusal(call, OpenAI.APIUserAbortError);
  },
};

await told(checks);
