// The output of a run: the end of it first, then what is added, for as long as the run lives and Follow is on.

const { say } = window.anneal;
const TAIL = 256 * 1024;
const PIECE = 256 * 1024;
const MOST_LINES = 5000;
const EVERY_MS = 1500;
const PAUSE_MS = [5_000, 60_000]; // after the first failure, and at most
const BAD = /\b(error|exception|traceback|fatal|out of memory|killed)\b/i;
// Progress bars rewrite their line with carriage returns, and colours are for terminals: neither is for reading.
const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]/g;

class LogView {
  offset = -TAIL;
  line = 0;
  rest = "";
  complete = false;
  failures = 0;
  hits = [];
  at = -1;

  constructor(section) {
    this.section = section;
    this.view = section.querySelector("[data-log-view]");
    this.follow = section.querySelector("[data-log-follow]");
    this.search = section.querySelector("[data-log-search]");
    this.count = section.querySelector("[data-log-hits]");
    this.list = document.createElement("ol");
    this.nothing = [...this.view.childNodes];
    this.wire();
    this.poll();
  }

  wire() {
    // Whoever scrolls up wants to read: following would tear the page away.
    this.view.addEventListener("scroll", () => {
      const before = this.seen;
      this.look();
      const { top, height, width, whole } = this.seen;
      if (!before || before.top === top || !this.list.isConnected) return;
      // Another size moves the lines as well, and says nothing of what is wanted.
      if (before.height === height && before.width === width && before.whole === whole) this.follow.checked = whole - top - height < 24;
    });
    new ResizeObserver(() => {
      if (this.follow.checked) this.toEnd();
      else this.look();
    }).observe(this.view);
    this.follow.addEventListener("change", () => {
      if (!this.follow.checked) return;
      this.toEnd();
      this.poll();
    });
    this.search.addEventListener("input", () => this.find());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.search.value = "";
        this.find();
      }
      if (event.key === "Enter") {
        event.preventDefault();
        this.go(event.shiftKey ? -1 : 1);
      }
    });
    addEventListener("statuschange", () => this.poll());
    addEventListener("reconnected", () => this.poll());
  }

  async poll() {
    clearTimeout(this.timer);
    if (this.busy || this.complete) return;
    this.busy = true;
    let wait = EVERY_MS;
    try {
      const response = await fetch(`${this.section.dataset.source}?offset=${this.offset}&limit=${PIECE}`, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message ?? "");
      const { text, next_offset: next, complete } = await response.json();
      // Asked for the end, we may have been given a line without its beginning.
      const cut = this.offset < 0 && next > TAIL;
      this.take(cut ? text.slice(text.indexOf("\n") + 1) : text, cut);
      this.offset = this.offset < 0 && !text ? -TAIL : next;
      this.complete = complete;
      if (complete) this.take("", false, true);
      if (text.length >= PIECE / 2) wait = 0;
      this.works();
    } catch (error) {
      wait = Math.min(PAUSE_MS[1], PAUSE_MS[0] * 2 ** this.failures);
      this.fails(error instanceof TypeError ? "" : error.message);
    }
    this.busy = false;
    if (!this.complete) this.timer = setTimeout(() => this.poll(), document.hidden ? 4 * wait : wait);
  }

  // Why, where the platform says it: a host that does not answer, for instance.
  fails(why) {
    this.failures += 1;
    if (!this.failed) {
      this.failed = document.createElement("p");
      this.failed.className = "empty";
      if (!this.list.isConnected) this.view.replaceChildren();
      this.view.prepend(this.failed);
    }
    this.failed.textContent = `${why} ${say("log-failed")}`.trim();
  }

  works() {
    this.failures = 0;
    if (!this.failed) return;
    this.failed.remove();
    this.failed = null;
    if (!this.list.isConnected) this.view.replaceChildren(...this.nothing);
  }

  take(text, cut = false, last = false) {
    const lines = (this.rest + text).split("\n");
    this.rest = last ? "" : lines.pop();
    if (last && !lines.at(-1)) lines.pop();
    if (!lines.length) return;
    if (!this.list.isConnected) {
      this.view.replaceChildren(this.list);
      if (cut) {
        const note = document.createElement("p");
        note.className = "empty";
        note.textContent = say("log-earlier");
        this.view.prepend(note);
      }
    }
    const fragment = document.createDocumentFragment();
    for (const raw of lines) fragment.append(this.row(raw.replace(ESCAPES, "").replace(/^.*\r(?=.)/, "").trimEnd()));
    this.list.append(fragment);
    while (this.list.childElementCount > MOST_LINES) this.list.firstElementChild.remove();
    if (this.search.value) this.find(false);
    if (this.follow.checked) this.toEnd();
    else this.look();
    if (location.hash === `#L${this.line}`) document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: "center" });
  }

  row(text) {
    this.line += 1;
    const item = document.createElement("li");
    item.id = `L${this.line}`;
    if (BAD.test(text)) item.className = "bad";
    const link = document.createElement("a");
    link.href = `#${item.id}`;
    link.textContent = this.line;
    link.tabIndex = -1;
    const words = document.createElement("span");
    words.textContent = text;
    item.append(link, words);
    return item;
  }

  toEnd() {
    this.view.scrollTop = this.view.scrollHeight;
    this.look();
  }

  // Where the lines stand as we left them: what differs when they have moved is somebody else's doing.
  look() {
    const { scrollTop: top, clientHeight: height, clientWidth: width, scrollHeight: whole } = this.view;
    this.seen = { top, height, width, whole };
  }

  find(move = true) {
    const wanted = this.search.value.toLowerCase();
    this.hits = [];
    for (const item of this.list.children) {
      const hit = wanted && item.lastElementChild.textContent.toLowerCase().includes(wanted);
      item.classList.toggle("hit", Boolean(hit));
      item.classList.remove("current");
      if (hit) this.hits.push(item);
    }
    if (!wanted) this.count.textContent = "";
    else if (!this.hits.length) this.count.textContent = say("no-hits");
    else if (move) {
      this.at = this.hits.length;
      this.go(-1);
    }
  }

  go(by) {
    if (!this.hits.length) return;
    this.hits[this.at]?.classList.remove("current");
    this.at = (this.at + by + this.hits.length) % this.hits.length;
    this.hits[this.at].classList.add("current");
    this.follow.checked = false;
    this.hits[this.at].scrollIntoView({ block: "nearest" });
    this.look();
    this.count.textContent = say("hits", { at: this.at + 1, n: this.hits.length });
  }
}

const section = document.querySelector("[data-log]");
if (section) new LogView(section);
