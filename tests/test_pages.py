"""Pages of the documentation that promise something of the code: endpoints, scaling, security and troubleshooting."""

import re
from pathlib import Path

import httpx2
import pytest

from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.observability.error_codes import known_codes
from tests.contract.schemas import CONTRACT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENDPOINTS = sorted((DOCS / "OpenAI-EndPoint").glob("[0-9]*.md"))
GUIDES = [DOCS / f"{name}.md" for name in ("troubleshooting", "security", "scaling", "clients", "compatibility")]
STATUSES = {"done", "not offered", "refused by the built-in provider, forwarded to others"}
OPERATIONS = {operation["operationId"] for item in CONTRACT["paths"].values() for operation in item.values()}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _witnesses(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)


@pytest.mark.parametrize("path", [*ENDPOINTS, *GUIDES], ids=lambda path: path.stem)
def test_every_test_that_a_page_names_exists(path: Path) -> None:
    for file, name in _witnesses(_text(path)):
        source = ROOT / file
        assert source.is_file(), file
        assert not name or re.search(rf"^(?:async )?def {name}\(", _text(source), re.MULTILINE), f"{file}::{name}"


def test_every_operation_of_the_contract_is_on_some_page_and_no_other() -> None:
    tables = [_text(path).split("| Task |")[0] for path in ENDPOINTS]
    named = [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables]
    assert set().union(*named) == OPERATIONS


@pytest.mark.parametrize("path", ENDPOINTS, ids=lambda path: path.stem)
def test_a_page_of_an_endpoint_has_tasks_with_a_status_and_a_test_where_it_is_done(path: Path) -> None:
    text = _text(path)
    tasks = [row.strip("|").split("|") for row in text.split("|---|---|---|\n")[1].splitlines()]
    assert tasks
    for task, status, tests in tasks:
        assert status.strip() in STATUSES, task
        assert _witnesses(tests) or status.strip() == "not offered", task


def test_the_pages_of_endpoints_are_numbered_and_in_the_table() -> None:
    index = _text(DOCS / "OpenAI-EndPoint" / "README.md")
    assert [path.name[:2] for path in ENDPOINTS] == [f"{number:02d}" for number in range(1, len(ENDPOINTS) + 1)]
    for path in ENDPOINTS:
        number, title = re.findall(r"\A# (\d\d) (.+)$", _text(path), re.MULTILINE)[0]
        assert f"| {number} | [{title}]({path.name}) |" in index


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_every_setting_metric_and_code_that_a_guide_names_exists(path: Path) -> None:
    text = _text(path)
    fields = {*Settings.model_fields, *ProviderSettings.model_fields}
    elsewhere = {"ALLOW_ANONYMOUS", "SSL_CERT_FILE", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"} - {
        name.upper() for name in fields
    }
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:_FILE)?(?:=[^`]*)?`", text):
        assert name.lower() in fields or name.removesuffix("_FILE").lower() in fields or name in elsewhere, name
    metrics = _text(DOCS / "metrics.md")
    assert [name for name in re.findall(r"`(ai_gateway_\w+)`", text) if f"`{name}`" not in metrics] == []
    for code in re.findall(r"\b[45]\d\d `(\w+)`", text):
        assert code in known_codes(), code


def _number(text: str) -> float:
    return float(text.replace(",", ""))


SUMS = re.findall(r"([\d,.]+(?: [-+*/] [\d,.]+)+)(?:` us| = ([\d,.]*\d))", _text(DOCS / "scaling.md"))


@pytest.mark.parametrize(("sum_", "result"), SUMS)
def test_what_the_page_of_scaling_computes_is_so(sum_: str, result: str) -> None:
    parts = sum_.split()
    value = _number(parts[0])
    products = [value]
    for sign, part in zip(parts[1::2], parts[2::2], strict=True):
        number = _number(part)
        if sign == "+":
            products.append(number)
        else:
            products[-1] = products[-1] * number if sign == "*" else products[-1] / number
    if result:
        assert sum(products) == pytest.approx(_number(result), rel=0.005)


def test_the_page_of_scaling_computes_something() -> None:
    assert len(SUMS) > 12


@pytest.mark.parametrize(
    ("what", "figure"),
    re.findall(r"^\| ([^|]+) \| ([\d,.]+)(?: us| MB)? \|$", _text(DOCS / "scaling.md").split("| Computed |")[0], re.M),
)
def test_what_the_page_of_scaling_calls_measured_was(what: str, figure: str) -> None:
    assert re.search(
        rf"(?<![\d,.]){figure}(?![\d,])", _text(DOCS / "performance.md") + _text(DOCS / "reliability.md")
    ), what


def test_every_page_is_in_the_readme() -> None:
    readme = _text(ROOT / "README.md")
    pages = [*DOCS.glob("*.md"), DOCS / "OpenAI-EndPoint" / "README.md", DOCS / "decisions" / "README.md"]
    assert [path.name for path in pages if f"]({path.relative_to(ROOT).as_posix()})" not in readme] == []


def test_every_status_of_the_contract_is_explained_with_its_codes() -> None:
    """The codes of a status are those of the tables above it."""
    text = _text(DOCS / "errors.md")
    rows = {row[2:5]: row.split("|")[1:-1] for row in re.findall(r"^\| \d{3} \|.*$", text, re.MULTILINE)}
    operations = [operation for item in CONTRACT["paths"].values() for operation in item.values()]
    assert {status for operation in operations for status in operation["responses"]} <= rows.keys()
    reported = {(code, status) for status, cells in rows.items() for code in re.findall(r"`(\w+)`", cells[4])}
    assert reported == set(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", text, re.MULTILINE))


def test_the_classes_of_openais_sdk_are_those_that_it_raises() -> None:
    import openai

    request = httpx2.Request("GET", "http://127.0.0.1")
    with openai.OpenAI(api_key="unused", base_url="http://127.0.0.1/v1") as client:
        rows = re.findall(r"^\| (\d{3}) \| .* \| `(\w+Error)` \|", _text(DOCS / "errors.md"), re.MULTILINE)
        assert len(rows) > 12
        for status, name in rows:
            response = httpx2.Response(int(status), request=request, json={})
            assert type(client._make_status_error_from_response(response)).__name__ == name, status
