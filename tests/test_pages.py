"""Pages of the documentation that promise something of the code: endpoints, scaling, security and troubleshooting."""

import re
from pathlib import Path

import pytest

from ai_gateway import errors
from ai_gateway.config.settings import ProviderSettings, Settings
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
    elsewhere = {"ALLOW_ANONYMOUS", "SSL_CERT_FILE"} - {name.upper() for name in fields}
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:_FILE)?(?:=[^`]*)?`", text):
        assert name.lower() in fields or name.removesuffix("_FILE").lower() in fields or name in elsewhere, name
    metrics = _text(DOCS / "metrics.md")
    assert [name for name in re.findall(r"`(ai_gateway_\w+)`", text) if f"`{name}`" not in metrics] == []
    for code in re.findall(r"\b[45]\d\d `(\w+)`", text):
        assert code in errors.known_codes(), code


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
