"""What the documentation promises: every name it must hold, every link, and every example against a live gateway."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from typer.main import get_command

from ai_gateway import errors
from ai_gateway.cli import app
from ai_gateway.config import constants
from ai_gateway.config.fields import FILE_ONLY
from ai_gateway.config.settings import ProviderSettings, Settings, marked
from ai_gateway.config.sources import ALIASES, read_settings, read_sources
from ai_gateway.conform import rules
from ai_gateway.conform.rules import RULES, Rule
from ai_gateway.observability.error_codes import known_codes
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.custom.faults import FAULTS
from ai_gateway.providers.http.errors import KEPT_STATUSES
from ai_gateway.routing.rules import read_rules
from ai_gateway.translate.ollama_chat.policies import OPTIONS, POLICIES
from scripts.metrics import PAGE as METRICS_PAGE, page as metrics_page
from scripts.parameters import PAGE, page
from scripts.providers import PAGE as PROVIDERS_PAGE, page as providers_page
from scripts.rules import page as rules_page
from tests.support.gateway import LiveGateway, SharedGateways, running_gateway

ROOT = Path(__file__).parents[1]
README_ADDRESS = "http://127.0.0.1:9000"
MARKDOWN = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "spec").rglob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
]
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _rows(path: str) -> dict[str, list[str]]:
    """The cells of every table row, by what stands in the first one."""
    rows: dict[str, list[str]] = {}
    for line in _text(path).splitlines():
        if line.startswith("|"):
            first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[_plain(first)] = [_plain(cell) for cell in cells]
    return rows


def _plain(cell: str) -> str:
    """What stands between backticks, if nothing stands beside them."""
    return re.sub(r"^`([^`]*)`$", r"\1", cell)


def _default(name: str) -> str:
    """As people write it; empty for none."""
    default = SETTINGS[name].default
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default)
    return str(default).lower().removesuffix(".0") if default or default is False or default == 0 else ""


def _blocks(path: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", _text(path), re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_the_table_of_settings_has_each_with_its_default(name: str) -> None:
    assert _rows("docs/configuration.md")[name][0] == (_default(name) or "none")


@pytest.mark.parametrize("name", ProviderSettings.model_fields)
def test_every_setting_of_a_providers_table_is_documented(name: str) -> None:
    assert f"`{name}`" in _text("docs/configuration.md").split("A provider's table takes")[1].split("\n\n")[0]


@pytest.mark.parametrize(("name", "alias"), ALIASES.items())
def test_every_alias_is_documented_beside_its_name(name: str, alias: str) -> None:
    assert [
        line for line in _text("docs/configuration.md").splitlines() if f"`{name}`" in line and f"`{alias}`" in line
    ]
    assert re.search(rf"\b{alias}\b", _text(".env.example"))


@pytest.mark.parametrize("name", [*SETTINGS, "GATEWAY_CONFIG", *(row.key_env for row in ROWS)])
def test_the_sample_environment_names_every_variable(name: str) -> None:
    assert re.search(rf"^# {name}=|\b{name}\b", _text(".env.example"), re.MULTILINE)


def test_the_sample_environment_changes_nothing_as_it_is_and_holds_the_defaults() -> None:
    lines = _text(".env.example").splitlines()
    assert not [line for line in lines if line and not line.startswith("#")]
    reported: dict[str, str] = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", _text(".env.example"), re.MULTILINE))
    for name in reported.keys() & SETTINGS.keys():
        assert reported[name] == _default(name)
    assert SETTINGS.keys() - reported.keys() == {name.upper() for name in marked(FILE_ONLY)}


def test_the_sample_configuration_file_can_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*SETTINGS, *ALIASES.values()]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_CONFIG", str(ROOT / "examples" / "gateway.toml"))
    settings = read_settings(read_sources())
    names = [upstream.name for upstream in configured_upstreams(settings, {"BACKUP_API_KEY": "secret"}).upstreams]
    assert names == ["lab", "backup"]
    rules = read_rules(settings, names)
    assert rules.aliases.follow("small") == "lab/llama-3.1-8b"
    assert rules.routes.keys() == {"safe"}


@pytest.mark.parametrize("path", ["docs/configuration.md", "docs/providers.md"])
def test_every_configuration_file_shown_is_valid(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*SETTINGS, *ALIASES.values(), "GATEWAY_CONFIG"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for block in _blocks(path, "toml"):
        (tmp_path / "gateway.toml").write_text(block, encoding="utf-8")
        settings = read_settings(read_sources())
        assert settings.providers or settings.keys


def test_fixed_limits_are_the_documented_ones() -> None:
    text = " ".join(_text("docs/configuration.md").split())
    for limit in (
        constants.MAX_HEADER_COUNT,
        constants.MAX_HEADER_BYTES,
    ):
        assert re.search(rf"\b{limit}\b", text)


def test_the_page_of_the_command_line_has_each_command() -> None:
    def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
        below = getattr(command, "commands", {})
        if not below or command.invoke_without_command:
            yield " ".join(path)
        for name, each in below.items():
            yield from commands(each, (*path, name))

    firsts = [line.split("|")[1] for line in _text("docs/cli.md").splitlines() if line.startswith("| `")]
    named = [name for first in firsts for name in re.findall(r"`([^`]+)`", first)]
    assert sorted(named) == sorted(commands(get_command(app)))


# --- providers and errors --------------------------------------------------------------------------------------------


def test_the_tables_of_known_upstreams_are_what_the_catalog_has() -> None:
    text = PROVIDERS_PAGE.read_text(encoding="utf-8")
    assert text == providers_page(text), "run `make docs`"
    assert {f"`{row.name}`" for row in ROWS} <= {line.split(" | ")[0][2:] for line in text.splitlines()}


def test_what_the_readme_says_of_known_upstreams_is_so() -> None:
    rows, known = _rows("README.md"), {row.name: row for row in ROWS}
    shown = rows.keys() & known.keys()
    assert {"openai", "anthropic", "ollama", "vllm"} <= shown
    for name in shown:
        row = known[name]
        assert rows[name] == [row.key_env if row.needs_key else row.base_url_envs[-1]]


def test_every_variable_of_a_known_upstream_is_documented() -> None:
    variables = {variable for row in ROWS for variable in row.quirks.header_variables.values()}
    for path in ("docs/providers.md", "docs/configuration.md", ".env.example"):
        assert [variable for variable in variables if variable not in _text(path)] == []
    accounts = {variable for row in ROWS for variable in row.url_variables}
    for path in ("docs/providers.md", ".env.example"):
        assert [variable for variable in accounts if f"{variable}" not in _text(path)] == []


def test_every_field_of_quirks_says_what_it_is_for() -> None:
    source = ast.parse(_text("src/ai_gateway/providers/openai/quirks.py"))
    body = next(node.body for node in source.body if isinstance(node, ast.ClassDef) and node.name == "Quirks")
    for field, after in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(field)


def _error_classes(parent: type[errors.GatewayError] = errors.GatewayError) -> Iterator[type[errors.GatewayError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from _error_classes(child)


@cache
def _codes() -> dict[str, int]:
    """Every code the gateway can answer with, with its status."""
    codes = {kind.code: kind.status for kind in _error_classes() if kind.code is not None and "code" in vars(kind)}
    for path in (ROOT / "src" / "ai_gateway").rglob("*.py"):
        if "custom" not in path.parts:  # what the built-in provider plays is documented with it
            text = path.read_text(encoding="utf-8")
            codes |= _codes_made_in(text)
            codes |= dict.fromkeys(re.findall(r'"(invalid_(?:type|value))"', text), 400)  # by way of a variable
    return codes


def _codes_made_in(text: str) -> Iterator[tuple[str, int]]:
    """The codes that are given where an error is made, each with the status of its class."""
    if "code=" not in text:  # most modules need not be parsed
        return
    statuses = {kind.__name__: kind.status for kind in _error_classes()}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            for given in node.keywords:
                if given.arg == "code" and isinstance(given.value, ast.Constant) and isinstance(given.value.value, str):
                    yield given.value.value, statuses.get(ast.unparse(node.func), 400)


@pytest.mark.parametrize(("code", "status"), _codes().items())
def test_every_error_code_is_documented_with_its_status(code: str, status: int) -> None:
    found, meaning, advice = _rows("docs/errors.md")[code]
    assert found == str(status)
    assert meaning
    assert advice


def test_every_error_code_is_one_that_metrics_know() -> None:
    assert known_codes() >= set(_codes())


def test_the_errors_page_names_no_code_that_does_not_exist() -> None:
    codes = [line.split("`")[1] for line in _text("docs/errors.md").splitlines() if re.match(r"\| `[a-z_]+`", line)]
    assert set(codes) == set(_codes())


def test_the_statuses_kept_from_an_upstream_are_the_documented_ones() -> None:
    statuses = ", ".join(map(str, sorted(KEPT_STATUSES)))
    assert f"({statuses}) keeps" in " ".join(_text("docs/providers.md").split())
    for status in KEPT_STATUSES:
        assert f" {status}" in " ".join(_text("docs/errors.md").split("## The upstream")[1].split())


def test_the_page_of_parameters_is_what_the_adapters_declare() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def _documented_fields() -> dict[tuple[str, str], str]:
    """What docs/ollama.md says becomes of each field, by operation."""
    found: dict[tuple[str, str], str] = {}
    everywhere = ["chat", "generate", "embed", "embeddings", "show"]
    for line in _text("docs/ollama.md").split("## Request fields")[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            operations = everywhere if cells[1] == "all" else cells[1].split(", ")
            found |= dict.fromkeys(product(operations, re.findall(r"`(\w+)`", cells[0])), cells[2])
    return found


def test_what_becomes_of_every_field_on_ollamas_wire_is_documented() -> None:
    declared = cast("dict[str, dict[str, str]]", POLICIES)
    assert _documented_fields() == {
        (operation.removeprefix("ollama").lower(), field): policy
        for operation, fields in declared.items()
        for field, policy in fields.items()
    }


def test_every_option_that_is_mapped_is_documented() -> None:
    rows = _rows("docs/ollama.md")
    assert {option: _plain(rows[option][0].partition(";")[0]) for option in OPTIONS} == dict(OPTIONS)


def test_every_fault_model_is_documented_with_what_it_does() -> None:
    documented = {
        name: cells[0] for name, cells in _rows("docs/custom-provider.md").items() if name.startswith("fault-")
    }
    assert documented.keys() == FAULTS.keys()
    for name, fault in FAULTS.items():
        if fault.failure is not None:
            failure = fault.failure()
            assert f"`{failure.code}`" in documented[name]
            assert fault.chunks or f"{failure.status} `" in documented[name]


# --- commands, links and decisions -----------------------------------------------------------------------------------


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", _text("Makefile"), re.MULTILINE))


def _help() -> dict[str, str]:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607 - make is on the PATH
    return dict(line.split(maxsplit=1) for line in shown.splitlines() if line.startswith("  "))


def test_make_help_lists_every_target_and_nothing_else() -> None:
    shown = _help()
    assert shown.keys() == _targets()
    assert all(shown.values())


def test_every_make_command_in_the_documentation_exists() -> None:
    targets = _targets()
    for path in MARKDOWN:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^(?:\S+=\S+ )*make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, path


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_source_file_the_documentation_names_exists() -> None:
    for path in MARKDOWN:
        named = re.findall(r"`((?:src|spec|scripts|docs|examples|generated)/[\w./-]*\w)`", path.read_text("utf-8"))
        assert not [name for name in named if not (ROOT / name).exists()], path


def test_every_term_of_the_glossary_has_a_module_that_exists() -> None:
    rows = [line for line in _text("docs/glossary.md").splitlines() if line.startswith("| ")][1:]
    for row in rows:
        named = re.findall(r"`([\w/.]+)`", row.rpartition(" | ")[2])
        assert named, row
        assert all(any((root / name).exists() for root in (ROOT, ROOT / "src" / "ai_gateway")) for name in named), row


_DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower().replace("'", "")).strip("-")


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:4] for path in _DECISIONS] == [f"{number:03d}-" for number in range(1, len(_DECISIONS) + 1)]


@pytest.mark.parametrize("path", _DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_title_a_date_a_status_and_a_row_in_the_table(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = re.match(r"# (\d{3}) (.+)\n\n- Date: (.+)\n- Status: (.+)\n\n\*\*Context\.\*\* ", text)
    assert head is not None, "it begins with its number and title, date, status and context"
    number, title, day, status = head.groups()
    assert path.stem == f"{number}-{_slug(title)}"
    assert date.fromisoformat(day).isoformat() == day
    assert status == "accepted" or _successor(status) in {other.name[:3] for other in _DECISIONS} - {number}
    assert f"| {number} | [{title}]({path.name}) | {day} | {status} |" in _text("docs/decisions/README.md").splitlines()
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]


def _successor(status: str) -> str | None:
    found = re.fullmatch(r"superseded by (\d{3})", status)
    return found[1] if found is not None else None


def test_the_table_of_decisions_has_no_other_rows() -> None:
    listed = re.findall(r"^\| (\d{3}) \|", _text("docs/decisions/README.md"), re.MULTILINE)
    assert listed == [path.name[:3] for path in _DECISIONS]


def test_the_origin_of_the_contract_is_as_recorded() -> None:
    readme = _text("spec/README.md")
    for record in (ROOT / "spec").glob("*/source.toml"):
        source = tomllib.loads(record.read_text(encoding="utf-8"))["source"]
        for fact in ("repository", "document", "version", "openapi", "licence", "commit", "date", "sha256"):
            assert source[fact] in readme, f"{record.parent.name}: {fact}"


def test_every_overlay_and_rule_is_explained() -> None:
    readme = _text("spec/README.md")
    rules = re.findall(r"^  - rule: (\S+)$", _text("spec/overlay/rules.yaml"), re.MULTILINE)
    overlays = [path.name for path in (ROOT / "spec" / "overlay").glob("*.yaml")]
    assert [name for name in [*rules, *overlays] if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("page", ["docs/reliability.md"])
def test_every_test_that_a_page_calls_as_witness_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", _text(page))
    assert named
    assert [
        (path, name) for path, name in named if not re.search(rf"^(?:async )?def {name}\(", _text(path), re.MULTILINE)
    ] == []


# --- examples --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(gateway_for: SharedGateways) -> LiveGateway:
    """A gateway as `make run` starts it: open, and nothing is configured."""
    return gateway_for(ALLOWED_API_KEYS="")


@pytest.fixture(scope="module")
def fronting(gateway_for: SharedGateways, bare: LiveGateway) -> LiveGateway:
    """A gateway with `openai` configured; the bare one plays the upstream."""
    address = f"{bare.base_url}/custom/v1"
    return gateway_for(ALLOWED_API_KEYS="", OPENAI_BASE_URL=address, OPENAI_API_KEY="sk-upstream")


def _run(command: list[str], *, code: str | None = None, **env: str) -> str:
    done = subprocess.run(
        command,
        input=code,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


README_EXAMPLES = [
    pytest.param(command, block, id=block.split("\n")[0][:60])
    for language, command in (("sh", ["bash", "-e"]), ("python", [sys.executable, "-"]))
    for block in _blocks("README.md", language)
    if README_ADDRESS in block and "make run" not in block
]


def test_the_readme_has_an_example_for_the_shell_and_for_python_with_and_without_an_upstream() -> None:
    assert len(README_EXAMPLES) >= 4


@pytest.mark.parametrize(("command", "block"), README_EXAMPLES)
def test_every_example_of_the_readme_runs(
    command: list[str], block: str, bare: LiveGateway, fronting: LiveGateway
) -> None:
    live = fronting if "openai/" in block else bare
    shown = _run(command, code=block.replace(README_ADDRESS, live.base_url))
    assert "Hello" in shown
    assert '"error"' not in shown


def test_the_same_request_gets_the_same_answer(bare: LiveGateway) -> None:
    block = _blocks("README.md", "python")[0].replace(README_ADDRESS, bare.base_url)
    whole, streamed = _run([sys.executable, "-"], code=block).split("\n", 1)
    assert whole == streamed


@pytest.mark.parametrize("name", ["chat.py", "stream.py"])
def test_every_python_example_runs(name: str, bare: LiveGateway) -> None:
    shown = _run([sys.executable, str(ROOT / "examples" / name)], GATEWAY_BASE_URL=f"{bare.base_url}/custom/v1")
    assert "What is a gateway?" in shown


def test_the_example_of_administration_runs() -> None:
    with running_gateway(ADMIN_API_KEY="sk-gw-admin-of-the-example") as live:
        shown = _run(
            [sys.executable, str(ROOT / "examples" / "administration.py")],
            GATEWAY_URL=live.base_url,
            ADMIN_API_KEY="sk-gw-admin-of-the-example",
        )
    assert "The key of alice, shown this once: sk-gw-" in shown
    assert "Requests left in this minute: 59" in shown
    assert "Cost: $0\n" in shown


def test_every_python_example_is_run_here() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"administration.py", "chat.py", "stream.py"}


def test_the_shell_example_runs(bare: LiveGateway) -> None:
    shown = _run([str(ROOT / "examples" / "curl.sh")], GATEWAY_BASE_URL=f"{bare.base_url}/custom/v1")
    assert "data: [DONE]" in shown
    assert '"error"' not in shown
    assert len(json.loads(shown.strip().splitlines()[-1])["data"][0]["embedding"]) == 8


def test_the_node_example_runs(bare: LiveGateway) -> None:
    example = str(ROOT / "examples" / "chat.mjs")
    url = f"{bare.base_url}/custom/v1"
    assert "What is a gateway?" in _run([_node(), example], GATEWAY_BASE_URL=url)


@pytest.mark.parametrize("name", ["stream.py", "chat.mjs"])
def test_the_streaming_examples_do_not_take_half_an_answer_for_a_whole_one(name: str, bare: LiveGateway) -> None:
    runtime = sys.executable if name.endswith(".py") else _node()
    with pytest.raises(AssertionError, match="The answer is not complete"):
        _run(
            [runtime, str(ROOT / "examples" / name)],
            GATEWAY_BASE_URL=f"{bare.base_url}/custom/v1",
            GATEWAY_MODEL="fault-truncate",
        )


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    return found


# --- conformance -----------------------------------------------------------------------------------------------------


def test_the_rules_of_conformance_are_those_of_the_registry() -> None:
    text = _text("docs/conformance.md")
    assert rules_page(text) == text, "run make docs"
    assert set(RULES) <= set(_rows("docs/conformance.md"))


def test_every_rule_of_the_registry_is_applied_somewhere() -> None:
    names = {name for name, value in vars(rules).items() if isinstance(value, Rule)}
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py") if path.name != "rules.py"
    )
    assert {name for name in names if not re.search(rf"\b{name}\b", source)} == set()
    assert len(names) == len(RULES)


def test_the_page_of_metrics_has_every_one() -> None:
    text = METRICS_PAGE.read_text(encoding="utf-8")
    assert metrics_page(text) == text, "run `make docs`"
