"""`ai-gateway keys`: made, listed, replaced and revoked, on the store itself and through a gateway."""

import csv
import json
import re
import stat
import time
from hashlib import sha256
from pathlib import Path

import pytest

from ai_gateway.accounts.key_format import is_well_formed, new_key
from tests.cli.conftest import CommandLine
from tests.support.administration import Administrator
from tests.support.gateway import run_cli, running_gateway

_CHANGING = re.compile(
    r"sk-gw-(?:admin-)?[0-9A-Za-z]{49}|sk-gw-(?:admin-)?\.\.\.\w{4}|(?:key|proj|svc_acct)_[0-9a-f]{29}"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d|\b\d{10}\b|Stored in: .*|http://127\.0\.0\.1:\d+"
)


@pytest.mark.slow
def test_with_nothing_installed_a_first_key_is_made_works_at_once_and_closes_the_gateway(tmp_path: Path) -> None:
    env = {"GATEWAY_DATA_DIR": str(tmp_path / "data")}
    with running_gateway(**env) as live:
        assert "not required: open to this machine only (make one: ai-gateway keys create NAME)" in live.log()
        assert str(tmp_path / "data" / "gateway.db") in live.log()
        made = run_cli("keys", "create", "alice", **env)
        assert made.returncode == 0, made.stderr
        (key,) = re.findall(r"^  (sk-gw-\S+)$", made.stdout, re.MULTILINE)
        assert is_well_formed(key)
        assert f"curl http://127.0.0.1:9000/v1/models -H 'Authorization: Bearer {key}'" in made.stdout
        caller = Administrator(live)
        assert caller.infers(key).status_code == 200
        _until(lambda: caller.infers("sk-gw-of-nobody").status_code == 401)
        assert run_cli("keys", "revoke", "alice", **env).returncode == 0
        _until(lambda: caller.infers(key).status_code == 401)
        assert key not in live.log()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_key_that_is_made_beside_a_gateway_is_known_at_its_first_use(
    beside: CommandLine, remote: CommandLine, admin: Administrator
) -> None:
    for number, cli in enumerate((beside, remote)):
        for _ in range(3):
            made = cli.json("keys", "create", f"first-use-{number}")
            assert admin.infers(made["value"]).status_code == 200
            cli("keys", "revoke", made["id"])


@pytest.mark.slow
def test_what_is_printed_is_the_same_by_way_of_a_gateway(beside: CommandLine, remote: CommandLine) -> None:
    """Everything but ids, keys and times; what comes before on the same store must not differ either."""

    def reported(cli: CommandLine) -> list[str]:
        commands = (
            ["projects", "create", "same"],
            ["keys", "create", "ann", "--project", "same", "--rpm", "5", "--tpm", "6", "--rpd", "7", "--parallel", "8"],
            ["keys", "create", "ben", "--project", "same", "--budget", "5.00", "--per", "day", "--models", "a,b",
             "--zone", "Europe/Berlin", "--expires", "30d", "--json"],
            ["keys", "list", "--project", "same"],
            ["keys", "list", "--project", "same", "--json"],
            ["keys", "show", "ben", "--project", "same"],
            ["keys", "show", "ben", "--project", "same", "--json"],
            ["limits", "set", "--key", "ann", "--rpm", "none", "--models", "c"],
            ["limits", "set", "--project", "same", "--rpm", "70", "--model", "gpt-5"],
            ["limits", "show", "--project", "same", "--json"],
            ["budget", "set", "10", "--project", "same"],
            ["budget", "show", "--key", "ben", "--json"],
            ["keys", "rotate", "ann", "--json"],
            ["keys", "revoke", "ann"],
            ["keys", "create", "root", "--admin"],
            ["keys", "revoke", "root"],
            ["projects", "rename", "same", "other"],
            ["projects", "archive", "other", "--json"],
        )  # fmt: skip
        texts = [_CHANGING.sub("*", cli(*arguments).stdout) for arguments in commands]
        return [re.sub(r" +", " ", text) for text in texts]

    assert reported(beside) == reported(remote)


def test_a_key_is_shown_with_what_it_was_made_with(cli: CommandLine) -> None:
    made = cli.json(
        "keys", "create", "alice", "--expires", "30d", "--rpm", "60", "--parallel", "2",
        "--budget", "5.00", "--per", "week", "--zone", "Europe/Berlin", "--models", "gpt-5, lab/llama",
    )  # fmt: skip
    assert made["expires_at"] - made["created_at"] == 30 * 86_400
    shown = cli.json("keys", "show", "alice")
    assert shown["id"] == made["id"]
    assert shown["redacted_value"] == f"sk-gw-...{made['value'][-4:]}"
    assert shown["rate_limits"] == {"max_requests_per_1_minute": 60, "max_parallel_requests": 2}
    assert shown["spend_limit"] == {
        "threshold_amount": 500, "currency": "USD", "interval": "week", "time_zone": "Europe/Berlin",
    }  # fmt: skip
    assert shown["model_permissions"] == {"mode": "allow_list", "model_ids": ["gpt-5", "lab/llama"]}
    text = cli("keys", "show", "alice").stdout
    assert "60 requests/min, 2 at once" in text
    assert "$5.00 per week (Europe/Berlin)" in text
    assert made["value"] not in text + cli("keys", "list").stdout


def test_whoever_has_a_key_gets_no_second_one_by_accident(cli: CommandLine) -> None:
    cli("keys", "create", "alice")
    assert "ai-gateway keys rotate" in cli.refused("keys", "create", "alice")
    cli("keys", "revoke", "alice")
    cli("keys", "create", "alice")
    assert len(cli.json("keys", "list")["data"]) == 1


def test_a_key_that_was_found_somewhere_is_revoked_by_itself(cli: CommandLine) -> None:
    key = cli.json("keys", "create", "alice")["value"]
    cli("keys", "create", "bob")
    assert "of alice" in cli("keys", "revoke", key).stdout
    assert [each["owner"]["service_account"]["name"] for each in cli.json("keys", "list")["data"]] == ["bob"]


def test_a_key_that_replaces_another_has_its_limits_and_the_former_one_works_for_a_while(cli: CommandLine) -> None:
    former = cli.json("keys", "create", "alice", "--rpm", "60", "--budget", "5", "--expires", "90d")
    made = cli.json("keys", "rotate", "alice", "--grace", "2h")
    assert made["replaces"] == former["id"]
    assert made["expires_at"] - made["created_at"] == 90 * 86_400
    by_id = {each["id"]: each for each in cli.json("keys", "list")["data"]}
    assert 0 < by_id[former["id"]]["expires_at"] - time.time() <= 7_200
    for name in ("rate_limits", "spend_limit", "owner"):
        assert by_id[made["id"]][name] == by_id[former["id"]][name]
    again = cli.json("keys", "rotate", "alice", "--grace", "0s")
    assert again["replaces"] == made["id"], "the newest one is replaced"
    assert {each["id"] for each in cli.json("keys", "list")["data"]} == {former["id"], again["id"]}


def test_a_grace_never_makes_a_key_live_longer(cli: CommandLine) -> None:
    former = cli.json("keys", "create", "alice", "--expires", "1h")
    cli("keys", "rotate", "alice", "--grace", "24h")
    assert cli.json("keys", "show", former["id"])["expires_at"] == former["expires_at"]


def test_administrators_keys_are_made_and_work(remote: CommandLine, beside: CommandLine, admin: Administrator) -> None:
    made = beside.json("keys", "create", "ops", "--admin", "--expires", "1h")
    assert is_well_formed(made["value"])
    ops = CommandLine({}, (*remote.options, "--admin-key", made["value"]))
    ops("projects", "list")
    assert admin.infers(made["value"]).status_code == 403
    assert "(administrator)" in ops("keys", "list").stdout
    replaced = ops.json("keys", "rotate", "ops")
    assert "choose another name" in ops.refused("keys", "create", "ops", "--admin")
    beside("keys", "revoke", "ops")
    _until(lambda: admin.infers(replaced["value"]).status_code == 401)
    assert "--admin-key" in ops.refused("projects", "list", "--admin-key", replaced["value"])


def test_the_audit_log_says_that_it_was_the_command_line(beside: CommandLine, admin: Administrator) -> None:
    made = beside.json("keys", "create", "audited")
    (entry,) = admin.get("audit_logs", **{"event_types[]": "api_key.created", "resource_ids[]": made["id"]})["data"]
    assert entry["actor"]["session"]["user"]["id"].startswith("command line (")


def test_many_keys_are_made_from_a_list_of_names_once(cli: CommandLine, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"person-{number}" for number in range(12)), encoding="utf-8")
    out = tmp_path / "keys.csv"
    cli("projects", "create", "team")
    reported = cli("keys", "import", str(names), "--project", "team", "--out", str(out)).stdout
    assert "12 new keys" in reported
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [f"person-{number}" for number in range(12)]
    assert all(is_well_formed(row["value"]) and row["value"] not in reported for row in rows)
    assert "File exists" in cli.refused("keys", "import", str(names), "--out", str(out), code=2)
    names.write_text("person-7\nperson-12\n", encoding="utf-8")
    statuses = [each["status"] for each in cli.json("keys", "import", str(names), "--project", "team")["data"]]
    assert statuses == ["has a key", "created"]


def test_a_file_of_columns_gives_each_key_its_own_limits(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        'name,budget,per,rpm,expires,models\nalice,20.00,week,60,90d,"a,b"\nbob,5,day,,,\n', encoding="utf-8"
    )
    cli("keys", "import", str(file))
    alice, bob = cli.json("keys", "list")["data"]
    assert alice["spend_limit"]["threshold_amount"] == 2_000
    assert alice["rate_limits"] == {"max_requests_per_1_minute": 60}
    assert alice["model_permissions"]["model_ids"] == ["a", "b"]
    assert bob["spend_limit"] == {"threshold_amount": 500, "currency": "USD", "interval": "day"}
    assert bob.get("rate_limits") is None


def test_keys_that_people_have_already_go_on_working(remote: CommandLine, admin: Administrator, tmp_path: Path) -> None:
    old, older = "sk-litellm-1234567890abcdef", new_key()
    file = tmp_path / "keys.json"
    entries = [{"name": "old", "key": old}, {"name": "older", "digest": sha256(older.encode()).hexdigest()}]
    file.write_text(json.dumps(entries), encoding="utf-8")
    reported = remote("keys", "import", str(file)).stdout
    assert old not in reported
    assert [admin.infers(key).status_code for key in (old, older)] == [200, 200]
    file.write_text(json.dumps([{"name": "thief", "key": old}]), encoding="utf-8")
    assert "a key with this digest" in remote.refused("keys", "import", str(file))


def test_a_file_with_mistakes_makes_nothing_and_each_is_named(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name,rpm,budget,colour\nalice,many,,\nbob,,1.005,\ncarol,1,1,red\n,1,,\n", encoding="utf-8")
    reported = cli.refused("keys", "import", str(file), code=2).splitlines()
    assert len(reported) == 4
    for line, words in zip(
        reported, ("'many' is no limit", "'1.005' is no amount", "'colour'", "no name"), strict=True
    ):
        assert words in line
    assert "There are no keys yet" in cli("keys", "list").stdout
    key = new_key()
    file.write_text(f"name,key\nalice,{key[:-1]}{'A' if key[-1] != 'A' else 'B'}\n", encoding="utf-8")
    assert "its checksum does not fit" in cli.refused("keys", "import", str(file), code=2)
    file.write_text("name,project\nalice,nowhere\n", encoding="utf-8")
    assert "no project 'nowhere'" in cli.refused("keys", "import", str(file))
    for text, words in (("[" * 100_000, "is no JSON"), (f"name\n{'x' * 200_000}\n", "is no CSV")):
        file.write_text(text, encoding="utf-8")
        assert words in cli.refused("keys", "import", str(file), code=2)
    assert "Is a directory" in cli.refused("keys", "import", str(tmp_path), code=2)


def _until(holds: object, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_refusal_says_what_is_there_instead(cli: CommandLine) -> None:
    cli("keys", "create", "alice")
    cli("keys", "create", "root", "--admin")
    for arguments, words in (
        (["keys", "show", "alcie"], "Did you mean 'alice'?"),
        (["keys", "create", "x", "--project", "defualt"], "Did you mean 'Default'?"),
        (["projects", "archive", "default"], "cannot be archived"),
        (["budget", "clear"], "has no budget"),
        (["limits", "set", "--key", "root", "--rpm", "1"], "administrator's key"),
        (["keys", "create", "x", "--zone", "Europe/Berlni", "--budget", "1"], "no time zone"),
        # As a script has it whose variable is not set: never the default project instead.
        (["keys", "create", "x", "--project", ""], "There is no project ''"),
        (["budget", "set", "5", "--project", ""], "There is no project ''"),
        (["limits", "set", "--rpm", "5", "--project", ""], "There is no project ''"),
        (["keys", "revoke", "alice", "--project", ""], "There is no project ''"),
        (["budget", "set", "5", "--key", ""], "There is no key of ''"),
    ):
        assert words in cli.refused(*arguments)


@pytest.mark.parametrize("options", [("--per", "day"), ("--zone", "UTC"), ("--admin", "--zone", "UTC")])
def test_an_interval_without_a_budget_is_no_limit_and_is_refused(cli: CommandLine, options: tuple[str, ...]) -> None:
    assert "give --budget as well" in cli.refused("keys", "create", "alice", *options, code=2, COLUMNS="200")
