// What the screen of a labelling session is made of. widget.js, which is joined to this file, says
// what it shows and what its keys do.

const CHOICES = { 1: "first", 2: "second", 3: "tie", 4: "both_bad", s: "skip" };
const BUTTONS = {
  1: "First better", 2: "Second better", 3: "Tie", 4: "Both bad", s: "Skip", u: "Undo", f: "Flag", n: "Note",
  r: "Review", w: "Flagged", d: "Difference", m: "Raw text", "?": "Guidelines", q: "Quit",
};
const STRENGTHS = { 7: "slightly", 8: "clearly", 9: "much" };
const IDLE_MS = 120000;     // time without a sign of life is not reading time
const REASON_KEYS = "abceghijk";    // letters that no button has

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Seconds that a person spent on the pair: not while the page is hidden or nobody moves.
function stopwatch(root) {
  let active = 0, last = performance.now(), alive = last;
  const tick = () => {
    const now = performance.now();
    if (!document.hidden && last - alive < IDLE_MS) active += now - last;
    last = now;
  };
  const sign = () => { tick(); alive = performance.now(); };
  for (const name of ["keydown", "pointermove", "wheel", "pointerdown"]) {
    root.addEventListener(name, sign, { passive: true });
  }
  document.addEventListener("visibilitychange", tick);
  const timer = setInterval(tick, 1000);
  return {
    restart() { tick(); active = 0; alive = last; },
    seconds() { tick(); return active / 1000; },
    stop() { clearInterval(timer); document.removeEventListener("visibilitychange", tick); },
  };
}

function build(form) {
  const pane = (name, title) => {
    const text = h("div", { class: "plab-text", tabindex: "0", dir: "auto", role: "group", "aria-label": `${title}, text` });
    return { text, box: h("article", { class: `plab-pane plab-${name}`, "aria-label": title }, h("h3", {}, title), text) };
  };
  const card = (name, title) => h("div", { class: `plab-card plab-${name}`, hidden: true, ...(title ? { role: "region", "aria-label": title } : {}) });
  const ui = {
    status: h("div", { class: "plab-status", role: "status", "aria-live": "polite" }),
    focus: h("button", { class: "plab-focus", type: "button", tabindex: "-1" }),
    bar: h("progress", { class: "plab-bar", "aria-label": "Answered" }),
    count: h("span", { class: "plab-count" }),
    question: h("div", { class: "plab-question" }),
    guide: h("div", { class: "plab-guide", hidden: true, role: "region", "aria-label": "Guidelines" }),
    pause: card("pause"), hurry: card("hurry"), list: card("review", "Answers"), people: card("people", "Who is there"),
    end: card("end"), given: card("given", "Labels given so far"),
    prompt: pane("prompt", "Conversation"),
    before: h("div", { class: "plab-before" }),
    first: pane("first", "First response"),
    second: pane("second", "Second response"),
    note: h("input", { type: "text", maxlength: "2000", "aria-label": "Note on this pair" }),
    buttons: {}, ticks: {},
  };
  const button = (key, name) => h("button", { type: "button", "data-key": key, "aria-keyshortcuts": key },
    h("kbd", { "aria-hidden": "true" }, key.toUpperCase()), name);
  for (const [key, name] of Object.entries(BUTTONS)) ui.buttons[key] = button(key, name);
  const tick = (key, kind, value) => {
    ui.ticks[key] = { kind, value, node: button(key, value) };
    ui.ticks[key].node.setAttribute("aria-pressed", "false");
    return ui.ticks[key].node;
  };
  const row = (name, label, ...nodes) => h("div", { class: `plab-row ${name}`, role: "group", "aria-label": label }, ...nodes);
  const ticks = [];
  if (form.strength) ticks.push(h("span", {}, "If you like, by how much:"), ...Object.keys(STRENGTHS).map((key) => tick(key, "strength", STRENGTHS[key])));
  if (form.reasons.length) ticks.push(h("span", {}, "because:"), ...form.reasons.map((text, at) => tick(REASON_KEYS[at], "reason", text)));
  const rows = ticks.length ? [row("plab-more", "How much better, and why", ...ticks)] : [];
  const keys = (text) => [...text].map((key) => ui.buttons[key]);
  ui.noteRow = h("div", { class: "plab-note", hidden: true }, ui.note, h("span", {}, "Enter saves, Escape drops"));
  ui.work = h("div", { class: "plab-work" }, ui.prompt.box, ui.given, ui.before, h("div", { class: "plab-pair" }, ui.first.box, ui.second.box));
  ui.foot = h("div", { class: "plab-foot" }, ui.noteRow, ...rows,
    row("plab-main", "Answer", ...keys(form.both_bad ? "1234s" : "123s")), row("plab-rest", "More", ...keys("ufnrwdm?q")));
  ui.body = h("div", { class: "plab-body" }, ui.people, ui.guide, ui.pause, ui.hurry, ui.list, ui.work, ui.end);
  ui.root = h("div", { class: "plab", role: "region", tabindex: "0", "aria-label": "Pair labelling" },
    h("div", { class: "plab-top" }, ui.status, ui.focus),
    ui.progress = h("div", { class: "plab-progress" }, ui.bar, ui.count), ui.question, ui.body, ui.foot);
  return ui;
}

// The widget is as high as the notebook's window, so that status and buttons are in view together.
// Straight after Run All the notebook still moves the focus about: take it when that is over, but
// never from somebody who is typing or has clicked elsewhere.
function arrive(root) {
  let rounds = 0, sizes;
  const fit = () => {
    const outer = root.closest(".jp-WindowedPanel-outer");
    root.style.setProperty("--plab-room", `${outer ? outer.clientHeight : innerHeight}px`);
  };
  const timer = setInterval(() => {
    if (!root.isConnected) return;
    if (!sizes) {
      sizes = new ResizeObserver(fit);
      sizes.observe(root.closest(".jp-WindowedPanel-outer") ?? document.documentElement);
    }
    const active = document.activeElement;
    const typing = active?.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(active?.tagName);
    if (!typing && !root.contains(active)) {
      root.focus({ preventScroll: true });
      root.scrollIntoView({ block: "start" });
    }
    if ((rounds += 1) > 15) stop();
  }, 100);
  const stop = () => { clearInterval(timer); document.removeEventListener("pointerdown", stop, true); };
  document.addEventListener("pointerdown", stop, true);
  return () => { stop(); sizes?.disconnect(); };
}
