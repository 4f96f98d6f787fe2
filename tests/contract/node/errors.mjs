// Which error OpenAI's Node SDK, the AI SDK and Ollama's raise for each kind of failure, at a vendor and at a gateway in
// front of it: one line of JSON. The addresses, the keys and the kinds come from the environment.
import OpenAI from 'openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import { Ollama } from 'ollama';

const { PLACES, OLLAMA_PLACES, KINDS } = process.env;
const messages = [{ role: 'user', content: 'Hello' }];

const described = (error) => {
  const inner = error?.lastError ?? error;
  return [inner?.name === 'Error' ? inner.constructor.name : (inner?.name ?? typeof inner), inner?.constructor?.name,
          inner?.status ?? inner?.statusCode ?? inner?.status_code ?? null, inner?.code ?? inner?.data?.error?.code ?? null,
          inner?.isRetryable ?? null, inner?.message ?? null];
};
const caught = async (attempt) => {
  try {
    await attempt();
    return ['nothing'];
  } catch (error) {
    return described(error);
  }
};

const openai = (place, model, stream) => caught(async () => {
  const client = new OpenAI({ baseURL: place.url, apiKey: place.key, maxRetries: 0, timeout: 20_000 });
  const reply = await client.chat.completions.create({ model, messages, stream });
  if (stream) for await (const _ of reply);
});
const ai = (place, model, stream) => caught(async () => {
  const provider = createOpenAICompatible({ name: 'vendor', baseURL: place.url, apiKey: place.key });
  if (!stream) return await generateText({ model: provider(model), prompt: 'Hello', maxRetries: 0 });
  let failure;
  const result = streamText({ model: provider(model), prompt: 'Hello', maxRetries: 0, onError: ({ error }) => { failure = error; } });
  for await (const part of result.fullStream) if (part.type === 'error') failure = part.error;
  if (failure !== undefined) throw failure;
});
const ollama = (place, kind, stream) => caught(async () => {
  const client = new Ollama({ host: place.url, headers: { Authorization: `Bearer ${place.key}` } });
  const reply = await client.chat({ model: `${place.model}${kind}`, messages, stream });
  if (stream) for await (const _ of reply);
});

const found = {};
for (const [name, client] of Object.entries({ openai, ai, ollama })) {
  for (const kind of JSON.parse(KINDS)) {
    for (const stream of kind.startsWith('mid-') ? [true] : [false, true]) {
      const ask = (place) => client(kind === 'key' ? { ...place, key: place.wrong } : place, kind, stream);
      const here = await Promise.all(JSON.parse(name === 'ollama' ? OLLAMA_PLACES : PLACES).map(ask));
      found[`${name} ${kind} ${stream ? 'stream' : 'whole'}`] = here;
    }
  }
}
// At a vendor that says nothing, Ollama's client waits for ever.
found['ollama silence'] = await Promise.all(
  JSON.parse(OLLAMA_PLACES).slice(1).flatMap((place) => [ollama(place, 'silence', false), ollama(place, 'silence', true)]),
);
console.log(JSON.stringify(found));
