// Which error OpenAI's Node SDK and the AI SDK raise for each kind of failure, at a vendor and at a gateway in front of
// it: one line of JSON. The addresses, the keys and the kinds come from the environment.
import OpenAI from 'openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';

const { PLACES, KINDS } = process.env;
const messages = [{ role: 'user', content: 'Hello' }];

const described = (error) => {
  const inner = error?.lastError ?? error;
  return [inner?.name === 'Error' ? inner.constructor.name : (inner?.name ?? typeof inner), inner?.constructor?.name,
          inner?.status ?? inner?.statusCode ?? null, inner?.code ?? inner?.data?.error?.code ?? null,
          inner?.isRetryable ?? null];
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

const found = {};
for (const [name, client] of Object.entries({ openai, ai })) {
  for (const kind of JSON.parse(KINDS)) {
    for (const stream of kind.startsWith('mid-') ? [true] : [false, true]) {
      const ask = (place) => client(kind === 'key' ? { ...place, key: place.wrong } : place, kind, stream);
      const here = await Promise.all(JSON.parse(PLACES).map(ask));
      found[`${name} ${kind} ${stream ? 'stream' : 'whole'}`] = here;
    }
  }
}
console.log(JSON.stringify(found));
