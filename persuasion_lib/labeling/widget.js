// What the screen of a labelling session shows and what its keys do. Python owns all state.
// Texts of pairs are untrusted: they enter by textContent, or by innerHTML as the output of a
// Markdown renderer that lets no HTML, image or link through (widget.py).

const SETTLE_MS = 150;      // a second press so soon is meant for the pair before
const CONFIRM_MS = 3000;    // no answer from Python by then: say so

function render({ model, el }) {
  const form = model.get("form"), ui = build(form), watch = stopwatch(ui.root), view = Math.random().toString(36).slice(2);
  const ticked = { strength: null, reasons: new Set() };
  let raw = false, differ = false, listed = null, sent = 0, pending = null, timer = 0, token, shownAt = 0, connected = true, dismissed = 0, who;
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
    send({ do: "choose", choice: CHOICES[key], seconds: watch.seconds(), strength: ticked.strength, reasons: [...ticked.reasons] });
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
    ...(form.both_bad ? { 4: choose } : {}),
    u: () => send({ do: "undo" }),
    f: () => send({ do: "flag", flagged: !state().item.flagged, note: state().item.note }),
    n: () => { if (toggle(ui.noteRow)) ui.note.focus(); else dropNote(); },
    r: () => list(listed === "recent" ? null : "recent"),
    w: () => list(listed === "flagged" ? null : "flagged"),
    d: () => {
      if (!state().item.difference) return say("warn", "These two replies are not nearly the same (or too long), so a difference would mark nearly every word.");
      differ = !differ;
      texts(state().item);
    },
    m: () => { raw = !raw; texts(state().item); },
    escape: () => { list(null); guide(false); home(); },
    "?": () => guide(ui.guide.hidden),
    q: () => send({ do: "quit" }),
  };

  function act(key) {
    const view = state().view;
    if (view === "people") enter(state().people[key - 1]);
    else if (ui.ticks[key]) tick(ui.ticks[key]);
    else if (view === "label" || "u?".includes(key)) actions[key](key);
    marks();
  }

  function enter(person) {
    if (person?.open) send({ do: "person", name: person.name });
    home();
  }

  function tick({ kind, value }) {
    if (kind === "strength") ticked.strength = ticked.strength === value ? null : value;
    else if (!ticked.reasons.delete(value)) ticked.reasons.add(value);
  }

  function marks() {
    const on = { f: state().item?.flagged, m: raw, "?": !ui.guide.hidden, r: listed === "recent", w: listed === "flagged", d: differ, n: !ui.noteRow.hidden };
    for (const [key, value] of Object.entries(on)) ui.buttons[key].setAttribute("aria-pressed", String(Boolean(value)));
    ui.buttons.n.classList.toggle("plab-has", Boolean(state().item?.note));
    ui.buttons.d.classList.toggle("plab-dim", !state().item?.difference);
    ui.buttons.w.lastChild.data = state().flagged.length ? `Flagged (${state().flagged.length})` : "Flagged";
    for (const { kind, value, node } of Object.values(ui.ticks)) {
      node.setAttribute("aria-pressed", String(kind === "strength" ? ticked.strength === value : ticked.reasons.has(value)));
    }
  }

  function fill(node, pane) {
    node.classList.remove("plab-differ");
    node.classList.toggle("plab-raw", raw);
    if (raw) node.textContent = pane.raw;
    else node.innerHTML = pane.html;
  }

  // The message being answered is the last one: it stands apart from what was said before.
  function texts(item) {
    const answered = h("section", { class: "plab-answered", "aria-label": "The message being answered" });
    const earlier = h("section", { class: "plab-earlier" });
    fill(answered, item.prompt);
    if (item.earlier.raw) fill(earlier, item.earlier);
    ui.prompt.text.replaceChildren(...(item.earlier.raw ? [earlier, answered] : [answered]));
    ["first", "second"].forEach((name, at) => {
      const parts = differ && item.difference?.[at];
      if (!parts) return fill(ui[name].text, item[name]);
      ui[name].text.classList.add("plab-differ");
      ui[name].text.replaceChildren(...parts.flatMap(([own, text]) => own ? [text.match(/^\s*/)[0], h("mark", {}, text.trimStart())] : [text]));
    });
  }

  function end({ view: how, summary, done, total, who }) {
    const title = how === "done" ? "All answered. Thank you." : `Stopped at ${done} of ${total}. Everything is saved.`;
    const next = how === "done" ? "The labels are on disk. In the notebook, run the cells below: they show the figures and write the file."
      : "To go on later, run the cell or load the page again: it opens at the same pair.";
    const back = how === "done" ? ["Undo the last answer", "undo"] : ["Go on now", "resume"];
    ui.end.replaceChildren(h("h3", {}, title), h("ul", {}, ...summary.map((line) => h("li", {}, line))), h("p", {}, next),
      h("button", { type: "button", onclick: () => { send({ do: back[1] }); home(); } }, back[0]),
      ...(who ? [h("button", { type: "button", onclick: () => { send({ do: "people" }); home(); } }, "Another annotator")] : []));
  }

  function list(kind) {
    listed = kind;
    const lines = kind ? state()[kind] : [];
    const title = { recent: lines.length ? "Your last answers. Choose one to answer it again." : "No answer yet.",
      flagged: lines.length ? "Flagged. Choose one to look at it again; F takes the flag away." : "Nothing is flagged." }[kind];
    toggle(ui.list, Boolean(kind));
    ui.list.replaceChildren(h("h3", {}, title ?? ""), ...lines.map((past) => h("button", { type: "button", onclick: () => {
      if (kind === "recent") list(null);
      send({ do: "open", token: past.token });
      home();
    } }, h("b", {}, past.choice), ` ${past.text}`, past.note ? h("i", {}, ` ${past.note}`) : "")));
  }

  function people({ people: found = [] }) {
    ui.people.replaceChildren(h("h3", {}, "Who is labelling now? You will see your own pairs and nobody else's labels."),
      ...found.map((person, at) => h("button", { type: "button", disabled: !person.open, onclick: () => enter(person) },
        h("kbd", { "aria-hidden": "true" }, String(at + 1)), h("b", {}, person.title), ` ${person.text}`)));
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
    ui.count.textContent = (now.who ? `${now.who}: ` : "") + `${now.done} of ${now.total}` + (now.pace ? ` · ${now.pace}` : "");
    const working = now.view === "label";
    ui.root.classList.toggle("plab-working", working);
    for (const node of [ui.work, ui.foot, ui.question]) toggle(node, working);
    toggle(ui.progress, now.view !== "people");
    toggle(ui.end, !working && now.view !== "people");
    toggle(ui.people, now.view === "people");
    people(now);
    if (now.made === 1) guide(false);        // read; the ? key brings them back
    if (now.who !== who) guide(now.done === 0 && now.view !== "people");
    who = now.who;
    toggle(ui.pause, now.pause && working && dismissed !== now.made);
    toggle(ui.hurry, Boolean(now.hurry) && dismissed !== now.made);
    ui.hurry.firstChild.textContent = now.hurry;
    ui.pause.firstChild.textContent = `${now.made} answers in this sitting. A short break keeps judgement fresh; the keys go on working.`;
    list(listed);
    if (item) {
      toggle(ui.given, item.given.length > 0);
      ui.given.replaceChildren(h("h3", {}, "The annotators differ; who said what is not shown. What should the label be?"), h("ul", {}, ...item.given.map((text) => h("li", {}, text))));
      ui.before.textContent = item.before ? `Your answer so far: ${item.before}` : "";
      if (item.token !== token) {
        ticked.strength = null;
        ticked.reasons.clear();
        texts(item);
        for (const name of ["first", "second"]) ui[name].text.scrollTop = 0;
        ui.body.scrollTop = ui.guide.hidden ? 0 : ui.body.scrollTop;
        ui.prompt.text.scrollTop = Math.max(0, ui.prompt.text.lastChild.offsetTop - ui.prompt.text.offsetTop - 4);
        ui.note.value = item.note;
        toggle(ui.noteRow, false);
        watch.restart();
        shownAt = performance.now();
      }
    } else {
      list(null);
      if (now.view !== "people") end(now);
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
    const known = key in actions || key in ui.ticks || state().view === "people" && /^[1-9]$/.test(key);
    if (event.repeat || !known) return;
    event.preventDefault();
    act(key);
  }

  function focusState() {
    ui.root.classList.toggle("plab-on", inside());
    ui.focus.textContent = inside() ? "Keyboard is on" : "Keyboard is off: click here";
  }

  for (const card of [ui.pause, ui.hurry]) {
    card.append(h("span"), h("button", { type: "button", onclick: () => { dismissed = state().made; toggle(card, false); home(); } }, "Go on"));
  }
  ui.question.textContent = model.get("question");
  ui.guide.innerHTML = model.get("guidelines");
  ui.guide.append(h("p", {}, h("kbd", {}, "?"), "folds this panel and brings it back. The other keys are on the buttons."));
  guide(state().done === 0 && state().view !== "people");
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

export default { render };
