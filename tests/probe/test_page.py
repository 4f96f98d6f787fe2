"""docs/probe.md is what the checks are."""

from scripts.probe_page import PAGE, page


def test_the_page_lists_every_check_and_rule_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python -m scripts.probe_page"
