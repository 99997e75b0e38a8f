#!/usr/bin/env python3
"""Every *.html of a folder in headless Chromium, every *.svg by an XML parser, rsvg-convert and Chromium.

usage: test_browser.py FOLDER [SCREENSHOTS]

A check that fails is a line on stderr, and the exit code is 1. What is not installed is left out, with a word.
"""
import glob, os, shutil, struct, subprocess, sys, time, zlib
import xml.etree.ElementTree as xml

from webdriver import ARROW, END, ENTER, ESCAPE, HOME, Browser

folder, screenshots = os.path.abspath(sys.argv[1]), (sys.argv[2:] or [None])[0]
failures = checks = 0


def check(what, ok, *seen):
    global failures, checks
    checks += 1
    if not ok:
        failures += 1
        print("FAILED:", what, *seen, file=sys.stderr)


def keep(name, png):
    if screenshots:
        with open(os.path.join(screenshots, name + ".png"), "wb") as f:
            f.write(png())


# --- Pictures ---------------------------------------------------------------------------------------------------------


def pixels(png):
    """The pixels of an 8-bit RGBA or RGB PNG, as tuples (r, g, b)."""
    at, packed = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body, at = png[at + 8:at + 8 + size], at + 12 + size
        if kind == b"IHDR":
            width, _, _, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
    raw, depth = zlib.decompress(packed), {2: 3, 6: 4}[colour]
    stride, line, found = width * depth, [0] * (width * depth), []
    for start in range(0, len(raw), stride + 1):
        kind, above = raw[start], line
        line = list(raw[start + 1:start + 1 + stride])
        for i in range(stride) if kind else ():
            a, b = line[i - depth] if i >= depth else 0, above[i]
            if kind == 3:
                a = (a + b) // 2
            elif kind == 4:  # Paeth: whichever of the neighbours is nearest to left + above - corner
                c = above[i - depth] if i >= depth else 0
                p = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                a = a if p[0] <= p[1] and p[0] <= p[2] else b if p[1] <= p[2] else c
            line[i] = (line[i] + (b if kind == 2 else a)) & 255
        found += zip(line[0::depth], line[1::depth], line[2::depth])
    return found


def check_picture(path):
    name = os.path.relpath(path, folder)
    try:
        root = xml.parse(path).getroot()
    except xml.ParseError as e:
        return check(f"{name} is XML:", False, e)
    check(f"{name} is an SVG", root.tag == "{http://www.w3.org/2000/svg}svg", root.tag)
    if not shutil.which("rsvg-convert"):
        return
    drawn = subprocess.run(["rsvg-convert", "--width=400", path], capture_output=True)
    check(f"{name} can be drawn:", drawn.returncode == 0 and not drawn.stderr, drawn.stderr.decode())
    if drawn.returncode == 0:
        keep(name.replace("/", "_"), lambda: subprocess.run(["rsvg-convert", path], capture_output=True).stdout)
        seen = pixels(drawn.stdout)
        coloured = sum(max(p) - min(p) > 40 for p in seen)
        dark = sum(max(p) < 140 for p in seen)
        check(f"{name} is not blank:", coloured > 100 and dark > 100, coloured, "coloured,", dark, "dark pixels")


# --- Any page ---------------------------------------------------------------------------------------------------------

# Texts whose contrast with what lies behind them is below 4.5 (WCAG AA).
FAINT = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
                          return canvas.getImageData(0, 0, 1, 1).data; };
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                                        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
                                                           if (c[3] > 250) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    const pair = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) faint.push(`${e.tagName} "${e.textContent.slice(0, 20)}" ${contrast.toFixed(1)}`);
  }
  return faint;
})()"""
# Elements that stick out at the right, and the width of the page.
WIDER = """(() => [Math.max(document.documentElement.scrollWidth, innerWidth), ...[...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("svg, .plot, .token, th, td"))
  .map((e) => e.tagName + "." + e.className + "#" + e.id)])()"""


def check_page(browser, path):
    name = os.path.splitext(os.path.basename(path))[0]
    backgrounds = []
    for dark in (False, True):
        browser.open(path, dark=dark)
        time.sleep(0.15)  # colours change in 0.12 s
        backgrounds.append(browser.js("getComputedStyle(document.body).backgroundColor"))
        faint = browser.js(FAINT)
        check(f"{name}: text is legible in {'dark' if dark else 'light'} colours:", not faint, faint[:5])
        keep(f"{name}-{'dark' if dark else 'light'}", browser.screenshot)
    check(f"{name}: two themes", backgrounds[0] != backgrounds[1], backgrounds)
    if browser.js("!!document.getElementById('queries')"):
        check_inspect(browser, name)
    browser.open(path, width=360)
    views = browser.js("[...document.querySelectorAll('.segments input')].map((e) => e.name + '=' + e.value)")
    for n, view in enumerate([""] + views):
        if view:
            browser.js("document.querySelectorAll('.segments input')[arguments[0]].click()", n - 1)
        check(f"{name}: nothing is wider than a phone {view}", browser.js(WIDER) == [360], browser.js(WIDER))
        lefts = browser.js("[...new Set([...document.querySelectorAll('.strip')].flatMap((s) => [...s.children].filter((t) =>"
                           "t.offsetTop > (t.previousElementSibling?.offsetTop ?? -1)).map((t) => t.offsetLeft)))]")
        check(f"{name}: lines of pieces begin at one place {view}", len(lefts) <= 1, lefts)
        keep(f"{name}-phone{n}", browser.screenshot)
    messages = browser.messages()
    check(f"{name}: no message in the console", not messages, messages[:3])


# --- The page of `translate inspect` ----------------------------------------------------------------------------------

STATE = """(() => ({
  active: [...$("queries").children].findIndex((b) => b.classList.contains("active")),
  focus: [...$("queries").children].indexOf(document.activeElement),
  pinned: [...$("queries").children].findIndex((b) => b.ariaPressed === "true"),
  queries: $("queries").children.length, keys: $("keys").children.length,
  named: $("readout").querySelector("b").textContent, texts: [...$("queries").children].map((b) => b.textContent),
  weights: [...$("keys").children].map((k) => k.lastChild.textContent), caption: $("table").caption.textContent,
  sums: [...$("table").tFoot.rows[0].cells].slice(1).map((c) => +c.textContent.replace("−", "-")),
  head: $("head-name").textContent, chosen: [...document.querySelectorAll(".head")].findIndex((h) => h.ariaChecked === "true"),
  heads: document.querySelectorAll(".head").length, tip: $("tip").hidden ? "" : $("tip").textContent,
}))()"""


def check_inspect(browser, name):
    def state():
        return browser.js(STATE)

    def expect(what, **wanted):
        seen = state()
        for key, value in wanted.items():
            check(f"{name}: {what}: {key} is {value!r}, not", seen[key] == value, repr(seen[key]))
        return seen

    # Hostile text is text.
    sentence = os.path.join(folder, name + ".txt")
    if os.path.exists(sentence):
        with open(sentence, encoding="utf-8", newline="") as f:
            check(f"{name}: the sentence is whole", browser.js("data.sentence") == f.read(), browser.js("data.sentence"))
    check(f"{name}: two scripts", browser.js("document.scripts.length") == 2)
    check(f"{name}: the title is the sentence's beginning", browser.js("document.title.startsWith('\\u2068' + data.sentence.slice(0, 9))"),
          ascii(browser.js("document.title")))
    check(f"{name}: every piece is shown",
          browser.js("[...$('queries').children].map((b) => b.textContent)") == browser.js("view.rows.map((r) => r.text)"))
    unseen = browser.js("view.rows.concat(view.cols).map((r) => r.text).filter((t) => !/[^\\p{C}\\p{Z}]/u.test(t) || /\\p{Bidi_C}/u.test(t))")
    check(f"{name}: every piece can be seen", not unseen, ascii(unseen))
    blank = browser.js("""[...document.querySelectorAll("#bigs canvas, #scale")].filter((c) => {
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return c.width > 1 && new Set(Array.from({length: d.length / 4}, (_, i) => d.slice(4 * i, 4 * i + 3).join())).size < 2;
    }).length""")
    check(f"{name}: no map is blank", blank == 0, blank)

    # Where text runs from right to left, "from -> to" stays in this order.
    places = browser.js("""((i, j) => {
        if (i < 0 || j < 0) return [];
        showTip({clientX: 0, clientY: 0}, currentHead(), i, j);
        const node = $("tip").firstChild, range = document.createRange();
        return [view.rows[i].text, "→", view.cols[j].text].map((part) => {
          const at = node.data.indexOf(part);
          range.setStart(node, at), range.setEnd(node, at + part.length);
          return range.getBoundingClientRect().left;
        });
    })(view.rows.findIndex((r) => /\\p{Script=Hebrew}/u.test(r.text)), view.cols.findIndex((c) => /\\p{Script=Arabic}/u.test(c.text)))""")
    check(f"{name}: from the right to the left, but in order", places == sorted(places), places)
    check(f"{name}: there is such text", name != "hostile" or places)

    # Pointing. Nothing moves away from under the pointer.
    before = state()
    moved = browser.js("""new Set(view.rows.flatMap((_, i) => cards.flatMap((heads, l) => heads.map((_, h) => {
        state.layer = l, state.head = h;
        point(i);
        return $("queries").offsetTop + "," + [...$("keys").children].map((k) => k.offsetLeft).join();
    })))).size""")
    check(f"{name}: pieces stay where they are", moved == 1, moved, "places")
    for n in (before["queries"] - 1, 0, before["queries"] // 2):
        browser.point("#queries button", n)
        seen = expect("pointing", active=n, named=before["texts"][n], pinned=-1)
        check(f"{name}: the table is of the piece", before["texts"][n] in seen["caption"], seen["caption"])
        check(f"{name}: weights are of the piece", seen["weights"] ==
              browser.js("view.cols.map((_, j) => number(cell(currentHead(), 'net', arguments[0], j)))", n))
        lambda_ = browser.js("currentHead().lambda?.[arguments[0]]", n)
        sums = [1] if lambda_ is None else [1, 1, 1 - lambda_]
        check(f"{name}: rows sum to 1, and 1 - lambda", all(abs(a - b) < 0.02 for a, b in zip(seen["sums"], sums)), seen["sums"])
    browser.point("#bigs .map", fx=1 - 0.5 / before["keys"], fy=1 - 0.5 / before["queries"])
    seen = expect("pointing into a map", active=before["queries"] - 1)
    check(f"{name}: a tip with the numbers", "→" in seen["tip"] and " = " in seen["tip"], seen["tip"])
    inside = browser.js("(({left, right, top, bottom}) => left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight)"
                        "($('tip').getBoundingClientRect())")
    check(f"{name}: the tip is inside the window", inside)
    browser.point("#head-name")
    expect("elsewhere", tip="")

    # The pin.
    browser.point("#queries button", 0, click=True)
    browser.point("#queries button", before["queries"] - 1)
    expect("pinned", active=0, pinned=0)
    browser.keys(ESCAPE)
    expect("released", pinned=-1)

    # Keys.
    browser.js("$('queries').children[arguments[0]].focus()", 0)
    last = before["queries"] - 1
    for key, at in ((HOME, 0), (ARROW["left"], 0), (ARROW["right"], min(1, last)), (END, last), (ARROW["right"], last),
                    (ARROW["left"], max(last - 1, 0))):
        browser.keys(key)
        expect("a key on the pieces", active=at, focus=at)
    browser.keys(ENTER)
    expect("Enter", pinned=max(last - 1, 0))
    browser.keys(ESCAPE)
    browser.js("choose(0, 0)")
    browser.keys(ARROW["down"])
    expect("the next head", chosen=min(1, before["heads"] - 1))
    browser.keys(ARROW["up"] * 2)
    expect("no head before the first", chosen=0, head="Layer 1, head 1")
    browser.js("document.querySelector('.head').focus()")
    browser.keys(ARROW["right"])
    expect("the head to the right", chosen=min(1, before["heads"] - 1))
    browser.keys(ARROW["down"] * 9)
    check(f"{name}: the last layer", state()["head"].startswith(f"Layer {browser.js('view.layers.length')},"), state()["head"])

    # The theme by hand, and by the system while the page is open.
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = browser.js(ground)
    browser.point("#theme", click=True)
    check(f"{name}: light by hand", browser.js(ground) != dark and browser.js("$('theme').textContent") == "Dark colours")
    browser.point("#theme", click=True)
    check(f"{name}: dark by hand", browser.js(ground) == dark)
    browser.js("delete document.documentElement.dataset.theme")
    browser.theme(False)
    time.sleep(0.05)
    check(f"{name}: light by the system", browser.js(ground) != dark and browser.js("$('theme').textContent") == "Dark colours")


# ----------------------------------------------------------------------------------------------------------------------

if screenshots:
    os.makedirs(screenshots, exist_ok=True)
pictures = sorted(glob.glob(os.path.join(folder, "**", "*.svg"), recursive=True))
pages = sorted(glob.glob(os.path.join(folder, "**", "*.html"), recursive=True))
check("there are pictures and pages", pictures and pages)
if not shutil.which("rsvg-convert"):
    print("rsvg-convert (librsvg2-bin) is not there: the pictures are parsed, and not drawn")
for picture in pictures:
    check_picture(picture)
if shutil.which("chromedriver") and shutil.which("chromium"):
    with Browser() as browser:
        for page in pages:
            check_page(browser, page)
        for picture in pictures:
            browser.open(picture)
            name = os.path.relpath(picture, folder)
            check(f"{name} opens in a browser", browser.js("document.documentElement.localName") == "svg" and
                  browser.js("!document.querySelector('parsererror')"))
else:
    print("chromium and chromedriver (chromium-driver) are not there: the pages are not tried in a browser")
print(f"{len(pages)} pages and {len(pictures)} pictures: {checks - failures} checks passed, {failures} failed")
sys.exit(failures > 0)
