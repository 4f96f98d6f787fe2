// OpenAI's Node SDK as an administrator's program, against a live gateway: one line per check, as in checks.mjs.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { told } from './told.mjs';

const { GATEWAY_URL, GATEWAY_KEY, ADMIN_KEY } = process.env;
const baseURL = `${GATEWAY_URL}/v1`;
const connect = (adminAPIKey = ADMIN_KEY, apiKey = GATEWAY_KEY) =>
  new OpenAI({ baseURL, apiKey, adminAPIKey, maxRetries: 0 });
const { organization } = connect().admin;
const { projects } = organization;
const refusal = (promise) =>
  promise.then(
    () => assert.fail('nothing was refused'),
    (caught) => caught,
  );
const gather = async (pages) => {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
};
const infers = (key) =>
  connect(ADMIN_KEY, key).chat.completions.create({
    model: 'custom-chat',
    messages: [{ role: 'user', content: 'Hello' }],
  });
const month = { currency: 'USD', interval: 'month', threshold_amount: 5000 };
const mail = { type: 'email', recipients: ['team@example.com'] };

const checks = {
  async 'a project is made, renamed, found in the list and archived'() {
    const made = await projects.create({ name: 'Node' });
    assert.equal((await projects.update(made.id, { name: 'Deno' })).name, 'Deno');
    assert.equal((await projects.retrieve(made.id)).status, 'active');
    assert.ok((await gather(projects.list({ limit: 1 }))).some((each) => each.id === made.id));
    assert.equal((await projects.archive(made.id)).status, 'archived');
  },
  async 'a key of a service account infers until it is deleted'() {
    const { id: project_id } = await projects.create({ name: 'Keys' });
    const account = await projects.serviceAccounts.create(project_id, { name: 'alice', expires_in_seconds: 600 });
    const second = await projects.serviceAccounts.apiKeys.create(account.id, { project_id, name: 'second' });
    assert.ok((await infers(account.api_key.value)).choices[0].message.content);
    const listed = await gather(projects.apiKeys.list(project_id, { limit: 1 }));
    assert.deepEqual(listed.map((key) => key.id), [account.api_key.id, second.id]);
    assert.equal(listed[0].owner.service_account.name, 'alice');
    await projects.apiKeys.delete(account.api_key.id, { project_id });
    const error = await refusal(infers(account.api_key.value));
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.ok((await infers(second.value)).id);
    assert.equal((await projects.serviceAccounts.update(account.id, { project_id, role: 'owner' })).role, 'owner');
    assert.ok((await projects.serviceAccounts.delete(account.id, { project_id })).deleted);
    assert.deepEqual(await gather(projects.serviceAccounts.list(project_id)), []);
    assert.ok((await refusal(infers(second.value))) instanceof OpenAI.AuthenticationError);
  },
  async 'limits of a project are set, shown and taken away'() {
    const { id: project_id } = await projects.create({ name: 'Limits' });
    const limit = await projects.rateLimits.updateRateLimit('rl-openai/gpt-5', {
      project_id,
      max_requests_per_1_minute: 3,
    });
    assert.equal(limit.model, 'openai/gpt-5');
    const rows = await gather(projects.rateLimits.listRateLimits(project_id));
    assert.deepEqual(rows.map((row) => row.id), ['rl-*', 'rl-openai/gpt-5']);
    assert.equal((await projects.spendLimit.update(project_id, month)).enforcement.status, 'inactive');
    assert.equal((await projects.spendLimit.retrieve(project_id)).threshold_amount, 5000);
    assert.ok((await projects.spendLimit.delete(project_id)).deleted);
    assert.ok((await refusal(projects.spendLimit.retrieve(project_id))) instanceof OpenAI.NotFoundError);
  },
  async 'alerts are listed in either order and deleted'() {
    const { id: project_id } = await projects.create({ name: 'Alerts' });
    const ids = [];
    for (const threshold_amount of [1, 2, 3]) {
      const alert = { ...month, threshold_amount, notification_channel: mail };
      ids.push((await projects.spendAlerts.create(project_id, alert)).id);
    }
    const newest = await gather(projects.spendAlerts.list(project_id, { limit: 2, order: 'desc' }));
    assert.deepEqual(newest.map((alert) => alert.id), [...ids].reverse());
    assert.ok((await projects.spendAlerts.delete(ids[0], { project_id })).deleted);
    const whole = await organization.spendAlerts.create({ ...month, notification_channel: mail });
    assert.equal((await organization.spendAlerts.retrieve(whole.id)).notification_channel.recipients.length, 1);
    assert.ok((await organization.spendAlerts.delete(whole.id)).deleted);
  },
  async 'permissions and retention are changed'() {
    const { id } = await projects.create({ name: 'Permissions' });
    const models = await projects.modelPermissions.update(id, { mode: 'allow_list', model_ids: ['custom-chat'] });
    assert.deepEqual([models.mode, models.model_ids], ['allow_list', ['custom-chat']]);
    assert.ok((await projects.modelPermissions.delete(id)).deleted);
    const tools = await projects.hostedToolPermissions.update(id, { web_search: { enabled: true } });
    assert.deepEqual([tools.web_search.enabled, tools.mcp.enabled], [true, false]);
    assert.equal((await projects.dataRetention.update(id, { retention_type: 'none' })).type, 'none');
    assert.ok((await organization.dataRetention.retrieve()).type);
  },
  async 'an administrators key administers and does not infer'() {
    const made = await organization.adminAPIKeys.create({ name: 'node', expires_in_seconds: 600 });
    const other = connect(made.value).admin.organization;
    assert.ok((await gather(other.adminAPIKeys.list({ limit: 1 }))).some((key) => key.id === made.id));
    assert.ok((await refusal(infers(made.value))) instanceof OpenAI.PermissionDeniedError);
    assert.ok((await organization.adminAPIKeys.delete(made.id)).deleted);
    assert.ok((await refusal(other.projects.list())) instanceof OpenAI.AuthenticationError);
    const caller = connect(GATEWAY_KEY).admin.organization;
    assert.ok((await refusal(caller.projects.list())) instanceof OpenAI.PermissionDeniedError);
  },
  async 'the audit log and usage are read in pages'() {
    const { id } = await projects.create({ name: 'Audited' });
    await projects.update(id, { name: 'Audited twice' });
    const acts = await gather(organization.auditLogs.list({ limit: 1, project_ids: [id] }));
    assert.deepEqual(acts.map((act) => act.type), ['project.updated', 'project.created']);
    const start_time = Math.floor(Date.now() / 1000) - 86400;
    const usage = await organization.usage.completions({ start_time, bucket_width: '1h', group_by: ['project_id'] });
    assert.equal(usage.object, 'page');
    assert.ok((await organization.usage.costs({ start_time })).data.length);
  },
  async 'what is not served says so'() {
    const error = await refusal(organization.users.list());
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.match(error.message, /This gateway has no users/);
  },
};

await told(checks);
