"""What a `data:` URL holds."""

import pytest

from ai_gateway.translate.images import InlineImage, inline_image


@pytest.mark.parametrize(
    ("url", "image"),
    [
        ("data:image/png;base64,aGk=", InlineImage("image/png", "aGk=")),
        ("DATA:Image/PNG;BASE64,aGk=", InlineImage("image/png", "aGk=")),
        ("data:image/png;name=a.png;base64,aG\nk=", InlineImage("image/png", "aGk=")),
        ("data:;base64,aGk=", InlineImage("application/octet-stream", "aGk=")),
        ("https://example.org/a.png", None),
        ("aGk=", None),
    ],
)
def test_only_data_urls_hold_an_image(url: str, image: InlineImage | None) -> None:
    assert inline_image(url) == image


@pytest.mark.parametrize("url", ["data:", "data:image/png,abc", "data:image/png;base64,a", "data:image/png;base64,ä#"])
def test_a_data_url_without_base64_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        inline_image(url)
