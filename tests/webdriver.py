"""Headless Chromium, spoken to over chromedriver's HTTP (W3C WebDriver): Python's own library is enough."""
import base64, json, os, subprocess, urllib.error, urllib.request

ARROW = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015"}
HOME, END, ENTER, ESCAPE = "\ue011", "\ue010", "\ue007", "\ue00c"


class Browser:
    """Chromium, over chromedriver. Leaving the `with` block ends both."""

    def __init__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True)
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.session = "http://127.0.0.1:%d/session" % int(line.rstrip(".\n").rsplit(" ", 1)[1])
                break
        options = ["--headless=new", "--hide-scrollbars", "--disable-dev-shm-usage", "--disable-background-networking"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        wanted = {"goog:chromeOptions": {"args": options}, "goog:loggingPrefs": {"browser": "ALL"},
                  "unhandledPromptBehavior": "ignore", "timeouts": {"script": 240_000}}  # ms: a machine may be busy
        try:
            self.session += "/" + self.call("", capabilities={"alwaysMatch": wanted})["sessionId"]
        except BaseException:
            self.driver.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE"), timeout=20)
        finally:
            self.driver.terminate()
            self.driver.wait()

    def call(self, command, **body):
        request = urllib.request.Request(self.session + command, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            return json.load(urllib.request.urlopen(request, timeout=300))["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(command + ": " + json.load(e)["value"]["message"].split("\n")[0]) from None

    def devtools(self, cmd, **params):
        return self.call("/goog/cdp/execute", cmd=cmd, params=params)

    def js(self, script, *args):
        return self.call("/execute/sync", script="return " + script, args=list(args))

    def keys(self, text):
        strokes = [{"type": t, "value": c} for c in text for t in ("keyDown", "keyUp")]
        self.call("/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def point(self, selector, n=0, click=False, fx=0.5, fy=0.5):
        """Moves the mouse to a place in the n-th element, in fractions of its size; scrolls there first."""
        x, y = self.js("""((s, n, fx, fy) => {
            const e = document.querySelectorAll(s)[n];
            const place = (b) => [b.left + fx * b.width, b.top + fy * b.height];
            scrollBy(0, place(e.getBoundingClientRect())[1] - innerHeight / 2);
            return place(e.getBoundingClientRect());
        })(...arguments)""", selector, n, fx, fy)
        moves = [{"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y), "origin": "viewport"}]
        if click:
            moves += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.call("/actions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])

    def open(self, path, width=1200, dark=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        self.theme(dark)
        self.call("/url", url="file://" + urllib.request.pathname2url(path))

    def theme(self, dark):
        self.devtools("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self):
        """The whole page as PNG."""
        return base64.b64decode(self.devtools("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def messages(self):
        return [m["message"] for m in self.call("/se/log", type="browser")]
