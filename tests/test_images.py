"""One's own images: pictures in folders, CSV files, arrays; how they are split; what is refused."""

import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from npbn import Dense, Sequential, datasets
from npbn.datasets import Dataset, _folder, load_images

RNG = np.random.default_rng(0)
ALL = {"validation": 0, "test": 0}


def whole(source, **options):
    """All images and labels in an order that does not depend on the seed, and the classes."""
    data = load_images(source, **ALL, flatten=False, **options)
    images, labels = data.train
    assert [len(each) for each, _ in (data.validation, data.test)] == [0, 0]
    order = sorted(range(len(images)), key=lambda row: (labels[row], images[row].tobytes()))
    return images[order], labels[order], data.classes


def pixels(count=6, height=4, width=5, channels=3):
    """uint8 images of which no two are alike."""
    return RNG.integers(0, 256, (count, height, width, channels), np.uint8)


def save(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    picture.save(path, **options)


@pytest.fixture
def photos(tmp_path):
    """A folder of three cats and three dogs, and their pixels."""
    images = pixels()
    for number, image in enumerate(images):
        save(tmp_path / "photos" / ("cat", "dog")[number // 3] / f"{number}.png", image)
    return tmp_path / "photos", images


# A folder of pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_comes_back_divided_by_255_with_its_folders_label(tmp_path, channels):
    images = pixels(channels=channels)
    names = ["b", "a", "B", "10", "9", "é"]
    for name, image in zip(names, images, strict=True):
        for copy in range(2):
            save(tmp_path / name / f"{copy}.png", image)
    found, labels, classes = whole(tmp_path)
    assert classes == ("10", "9", "B", "a", "b", "é")
    expected = images[np.repeat([3, 4, 2, 1, 0, 5], 2)].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(labels, np.repeat(np.arange(6), 2), strict=True)


def test_a_folder_is_found_as_one_types_it(photos, monkeypatch):
    folder, _ = photos
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    expected = whole(folder)
    for source in (str(folder), "photos", "~/photos", Path("photos")):
        found = whole(source)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[2] == ("cat", "dog")


def test_what_systems_leave_beside_pictures_is_left_out(photos):
    folder, _ = photos
    expected = whole(folder)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):
        (folder / "cat" / name).write_bytes(b"no picture")
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (folder / name / "cat").mkdir(parents=True)
        (folder / "dog" / name).mkdir()
    (folder / "README.txt").write_text("beside the folders")
    found = whole(folder)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[2] == ("cat", "dog")


def test_size_scales_and_cuts_the_longer_side_alike(tmp_path):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 4:76] = (255, 0, 51)
    tall = np.zeros((90, 30, 3), np.uint8)
    tall[18:72] = (0, 255, 51)
    for name, picture in (("a", wide), ("b", tall)):
        save(tmp_path / name / "1.png", picture)
    found, _, _ = whole(tmp_path, size=(6, 6))
    np.testing.assert_array_equal(found[0], np.full((6, 6, 3), (1, 0, 0.2), np.float32))
    np.testing.assert_array_equal(found[1], np.full((6, 6, 3), (0, 1, 0.2), np.float32))
    assert whole(tmp_path, size=[4, 7])[0].shape == (2, 4, 7, 3)


def test_a_large_jpeg_is_scaled_as_a_whole_one_would_be(tmp_path):
    smooth = Image.fromarray(pixels(1, 6, 8)[0]).resize((800, 600), Image.Resampling.BICUBIC)
    for name in ("a", "b"):
        save(tmp_path / name / "1.jpg", smooth, quality=95)
    with Image.open(tmp_path / "a" / "1.jpg") as picture:
        expected = np.asarray(ImageOps.fit(picture, (40, 30))) / 255
    assert np.abs(whole(tmp_path, size=(30, 40))[0][0] - expected).mean() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(tmp_path, orientation):
    top_left_red = np.zeros((16, 32, 3), np.uint8)
    top_left_red[:8, :16, 0] = 255
    upright = Image.fromarray(top_left_red)
    how = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(how[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a", "b"):
        save(tmp_path / name / "1.jpg", stored, exif=exif, quality=100, subsampling=0)
    for size in (None, (16, 32)):
        found = whole(tmp_path, size=size)[0][0]
        assert found.shape == (16, 32, 3)
        np.testing.assert_allclose(found, top_left_red / 255, atol=0.15)


GREYS = pixels(1, channels=1)[0, :, :, 0]
COLOURS = pixels(1)[0]


def with_alpha(pixels, alpha):
    return np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)])


# A picture in each form of 8 bits, and its pixels.
FORMS = {
    "black and white": (Image.fromarray(GREYS > 99), 255 * (GREYS > 99)),
    "grey": (Image.fromarray(GREYS), GREYS),
    "grey, opaque": (Image.fromarray(GREYS).convert("LA"), GREYS),
    "colour": (Image.fromarray(COLOURS), COLOURS),
    "colour, opaque": (Image.fromarray(with_alpha(COLOURS, 255)), COLOURS),
    "palette": (Image.fromarray(COLOURS).quantize(256), COLOURS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_eight_bits_gives_its_pixels(tmp_path, form):
    picture, expected = FORMS[form]
    for name in ("a", "b"):
        save(tmp_path / name / "1.png", picture)
    found = whole(tmp_path)[0][0]
    expected = expected.reshape(4, 5, -1)
    np.testing.assert_array_equal(found, expected.astype(np.float32) / np.float32(255), strict=True)


def test_a_palette_that_says_what_is_transparent_is_read_if_nothing_is(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "1.png", FORMS["palette"][0], transparency=bytes([255] * 20))
    np.testing.assert_array_equal(whole(tmp_path)[0][0], COLOURS / np.float32(255))


def test_inks_are_colours(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "1.tif", Image.new("CMYK", (2, 2), (0, 255, 255, 0)))
    np.testing.assert_allclose(whole(tmp_path)[0][0], [[(1, 0, 0)] * 2] * 2, atol=0.05)


def test_channels_makes_all_pictures_grey_or_all_coloured(tmp_path):
    save(tmp_path / "a" / "1.png", GREYS[..., np.newaxis])
    save(tmp_path / "b" / "1.png", COLOURS)
    grey, _, _ = whole(tmp_path, channels=1)
    assert grey.shape == (2, 4, 5, 1)
    np.testing.assert_array_equal(grey[0, ..., 0], GREYS / np.float32(255))
    np.testing.assert_allclose(grey[1, ..., 0], COLOURS @ [0.299, 0.587, 0.114] / 255, atol=1 / 255)
    colour, _, _ = whole(tmp_path, channels=3)
    np.testing.assert_array_equal(colour[0], np.dstack([GREYS] * 3) / np.float32(255))
    np.testing.assert_array_equal(colour[1], COLOURS / np.float32(255))


def test_grey_and_colour_together_are_told_with_both_files(tmp_path):
    save(tmp_path / "a" / "1.png", COLOURS)
    save(tmp_path / "b" / "2.png", GREYS[..., np.newaxis])
    with pytest.raises(ValueError, match=r"2\.png: grey, where .*1\.png is colour: pass channels="):
        load_images(tmp_path)


def jpeg(path):
    Image.fromarray(pixels(1, 64, 64)[0]).save(path, "JPEG")
    return path.read_bytes()


def png(path):
    Image.fromarray(pixels(1, 64, 64)[0]).save(path, "PNG")
    return path.read_bytes()


def bomb(path):
    """A PNG that says it has 60,000 x 60,000 pixels."""
    content = png(path)
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


# What makes the first dog another file than a picture like the others, and what is said of it.
BAD_PICTURES = {
    "empty": (lambda path: path.write_bytes(b""), "not a picture that Pillow can read"),
    "text": (lambda path: path.write_text("hello"), "not a picture .*save it as JPEG or PNG, or"),
    "web page": (lambda path: path.write_text("<html>404"), "not a picture"),
    "iPhone": (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)), "not a picture"),
    "half a JPEG": (lambda path: path.write_bytes(jpeg(path)[:900]), "not a picture"),
    "half a PNG": (lambda path: path.write_bytes(png(path)[:900]), "not a picture"),
    "broken PNG": (lambda path: path.write_bytes(png(path)[:8] + bytes(90)), "not a picture"),
    "a bomb": (lambda path: path.write_bytes(bomb(path)), "not a picture .*Bomb"),
    "16 bits": (
        lambda path: Image.fromarray(GREYS.astype(np.uint16)).save(path, "PNG"),
        r"values of another kind than 8 bits \(I.*\): save it as JPEG",
    ),
    "floats": (
        lambda path: Image.fromarray(GREYS.astype(np.float32)).save(path, "TIFF"),
        r"values of another kind than 8 bits \(F\)",
    ),
    "transparent": (
        lambda path: Image.fromarray(with_alpha(COLOURS, 254)).save(path, "PNG"),
        "partly transparent: save it on a background",
    ),
    "a transparent colour": (
        lambda path: FORMS["palette"][0].save(path, "PNG", transparency=0),
        "partly transparent",
    ),
    "another size": (
        lambda path: Image.fromarray(COLOURS[:3]).save(path, "PNG"),
        r"3 x 5 pixels \(height x width\), where .*0\.png has 4 x 5: pass size=\(height, width\)",
    ),
    "a folder": (
        lambda path: [path.unlink(), path.mkdir()],
        r"expected pictures, got the folder '3\.png': pass the folder whose subfolders are the cl",
    ),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_picture_that_is_none_or_unlike_the_others_is_named(photos, case):
    folder, _ = photos
    spoil, message = BAD_PICTURES[case]
    path = folder / "dog" / "3.png"
    load_images(folder)
    spoil(path)
    named = re.escape(str(path.parent if case == "a folder" else path))
    with pytest.raises(ValueError, match=f"^{named}: {message}"):
        load_images(folder)


def test_a_picture_that_may_not_be_read_is_the_error_of_the_system(photos, monkeypatch):
    def refuse(self, *arguments):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=r"0\.png"):
        load_images(photos[0])


def test_a_folder_without_subfolders_is_told_how_it_should_look(photos):
    folder, _ = photos
    with pytest.raises(
        ValueError, match=r"cat: expected a subfolder for each class, as in .*1\.jpg, got none"
    ):
        load_images(folder / "cat")


def test_an_empty_subfolder_is_named(photos):
    (photos[0] / "bird").mkdir()
    with pytest.raises(ValueError, match=r"bird: expected pictures, got an empty folder"):
        load_images(photos[0])


def test_a_set_that_is_split_already_is_told_and_loaded_part_by_part(photos):
    folder, _ = photos
    outer = folder.parent / "all"
    outer.mkdir()
    folder.rename(outer / "train")
    with pytest.raises(ValueError, match="got the folder 'cat': pass") as error:
        load_images(outer)
    advice = re.search(r"load_images\('.*'\)", str(error.value))[0]
    assert len(eval(advice).train[1]) == 2
    assert len(load_images(outer / "train", **ALL).train[1]) == 6


def test_pictures_that_would_fill_the_memory_need_a_size(photos, monkeypatch):
    monkeypatch.setattr(_folder, "MOST_BYTES", 4 * 6 * 60 - 1)
    with pytest.raises(ValueError, match=r"photos: 6 pictures of 4 x 5 .*pass size=\(height, wid"):
        load_images(photos[0])
    assert whole(photos[0], size=(4, 5))[0].shape == (6, 4, 5, 3)
    monkeypatch.setattr(_folder, "MOST_BYTES", 4 * 6 * 60)
    load_images(photos[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "photo.jpg",
            r"expected a folder of pictures or a \.csv file, got the file '.*photo\.jpg'$",
        ),
        ("photos.zip", "got the file .*: unpack it"),
        ("set.npz", r": file = np\.load\('.*set\.npz'\), then pass \(file\['images'\], file\["),
    ],
)
def test_another_file_is_refused_with_what_to_do(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path / name)


def test_a_source_that_there_is_not_is_told_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder or file ") as error:
        load_images("phots")
    assert str(tmp_path.resolve() / "phots") in str(error.value).replace("\\\\", "\\")


# A CSV file


HEADER = "label," + ",".join(f"pixel{n}" for n in range(4))


def csv(folder, *lines, encoding="utf-8"):
    path = folder / "train.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1), *[st.integers(0, 255)] * 4),
        min_size=4,
        max_size=9,
        unique=True,
    ),
    header=st.booleans(),
    quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_rows_come_back_however_they_are_written(tmp_path_factory, rows, header, quoted, end, mark):
    rows = [(0, 255, 0, 0, 1), (1, 0, 255, 0, 1), *rows]
    form = '"{}"' if quoted else "{}"
    lines = [form.format(name) for name in HEADER.split(",")] if header else []
    lines = [",".join(lines)] * header + [",".join(map(form.format, row)) for row in rows]
    path = tmp_path_factory.mktemp("csv") / "train.CSV"
    path.write_bytes((end.join(lines) + end).encode("utf-8-sig" if mark else "utf-8"))
    found, labels, classes = whole(path)
    table = np.array(rows)
    expected = whole((table[:, 1:].astype(np.uint8), table[:, 0]))
    np.testing.assert_array_equal(found, expected[0], strict=True)
    np.testing.assert_array_equal(labels, expected[1], strict=True)
    assert found.shape[1:] == (2, 2, 1)
    assert classes == ("0", "1")


def test_labels_of_a_csv_file_may_be_words(tmp_path):
    path = csv(tmp_path, "", "Label,a,b", "dog,0,255", " ", '"c #",7,0', "dog ,3,4", "c #,1,2")
    data = load_images(path, **ALL)
    assert data.classes == ("c #", "dog")
    by_pixels = {tuple(np.rint(255 * x)): y for x, y in zip(*data.train, strict=True)}
    assert by_pixels == {(0, 255): 1, (7, 0): 0, (3, 4): 1, (1, 2): 0}


def test_a_csv_file_of_floats_has_them_from_0_to_1(tmp_path):
    path = csv(tmp_path, "0,0.5,1", "1,0.25,0")
    images, labels = load_images(path, **ALL).train
    np.testing.assert_array_equal(images[np.argsort(labels)], np.float32([[0.5, 1], [0.25, 0]]))


BAD_CSV = {
    "empty": ([], "expected a row for each image, got none"),
    "blank": (["", " "], "expected a row for each image, got none"),
    "a header alone": ([HEADER], "expected a row for each image, got none"),
    "semicolons": (["5;0;255", "3;1;255"], "expected values with commas between them, got '5;0;2"),
    "no labels": (["pixel0,pixel1", "0,255"], "expected label as the first column, got 'pixel0'"),
    "a word": (
        [HEADER, "1,0,0,0,255", "0,0,0,x,255"],
        "expected a label and numbers in each row: .*'x'",
    ),
    "a gap": (["1,0,,0,255", "0,0,1,1,255"], "expected a label and numbers in each row: "),
    "a short row": (["1,0,1,255", "0,0,255"], ".*columns changed from 4 to 3"),
    "negative": (["0,0,255", "1,0,-1"], r"images: expected floats from 0 to 1, or .* from -1"),
    "too large": (["0,0,65535", "1,0,1"], r"images: expected .*: pass images / 65535"),
    "not finite": (["0,0,255", "1,nan,1"], r"images: expected .*np\.isfinite\(images\) tells"),
    "0 and 1": (["0,0,1", "1,1,0"], r"images: expected .* uint8 from 0 to 1: pass images / 1,"),
    "one class": (["0,0,255", "0,255,0"], "labels: expected two classes at least, got '0' alone"),
    "negative label": (["0,0,255", "-1,255,0"], r"labels: expected classes from 0, got -1 to 0"),
    "a large label": (["0,0,255", "2,255,0"], r"labels: expected classes from 0, got 0 to 2"),
    "few": (["0,0,255", "1,255,0"], "class '0': expected more than 2 images \\(1 for val"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_file_is_named_with_what_is_wrong(tmp_path, case):
    lines, message = BAD_CSV[case]
    path = csv(tmp_path, *lines)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load_images(path)


def test_a_csv_file_that_is_no_text_is_named(tmp_path):
    path = csv(tmp_path, "label,é", encoding="utf-16")
    with pytest.raises(ValueError, match=r"train\.csv: expected text, got other bytes"):
        load_images(path)


def test_a_csv_file_whose_images_are_not_square_stays_flat(tmp_path):
    path = csv(tmp_path, *(f"{n % 2},0,{n},255" for n in range(6)))
    assert load_images(path).train[0].shape == (2, 3)
    with pytest.raises(ValueError, match=r"train\.csv: images: expected rows of square grey image"):
        load_images(path, flatten=False)


def test_what_is_said_of_a_file_to_predict_for_reads_it(tmp_path):
    path = csv(tmp_path, "pixel0,pixel1", "0,255", "51,0")
    with pytest.raises(ValueError, match="a file to predict for has none") as error:
        load_images(path)
    advice = str(error.value).rpartition("images = ")[2]
    images = eval(advice, {"np": np})
    np.testing.assert_allclose(images, np.float32([[0, 1], [0.2, 0]]), strict=True)
    assert Sequential([Dense(2, 3)]).predict(images).shape == (2,)


# Arrays


SHAPES = {
    (6, 4, 4): (6, 4, 4, 1),
    (6, 4, 5): (6, 4, 5, 1),
    (6, 4, 5, 1): (6, 4, 5, 1),
    (6, 4, 5, 3): (6, 4, 5, 3),
    (6, 16): (6, 4, 4, 1),
}
LABELS = np.array([0, 1, 2] * 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["u1", "i8", ">i2", "f4", "f8", "f2", ">f4"])
def test_arrays_of_every_usual_form_are_taken(shape, kind):
    images = RNG.integers(0, 256, shape)
    images.flat[0] = 255
    images = (images / 255 if "f" in kind else images).astype(kind)
    before, labels = images.copy(), LABELS.astype("u1")
    exact = images.astype(np.float64) / (1 if "f" in kind else 255)
    for flatten in (False, True):
        data = load_images((images, labels), **ALL, flatten=flatten)
        found, codes = data.train
        assert found.dtype == np.float32
        assert codes.dtype == np.int64
        assert found.shape == ((6, exact[0].size) if flatten else SHAPES[shape])
        rows = [
            np.flatnonzero(
                (abs(exact - x.reshape(shape[1:])) < 1e-6).all(tuple(range(1, len(shape))))
            )
            for x in found
        ]
        assert sorted(np.concatenate(rows)) == list(range(6))
        np.testing.assert_array_equal(LABELS[np.concatenate(rows)], codes)
        assert not np.shares_memory(found, images)
        found[...] = 7
        np.testing.assert_array_equal(images, before)
        assert data.classes == ("0", "1", "2")


def test_any_memory_layout_gives_the_same(laid_out):
    images = RNG.random((6, 3, 4, 1)).astype(np.float32)
    expected, found = whole((images, LABELS)), whole((laid_out(images), LABELS))
    for each, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(each, other)
    assert type(load_images((laid_out(images), LABELS), **ALL).train[0]) is np.ndarray


def test_strings_are_classes_in_sorted_order():
    images = pixels()
    words = np.array(["dog", "Cat", "dog", "ant", "ant", "Cat"])
    found, labels, classes = whole((images, words))
    assert classes == ("Cat", "ant", "dog")
    expected = whole((images, np.array([2, 0, 2, 1, 1, 0])))
    np.testing.assert_array_equal(found, expected[0])
    np.testing.assert_array_equal(labels, expected[1])


def test_integers_stay_where_a_class_is_missing():
    _, labels, classes = whole((pixels(), np.array([1, 3, 3, 1, 3, 3])))
    assert labels.tolist() == [1, 1, 3, 3, 3, 3]
    assert classes == ("0", "1", "2", "3")


def test_there_may_be_as_many_classes_as_a_byte_counts():
    images, labels = RNG.random((512, 2)), np.repeat(np.arange(256, dtype=np.uint8), 2)
    assert load_images((images, labels), **ALL).classes == tuple(map(str, range(256)))


F = np.float32
GOOD = pixels()
# images, labels, and what is said of them; what stands behind "pass" is tried.
BAD_ARRAYS = {
    "channels first": (GOOD.transpose(0, 3, 1, 2), LABELS, r"\(N, H, W, 3\) .*got \(6, 3, 4, 5\)"),
    "images last": (GOOD.transpose(1, 2, 3, 0), LABELS, "images: expected 6 rows, one for each"),
    "columns": (GOOD.reshape(6, -1).T, LABELS, "images: expected 6 rows"),
    "RGBA": (np.concatenate([GOOD, GOOD[..., :1]], 3), LABELS, r"got \(6, 4, 5, 4\)"),
    "grey and alpha": (GOOD[..., :2], LABELS, r"got \(6, 4, 5, 2\)"),
    "floats to 255": (GOOD.astype(F), LABELS, "float32 from 0.* to 2.*: pass images / 255, if 255"),
    "floats to 16": (F(GOOD // 17 + 1), LABELS, "float32 from 1.0 to 16.0: pass images / 16.0"),
    "16 bits": (GOOD.astype(np.uint16) * 257, LABELS, r"uint16 from .*: pass images / 6"),
    "0 and 1": (GOOD // 128, LABELS, "integers from 0 to 255, the largest above 127, got uint8"),
    "0 to 16": (GOOD // 16, LABELS, "uint8 from 0 to 15: pass images / 15, if 15 is white"),
    "bools": (GOOD > 99, LABELS, "images: expected integers or floats, got bool"),
    "objects": ((GOOD / 255).astype(object), LABELS, "images: expected integers or float.*object"),
    "one-hot": (GOOD, np.eye(6, dtype=int), "labels: expected shape"),
    "a column": (GOOD, LABELS[:, np.newaxis], "labels: expected shape"),
    "a row": (GOOD, LABELS[np.newaxis], "labels: expected shape"),
    "floats as labels": (GOOD, LABELS.astype(F), "labels: expected integers, got float32"),
    "pandas' words": (GOOD, np.array([*"abcabc"], object), "labels: expected integers or str"),
    "years": (GOOD, LABELS + 2020, "labels: expected classes from 0, got 2020 to 2022"),
    "negative labels": (GOOD, LABELS - 1, "labels: expected classes from 0, got -1 to 1"),
    "a list of images": (GOOD.tolist(), LABELS, "images: expected an array, got a list"),
    "a list of labels": (GOOD, LABELS.tolist(), "labels: expected an integer array"),
    "masked": (np.ma.array(GOOD), LABELS, "images: expected a plain array"),
}
# Those where nothing can be typed that makes them good.
HOPELESS = {
    "negative": (F(GOOD) - 128, LABELS, r"pass \(images - black\) / \(white - black\), black = -1"),
    "negative integers": (GOOD.astype(int) - 1, LABELS, "int64 from -1 to 2"),
    "negative floats": (GOOD / 255 - 0.1, LABELS, "float64 from -0.1"),
    "256": (np.where(GOOD > 99, 256, 0), LABELS, "int64 from 0 to 256"),
    "not finite": (GOOD / F(255) * np.nan, LABELS, "from nan to nan: np.isfinite.images. tells"),
    "infinite": (np.where(GOOD > 99, np.inf, 0), LABELS, "from 0.0 to inf: np.isfinite"),
    "black": (GOOD * 0, LABELS, "uint8 from 0 to 0"),
    "no rows": (GOOD[:0], LABELS[:0], r"one pixel at least, got the shape \(0, 4, 5, 3\)"),
    "no pixels": (GOOD[:, :0], LABELS, "one pixel at least"),
    "fewer labels": (GOOD, LABELS[:5], r"labels: expected shape \(6,\), got \(5,\)"),
    "fewer words": (GOOD, np.array([*"abcde"]), r"labels: expected shape \(6,\), got \(5,\)"),
    "one image": (GOOD[0, 0, 0] | 255, np.zeros(3, int), r"or flat \(N, D\), got \(3,\)"),
    "a number": (np.array(1.0), LABELS, r"or flat \(N, D\), got \(\)"),
    "seven channels": (pixels(channels=7), LABELS, r"or flat \(N, D\), got \(6, 4, 5, 7\)"),
    "one class": (GOOD, LABELS * 0, "labels: expected two classes at least, got '0' alone"),
    "one word": (GOOD, np.array(["cat"] * 6), "labels: expected two classes at least, got 'cat'"),
}


@pytest.mark.parametrize("case", [*BAD_ARRAYS, *HOPELESS])
def test_arrays_that_are_no_images_and_labels_are_refused(case):
    images, labels, message = (BAD_ARRAYS | HOPELESS)[case]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        load_images((images, labels), **ALL)
    if case in BAD_ARRAYS:
        names = {"np": np, "images": images, "labels": labels}
        advice = re.search(r"pass (.+?)(, if|, which| if | to leave|$)", str(error.value))[1]
        names["labels" if "labels" in advice else "images"] = eval(advice, names)
        if case == "bools":
            assert names["images"].dtype == np.float32
        load_images((names["images"], names["labels"]), **ALL)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (GOOD, TypeError, r"source: .*got a ndarray: pass load_images\(\(images, labels\)\)"),
        (
            [GOOD, LABELS],
            TypeError,
            r"source: .*got a list: pass load_images\(\(images, labels\)\)",
        ),
        ((GOOD,), TypeError, "source: .*got a tuple"),
        (None, TypeError, "source: .*got a NoneType"),
        (b"photos", TypeError, "source: .*got a bytes"),
    ],
)
def test_a_source_of_another_type_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        load_images(source)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flatten": 1}, TypeError, "flatten: expected True or False"),
        ({"validation": 60}, ValueError, "validation: expected .* below 1, got 60"),
        ({"test": -0.1}, ValueError, "test: expected .* at least 0"),
        ({"test": "0.1"}, TypeError, "test: expected a number"),
        ({"validation": 0.5, "test": 0.5}, ValueError, r"validation \+ test: expected less than 1"),
        ({"seed": "x"}, TypeError, "seed: expected"),
        ({"size": (4, 4)}, ValueError, "size: expected None, as only a folder's pictures"),
        ({"channels": 1}, ValueError, "channels: expected None, as only a folder's pictures"),
        (
            {"size": 32},
            TypeError,
            r"size: expected \(height, width\), got 32: pass size=\(32, 32\)",
        ),
        ({"size": "32"}, TypeError, r"size: expected a whole number"),
        ({"size": (4, 4, 3)}, TypeError, r"size: expected \(height, width\), got \(4, 4, 3\)"),
        ({"size": (4, 0)}, ValueError, "size: expected at least 1, got 0"),
        (
            {"channels": 4},
            ValueError,
            r"channels: expected 1 \(grey\), 3 \(colour\) or None, got 4",
        ),
        ({"channels": "grey"}, TypeError, "channels: expected a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        load_images((GOOD, LABELS), **options)


# The split


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    shares=st.tuples(*[st.sampled_from([0, 0.01, 0.1, 0.2, 0.3, 1 / 3])] * 2),
    seed=st.integers(0, 2**32),
)
def test_every_image_is_in_one_part_and_each_class_has_its_shares(counts, shares, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.linspace(0, 1, len(labels), dtype=np.float32)[:, np.newaxis]
    validation, test = shares
    data = load_images((images, labels), validation=validation, test=test, seed=seed)
    seen = []
    for (found, codes), share in zip(data, (1 - validation - test, *shares), strict=True):
        rows = np.searchsorted(images[:, 0], found[:, 0])
        np.testing.assert_array_equal(images[rows], found)
        np.testing.assert_array_equal(labels[rows], codes)
        seen += rows.tolist()
        for label, count in enumerate(counts):
            there = np.count_nonzero(codes == label)
            if share == 0:
                assert there == 0
            else:
                assert there >= 1
                assert abs(there - share * count) <= 1 or there == 1 or found is data.train[0]
    assert sorted(seen) == list(range(len(labels)))
    again = load_images((images, labels), validation=validation, test=test, seed=seed)
    for pair, other in zip(data, again, strict=True):
        for each, same in zip(pair, other, strict=True):
            np.testing.assert_array_equal(each, same)


def test_the_seed_decides_and_every_part_is_in_random_order():
    images, labels = RNG.random((200, 3)), np.repeat([0, 1], 100)
    data = load_images((images, labels))
    assert isinstance(data, Dataset)
    assert repr(data) == "Dataset(train=(160, 3), validation=(20, 3), test=(20, 3))"
    for _, codes in data:
        assert np.count_nonzero(np.diff(codes)) > 4
    same = load_images((images, labels), seed=np.random.default_rng(0))
    for pair, again in zip(data, same, strict=True):
        np.testing.assert_array_equal(pair[0], again[0])
    other = load_images((images, labels), seed=1)
    assert not np.array_equal(np.sort(data.test[0], 0), np.sort(other.test[0], 0))


def test_a_class_that_is_too_small_to_be_split_is_named():
    images, labels = pixels(8), np.array(["cat", "dog", "dog", *["cat"] * 5])
    with pytest.raises(
        ValueError,
        match=r"^class 'dog': expected more than 2 images \(1 for validation, 1 for test\), got 2",
    ):
        load_images((images, labels))
    assert len(load_images((images, labels), test=0).train[1]) == 6
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="class 'dog'"):
        load_images((images, labels), seed=rng)
    assert rng.random() == np.random.default_rng(5).random()  # nothing was drawn


# scikit-learn's digits


def test_without_scikit_learn_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"load_digits: .*pip install scikit-learn"):
        datasets.load_digits()


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn", reason="scikit-learn, with which the digits come, is missing")
    return datasets.load_digits()


def test_the_digits_are_split_alike_in_every_class_and_none_is_twice(digits):
    from sklearn.datasets import load_digits

    assert [len(labels) for _, labels in digits] == [1079, 359, 359]
    assert digits.classes == tuple("0123456789")
    for (_, labels), (fewest, most) in zip(digits, ((104, 110), (35, 37), (35, 37)), strict=True):
        counts = np.bincount(labels)
        assert (counts.min(), counts.max()) == (fewest, most)
    images = np.concatenate([images for images, _ in digits])
    labels = np.concatenate([labels for _, labels in digits])
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    theirs = load_digits()
    assert sorted(zip(map(bytes, images), labels, strict=True)) == sorted(
        zip(map(bytes, (theirs.data / 16).astype(np.float32)), theirs.target, strict=True)
    )


def test_the_digits_are_flat_or_not_and_always_the_same(digits):
    square = datasets.load_digits(flatten=False)
    for (images, labels), (others, same) in zip(digits, square, strict=True):
        assert others.shape == (len(labels), 8, 8, 1)
        np.testing.assert_array_equal(images, others.reshape(-1, 64))
        np.testing.assert_array_equal(labels, same)
    with pytest.raises(TypeError, match="flatten: expected"):
        datasets.load_digits(flatten="no")
