"""What a `data:` URL holds."""

import base64

import pytest

from ai_gateway.translate.images import InlineImage, data_url, inline_image


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


@pytest.mark.parametrize(
    ("start", "media"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe1", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"),
        (b"BM\x00\x00", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"\x00\x00\x00\x20ftypheic", "image/heic"),
        (b"\x00\x00\x00\x20ftypmp42", "application/octet-stream"),
        (b"RIFF\x01\x02\x03\x04WAVE", "application/octet-stream"),
        (b"?", "application/octet-stream"),
    ],
)
def test_bare_base64_becomes_a_url_of_the_type_that_its_bytes_have(start: bytes, media: str) -> None:
    image = base64.b64encode(start + bytes(99)).decode()
    assert data_url(image) == f"data:{media};base64,{image}"
    lines = base64.encodebytes(start + bytes(99)).decode()
    assert data_url(lines) == data_url(lines.replace("\n", "\r\n")) == data_url(image)
    found = inline_image(data_url(image))
    assert found is not None
    assert (found.media_type, found.data) == (media, image)


def test_a_url_stays_as_it_is() -> None:
    assert data_url("DATA:image/png;base64,AAAA") == "DATA:image/png;base64,AAAA"
    assert data_url("data:image/png;base64,\r\nAA\nAA\n") == "data:image/png;base64,AAAA"
