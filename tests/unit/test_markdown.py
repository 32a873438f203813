"""Our own Markdown becomes HTML in which every text is escaped."""

import pytest

from api.routes.markdown import render


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>"),
        ("## A `b`\ntext", "<h3>A <code>b</code></h3>\n<p>text</p>"),
        ("- a\n  more\n- **b**\n\nc", "<ul><li>a more</li><li><strong>b</strong></li></ul>\n<p>c</p>"),
        (
            "text\n```\na <b>\n\n# c\n```\nend",
            '<p>text</p>\n<pre tabindex="0"><code>a &lt;b&gt;\n\n# c</code></pre>\n<p>end</p>',
        ),
        ("[x](https://e.org/a?b&c)", '<p><a href="https://e.org/a?b&amp;c" rel="noreferrer">x</a></p>'),
        ("[x](javascript:y) <i> & `<s>`", "<p>[x](javascript:y) &lt;i&gt; &amp; <code>&lt;s&gt;</code></p>"),
        ("[x](//e.org)", "<p>[x](//e.org)</p>"),
        ("```\nno end", '<pre tabindex="0"><code>no end</code></pre>'),
    ],
)
def test_a_text_is_rendered(text: str, html: str) -> None:
    assert str(render(text)) == html
