"""One XML file of Pascal VOC: encodings, sizes, boxes, and what is refused."""

import re

import numpy as np
import pytest

from keras_det.data.formats.voc import find, read
from keras_det.data.formats.voc_file import UnreadableError, read_file
from keras_det.data.raw import ReadOptions
from keras_det.errors import DataError
from tests.data.builders import voc_xml

BOX = "<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
OBJECT = f"<object><name>猫</name>{BOX}</object>"


def parse(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(str(path))


def one_object(tmp_path, inside):
    return parse(tmp_path, f"<annotation><object>{inside}</object></annotation>")


def refusal(tmp_path, content):
    with pytest.raises(UnreadableError) as error:
        parse(tmp_path, content)
    return str(error.value)


@pytest.mark.parametrize(
    "codec, declared",
    [
        ("utf-8", None),
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "gb2312"),  # saved by an editor that writes UTF-8
        ("utf-8", "utf-16"),  # .NET's StringWriter
        ("utf-16", "utf-16"),
        ("utf-16", None),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", None),
        ("utf-32", "utf-32"),
        ("gb2312", "gb2312"),
        ("gb18030", "GB18030"),
        ("big5", "Big5"),
        ("shift_jis", "Shift_JIS"),
    ],
)
def test_encodings(tmp_path, codec, declared):
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    text = f"{head}<annotation><filename>貓.jpg</filename>{OBJECT}</annotation>"
    text = text.replace("猫", "貓") if codec == "big5" else text.replace("貓", "猫")
    found = parse(tmp_path, text.encode(codec))
    assert found.image_name[1:] == ".jpg" and found.image_name[0] == found.objects[0].name
    assert found.objects[0].name in "猫貓" and found.objects[0][1:5] == (2, 1, 4, 5)


@pytest.mark.parametrize("codec", ["latin-1", "cp1252", "iso-8859-15"])
def test_western_encodings(tmp_path, codec):
    head = f"<?xml version='1.0' encoding='{codec}'?>"
    text = f"{head}<annotation><filename>äé.jpg</filename></annotation>"
    assert parse(tmp_path, text.encode(codec)).image_name == "äé.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "klingon",
        "ansi",
        "hex",
        "zip",
        "undefined",
        "unicode_escape",
        "punycode",
        "a\0b",
        "x" * 5000,
    ],
)
def test_unknown_encodings(tmp_path, name):
    text = f'<?xml version="1.0" encoding="{name}"?><annotation/>'
    assert "Received: " in refusal(tmp_path, text)


def test_text_in_another_encoding_than_declared(tmp_path):
    text = '<?xml version="1.0" encoding="{}"?><annotation><filename>ä</filename></annotation>'
    assert "valid XML" in refusal(tmp_path, text.format("utf-8").encode("latin-1"))
    assert "declared encoding" in refusal(tmp_path, text.format("ascii").encode())
    assert "declared encoding" in refusal(tmp_path, text.format("big5").encode() + b"\xff")


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "valid XML"),
        (b"\0" * 100, "valid XML"),
        (b"<annotation><object>", "valid XML"),
        (b"<annotations/>", "must start with <annotation>. Received: <annotations>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "no entities"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'.encode("utf-16"), "no entities"),
        (b"<a>" * 3_000_000, "at most 8 MiB"),
    ],
)
def test_refused_files(tmp_path, content, match):
    assert match in refusal(tmp_path, content)


def test_deep_nesting_is_read_or_refused(tmp_path):
    content = b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</annotation>"
    try:
        assert parse(tmp_path, content).objects == []
    except UnreadableError as error:
        assert "valid XML" in str(error)


def test_harmless_extras(tmp_path):
    content = f'\n<?xml version="1.0"?><!DOCTYPE annotation><annotation xmlns="urn:x">{OBJECT}'
    assert len(parse(tmp_path, content + "</annotation>").objects) == 1


@pytest.mark.parametrize(
    "width, expected",
    [("8", 8), (" 8 ", 8), ("8.0", 8), ("", 0), (" ", 0), ("None", 0), ("0", 0)],
)
def test_sizes(tmp_path, width, expected):
    text = f"<annotation><size><width>{width}</width><height>6</height></size></annotation>"
    found = parse(tmp_path, text)
    assert (found.width, found.height) == (expected, 6)
    assert parse(tmp_path, text.replace(f"<width>{width}</width>", "")).width == 0


@pytest.mark.parametrize(
    "width", ["640 px", "nan", "inf", "-inf", "1e400", "9" * 20, "-1", "8.5", "1_0", "abc"]
)
def test_bad_sizes(tmp_path, width):
    text = f"<annotation><size><width>{width}</width><height>6</height></size></annotation>"
    assert re.search(f"whole pixels. Received: width='{width}'", refusal(tmp_path, text))


@pytest.mark.parametrize(
    "value", ["12,5", "nan", "inf", "-inf", "1e400", "1_0", "a", "", " ", "0x1", "1" * 300, "1 2"]
)
def test_bad_coordinates(tmp_path, value):
    box = BOX.replace("<ymin>1<", f"<ymin>{value}<")
    found = one_object(tmp_path, f"<name>a</name>{box}")
    assert found.objects == [] and found.bad[0][0] == 0
    assert f"ymin='{value.strip()[:20]}" in found.bad[0][1] and len(found.bad[0][1]) < 250


def test_good_coordinates(tmp_path):
    box = BOX.replace(">2<", "> 2.5\n<").replace(">1<", ">-1e0<")
    assert one_object(tmp_path, f"<name>a</name>{box}").objects[0][1:5] == (2.5, -1, 4, 5)


@pytest.mark.parametrize(
    "inside, reason",
    [
        (f"<name>a</name><name>b</name>{BOX}", "one <name>"),
        (BOX.replace("xmin", "x"), "xmin=''"),
        (BOX.replace("<ymax>", "<xmin>7</xmin><ymax>"), "once each"),
        ("<polygon><x1>a</x1><y1>1</y1></polygon>", "<polygon> must hold numbers. Received: 'a'"),
        ("<robndbox><cx>1</cx></robndbox>", "<robndbox> must hold numbers. Received: None"),
    ],
)
def test_bad_objects(tmp_path, inside, reason):
    found = one_object(tmp_path, inside)
    assert found.objects == [] and reason in found.bad[0][1]


@pytest.mark.parametrize(
    "text, expected",
    [("1", True), ("true", True), ("True", True), ("YES", True), (" 1\n", True), ("1.0", True)]
    + [(text, False) for text in ("0", "false", "No", "", "0.0", "Unspecified")],
)
def test_difficult(tmp_path, text, expected):
    found = one_object(tmp_path, f"<name>a</name><difficult>{text}</difficult>{BOX}")
    assert found.objects[0].difficult is expected
    assert found.unclear == ([(0, "Unspecified")] if text == "Unspecified" else [])


# A square of side 2 turned by 45 degrees (0.7853982) reaches sqrt(2) = 1.41421 from its centre.
@pytest.mark.parametrize(
    "inside, expected",
    [
        (f"<polygon><x1>9</x1><y1>9</y1></polygon>{BOX}", (2, 1, 4, 5)),
        (f"<part><name>head</name>{BOX.replace('>2<', '>3<')}</part>{BOX}", (2, 1, 4, 5)),
        (
            "<polygon><x1>3</x1><y1>9</y1><x2>1</x2><y2>4</y2><x3>7.5</x3><y3>5</y3></polygon>",
            (1, 4, 7.5, 9),
        ),
        (
            "<polygon><pt><x>3</x><y>9</y></pt><pt><x>1</x><y>4</y></pt></polygon>",
            (1, 4, 3, 9),
        ),
        (
            "<robndbox><cx>5</cx><cy>6</cy><w>2</w><h>2</h><angle>0.7853982</angle></robndbox>",
            (3.58579, 4.58579, 6.41421, 7.41421),
        ),
        ("<bndbox/>", (0, 0, 0, 0)),
    ],
)
def test_boxes_of_other_shapes(tmp_path, inside, expected):
    found = one_object(tmp_path, f"<name>a</name>{inside}")
    np.testing.assert_allclose(found.objects[0][1:5], expected, atol=1e-5)


def test_deleted_objects(tmp_path):
    assert one_object(tmp_path, f"<name>a</name><deleted>1</deleted>{BOX}").objects == []


PIECES = [b"<", b">", b"</object>", b"<object>", b"\xff", b"\0", b"-", b"1e999", b"nan", b"&x;"]
PIECES += [b"<![CDATA[", b"<!--", b'<?xml version="1.0" encoding="utf-7"?>', b"<bndbox>", b" ", b""]


def test_damaged_files_are_read_or_refused(tmp_path):
    # 400 files with up to four pieces cut out, put in or exchanged, each beside one good file.
    rng = np.random.default_rng(0)
    good = voc_xml([("cat", 2, 1, 4, 5, 0), ("dog", 1, 1, 8, 6, 1)]).encode()
    (tmp_path / "good.xml").write_bytes(good)
    ends = set()
    for _ in range(400):
        data = good
        for _ in range(rng.integers(1, 5)):
            start, length = int(rng.integers(len(data) + 1)), int(rng.integers(30))
            piece = PIECES[rng.integers(len(PIECES))]
            data = data[:start] + piece + data[start + length * int(rng.integers(2)) :]
        (tmp_path / "bad.xml").write_bytes(data)
        try:
            raw = read(find(tmp_path).everything, ReadOptions())
        except DataError as error:
            assert "bad.xml" in str(error)
            ends.add("refused")
            continue
        assert np.isfinite(raw.boxes).all() and raw.image_sizes.min() >= 0
        assert all(raw.class_names) and len(raw.labels) >= 2
        ends.add("noted" if raw.notes else "read")
    assert {"noted", "read"} <= ends
