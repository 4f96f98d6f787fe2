"""Rate limits, spend limits, alerts, permissions, data retention: set, shown, taken away."""

from typing import Any

import pytest

from tests.support.administration import NO_LIMIT, Administrator
from tests.support.client import client_of

pytestmark = pytest.mark.live

MONTH: dict[str, Any] = {"threshold_amount": 50000, "currency": "USD", "interval": "month"}
MAIL: dict[str, Any] = {"type": "email", "recipients": ["team@example.com"], "subject_prefix": "[gateway]"}


def test_a_project_has_one_rate_limit_for_all_models_and_more_for_single_ones(admin: Administrator) -> None:
    project = admin.project()
    path = f"projects/{project}/rate_limits"
    all_models = {
        "object": "project.rate_limit", "id": "rl-*", "model": "*",
        "max_requests_per_1_minute": NO_LIMIT, "max_tokens_per_1_minute": NO_LIMIT,
    }  # fmt: skip
    assert admin.get(path)["data"] == [all_models]
    changed = admin.post(f"{path}/rl-*", {"max_parallel_requests": 5})
    assert changed == {**all_models, "max_parallel_requests": 5}
    slashed = admin.post(
        f"{path}/rl-anthropic%2Fclaude:1", {"max_requests_per_1_minute": 7, "max_images_per_1_minute": 0}
    )
    assert (slashed["id"], slashed["model"]) == ("rl-anthropic/claude:1", "anthropic/claude:1")
    assert [each["id"] for each in admin.get(path)["data"]] == ["rl-*", "rl-anthropic/claude:1"]
    more = admin.post(f"{path}/rl-anthropic/claude:1", {"max_tokens_per_1_minute": 100, "max_requests_per_1_day": None})
    assert (more["max_requests_per_1_minute"], more["max_tokens_per_1_minute"]) == (7, 100), "what is left out stays"
    none = dict.fromkeys(("max_requests_per_1_minute", "max_tokens_per_1_minute", "max_images_per_1_minute"), NO_LIMIT)
    admin.post(f"{path}/rl-anthropic/claude:1", none)
    assert [each["id"] for each in admin.get(path)["data"]] == ["rl-*"], "a limit of nothing is none"


def test_rate_limits_have_pages_in_both_directions(admin: Administrator) -> None:
    path = f"projects/{admin.project()}/rate_limits"
    for model in "cab":
        admin.post(f"{path}/rl-{model}", {"max_requests_per_1_day": 1})
    assert list(admin.pages(path, 3)) == [["rl-*", "rl-a", "rl-b"], ["rl-c"]]
    before = admin.get(path, limit=2, before="rl-c")
    assert ([each["id"] for each in before["data"]], before["has_more"]) == (["rl-a", "rl-b"], True)
    between = admin.get(path, after="rl-*", before="rl-b")
    assert ([each["id"] for each in between["data"]], between["has_more"]) == (["rl-a"], False)


@pytest.mark.parametrize("identifier", ["rl-", "gpt-5", "RL-gpt-5"])
def test_an_id_that_is_no_rate_limits_is_a_404(admin: Administrator, identifier: str) -> None:
    admin.refused(404, "POST", f"projects/default/rate_limits/{identifier}", {})


@pytest.mark.parametrize("where", ["", "projects/{}/"])
def test_a_spend_limit_is_set_shown_replaced_and_removed(admin: Administrator, where: str) -> None:
    path = where.format(admin.project()) + "spend_limit"
    kind = "project.spend_limit" if where else "organization.spend_limit"
    admin.refused(404, "GET", path)
    admin.refused(404, "DELETE", path)
    made = admin.post(path, MONTH)
    assert made == {"object": kind, **MONTH, "enforcement": {"status": "inactive"}} == admin.get(path)
    day = {**MONTH, "threshold_amount": 1, "interval": "day", "time_zone": "Asia/Tokyo"}
    assert admin.post(path, day).items() >= day.items()
    assert admin.get(path)["time_zone"] == "Asia/Tokyo"
    assert admin.delete(path) == {"object": f"{kind}.deleted", "deleted": True}
    admin.refused(404, "GET", path)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"threshold_amount": 0}, "threshold_amount"),
        ({"threshold_amount": 10**9}, "threshold_amount"),
        ({"threshold_amount": 1.5}, "threshold_amount"),
        ({"currency": "EUR"}, "currency"),
        ({"interval": "year"}, "interval"),
        ({"time_zone": "Europe"}, "time_zone"),
        ({"time_zone": "localtime"}, "time_zone"),
        ({"time_zone": "posix/Europe/Berlin"}, "time_zone"),
        ({"time_zone": "Factory"}, "time_zone"),
        ({"hard": True}, "hard"),
    ],
)
def test_a_spend_limit_that_means_nothing_is_refused(admin: Administrator, changes: dict[str, Any], param: str) -> None:
    assert admin.refused(400, "POST", f"projects/{admin.project()}/spend_limit", MONTH | changes)["param"] == param


@pytest.mark.parametrize("where", ["", "projects/{}/"])
def test_a_spend_alert_is_made_changed_listed_and_deleted(admin: Administrator, where: str) -> None:
    path = where.format(admin.project()) + "spend_alerts"
    kind = "project.spend_alert" if where else "organization.spend_alert"
    made = [admin.post(path, {**MONTH, "threshold_amount": n, "notification_channel": MAIL}) for n in range(3)]
    ids = [each["id"] for each in made]
    assert made[0] == {"object": kind, "id": ids[0], **MONTH, "threshold_amount": 0, "notification_channel": MAIL}
    assert [each for page in admin.pages(path, 2) for each in page] == ids
    assert [each for page in admin.pages(path, 2, order="desc") for each in page] == ids[::-1]
    before = admin.get(path, limit=1, before=ids[2])
    assert ([each["id"] for each in before["data"]], before["has_more"]) == ([ids[1]], True)
    changed = admin.post(f"{path}/{ids[0]}", {**MONTH, "interval": "day", "notification_channel": MAIL})
    assert (changed["id"], changed["interval"]) == (ids[0], "day")
    assert admin.get(f"{path}/{ids[0]}") == changed
    assert admin.delete(f"{path}/{ids[0]}") == {"id": ids[0], "object": f"{kind}.deleted", "deleted": True}
    admin.refused(404, "GET", f"{path}/{ids[0]}")
    admin.refused(404, "DELETE", f"{path}/{ids[0]}")
    for each in ids[1:]:
        admin.delete(f"{path}/{each}")


def test_a_webhooks_secret_is_shown_when_it_is_made_and_never_again(admin: Administrator) -> None:
    path = f"projects/{admin.project()}/spend_alerts"
    hook = {"type": "webhook", "url": "https://hooks.example.com/spend?team=1"}
    made = admin.post(path, {**MONTH, "notification_channel": hook})
    secret = made["notification_channel"].pop("secret")
    assert secret.startswith("whsec_")
    assert made["notification_channel"] == hook == admin.get(f"{path}/{made['id']}")["notification_channel"]
    same = admin.post(f"{path}/{made['id']}", {**MONTH, "threshold_amount": 1, "notification_channel": hook})
    assert "secret" not in same["notification_channel"], "it is kept"
    own = admin.post(f"{path}/{made['id']}", {**MONTH, "notification_channel": {**hook, "secret": "whsec_AAAA"}})
    assert own["notification_channel"]["secret"] == "whsec_AAAA"
    assert secret not in str(admin.get("audit_logs", limit=100))


@pytest.mark.parametrize(
    ("channel", "param"),
    [
        ({"type": "email", "recipients": []}, "notification_channel.recipients"),
        ({"type": "email", "recipients": ["a@b.example\r\nBcc: c@d.example"]}, "notification_channel.recipients[0]"),
        ({**MAIL, "subject_prefix": "a\nb"}, "notification_channel.subject_prefix"),
        ({"type": "webhook", "url": "ftp://example.com"}, "notification_channel.url"),
        ({"type": "webhook", "url": "file:///etc/passwd"}, "notification_channel.url"),
        ({"type": "webhook"}, "notification_channel.url"),
        ({"type": "webhook", "url": "http://169.254.169.254/latest/meta-data"}, "notification_channel.url"),
        ({"type": "webhook", "url": "https://[fe80::1]/"}, "notification_channel.url"),
        ({"type": "webhook", "url": "http://[::ffff:169.254.169.254]/"}, "notification_channel.url"),
        ({"type": "webhook", "url": "http://2852039166/x"}, "notification_channel.url"),
        ({"type": "webhook", "url": "http://0xa9.254.0251.0xfe:80/x"}, "notification_channel.url"),
        ({"type": "webhook", "url": "http://\u008c'"}, "notification_channel.url"),
        ({"type": "webhook", "url": f"http://{'ä' * 100}"}, "notification_channel.url"),
        ({"type": "pigeon"}, "notification_channel.type"),
    ],
)
def test_a_channel_that_leads_nowhere_is_refused(admin: Administrator, channel: dict[str, Any], param: str) -> None:
    body = {**MONTH, "notification_channel": channel}
    assert admin.refused(400, "POST", "spend_alerts", body)["param"] == param


@pytest.mark.parametrize("where", ["", "projects/{}/"])
def test_a_webhook_may_move_only_to_where_it_may_be(admin: Administrator, where: str) -> None:
    path = where.format(admin.project()) + "spend_alerts"
    body = {**MONTH, "notification_channel": {"type": "webhook", "url": "http://10.0.0.7:9/hook"}}
    made = admin.post(path, body)
    body["notification_channel"] = {"type": "webhook", "url": "http://169.254.169.254/"}
    for there in (path, f"{path}/{made['id']}"):
        assert "WEBHOOK_ADDRESSES" in admin.refused(400, "POST", there, body)["message"]
    body["notification_channel"] = {"type": "webhook", "url": "https://hooks.example/a"}
    assert admin.post(f"{path}/{made['id']}", body)["notification_channel"]["url"] == "https://hooks.example/a"
    admin.delete(f"{path}/{made['id']}")


def test_model_permissions_hold_at_once_and_can_be_taken_away(admin: Administrator) -> None:
    project = admin.project()
    key = admin.account(project)["api_key"]["value"]
    path = f"projects/{project}/model_permissions"
    none = {"object": "project.model_permissions", "mode": "deny_list", "model_ids": []}
    assert admin.get(path) == none
    assert admin.delete(path) == {"object": "project.model_permissions.deleted", "deleted": True}
    made = admin.post(path, {"mode": "allow_list", "model_ids": ["custom-b", "custom-a"]})
    assert made == {**none, "mode": "allow_list", "model_ids": ["custom-a", "custom-b"]} == admin.get(path)
    assert admin.infers(key, "custom-a").status_code == 200
    assert admin.infers(key, "custom-c").status_code == 403
    admin.delete(path)
    assert admin.infers(key, "custom-c").status_code == 200


def _ids(admin: Administrator, key: str, path: str, **headers: str) -> list[str]:
    with client_of(admin.live, key=key) as client:
        listed = client.get(path, headers=headers).json()
    return [
        model.get("id") or model["model"].removesuffix(":latest") for model in listed.get("data", listed.get("models"))
    ]


def test_a_caller_sees_the_models_that_it_may_use(admin: Administrator) -> None:
    """In the lists of every API; a model by its name is a 403, as a call is."""
    project = admin.project()
    key = admin.account(project)["api_key"]["value"]
    path, version = f"projects/{project}/model_permissions", {"anthropic-version": "2023-06-01"}
    doors: list[tuple[str, dict[str, str]]] = [("/v1/models", {}), ("/v1/models", version), ("/api/tags", {})]
    every = [_ids(admin, key, door, **headers) for door, headers in doors]
    first, second, *_ = bare = _ids(admin, key, "/custom/v1/models")
    assert all(f"custom/{name}" in ids or name in ids for ids in every for name in bare)
    admin.post(path, {"mode": "allow_list", "model_ids": [first]})
    for door, headers in doors:
        assert {each.removeprefix("custom/") for each in _ids(admin, key, door, **headers)} == {first}
    assert _ids(admin, key, "/custom/v1/models") == [first]
    with client_of(admin.live, key=key) as client:
        assert client.get(f"/v1/models/{first}").status_code == 200
        for door in ("/v1/models", "/custom/v1/models"):
            refused = client.get(f"{door}/{second}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        assert client.get(f"/v1/models/{second}", headers=version).status_code == 403
        assert client.post("/api/show", json={"model": second}).status_code == 403
    admin.post(path, {"mode": "deny_list", "model_ids": [first]})
    assert _ids(admin, key, "/custom/v1/models") == bare[1:]
    admin.delete(path)
    assert [_ids(admin, key, door, **headers) for door, headers in doors] == every


def test_hosted_tools_are_off_until_they_are_switched_on_one_by_one(admin: Administrator) -> None:
    path = f"projects/{admin.project()}/hosted_tool_permissions"
    off = {name: {"enabled": False} for name in ("file_search", "web_search", "image_generation", "mcp")}
    off["code_interpreter"] = {"enabled": False}
    assert admin.get(path) == off
    assert admin.post(path, {"web_search": {"enabled": True}, "mcp": None}) == {**off, "web_search": {"enabled": True}}
    changed = admin.post(path, {"mcp": {"enabled": True}, "web_search": {"enabled": False}})
    assert changed == {**off, "mcp": {"enabled": True}} == admin.get(path)
    assert admin.refused(400, "POST", path, {"shell": {"enabled": True}})["param"] == "shell"


def test_data_retention_of_a_project_follows_the_organizations_until_it_has_its_own(admin: Administrator) -> None:
    project = f"projects/{admin.project()}/data_retention"
    assert admin.get(project) == {"object": "project.data_retention", "type": "organization_default"}
    assert admin.post(project, {"retention_type": "none"})["type"] == "none" == admin.get(project)["type"]
    assert admin.refused(400, "POST", "data_retention", {"retention_type": "none"})["param"] == "retention_type"
    before = admin.get("data_retention")
    changed = admin.post("data_retention", {"retention_type": "zero_data_retention"})
    assert changed == {"object": "organization.data_retention", "type": "zero_data_retention"}
    assert admin.post("data_retention", {"retention_type": before["type"]}) == before
