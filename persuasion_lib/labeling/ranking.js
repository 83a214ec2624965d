// The screen of a ranking session, joined to screen.js, which has h, stopwatch and arrive. Python owns what is saved; only the order that is being made lives here.

const LETTERS = "ABCDEFGHI";
const SOON_MS = 150;        // a press so soon is meant for the prompt before
const ANSWER_MS = 3000;     // no answer from Python by then: say so
const RANK_BUTTONS = [
  ["Enter", "Save this order"], ["=", "Next one shares the place"], ["Backspace", "Take one back"],
  ["s", "Skip"], ["u", "Undo the last saved"], ["m", "Raw text"], ["?", "Guidelines"], ["q", "Quit"],
];

function buildRanking() {
  const prompt = h("div", { class: "plab-text", tabindex: "0", dir: "auto", role: "group", "aria-label": "Conversation, text" });
  const ui = {
    prompt,
    status: h("div", { class: "plab-status", role: "status", "aria-live": "polite" }),
    focus: h("button", { class: "plab-focus", type: "button", tabindex: "-1" }),
    bar: h("progress", { class: "plab-bar", "aria-label": "Ranked" }),
    count: h("span", { class: "plab-count" }),
    guide: h("div", { class: "plab-guide", hidden: true, role: "region", "aria-label": "Guidelines" }),
    pause: h("div", { class: "plab-card plab-pause", hidden: true }),
    cards: h("div", { class: "plab-cards" }),
    strip: h("div", { class: "plab-strip", role: "list", "aria-label": "Your order, best first" }),
    end: h("div", { class: "plab-card plab-end", hidden: true }),
    buttons: {},
  };
  for (const [key, name] of RANK_BUTTONS) {
    ui.buttons[key] = h("button", { type: "button", "data-key": key, "aria-keyshortcuts": key },
      h("kbd", { "aria-hidden": "true" }, key === "Backspace" ? "⌫" : key.toUpperCase()), name);
  }
  ui.work = h("div", { class: "plab-work" },
    h("article", { class: "plab-pane plab-prompt", "aria-label": "Conversation" }, h("h3", {}, "Conversation"), prompt),
    ui.cards);
  ui.tools = h("div", { class: "plab-row", role: "group", "aria-label": "Answer" }, ...Object.values(ui.buttons));
  ui.root = h("div", { class: "plab plab-ranking", role: "region", tabindex: "0", "aria-label": "Ranking of replies" },
    h("div", { class: "plab-top" }, ui.status, ui.focus),
    h("div", { class: "plab-progress" }, ui.bar, ui.count),
    ui.guide, ui.pause, ui.work, ui.strip, ui.tools, ui.end);
  return ui;
}

function renderRanking({ model, el }) {
  const ui = buildRanking(), watch = stopwatch(ui.root), view = Math.random().toString(36).slice(2);
  let places = [], shares = false, raw = false, sent = 0, pending = null, timer = 0, token, shownAt = 0, connected = true, dismissed = 0;
  const state = () => model.get("state");
  const size = () => state().item?.replies.length ?? 0;
  const say = (kind, text) => { ui.status.dataset.kind = kind; ui.status.textContent = text; };
  const inside = () => ui.root.contains(document.activeElement);
  const home = () => ui.root.focus({ preventScroll: true });
  const without = (slot) => places.map((place) => place.filter((one) => one !== slot)).filter((place) => place.length);

  function lost() {
    connected = false;
    clearTimeout(timer);
    say("error", "NOT CONNECTED: the kernel was restarted or has ended. Every order that was called saved is on disk. Run the cell, or load the page, again to go on.");
    ui.root.classList.add("plab-off");
  }

  function send(message) {
    if (!connected) return;
    if (pending) return say("warn", "Still waiting for the answer before; this key was not counted.");
    pending = `${view}:${(sent += 1)}`;
    say("wait", "Saving …");
    timer = setTimeout(() => say("warn", "NOT CONFIRMED: the kernel does not answer. Wait for it, or restart the kernel and run the cell again."), ANSWER_MS);
    try { model.send({ id: pending, token, ...message }); } catch { lost(); }
  }

  function pick(slot) {
    if (performance.now() - shownAt < SOON_MS || places.flat().includes(slot)) return;
    if (shares && places.length) places.at(-1).push(slot);
    else places.push([slot]);
    shares = false;
    order();
  }

  function back() {
    if (!places.length) return send({ do: "undo" });
    places = without(places.at(-1).at(-1));
    order();
  }

  function save() {
    const left = size() - places.flat().length;
    if (left) return say("warn", `Not saved: ${left} of ${size()} have no place yet.`);
    send({ do: "rank", places, seconds: watch.seconds() });
  }

  const actions = {
    Enter: save, Backspace: back,
    "=": () => { shares = places.length > 0 && !shares; order(); },
    s: () => send({ do: "skip" }), u: () => send({ do: "undo" }), q: () => send({ do: "quit" }),
    m: () => { raw = !raw; texts(state().item); order(); },
    "?": () => { ui.guide.hidden = !ui.guide.hidden; },
  };

  function act(key) {
    const working = state().view === "label";
    if (working && /^[1-9]$/.test(key)) { if (Number(key) <= size()) pick(Number(key) - 1); }
    else if (actions[key] && (working || "u?".includes(key))) actions[key]();
  }

  // A reply or its letter may be dragged before another letter, or to the end of the order.
  function dropped(event) {
    event.preventDefault();
    const slot = Number(event.dataTransfer.getData("text/plain"));
    const before = event.target.closest("[data-slot]")?.dataset.slot;
    if (!Number.isInteger(slot) || slot < 0 || slot >= size() || String(slot) === before) return;
    places = without(slot);
    const at = places.findIndex((place) => place.includes(Number(before)));
    places.splice(before === undefined || at < 0 ? places.length : at, 0, [slot]);
    order();
  }
  const drag = (slot) => ({ draggable: "true", "data-slot": String(slot), ondragstart: (event) => event.dataTransfer.setData("text/plain", String(slot)) });

  function order() {
    const chips = places.flatMap((place, at) => place.map((slot, n) => [
      at || n ? h("span", { "aria-hidden": "true" }, n ? "=" : "›") : "",
      h("span", { class: "plab-chip", role: "listitem", ...drag(slot) }, LETTERS[slot])]).flat());
    const left = size() - places.flat().length;
    ui.strip.replaceChildren(h("span", {}, "Best first:"), ...chips,
      h("span", {}, left ? ` ${places.length ? "then" : "press the number of the best, then the next"} …${shares ? " sharing this place" : ""}` : " Enter saves."));
    [...ui.cards.children].forEach((card, slot) => {
      const at = places.findIndex((place) => place.includes(slot));
      card.querySelector("b").textContent = at < 0 ? "" : `place ${at + 1}`;
    });
    ui.buttons["="].setAttribute("aria-pressed", String(shares));
    ui.buttons.m.setAttribute("aria-pressed", String(raw));
  }

  function texts(item) {
    const fill = (node, text) => {
      node.classList.toggle("plab-raw", raw);
      if (raw) node.textContent = text.raw;
      else node.innerHTML = text.html;
    };
    fill(ui.prompt, item.prompt);
    item.replies.forEach((reply, slot) => fill(ui.cards.children[slot].querySelector(".plab-text"), reply));
  }

  function cards(item) {
    ui.cards.replaceChildren(...item.replies.map((_, slot) => h("article", { class: "plab-pane", "aria-label": `Reply ${LETTERS[slot]}` },
      h("h3", drag(slot), h("span", {}, h("kbd", {}, String(slot + 1)), `Reply ${LETTERS[slot]}`), h("b", {})),
      h("div", { class: "plab-text", tabindex: "0", dir: "auto", role: "group", "aria-label": `Reply ${LETTERS[slot]}, text` }))));
    texts(item);
    ui.prompt.scrollTop = 0;
  }

  function end({ view: how, done, total }) {
    const is_done = how === "done";
    ui.end.replaceChildren(h("h3", {}, is_done ? "All ranked. Thank you." : `Stopped at ${done} of ${total}. Everything is saved.`),
      h("p", {}, is_done ? "Run the cells below: they write the file." : "To go on later, run the cell or load the page again: it opens at the same prompt."),
      h("button", { type: "button", onclick: () => { send({ do: is_done ? "undo" : "resume" }); home(); } }, is_done ? "Undo the last order" : "Go on now"));
  }

  function refresh() {
    const now = state(), working = now.view === "label";
    if (!pending || now.ack === pending) {
      clearTimeout(timer);
      pending = null;
      say(now.status.kind, now.status.text);
    }
    ui.bar.max = now.total;
    ui.bar.value = now.done;
    ui.count.textContent = `${now.done} of ${now.total}` + (now.pace ? ` · ${now.pace}` : "");
    for (const node of [ui.work, ui.strip, ui.tools]) node.hidden = !working;
    ui.end.hidden = working;
    ui.pause.hidden = !(now.pause && working && dismissed !== now.made);
    ui.pause.firstChild.textContent = `${now.made} rankings in this sitting. A short break keeps judgement fresh; the keys go on working.`;
    if (now.made === 1) ui.guide.hidden = true;
    if (!working) end(now);
    else if (now.item.token !== token) {
      places = [];
      shares = false;
      cards(now.item);
      watch.restart();
      shownAt = performance.now();
      order();
    }
    token = now.item?.token;
  }

  function keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    event.stopPropagation();        // or JupyterLab would cut, merge or delete cells
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const on_button = event.target.tagName === "BUTTON" && key === "Enter";
    if (event.repeat || on_button || !(key in actions || /^[1-9]$/.test(key))) return;
    event.preventDefault();
    act(key);
  }

  function focusState() {
    ui.root.classList.toggle("plab-on", inside());
    ui.focus.textContent = inside() ? "Keyboard is on" : "Keyboard is off: click here";
  }

  ui.pause.append(h("span"), h("button", { type: "button", onclick: () => { dismissed = state().made; ui.pause.hidden = true; home(); } }, "Go on"));
  ui.guide.innerHTML = model.get("guidelines");
  ui.guide.hidden = state().done > 0;
  ui.strip.addEventListener("dragover", (event) => event.preventDefault());
  ui.strip.addEventListener("drop", dropped);
  ui.root.addEventListener("keydown", keydown);
  ui.root.addEventListener("focusin", focusState);
  ui.root.addEventListener("focusout", () => setTimeout(focusState));
  ui.root.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-key]");
    if (button) act(button.dataset.key);
    if (event.detail && !getSelection().toString()) home();
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

export default { render: renderRanking };
