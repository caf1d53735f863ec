"""Drive a report in Debian's Chromium (apt install chromium): ``python tests/evaluation/browser.py FOLDER``.

Makes a hostile report in FOLDER, opens it without a network, checks that no script from the data runs and that search
and filters work, and takes screenshots: light, dark, phone, print. Look at them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from evalhelpers import answer, reference, write_answers, write_references

from qatool.commands.report import run
from qatool.options import ReportOptions
from qatool.schema import fingerprint

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    '" onmouseover="document.title=\'owned\'" x="',
    "' autofocus onfocus='document.title=\"owned\"'",
    "</style></script></title><svg onload=\"document.title='owned'\">",
    "\u202eesrever\u202c \u2066isolated\u2069 \u200f mark",
    "]]><!-- --><![CDATA[",
    "javascript:document.title='owned'",
    "\x00\x1b[31mred\x07",
]
WINDOWS = {"phone": "390,3200", "light": "1200,3200"}


def make(folder: Path) -> Path:
    """Make a report in which every text of the corpus attacks the page."""
    rows, corpus, references = [], [], []
    for number, text in enumerate(HOSTILE * 4):
        context = f"Before {text} and after, number {number}."
        start = context.index(text)
        name, question = f"{number} {text}", f"What of {text}?"
        row = answer(name, text, score=0.02 * number + 0.1, no_answer_score=0.3 if number % 5 else 0.9)
        row |= {"question": question, "fingerprint": fingerprint(question, context)}
        row["candidates"] = [
            {"answer": text, "answer_start": start, "answer_end": start + len(text), "score": row["score"]},
            {"answer": "Before", "answer_start": 0, "answer_end": 6, "score": 0.01},
        ]
        if number % 7 == 3:
            row |= {"error": f"bad row: {text}", "answer": None, "candidates": None, "score": None}
        elif number % 5 == 0:
            row["answer"] = None
        rows.append(row)
        corpus.append({"id": name, "question": question, "context": context})
        references.append(reference(name, text if number % 2 else "something <b>else</b>"))
    answers = write_answers(folder / "answers <script>.parquet", *rows)
    speed = [{"seconds": 10.0 * n, "examples": 90 * n + n * n, "windows": 100 * n} for n in range(1, 20)]
    summary = {"examples_per_second": 9.5, "device": HOSTILE[1], "precision": HOSTILE[0], "speed": speed}
    Path(f"{answers}.summary.json").write_text(json.dumps(summary), encoding="utf-8")
    write_references(folder / "corpus.jsonl", *corpus)
    write_references(folder / "references.jsonl", *references)
    page = folder / "report.html"
    run(
        ReportOptions(
            answers=str(answers),
            output=str(page),
            corpus=str(folder / "corpus.jsonl"),
            references=str(folder / "references.jsonl"),
            resamples=100,
        )
    )
    return page


def chromium(*words: str) -> str:
    """Run Chromium without a screen and without a network, and return what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium is not installed: apt install chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    # Nothing listens there: whatever the page would fetch fails.
    flags += ["--proxy-server=127.0.0.1:9", "--disable-background-networking"]
    done = subprocess.run([program, *flags, *words], capture_output=True, text=True, timeout=120)
    return done.stdout


def probed(page: Path, steps: str) -> str:
    """Return the title that a copy of the page has after ``steps`` ran in it; only the copy allows our script."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", text, count=1)
    copy = page.with_name("probe.html")
    copy.write_text(text.replace("</body>", f"<script>{steps}</script></body>"), encoding="utf-8")
    dom = chromium("--dump-dom", copy.as_uri())
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    copy.unlink()
    return found.group(1) if found else ""


def check(page: Path) -> list[str]:
    """Return what is wrong with the page in a browser."""
    wrong = []
    if "owned" in probed(page, ""):
        wrong.append("a script from the data ran")
    visible = "[...document.querySelectorAll('article')].filter((one) => !one.hidden).length"
    click = "document.querySelector('button[data-group=rejected]').click();"
    rejected = probed(page, f"{click} document.title = {visible};")
    if rejected != str(sum(number % 7 == 3 for number in range(36))):
        wrong.append(f"the filter shows {rejected} rejected answers")
    typed = "const box = document.getElementById('search'); box.value = 'number 17.';"
    searched = probed(page, f"{typed} box.dispatchEvent(new Event('input')); document.title = {visible};")
    if searched != "1":
        wrong.append(f"the search shows {searched} answers")
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j'}));"
    focused = probed(page, f"{key} document.title = document.activeElement.tagName;")
    if focused != "ARTICLE":
        wrong.append(f"the key j goes to {focused}")
    handlers = "document.title = [...document.querySelectorAll('*')].filter((one) => [...one.attributes].some("
    handlers += (
        "(a) => a.name.startsWith('on') || /^(src|href|action)$/.test(a.name) && !a.value.startsWith('#'))).length;"
    )
    if (made := probed(page, handlers)) != "0":
        wrong.append(f"{made} elements with a handler or a link out of the page")
    wide = "document.title = document.documentElement.scrollWidth > window.innerWidth;"
    if probed(page, wide) != "false":
        wrong.append("the page is wider than the window")
    return wrong


def screenshots(page: Path) -> None:
    """Take screenshots beside the page."""
    for name, size in WINDOWS.items():
        chromium(f"--window-size={size}", f"--screenshot={page.with_name(f'{name}.png')}", page.as_uri())
    dark = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    chromium(*dark, "--window-size=1200,1600", f"--screenshot={page.with_name('dark.png')}", page.as_uri())
    chromium("--no-pdf-header-footer", f"--print-to-pdf={page.with_name('print.pdf')}", page.as_uri())


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    where.mkdir(parents=True, exist_ok=True)
    made = make(where)
    screenshots(made)
    problems = check(made)
    print("\n".join(problems) or f"no script of the data runs, filters work; screenshots in {where}")
    sys.exit(bool(problems))
