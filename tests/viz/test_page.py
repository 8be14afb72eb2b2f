"""Self-contained HTML pages."""

import base64
import io

from PIL import Image

from dvt.viz.page import html_figure, html_list, html_table, write_page


def test_everything_is_escaped_and_embedded(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    parts = [
        html_table(["a < b"], [["<td>"]]),
        html_list(["x & y"], small=True),
        html_figure('"cat" <1>', Image.new("RGB", (2, 2))),
        html_figure("a file", tmp_path / "a.png"),
    ]
    write_page(tmp_path / "page.html", "t & u", parts)
    text = (tmp_path / "page.html").read_text()
    assert text.count("t &amp; u") == 2  # title and heading
    for part in ("<th>a &lt; b</th>", "<td>&lt;td&gt;</td>", '<ul class="small"><li>x &amp; y</li></ul>'):
        assert part in text
    assert 'alt="&quot;cat&quot; &lt;1&gt;"' in text
    assert "src=" in text and text.count("src=") == text.count('src="data:image/png;base64,') == 2
    data = text.rsplit("base64,", 1)[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (4, 3)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
