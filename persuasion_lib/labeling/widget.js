// The screen of a labelling session. Python owns all state; this file shows it and sends keys.
// Texts of pairs are untrusted: they enter by textContent, or by innerHTML as the output of a
// Markdown renderer that lets no HTML, image or link through (widget.py).

const CHOICES = { 1: "first", 2: "second", 3: "tie", s: "skip" };
const BUTTONS = [
  ["1", "First better"], ["2", "Second better"], ["3", "Tie"], ["s", "Skip"], ["u", "Undo"],
  ["f", "Flag"], ["n", "Note"], ["r", "Review"], ["m", "Raw text"], ["?", "Guidelines"], ["q", "Quit"],
];
const SETTLE_MS = 150;      // a second press so soon is meant for the pair before
const CONFIRM_MS = 3000;    // no answer from Python by then: say so
const IDLE_MS = 120000;     // time without a sign of life is not reading time

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

function build() {
  const pane = (name, title, kind) => {
    const text = h("div", { class: "plab-text", tabindex: "0", dir: "auto", role: "group", "aria-label": `${title}, text` });
    return { text, box: h("article", { class: `plab-pane plab-${name}`, "aria-label": title }, h("h3", {}, title), text) };
  };
  const ui = {
    status: h("div", { class: "plab-status", role: "status", "aria-live": "polite" }),
    focus: h("button", { class: "plab-focus", type: "button", tabindex: "-1" }),
    bar: h("progress", { class: "plab-bar", "aria-label": "Answered" }),
    count: h("span", { class: "plab-count" }),
    guide: h("div", { class: "plab-guide", hidden: true, role: "region", "aria-label": "Guidelines" }),
    pause: h("div", { class: "plab-card plab-pause", hidden: true }),
    prompt: pane("prompt", "Conversation"),
    before: h("div", { class: "plab-before" }),
    first: pane("first", "First response"),
    second: pane("second", "Second response"),
    note: h("input", { type: "text", maxlength: "2000", "aria-label": "Note on this pair" }),
    review: h("div", { class: "plab-card plab-review", hidden: true, role: "region", "aria-label": "Last ten answers" }),
    end: h("div", { class: "plab-card plab-end", hidden: true }),
    buttons: {},
  };
  for (const [key, name] of BUTTONS) {
    ui.buttons[key] = h("button", { type: "button", "data-key": key, "aria-keyshortcuts": key },
      h("kbd", { "aria-hidden": "true" }, key.toUpperCase()), name);
  }
  const keys = (text) => [...text].map((key) => ui.buttons[key]);
  ui.noteRow = h("div", { class: "plab-note", hidden: true }, ui.note, h("span", {}, "Enter saves, Escape drops"));
  ui.work = h("div", { class: "plab-work" }, ui.prompt.box, ui.before,
    h("div", { class: "plab-pair" }, ui.first.box, ui.second.box),
    h("div", { class: "plab-row plab-main", role: "group", "aria-label": "Answer" }, ...keys("123s")),
    h("div", { class: "plab-row", role: "group", "aria-label": "More" }, ...keys("ufnrm?q")), ui.noteRow);
  ui.root = h("div", { class: "plab", role: "region", tabindex: "0", "aria-label": "Pair labelling" },
    h("div", { class: "plab-top" }, ui.status, ui.focus),
    h("div", { class: "plab-progress" }, ui.bar, ui.count),
    ui.guide, ui.pause, ui.review, ui.work, ui.end);
  return ui;
}

function render({ model, el }) {
  const ui = build(), watch = stopwatch(ui.root), view = Math.random().toString(36).slice(2);
  let raw = false, sent = 0, pending = null, timer = 0, token, shownAt = 0, connected = true, dismissed = 0;
  const state = () => model.get("state");
  const say = (kind, text) => {
    ui.status.dataset.kind = kind;
    if (ui.status.textContent !== text) ui.status.textContent = text;
  };

  function lost() {
    connected = false;
    clearTimeout(timer);
    say("error", "NOT CONNECTED: the kernel was restarted or has ended. Every answer that was called saved is on disk. Run the cell, or load the page, again to go on.");
    ui.root.classList.add("plab-off");
    if (inside()) ui.root.scrollIntoView({ block: "nearest" });
  }

  function send(message) {
    if (!connected) return;
    if (pending) return say("warn", "Still waiting for the answer before; this key was not counted.");
    pending = `${view}:${(sent += 1)}`;
    say("wait", "Saving …");
    timer = setTimeout(() => say("warn", "NOT CONFIRMED: the kernel does not answer. The last key may still arrive; wait for it, or restart the kernel and run the cell again."), CONFIRM_MS);
    try {
      model.send({ id: pending, token, ...message });
    } catch {
      lost();
    }
  }

  function choose(key) {
    if (performance.now() - shownAt < SETTLE_MS) return;
    if (!ui.noteRow.hidden && ui.note.value !== state().item.note) {
      return say("warn", "The note is not saved yet: Enter saves it, Escape drops it. Then answer.");
    }
    send({ do: "choose", choice: CHOICES[key], seconds: watch.seconds() });
  }

  const toggle = (node, show = node.hidden) => { node.hidden = !show; return show; };
  const home = () => ui.root.focus({ preventScroll: true });
  const inside = () => ui.root.contains(document.activeElement);
  const guide = (show) => ui.root.classList.toggle("plab-guiding", toggle(ui.guide, show));
  const saveNote = () => {
    toggle(ui.noteRow, false);
    home();
    send({ do: "flag", flagged: state().item.flagged, note: ui.note.value.trim() });
  };
  const dropNote = () => { ui.note.value = state().item?.note ?? ""; toggle(ui.noteRow, false); home(); };
  const actions = {
    1: choose, 2: choose, 3: choose, s: choose,
    u: () => send({ do: "undo" }),
    f: () => send({ do: "flag", flagged: !state().item.flagged, note: state().item.note }),
    n: () => { if (toggle(ui.noteRow)) ui.note.focus(); else dropNote(); },
    r: () => { toggle(ui.review); },
    m: () => { raw = !raw; texts(state().item); },
    "?": () => guide(ui.guide.hidden),
    q: () => send({ do: "quit" }),
  };

  function act(key) {
    const working = state().view === "label";
    if (working || "u?".includes(key)) actions[key](key);
    marks();
  }

  function marks() {
    const on = { f: state().item?.flagged, m: raw, "?": !ui.guide.hidden, r: !ui.review.hidden, n: !ui.noteRow.hidden };
    for (const [key, value] of Object.entries(on)) ui.buttons[key].setAttribute("aria-pressed", String(Boolean(value)));
    ui.buttons.n.classList.toggle("plab-has", Boolean(state().item?.note));
  }

  function texts(item) {
    for (const name of ["prompt", "first", "second"]) {
      const node = ui[name].text;
      node.classList.toggle("plab-raw", raw);
      if (raw) node.textContent = item[name].raw;
      else node.innerHTML = item[name].html;
    }
  }

  function end({ view: how, summary, done, total }) {
    const title = how === "done" ? "All answered. Thank you." : `Stopped at ${done} of ${total}. Everything is saved.`;
    const next = how === "done" ? "The labels are on disk. In the notebook, run the cells below: they show the figures and write the file."
      : "To go on later, run the cell or load the page again: it opens at the same pair.";
    const back = how === "done" ? ["Undo the last answer", "undo"] : ["Go on now", "resume"];
    ui.end.replaceChildren(h("h3", {}, title), h("ul", {}, ...summary.map((line) => h("li", {}, line))), h("p", {}, next),
      h("button", { type: "button", onclick: () => { send({ do: back[1] }); home(); } }, back[0]));
  }

  function review({ recent }) {
    ui.review.replaceChildren(h("h3", {}, recent.length ? "Your last answers. Choose one to answer it again." : "No answer yet."),
      ...recent.map((past) => h("button", { type: "button", onclick: () => { toggle(ui.review, false); send({ do: "open", token: past.token }); home(); } },
        h("b", {}, past.choice), ` ${past.text}`)));
  }

  function refresh() {
    const now = state(), item = now.item;
    if (!pending || now.ack === pending) {
      clearTimeout(timer);
      pending = null;
      say(now.status.kind, now.status.text);
    }
    ui.bar.max = now.total;
    ui.bar.value = now.done;
    ui.count.textContent = `${now.done} of ${now.total}` + (now.pace ? ` · ${now.pace}` : "");
    toggle(ui.work, now.view === "label");
    toggle(ui.end, now.view !== "label");
    if (now.made === 1) guide(false);        // read; the ? key brings them back
    toggle(ui.pause, now.pause && now.view === "label" && dismissed !== now.made);
    ui.pause.firstChild.textContent = `${now.made} answers in this sitting. A short break keeps judgement fresh; the keys go on working.`;
    review(now);
    if (item) {
      ui.before.textContent = item.before ? `Your answer so far: ${item.before}` : "";
      if (item.token !== token) {
        texts(item);
        for (const name of ["prompt", "first", "second"]) ui[name].text.scrollTop = 0;
        ui.note.value = item.note;
        toggle(ui.noteRow, false);
        watch.restart();
        shownAt = performance.now();
      }
    } else {
      toggle(ui.review, false);
      end(now);
    }
    if (inside() && (item?.token !== token || now.status.kind === "error")) ui.root.scrollIntoView({ block: "nearest" });
    token = item?.token;
    marks();
  }

  function keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    event.stopPropagation();        // or JupyterLab would cut, merge or delete cells
    if (event.target === ui.note) {
      if (event.key === "Enter") saveNote();
      if (event.key === "Escape") dropNote();
      return;
    }
    const key = event.key === "Backspace" ? "u" : event.key.toLowerCase();
    if (event.repeat || !(key in actions)) return;
    event.preventDefault();
    act(key);
  }

  function focusState() {
    ui.root.classList.toggle("plab-on", inside());
    ui.focus.textContent = inside() ? "Keyboard is on" : "Keyboard is off: click here";
  }

  ui.pause.append(h("span"), h("button", { type: "button", onclick: () => { dismissed = state().made; toggle(ui.pause, false); home(); } }, "Go on"));
  ui.guide.innerHTML = model.get("guidelines");
  ui.guide.append(h("p", {}, h("kbd", {}, "?"), "folds this panel and brings it back. The other keys are on the buttons."));
  guide(state().done === 0);
  ui.root.addEventListener("keydown", keydown);
  ui.root.addEventListener("focusin", focusState);
  ui.root.addEventListener("focusout", () => setTimeout(focusState));
  ui.root.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-key]");
    if (button) act(button.dataset.key);
    const typing = event.target === ui.note || !ui.noteRow.hidden;
    if (event.detail && !typing && !getSelection().toString()) home();
  });
  model.on("change:state", refresh);
  model.on("comm_live_update", lost);
  el.append(ui.root);
  refresh();
  focusState();
  const leave = arrive(ui.root);
  return () => {
    watch.stop();
    leave();
    clearTimeout(timer);
    model.off("change:state", refresh);
    model.off("comm_live_update", lost);
  };
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

export default { render };
