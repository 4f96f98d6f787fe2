// An answer as it comes, from Node 20 or newer without a package. Another gateway: set GATEWAY_BASE_URL and GATEWAY_API_KEY.
// With OpenAI's SDK: new OpenAI({ baseURL: 'http://127.0.0.1:9000/custom/v1', apiKey: 'unused' }).
const url = process.env.GATEWAY_BASE_URL ?? 'http://127.0.0.1:9000/custom/v1';
const key = process.env.GATEWAY_API_KEY ?? 'unused';
const model = process.env.GATEWAY_MODEL ?? 'custom-chat';

const reply = await fetch(`${url}/chat/completions`, {
  method: 'POST',
  headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model, messages: [{ role: 'user', content: 'What is a gateway?' }], stream: true }),
});
if (!reply.ok) {
  const { error } = await reply.json();
  throw new Error(`${reply.status} ${error.code}: ${error.message}`);
}

let rest = '';
let done = false;
for await (const text of reply.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + text).split('\n\n');
  rest = events.pop();
  for (const event of events) {
    const data = event.replace(/^data: /, '');
    if (data === '[DONE]') {
      done = true;
      continue;
    }
    const { error, choices } = JSON.parse(data);
    if (error) throw new Error(`The answer is not complete: ${error.message}`);
    process.stdout.write(choices[0]?.delta.content ?? '');
  }
}
if (!done) throw new Error('The answer is not complete: the connection was lost.');
process.stdout.write('\n');
