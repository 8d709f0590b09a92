"""Files to arrays: what is read exactly, what is converted with a note, what is refused."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from abet.data.images import ImageNote, decode_image, image_suffixes, is_image_name, read_image, read_label
from abet.errors import DataError
from tests.trees import make_sample, save

EXIF_ORIENTATION = 0x0112


@pytest.fixture
def rgb():
    return make_sample((12, 20)).image


def png_bytes(*, bits, colour_type, rows, width):
    """A PNG written by hand, for depths that Pillow does not write. ``rows`` are packed scan lines."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# --- images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm", ".PNG"])
def test_a_lossless_rgb_image_is_read_exactly_and_without_a_word(tmp_path, rgb, suffix):
    path = save(tmp_path / f"x{suffix}", rgb)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, rgb)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".webp"])
def test_a_lossy_image_is_read_whatever_its_suffix(tmp_path, suffix):
    flat = np.full((16, 24, 3), (200, 100, 50), dtype=np.uint8)
    image = read_image(save(tmp_path / f"x{suffix}", flat, quality=95))
    assert np.abs(image.astype(int) - flat).max() <= 6


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
def test_exif_rotation_is_ignored_because_labels_are_not_rotated(tmp_path, rgb, name):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    path = save(tmp_path / name, rgb, exif=exif)
    with Image.open(path) as stored:
        assert stored.getexif()[EXIF_ORIENTATION] == 6
    assert read_image(path).shape == rgb.shape


def test_a_tiff_with_a_rotation_tag_is_refused_because_the_decoder_would_apply_it(tmp_path, rgb):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    with pytest.raises(DataError, match="rotation tag"):
        read_image(save(tmp_path / "x.tiff", rgb, exif=exif))


def test_a_gamma_chunk_changes_nothing(tmp_path, rgb):
    plain = save(tmp_path / "x.png", rgb).read_bytes()
    chunk = b"gAMA" + struct.pack(">I", 20000)
    with_gamma = plain[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    (tmp_path / "gamma.png").write_bytes(with_gamma)
    np.testing.assert_array_equal(read_image(tmp_path / "gamma.png"), rgb)


def test_a_grey_image_becomes_three_equal_channels_with_a_note(tmp_path, rgb):
    grey = rgb[..., 0]
    path = save(tmp_path / "x.png", grey)
    with pytest.warns(ImageNote, match=r"x\.png: grey image"):
        image = read_image(path)
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=-1))


def test_alpha_is_dropped_and_not_blended(tmp_path, rgb):
    alpha = np.full((*rgb.shape[:2], 1), 7, dtype=np.uint8)
    path = save(tmp_path / "x.png", np.concatenate([rgb, alpha], axis=-1))
    with pytest.warns(ImageNote, match="alpha dropped"):
        np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("transparency", [None, b"\x00\x80\xff"])
def test_a_palette_image_shows_its_colours(tmp_path, transparency):
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode=None)
    picture = picture.convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    path = tmp_path / "x.png"
    picture.save(path, **({} if transparency is None else {"transparency": transparency}))
    decoded = decode_image(path)
    assert decoded.pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert decoded.notes == (f"{path}: palette image, converted to RGB",)


def test_a_cmyk_image_is_converted_with_a_note(tmp_path):
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(tmp_path / "x.tiff")
    decoded = decode_image(tmp_path / "x.tiff")
    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]
    assert "CMYK" in decoded.notes[0]


def test_of_several_frames_the_first_is_read_with_a_note(tmp_path):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    first.save(tmp_path / "x.tiff", save_all=True, append_images=[second])
    decoded = decode_image(tmp_path / "x.tiff")
    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]
    assert decoded.notes == (f"{tmp_path / 'x.tiff'}: 2 frames, only the first is read",)


def test_python_shows_one_note_per_file(tmp_path, rgb):
    paths = [save(tmp_path / name, rgb[..., 0]) for name in ("a.png", "b.png")]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for path in [*paths, *paths]:
            read_image(path)
    assert [str(warning.message).split(":")[0] for warning in shown] == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("grey16.png", png_bytes(bits=16, colour_type=0, rows=[bytes(8)], width=4), "16-bit"),
        ("rgb16.png", png_bytes(bits=16, colour_type=2, rows=[bytes(24)], width=4), "16-bit"),
        ("rgba16.png", png_bytes(bits=16, colour_type=6, rows=[bytes(32)], width=4), "16-bit"),
        ("rgb16.ppm", b"P6 2 1 65535\n" + bytes(12), "16-bit"),
        ("grey16.pgm", b"P5 2 1 65535\n" + bytes(4), "16-bit"),
    ],
)
def test_a_16_bit_image_is_refused_with_file_rule_and_remedy(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: a {kind} image .*8 bits per channel.*magick"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(("mode", "kind"), [("I", "32-bit"), ("F", "float"), ("I;16", "16-bit")])
def test_deep_tiffs_are_refused(tmp_path, mode, kind):
    Image.new(mode, (4, 3)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match=f"a {kind} image"):
        read_image(tmp_path / "x.tiff")


def test_colours_without_a_fixed_rgb_meaning_are_refused(tmp_path):
    Image.new("LAB", (4, 3)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match="LAB colours"):
        read_image(tmp_path / "x.tiff")


# --- damage


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tiff", ".jp2"])
def test_no_part_of_a_truncated_image_is_ever_returned(tmp_path, rgb, suffix):
    content = save(tmp_path / f"whole{suffix}", rgb).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(0, len(content) - 1, max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\."):
            read_image(path)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_no_flipped_bit_of_a_png_changes_a_pixel_unnoticed(tmp_path, read):
    array = make_sample((8, 8)).image if read is read_image else make_sample((8, 8)).label
    content = save(tmp_path / "whole.png", array).read_bytes()
    unnoticed = []
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        (tmp_path / "flipped.png").write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read(tmp_path / "flipped.png"), array)
        except DataError:
            continue
        unnoticed.append(position)
    assert min(unnoticed) >= len(content) - 12, "only the end chunk, which holds no pixels, may be damaged"


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty file"), (b"no picture at all", "not an image"), (b"<svg/>", "not an image")]
)
def test_what_is_no_image_is_refused(tmp_path, read, content, words):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.png: {words}"):
        read(tmp_path / "x.png")


@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_missing_file_and_a_folder_are_refused(tmp_path, read):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.png")
    with pytest.raises(DataError, match="not readable"):
        read(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    bomb = png_bytes(bits=8, colour_type=2, rows=[b""], width=1)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    (tmp_path / "x.png").write_bytes(bomb[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + bomb[33:])
    with pytest.raises(DataError, match="too many pixels"):
        read_image(tmp_path / "x.png")


def test_a_document_format_that_runs_another_program_is_never_opened(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")
    with pytest.raises(DataError, match="not an image"):
        read_image(tmp_path / "x.png")
    assert ".eps" not in image_suffixes()


# --- labels


def test_a_palette_label_is_read_as_indices_not_as_the_grey_of_its_colours(tmp_path):
    indices = np.array([[0, 1, 65], [255, 65, 2]], dtype=np.uint8)
    label = Image.fromarray(indices).convert("P")
    label.putpalette([77] * 768)  # every entry shows as grey 77
    label.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as stored:
        assert stored.mode == "P"
        assert set(np.asarray(stored.convert("L")).ravel()) == {77}
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), indices)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_labels_of_any_depth_are_indices_not_shades(tmp_path, bits):
    indices = np.arange(8, dtype=np.uint8) % min(2**bits, 4)
    packed = np.packbits(np.unpackbits(indices[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
    (tmp_path / "x.png").write_bytes(png_bytes(bits=bits, colour_type=0, rows=[packed], width=8))
    label = read_label(tmp_path / "x.png")
    assert label.dtype == np.uint8
    assert label.tolist() == [indices.tolist()]


def test_a_16_bit_label_is_read_if_its_values_fit(tmp_path):
    fits = np.array([[0, 1, 255]], dtype=np.uint16)
    assert read_label(save(tmp_path / "fits.png", fits)).tolist() == fits.tolist()
    save(tmp_path / "big.png", np.array([[0, 256, 1000]], dtype=np.uint16))
    with pytest.raises(DataError, match=r"big\.png: .*up to 1000 \(2 pixels above 255\)"):
        read_label(tmp_path / "big.png")


def test_a_colour_label_is_refused_with_a_remedy(tmp_path, rgb):
    with pytest.raises(DataError, match=r"x\.png: .*this PNG is RGB.*getchannel"):
        read_label(save(tmp_path / "x.png", rgb))


def test_a_label_that_went_through_lossy_compression_is_refused(tmp_path):
    save(tmp_path / "x.jpg", make_sample().label).rename(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: not an image of a kind"):
        read_label(tmp_path / "x.png")


# --- names


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a b.jpeg", "ü.webp", "a.tif"])
def test_pictures_are_told_by_suffix(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["._a.png", ".png", "Thumbs.db", "readme.md", "a.pdf", "a", "a.mpg"])
def test_other_files_are_not_pictures(name):
    assert not is_image_name(name)
