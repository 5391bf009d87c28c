"""A file is opened only if Pillow decodes it itself, within limits, and every refusal has its reason."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from diffnas.data import decode
from diffnas.data.decode import NoPicture, loaded, plain, read, reason, span_of

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def blank_png(width: int, height: int) -> bytes:
    """A black PNG file of 1 bit a pixel: small, whatever its size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (EPS, "an EPS document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "a WMF or EMF drawing"),
        (b"PK\x03\x04" + bytes(40), "an archive; unpack it"),
        (b"\x00\x00\x00\x20ftypheic" + bytes(40), "a HEIC picture"),
        (b"", "empty, or not a picture"),
        (b"hello", "empty, or not a picture"),
    ],
    ids=["EPS", "PDF", "WMF", "zip", "HEIC", "empty", "text"],
)
def test_a_file_that_is_no_picture_is_not_opened_and_says_what_it_is(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(NoPicture, match=words):
        loaded(path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_pipes_sockets_and_devices_are_never_opened(kind, tmp_path, monkeypatch):
    path = Path("/dev/zero" if kind == "device" else "x.png")
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("x.png")
    with pytest.raises(NoPicture, match=f"a {kind}, which is never opened"):
        loaded(path)


def test_a_picture_of_too_many_pixels_is_refused_with_the_way_to_read_it(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(blank_png(13_000, 13_000))
    with pytest.raises(NoPicture, match=r"13000 x 13000 pixels .* DIFFNAS_MAX_PIXELS=169000000"):
        loaded(path)


def test_the_limit_of_pixels_is_the_users_and_pillow_keeps_its_own(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(blank_png(60, 50))
    monkeypatch.setenv("DIFFNAS_MAX_PIXELS", "2999")
    with pytest.raises(NoPicture, match="60 x 50 pixels are more than the 2999"):
        loaded(path)
    # Pillow would refuse twice its limit, and warn of less: here both are for us to decide.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setenv("DIFFNAS_MAX_PIXELS", "3000")
    assert loaded(path).size == (60, 50)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setenv("DIFFNAS_MAX_PIXELS", "many")
    with pytest.raises(NoPicture, match="DIFFNAS_MAX_PIXELS must be a whole number above 0, not 'many'"):
        loaded(path)


@pytest.mark.parametrize(
    ("most", "size"), [("6400", (80, 80)), ("6399", (40, 40)), ("400", (20, 20)), ("100", (10, 10))]
)
def test_a_jpeg_of_too_many_pixels_is_decoded_smaller(most, size, tmp_path, monkeypatch):
    Image.new("RGB", (80, 80), (200, 10, 30)).save(tmp_path / "x.jpg", quality=95)
    monkeypatch.setenv("DIFFNAS_MAX_PIXELS", most)
    image = loaded(tmp_path / "x.jpg")
    assert image.size == size
    assert np.abs(np.array(image).astype(int) - (200, 10, 30)).max() < 4


def test_a_jpeg_too_large_at_an_eighth_of_its_size_is_refused(tmp_path, monkeypatch):
    Image.new("L", (80, 80)).save(tmp_path / "x.jpg")
    monkeypatch.setenv("DIFFNAS_MAX_PIXELS", "99")
    with pytest.raises(NoPicture, match="80 x 80 pixels"):
        loaded(tmp_path / "x.jpg")


def test_of_many_frames_the_first_is_read(tmp_path):
    frames = [Image.new("L", (8, 8), shade) for shade in range(200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert plain(loaded(tmp_path / "x.gif")).getpixel((0, 0)) == 0


def test_a_large_text_in_a_picture_is_refused_in_words(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 2**21, zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "x.png", pnginfo=notes)
    with pytest.raises(ValueError) as error:
        loaded(tmp_path / "x.png")
    assert reason(error.value) == "its text or color profile is larger than Pillow unpacks; save it without"


def test_a_drawing_of_ours_is_no_picture(tmp_path):
    from diffnas.genotype import published
    from diffnas.report.draw import draw

    draw(published("DARTS_V2"), tmp_path / "cell.png")
    with pytest.raises(NoPicture, match="a drawing by diffnas"):
        loaded(tmp_path / "cell.png")


@pytest.mark.parametrize(
    ("values", "levels", "expected"),
    [
        (np.uint16([[0, 2048, 4095]]), (0, 4095), [0, 128, 255]),
        (np.uint16([[0, 65535, 257 * 60]]), None, [0, 255, 60]),
        (np.uint16([[10, 30000, 34000]]), (30000, 34000), [0, 0, 255]),
        (np.int32([[-1000, 0, 1000]]), (-1000, 1000), [0, 128, 255]),
        (np.float32([[-0.5, 0.25, 2.0]]), (-0.5, 1.0), [0, 128, 255]),
    ],
    ids=["12 bits of 16", "16 bits", "a part of the range", "signed", "floating point"],
)
def test_grey_of_more_than_8_bits_runs_between_its_levels(values, levels, expected):
    image = Image.fromarray(values)
    assert np.array(plain(image, levels))[0].tolist() == expected
    assert span_of(image) == (values.min(), values.max())


def test_pixels_that_are_not_finite_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(NoPicture, match="not finite"):
            span_of(Image.fromarray(np.float32([[0, bad]])))


def test_transparent_pixels_of_16_bits_become_white(tmp_path):
    Image.fromarray(np.uint16([[7, 65535, 0]] * 8)).save(tmp_path / "x.png", transparency=7)
    assert np.array(plain(loaded(tmp_path / "x.png")))[0].tolist() == [255, 255, 0]


def test_the_file_runs_with_pillow_and_numpy_alone(tmp_path):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "x.png")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['diffnas'] = None; sys.path.append(sys.argv[1])\n"
        "import decode; print(decode.read(sys.argv[2], 3, (8, 8))[:, 0, 0].tolist())"
    )
    words = [sys.executable, "-I", "-c", code, str(Path(decode.__file__).parent), str(tmp_path / "x.png")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 2, 3]\n", "")
    assert read(tmp_path / "x.png", 3, (8, 8))[:, 0, 0].tolist() == [1, 2, 3]
